"""What an import did, and what it could not read."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager

import msgspec
from msgspec import field

from chunkstore.errors import ChunkstoreError, CorruptChunkError

#: What cannot be read or recorded of one thing, and says nothing of the next.
FAILURES = (ChunkstoreError, FileNotFoundError, RecursionError)


class ImportProblem(msgspec.Struct, frozen=True):
    """Something that could not be read, or not be brought over.

    Attributes:
        run_id: the run that it belongs to.
        file: the file, or the folder of the run, below the folder that was imported.
        message: what is wrong.
    """

    run_id: str
    file: str
    message: str


class ImportReport(msgspec.Struct, kw_only=True):
    """What an import did.

    Attributes:
        imported: the runs that were recorded; what of them could not be read is among the problems.
        present: the runs that the store held before; they were left as they are.
        problems: what could not be read or recorded.
    """

    imported: list[str] = field(default_factory=list)
    present: list[str] = field(default_factory=list)
    problems: list[ImportProblem] = field(default_factory=list)

    def note(self, run_id: str, file: str, error: Exception | str) -> None:
        """Add a problem; names of files may be any bytes, and what is shown of them is text."""
        shown = (text.encode(errors="backslashreplace").decode() for text in (run_id, file, _reason(error)))
        self.problems.append(ImportProblem(*shown))

    @contextmanager
    def noting(self, run_id: str, file: str) -> Iterator[None]:
        """Make a problem of what goes wrong with one file or run."""
        try:
            yield
        except FAILURES as error:
            self.note(run_id, file, error)


def _reason(error: Exception | str) -> str:
    if isinstance(error, CorruptChunkError):
        return f"{error.reason} (byte {error.offset})"
    if isinstance(error, RecursionError):
        return "it is nested too deep"
    return "it is missing" if isinstance(error, FileNotFoundError) else str(error)
