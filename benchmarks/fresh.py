"""What a fresh interpreter is measured at: how much memory it takes to read a run, and how long an import takes.

`python -m benchmarks.fresh import` and the like print it; the other functions start that.
"""

from __future__ import annotations

import json
import os
import resource
import subprocess
import sys
from pathlib import Path
from typing import NamedTuple

_PROJECT = Path(__file__).parent.parent
_KIB = 1024


class Memory(NamedTuple):
    """What a fresh interpreter took.

    Attributes:
        peak: the most memory it had at once, in bytes.
        records: how many steps it read.
    """

    peak: int
    records: int


def peak_memory(work: str, folder: Path = Path()) -> Memory:
    """Let a fresh interpreter work.

    Args:
        work: `import`: nothing but that; `stream`: one record after the other; `whole`: the whole log.
        folder: the store.
    """
    return Memory(*json.loads(run_python("-m", "benchmarks.fresh", work, str(folder))))


def run_python(*arguments: str) -> str:
    """Run a fresh interpreter in the project's folder; return what it printed."""
    # Else what pip has not compiled would be compiled each time, which is no part of importing it.
    environment = {name: value for name, value in os.environ.items() if name != "PYTHONDONTWRITEBYTECODE"}
    command = [sys.executable, *arguments]
    result = subprocess.run(command, cwd=_PROJECT, env=environment, check=True, capture_output=True, text=True)
    return result.stdout


def _main(work: str, folder: str) -> None:
    from benchmarks.example import RUN  # noqa: PLC0415 - all that is imported here counts
    from chunkstore import StepLog, open_store  # noqa: PLC0415 - likewise

    store = open_store("chunked-fs", log_folder=folder or ".")
    records = 0
    if work == "stream":
        records = sum(isinstance(record, StepLog) for record in store.iter_records(RUN))
    elif work == "whole":
        records = len(store.get_run_log(RUN).steps)
    print(json.dumps([_peak(), records]))


def _peak() -> int:
    """Return the most memory that this process had at once, in bytes.

    Linux knows it for this program alone; what getrusage says there includes the process that started this one.
    """
    try:
        lines = Path("/proc/self/status").read_text().splitlines()
    except OSError:
        peak = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss
        return peak if sys.platform == "darwin" else peak * _KIB
    return next(int(line.split()[1]) * _KIB for line in lines if line.startswith("VmHWM"))


if __name__ == "__main__":
    _main(*sys.argv[1:])
