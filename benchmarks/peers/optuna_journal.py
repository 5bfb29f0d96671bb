"""Optuna's journal: a file of JSON lines with a lock beside it; every line is flushed before the next."""

from __future__ import annotations

from collections.abc import Iterable
from pathlib import Path
from typing import Any

import msgspec

import chunkstore
from benchmarks.measure import needs
from benchmarks.recorder import Contestant, Recorder


class OptunaRecorder(Recorder):
    """A `JournalFileBackend`; a step is one dict, and the last one of a name counts.

    Args:
        folder: where the file is.
        lock: the name of the class of its lock; empty for the default, which is a symbolic link.
    """

    def __init__(self, folder: Path, *, lock: str = "") -> None:
        super().__init__(folder)
        from optuna.storages import journal  # noqa: PLC0415 - a peer, perhaps not installed

        file = str(folder / "journal.log")
        self._journal = journal.JournalFileBackend(file, getattr(journal, lock)(file) if lock else None)

    def prepare(self, step: chunkstore.StepLog) -> dict[str, Any]:
        """Return the step as a dict."""
        return step.to_dict()

    def add(self, record: dict[str, Any]) -> None:
        """Append a line."""
        self._journal.append_logs([record])

    def fill(self, steps: Iterable[chunkstore.StepLog]) -> None:
        """Append all lines at once."""
        self._journal.append_logs([self.prepare(step) for step in steps])

    def read(self) -> dict[str, chunkstore.StepLog]:
        """Read all lines; Optuna decodes them to dicts, which become records."""
        logs = self._journal.read_logs(0)
        return {log["internal_name"]: msgspec.convert(log, chunkstore.StepLog) for log in logs}


def _load() -> None:
    import optuna.storages.journal  # noqa: PLC0415 - a peer, perhaps not installed

    optuna.logging.set_verbosity(optuna.logging.ERROR)


OPTUNA = Contestant(
    name="Optuna journal", role="peer", opens=OptunaRecorder, why_skipped=needs(optuna="optuna"), load=_load
)
OPTUNA_OPEN_LOCK = Contestant(
    name="Optuna journal, open lock",
    role="peer",
    opens=lambda folder: OptunaRecorder(folder, lock="JournalFileOpenLock"),
    why_skipped=needs(optuna="optuna"),
    load=_load,
)
