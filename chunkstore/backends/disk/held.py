"""Files that are locked as long as the process lives that made them: the kernel tells when it has died.

The lock is one that can be looked at without being taken (see `range_locks`). Where there are none, and for older
versions of this library, which know no other, it is also one of flock(2); those who look at that share it.
"""

from __future__ import annotations

import atexit
import errno
import fcntl
import os
import random
import time
import weakref
from collections.abc import Callable, Iterable

import msgspec

from chunkstore.backends.capabilities import Holder, Joined
from chunkstore.backends.disk.folder import Folder
from chunkstore.backends.disk.freshness import again_if_stale
from chunkstore.backends.disk.locks import lock_now, unlock
from chunkstore.backends.disk.range_locks import (
    ARE_THERE,
    PLACES,
    TO_THE_END,
    lock_range,
    locked_places,
    locked_range,
    unlock_range,
)
from chunkstore.backends.disk.syscalls import Syscalls
from chunkstore.backends.disk.writing import discard
from chunkstore.forks import in_forked_children
from chunkstore.records.codec import decoder_of, encode

_FLAGS = os.O_RDWR | os.O_CREAT | os.O_NOFOLLOW | os.O_NONBLOCK
_LOOKING = os.O_NOFOLLOW | os.O_NONBLOCK
_READ_ONLY = {errno.EACCES, errno.EPERM, errno.EROFS}
#: For how long, in seconds, somebody who only looks may keep a holder from its lock.
_LOOK, _LOOKS = 1e-3, 50
#: Whoever adds a line to a file of several holders on a file server locks this byte, which is nobody's place.
_APPENDING = PLACES.stop
#: For how long, in seconds, that is waited for: a line that another one is written over is not worth more.
_LONGEST_WAIT = 5.0
#: Bytes that one holder says about itself, at most.
_MOST_TOLD = 1 << 14
#: Of more processes that have joined a run, only the last are named.
_MOST_NAMED = 1 << 20

_held: weakref.WeakSet[_OwnFile] = weakref.WeakSet()


class _OwnFile:
    """A file that stays open, and locked, as long as this process lives."""

    def __init__(self, folder: Folder, file: str) -> None:
        self._syscalls = folder.syscalls
        self._folder = folder
        self._file = file
        self._fd = -1
        _held.add(self)

    def abandon(self) -> None:
        """Close the file, and leave it to others that have it open."""
        fd, self._fd = self._fd, -1
        try:
            if fd >= 0:
                self._syscalls.close(fd)
        except OSError:
            pass  # it is closed all the same

    def __del__(self) -> None:
        try:
            self.abandon()
        except Exception:  # noqa: BLE001, S110 - at interpreter exit anything may be gone already
            pass


class HeldFile(_OwnFile):
    """A locked file. It is empty until it is locked, so nobody takes a holder that is about to lock it for dead.

    Args:
        folder: where the file is.
        file: its name.
        data: who holds it, for people.

    Raises:
        OSError: it cannot be made.
    """

    def __init__(self, folder: Folder, file: str, data: bytes) -> None:
        super().__init__(folder, file)
        self._fd = folder.syscalls.open(file, _FLAGS, folder.fd)
        try:
            if not _lock(self._fd):
                self.abandon()  # somebody else holds it, and goes on holding it
                return
            folder.syscalls.truncate(self._fd, 0)
            folder.syscalls.write(self._fd, data)
            if folder.memory:
                folder.syscalls.flush(self._fd)
        except BaseException:
            self.release()
            raise

    def release(self) -> None:
        """Remove the file, as far as that goes: without the lock it means nothing."""
        if self._fd < 0:
            return
        discard(self._folder, self._file)
        _unlock(self._fd)  # forked children may have it open too
        self.abandon()


def _lock(fd: int) -> bool:
    """Lock a file; tell whether nobody else holds it. Where no locks work, nobody who needs them gets further."""
    if ARE_THERE:
        try:
            if not _lock_range_long_enough(fd):
                return False
        except OSError:
            pass  # not on this file system
        else:
            _try_long_enough(fd)  # for older versions; that does not matter to us
            return True
    return _try_long_enough(fd)


def _lock_range_long_enough(fd: int) -> bool:
    """Lock a range, unless somebody holds it: on NFS those who look at the lock of flock(2) have this one too."""
    for _ in range(_LOOKS):
        if lock_range(fd, 0, TO_THE_END):
            return True
        if locked_range(fd, 0, TO_THE_END, to_share=True) is not None:
            return False
        time.sleep(_LOOK)
    return False


def _try_long_enough(fd: int) -> bool:
    """Lock a file with flock(2), unless somebody holds it: those who look at it are gone in a moment."""
    for _ in range(_LOOKS):
        if lock_now(fd):
            return True
        if _is_locked(fd) is not False:
            return False
        time.sleep(_LOOK)
    return False


def _unlock(fd: int) -> None:
    try:
        if ARE_THERE:
            unlock_range(fd, 0, TO_THE_END)
    except OSError:
        pass  # there was none
    unlock(fd)


def _is_locked(fd: int) -> bool | None:
    """Tell whether somebody holds a file with flock(2); None where locks do not work.

    It is shared with everybody else who looks: none of them takes another one for the holder.
    """
    try:
        fcntl.flock(fd, fcntl.LOCK_SH | fcntl.LOCK_NB)
    except BlockingIOError:
        return True
    except OSError:
        return None
    unlock(fd)
    return False


def holder(folder: Folder, file: str) -> Holder:
    """Return who has made a file, and whether that process lives.

    Raises:
        OSError: there is no such file, or it cannot be looked at.
    """
    syscalls = folder.syscalls
    fd = _open_to_look(folder, file)
    try:
        data = syscalls.pread(fd, _MOST_TOLD, 0)
        if not data:
            return Holder(b"", None)  # it is about to be locked
        if ARE_THERE and locked_range(fd, 0, TO_THE_END) is not None:
            return Holder(data, is_alive=True)
        return Holder(data, _is_locked(fd))
    finally:
        syscalls.close(fd)


@again_if_stale
def _open_to_look(folder: Folder, file: str) -> int:
    """Open a file whose locks are to be looked at; nothing is written to it."""
    asking = folder.memory.asking if folder.memory else 0
    if asking:
        try:
            # Of a file that is open for writing too, the server itself tells.
            return folder.syscalls.open(file, _LOOKING | os.O_RDWR | asking, folder.fd)
        except OSError as error:
            if error.errno not in _READ_ONLY:
                raise
    return folder.syscalls.open(file, _LOOKING | os.O_RDONLY | asking, folder.fd)


# --- held by several -------------------------------------------------------------------------------------------------


class _Line(msgspec.Struct):
    """What one of several holders has written, and which byte it has locked."""

    place: int
    holder: msgspec.Raw = msgspec.Raw(b"{}")
    left: bool = False


class _Lines:
    """What several holders have written.

    Args:
        data: the end of the file.
    """

    def __init__(self, data: bytes) -> None:
        lines = [line for line in map(_parsed, data.splitlines()) if line]
        self._left = {line.place for line in lines if line.left}
        self.known = {line.place: bytes(line.holder) for line in lines if not line.left}

    def dead(self, held: Iterable[int]) -> list[tuple[bytes, list[bytes]]]:
        """Return who holds nothing any more, but has not given it back; of each, too, who came later."""
        gone = self._left.union(held)
        holders = list(self.known.values())
        return [(who, holders[after:]) for after, (place, who) in enumerate(self.known.items(), 1) if place not in gone]


def _lines(syscalls: Syscalls, fd: int) -> _Lines:
    size = syscalls.fstat(fd).st_size
    return _Lines(syscalls.pread(fd, _MOST_NAMED, max(0, size - _MOST_NAMED)))


class JoinedFile(_OwnFile):
    """A file that any number of processes hold together: each locks a byte of its own, and appends who it is.

    Who gives it back says so in another line: whoever has a line, but no lock, and has not said so, has died. A process
    that ends in order gives back what it holds. The last one removes the file, unless it tells of one that has died.

    Args:
        folder: where the file is.
        file: its name.
        data: who holds it: a JSON object.
        is_over: tells whether nobody will ask who has died.

    Raises:
        OSError: it cannot be made, or locks do not work here.
    """

    def __init__(self, folder: Folder, file: str, data: bytes, is_over: Callable[[], bool] = lambda: True) -> None:
        super().__init__(folder, file)
        self._is_over = is_over
        self._place = random.SystemRandom().randrange(PLACES.start, PLACES.stop)
        try:
            self._wait_and_join()
            self._append(_Line(self._place, msgspec.Raw(data)))
        except BaseException:
            self.release()
            raise

    def _wait_and_join(self) -> None:
        for _ in range(_LOOKS):
            if self._join():
                return
            time.sleep(_LOOK)  # the last one is about to remove the file
        raise OSError(errno.EBUSY, os.strerror(errno.EBUSY), self._file)  # and was stopped over that

    def _join(self) -> bool:
        """Lock our byte of the file; tell whether the file is there to stay."""
        if self._fd < 0:
            self._fd = self._syscalls.open(self._file, _FLAGS | os.O_APPEND, self._folder.fd)
        if not lock_range(self._fd, self._place, 1):
            return False
        if self._syscalls.fstat(self._fd).st_nlink:
            return True
        self.abandon()
        return False

    def _append(self, line: _Line) -> None:
        """Add a line; where each host remembers where the file ends, one after the other."""
        data = encode(line) + b"\n"
        if not self._folder.memory:
            self._syscalls.write(self._fd, data)
            return
        deadline = time.monotonic() + _LONGEST_WAIT
        while not (has_turn := lock_range(self._fd, _APPENDING, 1)) and time.monotonic() < deadline:
            time.sleep(_LOOK * random.uniform(1, 10))  # noqa: S311 - no secret
        try:
            self._syscalls.write(self._fd, data)
            self._syscalls.flush(self._fd)
        finally:
            if has_turn:
                unlock_range(self._fd, _APPENDING, 1)

    def release(self) -> None:
        """Hold the file no more."""
        if self._fd < 0:
            return
        try:
            is_over = self._is_over()
            self._append(_Line(self._place, left=True))
            unlock_range(self._fd, self._place, 1)  # forked children may have it open too
            if lock_range(self._fd, 0, TO_THE_END):  # nobody else holds it, and nobody can begin to
                is_ours = self._syscalls.fstat(self._fd).st_nlink  # else the name is that of others by now
                if is_ours and (is_over or not _lines(self._syscalls, self._fd).dead(())):
                    discard(self._folder, self._file)
                unlock_range(self._fd, 0, TO_THE_END)
        except OSError:
            pass  # then it stays; without a lock it means nothing
        self.abandon()

    def __del__(self) -> None:
        try:
            self.release()
        except Exception:  # noqa: BLE001, S110 - at interpreter exit anything may be gone already
            pass


def joined(folder: Folder, file: str) -> Joined:
    """Return who holds a file together.

    Raises:
        OSError: there is no such file, or locks do not work here.
    """
    syscalls = folder.syscalls
    fd = _open_to_look(folder, file)
    try:
        places = list(locked_places(fd))
        lines = _lines(syscalls, fd)
    finally:
        syscalls.close(fd)
    return Joined([lines.known.get(place, b"") for place in places], lines.dead(places))


def _parsed(line: bytes) -> _Line | None:
    try:
        found: _Line = decoder_of(_Line).decode(line)
    except (msgspec.DecodeError, UnicodeDecodeError, RecursionError):
        return None  # cut off, or not ours
    return found


def _abandon_all() -> None:
    """In a forked child: it does not stand for its parent, which may die before."""
    for held in list(_held):
        held.abandon()


@atexit.register
def _leave_all() -> None:
    """At the end of a process that was not killed: give back what it holds together with others."""
    for held in list(_held):
        if isinstance(held, JoinedFile):
            held.release()


in_forked_children(_abandon_all)
