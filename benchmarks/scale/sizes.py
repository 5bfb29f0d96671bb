"""How large what was recorded is: a chunk, a step in a sealed run, and how many files or objects a run is."""

from __future__ import annotations

import os
from collections import defaultdict
from collections.abc import Iterable
from pathlib import Path
from statistics import mean

from benchmarks.buckets.server import Server
from benchmarks.scale.filling import STEPS


def sizes_in_folder(folder: Path) -> dict[str, float]:
    """Return the sizes of what is in the folder of a store."""
    return _sizes(
        (os.path.relpath(os.path.join(path, file), folder), os.path.getsize(os.path.join(path, file)))
        for path, _, files in os.walk(folder)
        for file in files
    )


def sizes_in_bucket(server: Server, prefix: str) -> dict[str, float]:
    """Return the sizes of what is below a prefix."""
    import obstore  # noqa: PLC0415 - perhaps not installed

    client = server.place(prefix).connect()
    return _sizes((meta["path"], meta["size"]) for page in obstore.list(client) for meta in page)


def _sizes(files: Iterable[tuple[str, int]]) -> dict[str, float]:
    by_run: dict[str, dict[str, int]] = defaultdict(dict)
    for path, size in files:
        run, _, file = path.partition("/")
        by_run[run][file] = size
    chunks = [size for run in ("shared", "read") for file, size in by_run[run].items() if file.startswith("StepLog-")]
    past = [files for run, files in by_run.items() if run.startswith("past-")]
    return {
        "bytes of a chunk": mean(chunks) if chunks else 0.0,
        "bytes of a step of a run that has ended": mean(sum(files.values()) for files in past) / STEPS,
        "files of a run that has ended": mean(len(files) for files in past),
    }
