"""diskcache: a dictionary on disk, kept in SQLite with a write-ahead log."""

from __future__ import annotations

from collections.abc import Iterable
from pathlib import Path

import msgspec

import chunkstore
from benchmarks.example import count_up, decode_step
from benchmarks.measure import needs
from benchmarks.recorder import Contestant, Recorder


class DiskcacheRecorder(Recorder):
    """A `Cache` with its default settings; a step is an item, its value JSON.

    Args:
        folder: where the cache is.
    """

    def __init__(self, folder: Path) -> None:
        super().__init__(folder)
        from diskcache import Cache  # noqa: PLC0415 - a peer, perhaps not installed

        self._cache = Cache(str(folder / "cache"))
        self._encode = msgspec.json.Encoder().encode

    def add(self, record: chunkstore.StepLog) -> None:
        """Set an item."""
        self._cache.set(record.internal_name, self._encode(record), retry=True)

    def fill(self, steps: Iterable[chunkstore.StepLog]) -> None:
        """Set all items in one transaction."""
        with self._cache.transact(retry=True):
            super().fill(steps)

    def read(self) -> dict[str, chunkstore.StepLog]:
        """Get and decode every item."""
        return {name: decode_step(self._cache[name]) for name in self._cache}

    def count_up(self, name: str) -> None:
        """Get and set an item in one transaction."""
        with self._cache.transact(retry=True):
            step = decode_step(self._cache[name])
            count_up(step)
            self.add(step)

    def close(self) -> None:
        """Close the cache."""
        self._cache.close()


def _load() -> None:
    import diskcache  # noqa: F401, PLC0415 - a peer, perhaps not installed


DISKCACHE = Contestant(
    name="diskcache", role="peer", opens=DiskcacheRecorder, why_skipped=needs(diskcache="diskcache"), load=_load
)
