"""What could not be read of a run, so that the rest still can be."""

from __future__ import annotations

from chunkstore.backends.errors import UnreadableFileError
from chunkstore.errors import ChunkstoreError, CorruptChunkError, StoreIOError
from chunkstore.records import codec
from chunkstore.records.models import Problem

#: What is wrong with one file, and does not keep the others from being read.
UNREADABLE = (CorruptChunkError, StoreIOError)


class Problems:
    """The problems of one read."""

    def __init__(self) -> None:
        self._found: dict[Problem, None] = {}

    def all(self) -> list[Problem]:
        """Return what could not be read so far."""
        return list(self._found)

    def damaged(self) -> set[str]:
        """Return the files that cannot be read, or not all of them."""
        return {problem.file for problem in self._found if problem.kind in {"corrupt", "unreadable"}}

    def report(self, file: str, error: Exception) -> None:
        """Note why a file, or a part of it, cannot be read."""
        known = as_error(file, error)
        if isinstance(known, UnreadableFileError):
            self.add("unreadable", file, known.reason)
        elif isinstance(known, CorruptChunkError):
            self.add("corrupt", file, f"{known.reason} (byte {known.offset})")
        else:
            self.add("unreadable", file, str(known))

    def add(self, kind: str, file: str, message: str) -> None:
        """Note a problem, once: some files are looked at more than once in a read."""
        # The name of a file may be any bytes, and the log of which this becomes a part is UTF-8.
        shown = file.encode(errors="backslashreplace").decode()
        self._found[Problem(kind, shown, message)] = None


def as_error(file: str, error: Exception) -> ChunkstoreError:
    """Return the error to raise for a file that cannot be read."""
    return error if isinstance(error, ChunkstoreError) else codec.corrupt(file, 0, str(error))
