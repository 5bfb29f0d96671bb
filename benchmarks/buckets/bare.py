"""Bare requests of obstore, of the same bytes under the same names: what the same work takes at least."""

from __future__ import annotations

import time
from collections.abc import Iterable
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from typing import Literal, NamedTuple

import chunkstore
from benchmarks.buckets.ours import BucketRecorder
from benchmarks.buckets.server import Server
from benchmarks.example import RUN, decode_step
from benchmarks.floors import decode_lines
from benchmarks.recorder import Recorder
from chunkstore.records.encoding import encode_record
from chunkstore.records.integrity import with_checksum

_THREADS = 32


class _Prepared(NamedTuple):
    key: str
    data: bytes


class BareRecorder(Recorder):
    """An object per step: put, listed, got by 32 threads.

    Args:
        server: where.
        folder: its name is that of the prefix.
        mode: whether a put replaces what is there (`overwrite`) or fails (`create`).
    """

    def __init__(self, server: Server, folder: Path, *, mode: Literal["overwrite", "create"] = "overwrite") -> None:
        super().__init__(folder)
        self._mode = mode
        self._client = server.place(folder.name).connect()
        self._keys: list[str] = []

    def prepare(self, step: chunkstore.StepLog) -> _Prepared:
        """Return the key and the bytes of a step."""
        key = f"{RUN}/StepLog-{step.internal_name}-{time.time_ns()}.json"
        return _Prepared(key, with_checksum(encode_record(step)))

    def add(self, record: _Prepared) -> None:
        """Put an object."""
        import obstore  # noqa: PLC0415 - perhaps not installed

        attributes = {"incarnation": "0123456789abcdef"}
        obstore.put(self._client, record.key, record.data, attributes=attributes, use_multipart=False, mode=self._mode)

    def fill(self, steps: Iterable[chunkstore.StepLog]) -> None:
        """Put many, some at once."""
        with ThreadPoolExecutor(_THREADS) as pool:
            list(pool.map(self.add, map(self.prepare, steps)))

    def look_up(self) -> None:
        """Look up the keys, which is no part of what is timed."""
        import obstore  # noqa: PLC0415 - perhaps not installed

        self._keys = [meta["path"] for page in obstore.list(self._client, prefix=RUN) for meta in page]

    def gets(self) -> list[bytes]:
        """Get everything, by as many threads as chunkstore has at least."""
        import obstore  # noqa: PLC0415 - perhaps not installed

        def got(key: str) -> bytes:
            return bytes(obstore.get(self._client, key).bytes())

        if not self._keys:
            self.look_up()
        with ThreadPoolExecutor(_THREADS) as pool:
            return list(pool.map(got, self._keys))

    def read(self) -> dict[str, chunkstore.StepLog]:
        """Get and decode everything."""
        steps = map(decode_step, self.gets())
        return {step.internal_name: step for step in steps}


class BareSealedRecorder(BareRecorder):
    """Gets the one object in which chunkstore has sealed the very same run.

    Args:
        server: where.
        folder: its name is that of the prefix.
    """

    def __init__(self, server: Server, folder: Path) -> None:
        super().__init__(server, folder)
        self._recorder = BucketRecorder(server, folder, sealed=True)

    def fill(self, steps: Iterable[chunkstore.StepLog]) -> None:
        """Have chunkstore write a sealed run."""
        self._recorder.fill(steps)

    def read(self) -> dict[str, chunkstore.StepLog]:
        """Get one object and decode every line."""
        import obstore  # noqa: PLC0415 - perhaps not installed

        if not self._keys:
            self.look_up()
        (sealed,) = (key for key in self._keys if "/Sealed-" in key)
        data = bytes(obstore.get(self._client, sealed).bytes())
        return {step.internal_name: step for step in decode_lines(data)}
