"""The stores that runnable 0.50 has for a folder, used through their own methods."""

from __future__ import annotations

import sys
from collections.abc import Iterable, Mapping
from contextlib import redirect_stdout
from functools import partial
from pathlib import Path
from typing import TYPE_CHECKING, Any

import chunkstore
from benchmarks.example import RUN, version_of
from benchmarks.measure import needs
from benchmarks.recorder import Contestant, Recorder

if TYPE_CHECKING:
    from runnable.datastore import BaseRunLogStore, StepAttempt, StepLog


class RunnableRecorder(Recorder):
    """A run in one of runnable's stores, which keep no lock: what two processes do at once may get lost.

    Args:
        folder: where the store is.
        store_type: the class of the store.
    """

    def __init__(self, folder: Path, *, store_type: str) -> None:
        super().__init__(folder)
        self._store = open_store(store_type, folder / "logs")

    def create(self) -> None:
        """Create the run."""
        self._store.create_run_log(RUN)

    def prepare(self, step: chunkstore.StepLog) -> StepLog:
        """Return a step with the same metric, as runnable records it."""
        return make_step(step.internal_name, version_of(step))

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

    def count_up(self, name: str) -> None:
        """Get a step, change it and add it again."""
        step = self._store.get_step_log(name, RUN)
        metric = step.attempts[0].user_defined_metrics["version"]
        metric.value += 1
        self._store.add_step_log(step, RUN)

    def versions(self) -> dict[str, int]:
        """Return which version of each step is there; metrics belong to attempts."""
        return versions_of(self.read())


def versions_of(steps: Mapping[str, StepLog]) -> dict[str, int]:
    """Return which version each of some steps is: a metric of its attempt."""
    return {name: step.attempts[0].user_defined_metrics["version"].value for name, step in steps.items()}


def open_store(store_type: str, folder: Path) -> BaseRunLogStore:
    """Return one of runnable's own stores: `chunked-fs` or `file-system`."""
    from extensions.run_log_store.chunked_fs import ChunkedFileSystemRunLogStore  # noqa: PLC0415 - a peer, perhaps not installed
    from extensions.run_log_store.file_system import FileSystemRunLogstore  # noqa: PLC0415 - a peer, perhaps not installed

    kind = {"chunked-fs": ChunkedFileSystemRunLogStore, "file-system": FileSystemRunLogstore}[store_type]
    return kind(log_folder=str(folder))


def make_step(name: str, version: int) -> StepLog:
    """Return a finished step."""
    from runnable import defaults  # noqa: PLC0415 - a peer, perhaps not installed
    from runnable.datastore import StepLog  # noqa: PLC0415 - a peer, perhaps not installed

    return StepLog(
        name=name, internal_name=name, status=defaults.SUCCESS, attempts=[make_attempt({"version": version})]
    )


def make_attempt(metrics: dict[str, float], **parameters: Any) -> StepAttempt:
    """Return an attempt that succeeded."""
    from runnable import defaults  # noqa: PLC0415 - a peer, perhaps not installed
    from runnable.datastore import CodeIdentity, JsonParameter, MetricParameter, StepAttempt  # noqa: PLC0415 - a peer, perhaps not installed

    return StepAttempt(
        start_time="2026-11-24 10:00:00.123456",
        end_time="2026-11-24 10:00:00.223456",
        status=defaults.SUCCESS,
        input_parameters={
            "seed": JsonParameter(kind="json", value=7),
            **{name: JsonParameter(kind="json", value=value) for name, value in parameters.items()},
        },
        output_parameters={"rows": JsonParameter(kind="json", value=10_000)},
        user_defined_metrics={name: MetricParameter(kind="metric", value=value) for name, value in metrics.items()},
        code_identities=[
            CodeIdentity(
                code_identifier="39cd98770cb2fd6994d8ac08ae4c5506e5ce694a",
                code_identifier_type="git",
                code_identifier_dependable=True,
                code_identifier_url="https://example.org/organisation/repository.git",
            )
        ],
    )


def _load() -> None:
    with redirect_stdout(sys.stderr):  # it greets
        import extensions.run_log_store.chunked_fs  # noqa: PLC0415 - a peer, perhaps not installed
        import extensions.run_log_store.file_system  # noqa: F401, PLC0415 - a peer, perhaps not installed


RUNNABLE_CHUNKED, RUNNABLE_FILE = (
    Contestant(
        name=f"runnable {store_type}",
        role="peer",
        opens=partial(RunnableRecorder, store_type=store_type),
        why_skipped=needs(runnable="runnable"),
        load=_load,
    )
    for store_type in ("chunked-fs", "file-system")
)
