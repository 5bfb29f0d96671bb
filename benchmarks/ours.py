"""chunkstore, set up in the ways that are measured."""

from __future__ import annotations

from collections.abc import Iterable
from pathlib import Path
from typing import Any

import chunkstore
from benchmarks.example import RUN, count_up
from benchmarks.recorder import Contestant, Recorder


class ChunkstoreRecorder(Recorder):
    """A run in a `chunked-fs` store.

    Args:
        folder: where the store is.
        sealed: whether the run is sealed once it is filled.
        options: of the store.
    """

    def __init__(self, folder: Path, *, sealed: bool = False, **options: Any) -> None:
        super().__init__(folder)
        self.store = open_store(folder, **options)
        self._sealed = sealed

    def create(self) -> None:
        """Create the run."""
        self.store.create_run_log(RUN)

    def add(self, record: chunkstore.StepLog) -> None:
        """Add a step, or replace it as its owner."""
        self.store.add_step_log(RUN, record)

    def fill(self, steps: Iterable[chunkstore.StepLog]) -> None:
        """Add steps, and seal the run if it is to be sealed."""
        super().fill(steps)
        if self._sealed:
            self.store.update_run_log(RUN, _finish)
            self.store.seal(RUN)

    def read(self) -> dict[str, chunkstore.StepLog]:
        """Return the steps of the whole log."""
        return self.store.get_run_log(RUN).steps

    def count_up(self, name: str) -> None:
        """Change a step as somebody who does not own it."""
        self.store.update_step_log(RUN, name, count_up)

    def close(self) -> None:
        """Close the store."""
        self.store.close()


def open_store(folder: Path, **options: Any) -> chunkstore.Store:
    """Open the store of a measurement; a call that returned survives the death of the process unless they say more."""
    return chunkstore.open_store("chunked-fs", **{"log_folder": folder / "logs", "durability": "process", **options})


def _finish(log: chunkstore.RunLog) -> None:
    log.status = "SUCCESS"


CHUNKSTORE = Contestant(name="chunkstore", role="ours", floor="floor", opens=ChunkstoreRecorder)
DURABLE = Contestant(
    name="chunkstore",
    role="ours",
    floor="floor",
    opens=lambda folder: ChunkstoreRecorder(folder, durability="step"),
)
JOURNAL = Contestant(
    name="chunkstore",
    role="ours",
    floor="floor",
    opens=lambda folder: ChunkstoreRecorder(folder, container="journal"),
)
DURABLE_JOURNAL = Contestant(
    name="chunkstore",
    role="ours",
    floor="floor",
    opens=lambda folder: ChunkstoreRecorder(folder, container="journal", durability="step"),
)
SEALED = Contestant(
    name="chunkstore",
    role="ours",
    floor="floor",
    opens=lambda folder: ChunkstoreRecorder(folder, sealed=True),
)
