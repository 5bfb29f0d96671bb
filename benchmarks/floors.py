"""The bare system calls that the same work takes at least, on the same bytes and names."""

from __future__ import annotations

import os
import time
from collections.abc import Iterable, Iterator
from contextlib import contextmanager
from fcntl import LOCK_EX, flock
from pathlib import Path
from typing import NamedTuple

import msgspec

import chunkstore
from benchmarks.example import RUN, count_up, decode_step
from benchmarks.ours import ChunkstoreRecorder
from benchmarks.recorder import Contestant, Recorder
from chunkstore.records.encoding import encode_record
from chunkstore.records.integrity import with_checksum
from chunkstore.stores.packed.packed_lines import pack_body

_HAS_UNNAMED = hasattr(os, "O_TMPFILE")
_fdatasync = getattr(os, "fdatasync", os.fsync)  # macOS has no such call


class _Prepared(NamedTuple):
    name: str
    file: str
    data: bytes


class FileFloor(Recorder):
    """A file per step: made without a name and linked, replaced by a renamed temporary one.

    Args:
        folder: where.
        durable: whether each file and the folder are flushed.
    """

    def __init__(self, folder: Path, *, durable: bool = False) -> None:
        super().__init__(folder)
        self._durable = durable
        self._fd = os.open(folder, os.O_RDONLY | os.O_DIRECTORY)
        self._files: dict[str, str] = {}

    def prepare(self, step: chunkstore.StepLog) -> _Prepared:
        """Return the name and the bytes of a step's file, which stay the same whenever it is replaced."""
        name = step.internal_name
        file = self._files.setdefault(name, f"StepLog-{name}-{time.time_ns()}.json")
        return _Prepared(name, file, with_checksum(encode_record(step)))

    def add(self, record: _Prepared) -> None:
        """Make a new file."""
        if _HAS_UNNAMED:
            fd = os.open(".", os.O_TMPFILE | os.O_WRONLY, 0o666, dir_fd=self._fd)
        else:
            fd = os.open(record.file, os.O_CREAT | os.O_EXCL | os.O_WRONLY, 0o666, dir_fd=self._fd)
        os.write(fd, record.data)
        if self._durable:
            os.fsync(fd)
        if _HAS_UNNAMED:
            os.link(f"/proc/self/fd/{fd}", record.file, dst_dir_fd=self._fd, follow_symlinks=True)
        os.close(fd)
        if self._durable:
            os.fsync(self._fd)

    def replace(self, record: _Prepared) -> None:
        """Write a temporary file and give it the name."""
        self._replace(record.file, record.data)

    def _replace(self, file: str, data: bytes) -> None:
        temporary = f".tmp-{file}"
        fd = os.open(temporary, os.O_CREAT | os.O_EXCL | os.O_WRONLY, 0o666, dir_fd=self._fd)
        os.write(fd, data)
        if self._durable:
            os.fsync(fd)
        os.close(fd)
        os.rename(temporary, file, src_dir_fd=self._fd, dst_dir_fd=self._fd)
        if self._durable:
            os.fsync(self._fd)

    def read(self) -> dict[str, chunkstore.StepLog]:
        """List, open, read and decode."""
        steps = (read_step(self._fd, file) for file in os.listdir(self.folder) if not file.startswith("."))
        return {step.internal_name: step for step in steps}

    def count_up(self, name: str) -> None:
        """Read, change and replace a file under a lock."""
        if not self._files:
            self._files = {file.split("-")[1]: file for file in os.listdir(self.folder) if not file.startswith(".")}
        with _locked(self._fd):
            step = read_step(self._fd, self._files[name])
            count_up(step)
            self._replace(self._files[name], with_checksum(encode_record(step)))

    def close(self) -> None:
        """Close the folder."""
        os.close(self._fd)


class JournalFloor(Recorder):
    """One file for each process, to whose end the steps are written.

    Args:
        folder: where.
        durable: whether the file is flushed after each step.
    """

    def __init__(self, folder: Path, *, durable: bool = False) -> None:
        super().__init__(folder)
        self._durable = durable
        self._fd = -1

    def prepare(self, step: chunkstore.StepLog) -> bytes:
        """Return the line of a step."""
        if self._fd < 0:
            flags = os.O_CREAT | os.O_EXCL | os.O_WRONLY | os.O_APPEND
            self._fd = os.open(self.folder / f"Journal-{os.getpid()}-{time.time_ns()}.jsonl", flags, 0o666)
        return pack_body(f"StepLog-{step.internal_name}-{time.time_ns()}.json", encode_record(step))

    def add(self, record: bytes) -> None:
        """Write a line."""
        os.write(self._fd, record)
        if self._durable:
            _fdatasync(self._fd)

    def read(self) -> dict[str, chunkstore.StepLog]:
        """Read and decode every line of every file; later ones count."""
        return {step.internal_name: step for path in self.folder.iterdir() for step in decode_lines(path.read_bytes())}

    def close(self) -> None:
        """Close the file."""
        if self._fd >= 0:
            os.close(self._fd)


def read_file(fd_of_folder: int, file: str) -> bytes:
    """Open, read and close a file."""
    fd = os.open(file, os.O_RDONLY, dir_fd=fd_of_folder)
    data = os.read(fd, os.fstat(fd).st_size)
    os.close(fd)
    return data


def read_step(fd_of_folder: int, file: str) -> chunkstore.StepLog:
    """Open, read, close and decode the file of a step; the checksum is white space to the decoder."""
    return decode_step(read_file(fd_of_folder, file))


class _Line(msgspec.Struct):
    file: str
    body: msgspec.Raw


_decode_line = msgspec.json.Decoder(_Line).decode


def decode_lines(data: bytes) -> Iterator[chunkstore.StepLog]:
    """Decode the steps in a sealed file or journal; checksums are white space to the decoder."""
    for line in data.splitlines():
        decoded = _decode_line(line)
        if decoded.file.startswith("StepLog-"):
            yield decode_step(bytes(decoded.body))


@contextmanager
def _locked(fd_of_folder: int) -> Iterator[None]:
    fd = os.open(".lock", os.O_CREAT | os.O_RDWR, 0o666, dir_fd=fd_of_folder)
    try:
        flock(fd, LOCK_EX)
        yield
    finally:
        os.close(fd)  # which unlocks it


FLOOR = Contestant(name="floor", role="floor", opens=FileFloor)
DURABLE_FLOOR = Contestant(name="floor", role="floor", opens=lambda folder: FileFloor(folder, durable=True))
JOURNAL_FLOOR = Contestant(name="floor", role="floor", opens=JournalFloor)
DURABLE_JOURNAL_FLOOR = Contestant(name="floor", role="floor", opens=lambda folder: JournalFloor(folder, durable=True))


class SealedFloor(Recorder):
    """Reads the file in which chunkstore has sealed the very same run.

    Args:
        folder: where the store is.
    """

    def __init__(self, folder: Path) -> None:
        super().__init__(folder)
        self._recorder = ChunkstoreRecorder(folder, sealed=True)

    def create(self) -> None:
        """Create the run."""
        self._recorder.create()

    def add(self, record: chunkstore.StepLog) -> None:
        """Not a part of any scenario."""
        self._cannot("record", record.internal_name)

    def fill(self, steps: Iterable[chunkstore.StepLog]) -> None:
        """Add all steps and seal the run."""
        self._recorder.fill(steps)

    def read(self) -> dict[str, chunkstore.StepLog]:
        """Read one file and decode every line."""
        (sealed,) = (self.folder / "logs" / RUN).glob("Sealed-*.jsonl")
        return {step.internal_name: step for step in decode_lines(sealed.read_bytes())}


SEALED_FLOOR = Contestant(name="floor", role="floor", opens=SealedFloor)
