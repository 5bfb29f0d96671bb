"""Locks on ranges of a file that can be looked at without being taken.

Open file description locks (fcntl(2), Linux from 3.15 on) belong to an open file, as those of flock(2) do, and so are
freed when the last process that has it open dies. But the kernel also tells which ranges are locked: whoever looks
takes no lock, so that nobody else who looks, or who wants the lock, can see it.
"""

from __future__ import annotations

import errno
import fcntl
import struct
import sys
from collections.abc import Iterator

#: `struct flock` of Linux on 64 bits: type, where `start` counts from, start, length, process.
_RANGE = struct.Struct("hhqqi4x")
_FROM_THE_START = 0
#: A length that leads to the end of any file.
TO_THE_END = 0
#: Places for single bytes: beyond what is in the file, and so far apart that no two meet by chance.
PLACES = range(1 << 32, 1 << 62)
_TAKEN = {errno.EACCES, errno.EAGAIN}

#: Whether this platform has such locks.
ARE_THERE = sys.platform == "linux" and hasattr(fcntl, "F_OFD_GETLK") and struct.calcsize("P") == 8  # noqa: PLR2004


def lock_range(fd: int, start: int, length: int) -> bool:
    """Lock a range of a file that is open for writing, without waiting.

    Returns:
        Whether no other open file has locked any of it.

    Raises:
        OSError: locks do not work here.
    """
    try:
        fcntl.fcntl(fd, fcntl.F_OFD_SETLK, _RANGE.pack(fcntl.F_WRLCK, _FROM_THE_START, start, length, 0))
    except OSError as error:
        if error.errno in _TAKEN:
            return False
        raise
    return True


def unlock_range(fd: int, start: int, length: int) -> None:
    """Unlock a range, if it was locked.

    Raises:
        OSError: locks do not work here.
    """
    fcntl.fcntl(fd, fcntl.F_OFD_SETLK, _RANGE.pack(fcntl.F_UNLCK, _FROM_THE_START, start, length, 0))


def locked_range(fd: int, start: int, length: int, *, to_share: bool = False) -> tuple[int, int] | None:
    """Return the start and the length of a range that another open file has locked, of those that meet this one.

    Args:
        fd: the file.
        start: where the range begins.
        length: of the range.
        to_share: whether locks that are shared do not count.

    Raises:
        OSError: locks do not work here.
    """
    asked = _RANGE.pack(fcntl.F_RDLCK if to_share else fcntl.F_WRLCK, _FROM_THE_START, start, length, 0)
    kind, _, found, size, _ = _RANGE.unpack(fcntl.fcntl(fd, fcntl.F_OFD_GETLK, asked))
    return None if kind == fcntl.F_UNLCK else (found, size)


def locked_places(fd: int) -> Iterator[int]:
    """Yield where all the ranges begin that other open files have locked; one question each, and some more.

    A lock on all there is does not count: it is that of somebody who is about to remove the file.

    Raises:
        OSError: locks do not work here.
    """
    waiting = [(0, PLACES.stop)]
    while waiting:
        start, stop = waiting.pop()
        found = locked_range(fd, start, stop - start) if start < stop else None
        if found is not None:
            begin, length = found
            if not length:
                return
            yield begin
            waiting.append((start, begin))
            waiting.append((begin + length, stop))
