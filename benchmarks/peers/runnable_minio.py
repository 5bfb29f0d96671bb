"""The store that runnable 0.50 has for a bucket, `chunked-minio`, used through its own methods."""

from __future__ import annotations

import sys
from collections.abc import Iterable
from contextlib import redirect_stdout
from pathlib import Path
from types import SimpleNamespace
from typing import TYPE_CHECKING, Any

import chunkstore
from benchmarks.buckets.server import Server
from benchmarks.example import RUN
from benchmarks.peers.runnable_peer import make_step, versions_of
from benchmarks.recorder import Recorder

if TYPE_CHECKING:
    from runnable.datastore import StepLog


class RunnableMinioRecorder(Recorder):
    """A run in `chunked-minio`, which has no condition on its puts: what two processes do at once may get lost.

    Args:
        server: where.
        folder: its name is that of the prefix.
    """

    def __init__(self, server: Server, folder: Path) -> None:
        super().__init__(folder)
        from extensions.run_log_store.chunked_minio import ChunkedMinioRunLogStore  # noqa: PLC0415 - a peer
        from runnable.context import set_run_context  # noqa: PLC0415 - a peer

        context: Any = SimpleNamespace(run_id=RUN)  # all that it asks of one
        set_run_context(context)
        place = server.place(folder.name)
        self._store = ChunkedMinioRunLogStore(
            endpoint_url=server.options["endpoint"],
            aws_access_key_id=server.options["access_key_id"],
            aws_secret_access_key=server.options["secret_access_key"],
            bucket=f"{place.url.bucket}/{place.url.prefix}",
        )

    def create(self) -> None:
        """Create the run."""
        self._store.create_run_log(RUN)

    def prepare(self, step: chunkstore.StepLog) -> StepLog:
        """Return a step with the same metric, as runnable records it."""
        return make_step(step.internal_name, 1)

    def add(self, record: StepLog) -> None:
        """Add a step to the run, or replace it."""
        self._store.add_step_log(record, RUN)

    def fill(self, steps: Iterable[chunkstore.StepLog]) -> None:
        """Put the run with all steps at once."""
        log = self._store.get_run_log_by_id(RUN)
        log.steps.update({step.internal_name: self.prepare(step) for step in steps})
        self._store.put_run_log(log)

    def read(self) -> dict[str, StepLog]:
        """Return the steps of the whole log."""
        steps: dict[str, StepLog] = self._store.get_run_log_by_id(RUN, full=True).steps
        return steps

    def versions(self) -> dict[str, int]:
        """Return which version of each step is there; metrics belong to attempts."""
        return versions_of(self.read())


def load() -> None:
    """Import what it takes."""
    with redirect_stdout(sys.stderr):  # it greets
        import extensions.run_log_store.chunked_minio  # noqa: F401, PLC0415 - a peer, perhaps not installed
