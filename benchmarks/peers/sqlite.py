"""SQLite from Python's standard library: a row per step, its body JSON, each statement a transaction of its own."""

from __future__ import annotations

import sqlite3
from collections.abc import Iterable
from pathlib import Path

import msgspec

import chunkstore
from benchmarks.example import RUN, count_up, decode_step
from benchmarks.recorder import Contestant, Recorder

#: Seconds that a writer waits for others before it says that the database is locked.
_BUSY_TIMEOUT = 60


class SqliteRecorder(Recorder):
    """A table with a row per step.

    Args:
        folder: where the database is.
        journal: `WAL`: a write-ahead log; `DELETE`: a rollback journal.
        synchronous: `NORMAL`: a commit survives the death of the process; `FULL`: also a loss of power.
    """

    def __init__(self, folder: Path, *, journal: str = "WAL", synchronous: str = "NORMAL") -> None:
        super().__init__(folder)
        self._database = sqlite3.connect(folder / "runs.sqlite", timeout=_BUSY_TIMEOUT, isolation_level=None)
        self._database.execute(f"PRAGMA journal_mode = {journal}")
        self._database.execute(f"PRAGMA synchronous = {synchronous}")
        self._encode = msgspec.json.Encoder().encode

    def create(self) -> None:
        """Create the table."""
        self._database.execute("CREATE TABLE step (run TEXT, name TEXT, body BLOB, PRIMARY KEY (run, name))")

    def add(self, record: chunkstore.StepLog) -> None:
        """Insert a row."""
        self._database.execute("INSERT INTO step VALUES (?, ?, ?)", (RUN, record.internal_name, self._encode(record)))

    def replace(self, record: chunkstore.StepLog) -> None:
        """Update a row."""
        self._database.execute(
            "UPDATE step SET body = ? WHERE run = ? AND name = ?", (self._encode(record), RUN, record.internal_name)
        )

    def fill(self, steps: Iterable[chunkstore.StepLog]) -> None:
        """Insert all rows in one transaction."""
        self._database.execute("BEGIN")
        super().fill(steps)
        self._database.execute("COMMIT")

    def read(self) -> dict[str, chunkstore.StepLog]:
        """Select and decode all rows."""
        rows = self._database.execute("SELECT name, body FROM step WHERE run = ? ORDER BY rowid", (RUN,))
        return {name: decode_step(body) for name, body in rows}

    def count_up(self, name: str) -> None:
        """Select and update a row in a transaction that others wait for."""
        self._database.execute("BEGIN IMMEDIATE")
        selected = self._database.execute("SELECT body FROM step WHERE run = ? AND name = ?", (RUN, name))
        step = decode_step(selected.fetchone()[0])
        count_up(step)
        self.replace(step)
        self._database.execute("COMMIT")

    def close(self) -> None:
        """Close the database."""
        self._database.close()


NORMAL = Contestant(name="SQLite NORMAL", role="peer", opens=SqliteRecorder)
FULL = Contestant(name="SQLite FULL", role="peer", opens=lambda folder: SqliteRecorder(folder, synchronous="FULL"))
ROLLBACK = Contestant(
    name="SQLite rollback", role="peer", opens=lambda folder: SqliteRecorder(folder, journal="DELETE")
)
