"""Files for other tools: written whole or not at all."""

from __future__ import annotations

import errno
import os
import stat
import sys
import uuid
from collections.abc import Iterable, Iterator
from contextlib import contextmanager, suppress
from typing import IO

from chunkstore.errors import StoreUsageError
from chunkstore.names import TEMPORARY_PREFIX

#: Means the standard output instead of a file.
STANDARD_OUTPUT = "-"
_NO_HARD_LINKS = {errno.EPERM, errno.ENOTSUP, errno.EOPNOTSUPP, errno.ENOSYS, errno.EMLINK}


@contextmanager
def whole_file(path: str, *, overwrite: bool = False) -> Iterator[IO[bytes]]:
    """Yield a file to write to, which gets its name only when all of it was written; after an error nothing is left.

    What is no file but takes bytes, like a pipe or `/dev/null`, is written to as it is. A link stays one.

    Args:
        path: its name.
        overwrite: whether to replace a file of this name.

    Raises:
        StoreUsageError: there is such a file, or its folder cannot be written to.
    """
    target = os.path.realpath(path)
    try:
        if _takes_bytes(target):
            with open(target, "wb") as stream:
                yield stream
            return
        if not overwrite and os.path.lexists(target):
            raise _exists(path)
        temporary = os.path.join(os.path.dirname(target), f"{TEMPORARY_PREFIX}{os.getpid()}-{uuid.uuid4().hex}")
        try:
            with open(temporary, "xb") as file:
                yield file
            _publish(temporary, target, overwrite=overwrite)
        finally:
            with suppress(OSError):  # it bears its name now, or was never there
                os.unlink(temporary)
    except FileExistsError:
        raise _exists(path) from None
    except BrokenPipeError:
        raise  # whoever read has seen enough
    except OSError as error:
        raise StoreUsageError(f"Cannot write {path}: {error.strerror}. Choose another file.") from error


def _takes_bytes(path: str) -> bool:
    """Tell whether a path is a pipe or a device: replacing it would take it away from everybody."""
    try:
        mode = os.stat(path).st_mode
    except OSError:
        return False
    return not stat.S_ISREG(mode) and not stat.S_ISDIR(mode)


def _publish(temporary: str, path: str, *, overwrite: bool) -> None:
    if overwrite:
        os.replace(temporary, path)
        return
    try:
        os.link(temporary, path)
    except OSError as error:
        if error.errno not in _NO_HARD_LINKS:
            raise
        os.replace(temporary, path)


def _exists(path: str) -> StoreUsageError:
    return StoreUsageError(f"Cannot write {path}: it exists. Choose another file, or replace it with --force.")


def make_folder(path: str) -> None:
    """Make a folder, if there is none.

    Raises:
        StoreUsageError: there cannot be one.
    """
    try:
        os.makedirs(path, exist_ok=True)
    except OSError as error:
        raise StoreUsageError(f"Cannot make the folder {path}: {error.strerror}. Choose another.") from error


def write_file(path: str, pieces: Iterable[str]) -> int:
    """Write text to a file, which is replaced whole, or to the standard output; return how many bytes it was.

    Raises:
        StoreUsageError: the file cannot be written.
    """
    if path == STANDARD_OUTPUT:
        return _write(sys.stdout.buffer, pieces)
    with whole_file(path, overwrite=True) as file:
        return _write(file, pieces)


def _write(file: IO[bytes], pieces: Iterable[str]) -> int:
    written = sum(file.write(piece.encode()) for piece in pieces)
    file.flush()
    return written
