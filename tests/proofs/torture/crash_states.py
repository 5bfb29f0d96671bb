"""Random programs of writes are recorded, and every state is read that the disk may be in if the power goes."""

from __future__ import annotations

import json
import os
import random
import tempfile
import time
from collections.abc import Callable
from pathlib import Path
from typing import Any

from chunkstore.testing.crash_states import MODELS, crash_states
from chunkstore.testing.disk_operations import Acknowledgement
from chunkstore.testing.system_trace import record

from .figures import Figures
from .shared import Writer, holds

_CALLS = 12
#: States for one moment; where more are possible, some are chosen.
_LIMIT = 24
_OTHER = "other"


def read_crash_states(
    folder: str | os.PathLike[str], seed: int, size: int = 20, *, store_type: str = "chunked-fs"
) -> Figures:
    """Record `size` random programs at the level `step`, and look into all their states for what was acknowledged."""
    figures, began = Figures(), time.monotonic()
    for number in range(size):
        with tempfile.TemporaryDirectory(prefix="program-", dir=folder) as base:
            _try_program(Path(base), random.Random(f"{seed}-{number}"), store_type, figures)
    figures.seconds = time.monotonic() - began
    return figures


def _try_program(base: Path, decisions: random.Random, store_type: str, figures: Figures) -> None:
    top = base / "top"
    top.mkdir()
    program = _program(decisions)

    def work(say: Callable[[str], None]) -> None:
        writer = Writer(store_type, top / "a" / "logs", say, "step")
        for name, *arguments in program:
            getattr(writer, name)(*arguments)

    trace = record(work, top)
    figures.acknowledged += sum(isinstance(operation, Acknowledgement) for operation in trace.operations)
    in_memory = "/dev/shm" if os.path.isdir("/dev/shm") else base
    with tempfile.TemporaryDirectory(prefix="states-", dir=in_memory) as disk:
        for model in MODELS:
            for state in crash_states(trace, model, limit=_LIMIT, seed=decisions.getrandbits(32)):
                state.write_to(Path(disk, "top"))
                figures.crash_states += 1
                figures.reads += 1
                claims = [json.loads(text) for text in state.acknowledged]
                for broken in holds(Path(disk, "top", "a", "logs"), store_type, claims):
                    figures.complain("lost", f"{model}, after operation {state.after} of {program}: {broken}")


def _program(decisions: random.Random) -> list[tuple[Any, ...]]:
    """Return calls of `Writer` with their arguments: versions go up, and nobody changes what is not there."""
    calls: list[tuple[Any, ...]] = [("create",)]
    versions: dict[Any, int] = {}
    deleted = False

    def next_of(*key: Any) -> int:
        versions[key] = versions.get(key, 0) + 1
        return versions[key]

    for _ in range(_CALLS):
        name = decisions.choice("abc")
        kind = decisions.choice(
            ["add", "add", "add_branch", "update", "update", "set_parameter", "append", "delete", "end"]
        )
        if kind == "add":
            calls.append(("add", name, next_of("step", name)))
        elif kind == "add_branch":
            calls.append(("add_branch", f"{name}.x", next_of("branch", name)))
        elif kind == "update" and ("step", name) in versions:
            calls.append(("update", name, next_of("update", name)))
        elif kind == "append" and ("step", name) in versions:
            calls.append(("append", name, next_of("point", name)))
        elif kind == "set_parameter":
            calls.append(("set_parameter", name, next_of("parameter", name)))
        elif kind == "delete" and not deleted:
            calls.extend([("create", _OTHER), ("add", "s", 1, _OTHER), ("delete", _OTHER)])
            deleted = True
        elif kind == "end" and not next_of("end") > 1:
            calls.append(("set_status", "SUCCESS"))
    return calls
