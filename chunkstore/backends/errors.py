"""Errors that all backends have in common."""

from __future__ import annotations

from chunkstore.errors import CorruptChunkError, StoreUsageError


class MissingError(FileNotFoundError):
    """There is no such folder or file. Apart from its parent, so that it is told from errors of callers' functions."""


class UnreadableFileError(CorruptChunkError):
    """A file is there, but no bytes of it are to be had: a pipe, a link, a file without permission."""

    @classmethod
    def because(cls, file: str, reason: str) -> UnreadableFileError:
        """Return the error for a file that cannot be read.

        Args:
            file: its name.
            reason: why.
        """
        return cls(
            f"Cannot read {file}: {reason}. The rest of the run is not affected; see what the file is, and move it out "
            "of the folder if it does not belong there.",
            file=file,
            offset=0,
            reason=reason,
        )


def locked_twice(location: str) -> StoreUsageError:
    """Return the error for a thread that asks for a lock that it holds."""
    return StoreUsageError(
        f"Cannot lock {location} twice: a change function must not call the store. Collect what it needs before, or "
        "record the rest after."
    )
