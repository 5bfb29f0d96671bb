"""chunkstore in a bucket, set up in the ways that are measured."""

from __future__ import annotations

from collections.abc import Iterable
from pathlib import Path
from typing import Any

import chunkstore
from benchmarks.buckets.server import Server
from benchmarks.example import RUN
from benchmarks.recorder import Recorder


class BucketRecorder(Recorder):
    """A run in a `chunked-object` store.

    Args:
        server: where.
        folder: its name is that of the prefix.
        sealed: whether the run is written sealed.
        options: of the store.
    """

    def __init__(self, server: Server, folder: Path, *, sealed: bool = False, **options: Any) -> None:
        super().__init__(folder)
        self.store = server.open_store(folder.name, **options)
        self._sealed = sealed
        self._is_connected = False

    def prepare(self, step: chunkstore.StepLog) -> chunkstore.StepLog:
        """Return the step; connect before, as the bare client has by then."""
        if not self._is_connected:
            self._is_connected = self.store.has_run(RUN)
        return step

    def create(self) -> None:
        """Create the run, if it is not written as a whole."""
        if not self._sealed:
            self.store.create_run_log(RUN)

    def add(self, record: chunkstore.StepLog) -> None:
        """Add a step, or replace it as its owner."""
        self.store.add_step_log(RUN, record)

    def fill(self, steps: Iterable[chunkstore.StepLog]) -> None:
        """Add steps, or write the run with all of them."""
        if self._sealed:
            log = chunkstore.RunLog(run_id=RUN, status="SUCCESS")
            log.steps.update({step.internal_name: step for step in steps})
            self.store.add_run_log(log)
        else:
            super().fill(steps)

    def read(self) -> dict[str, chunkstore.StepLog]:
        """Return the steps of the whole log."""
        return self.store.get_run_log(RUN).steps

    def close(self) -> None:
        """Close the store."""
        self.store.close()
