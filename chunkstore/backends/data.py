"""What a back end does that keeps the data of runs, too: large files, streamed up and down."""

from __future__ import annotations

import io
from abc import ABC, abstractmethod
from collections.abc import Callable, Iterable, Iterator, Mapping
from typing import Any, NamedTuple

from chunkstore.backends.base import Backend
from chunkstore.backends.entries import Entry

#: Bytes that are sent or got with one request; smaller data is sent whole.
PART = 8 << 20


class Part(NamedTuple):
    """A part of some data.

    Attributes:
        start: where in it.
        data: the bytes.
    """

    start: int
    data: bytes


class StoredData(io.RawIOBase):
    """Data that is read from where it is kept, a part at a time, from that part on which is had already.

    Args:
        load: returns so many bytes from a place on.
        part: the part that is had.
        size: how many bytes there are.
        attributes: what is kept with it.
        identity: what tells this state of it from others.
    """

    def __init__(
        self, load: Callable[[int, int], bytes], part: Part, size: int, attributes: Mapping[str, str], identity: str
    ) -> None:
        super().__init__()
        self._load = load
        self._first = self._part = part
        self._place = part.start
        self.size = size
        self.attributes = attributes
        self.identity = identity

    def readable(self) -> bool:
        """Tell that it can be read."""
        return True

    def seekable(self) -> bool:
        """Tell that it can be read from anywhere."""
        return True

    def tell(self) -> int:
        """Return how far it is read."""
        return self._place

    def seek(self, place: int, whence: int = io.SEEK_SET) -> int:
        """Go to another place; see `io.IOBase.seek`."""
        start = {io.SEEK_SET: 0, io.SEEK_CUR: self._place, io.SEEK_END: self.size}[whence]
        self._place = max(0, start + place)
        return self._place

    def readinto(self, buffer: Any) -> int:
        """Read the next bytes; see `io.RawIOBase.readinto`."""
        view = memoryview(buffer).cast("B")
        if self._place >= self.size or not view:
            return 0
        for part in (self._part, self._first):
            if part.start <= self._place < part.start + len(part.data):
                self._part = part
                break
        else:
            self._part = Part(self._place, self._load(self._place, min(PART, self.size - self._place)))
        start = self._place - self._part.start
        data = self._part.data[start : start + len(view)]
        view[: len(data)] = data
        self._place += len(data)
        return len(data)


class DataFiles(ABC):
    """Files that are put whole or not at all, and read in parts; their keys are paths.

    Attributes:
        location: where they are, for people and for records.
        longest_key: how many bytes a key may have.
    """

    location: str
    longest_key: int

    @abstractmethod
    def put(self, key: str, data: bytes, attributes: Mapping[str, str]) -> None:
        """Put a file, whatever is there."""

    @abstractmethod
    def put_if_new(self, key: str, data: bytes, attributes: Mapping[str, str]) -> bool:
        """Put a file unless there is one; tell whether it was put."""

    @abstractmethod
    def put_parts(self, key: str, parts: Iterable[bytes], size: int, attributes: Mapping[str, str]) -> None:
        """Put a file that does not fit in memory, whatever is there; it is there whole, or nothing of it.

        Args:
            key: its key.
            parts: its bytes, piece by piece; what they raise, this raises.
            size: how many bytes that may be.
            attributes: what is kept with it.
        """

    @abstractmethod
    def open(self, key: str, place: int = 0) -> StoredData | None:
        """Open a file to be read; None if there is none.

        Args:
            key: its key.
            place: from where on it is going to be read.
        """

    @abstractmethod
    def size_of(self, key: str) -> int | None:
        """Return how many bytes a file has; None if there is none."""

    @abstractmethod
    def copy(self, source: str, target: str) -> bool:
        """Copy a file where it is, whatever the target was; tell whether it is there."""

    @abstractmethod
    def entries(self, folder: str) -> list[Entry]:
        """Return what lies in a folder: files, and folders inside; nothing if there is none."""

    @abstractmethod
    def below(self, folder: str) -> Iterator[Entry]:
        """Return all files in a folder and in those inside, by their keys."""

    @abstractmethod
    def delete(self, keys: Iterable[str]) -> None:
        """Delete files, those of them that are there."""


class KeepingData(Backend):
    """It keeps the data of runs, too. Elsewhere that lies in a folder."""

    @abstractmethod
    def data(self) -> DataFiles:
        """Return where the data of runs is."""
