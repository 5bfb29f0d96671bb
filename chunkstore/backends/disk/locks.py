"""Locks between processes and threads, on a file that is nothing but a lock.

The kernel frees a dead holder's lock, so a lock is never broken by age, and the file is never unlinked: whoever came
next would make a new file and hold a second lock beside the first.
"""

from __future__ import annotations

import errno
import os
import random
import threading
import time
import weakref
from collections import OrderedDict

from filelock import lock_descriptor, unlock_descriptor

from chunkstore.backends.disk.lock_turns import Turn, has_turns
from chunkstore.backends.disk.syscalls import Syscalls
from chunkstore.backends.errors import locked_twice
from chunkstore.errors import LockTimeoutError, StoreIOError
from chunkstore.forks import in_forked_children
from chunkstore.interrupts import give_back

_FIRST_PAUSE = 50e-6
#: Between two attempts to lock a file that others lock for the length of one write.
_PAUSE = 5e-3
_ATTEMPTS = 200
#: How often a lock file is opened anew that its server has forgotten.
_FORGOTTEN = 5
_MAX_OPEN_LOCKS = 8
_NO_LOCKS = {errno.ENOSYS, errno.ENOLCK, errno.EOPNOTSUPP, errno.EINVAL}

_locks: weakref.WeakSet[SidecarLock] = weakref.WeakSet()


def lock_now(fd: int) -> bool:
    """Lock an open file without waiting, if locks work there; where they do not, nobody who needs them gets further.

    Returns:
        Whether nobody else has locked it.
    """
    try:
        return lock_descriptor(fd, blocking=False)
    except OSError as error:
        if error.errno in _NO_LOCKS:
            return True
        raise


def lock_soon(fd: int) -> bool:
    """As `lock_now`, for a file that others lock for the length of one write."""
    for _ in range(_ATTEMPTS):
        if lock_now(fd):
            return True
        time.sleep(_PAUSE)
    return False


def unlock(fd: int) -> None:
    """Unlock an open file, if it was locked."""
    try:
        unlock_descriptor(fd)
    except OSError:
        pass  # there was no lock


class SidecarLock:
    """An exclusive lock on a cached descriptor of a lock file.

    A descriptor's lock excludes other processes, but not the threads that share the descriptor; so a mutex stands
    before it.

    Args:
        syscalls: how files are opened.
        dir_fd: the folder, which stays open as long as this object is used.
        file: the lock file's name in that folder.
        location: its path, for messages.
    """

    def __init__(self, syscalls: Syscalls, dir_fd: int, file: str, location: str) -> None:
        self._syscalls = syscalls
        self._dir_fd = dir_fd
        self._file = file
        self._location = location
        self._fd: int | None = None
        self._has_turns = False
        # Of the kind that knows its owner: see _give_up.
        self._mutex = threading.RLock()
        self._thread: int | None = None
        #: Threads that wait for the mutex.
        self._waiting: set[int] = set()
        self._pid = 0
        _locks.add(self)

    def acquire(self, timeout: float) -> None:
        """Take the lock.

        Args:
            timeout: seconds to wait.

        Raises:
            FileNotFoundError: the folder is gone.
            LockTimeoutError: somebody else held it all the time.
            StoreUsageError: this very thread holds it.
            StoreIOError: the file system has no working locks.
        """
        if self._thread == threading.get_ident():
            raise locked_twice(self._location)
        deadline = time.monotonic() + timeout
        try:
            self._lock_threads_out(timeout)
            self._lock_file(deadline, timeout)
            self._pid = os.getpid()
            self._thread = threading.get_ident()
        except BaseException:
            self._give_up()
            raise

    def _lock_threads_out(self, timeout: float) -> None:
        if self._mutex.acquire(blocking=False):
            return
        thread = threading.get_ident()
        try:
            self._waiting.add(thread)
            if not self._mutex.acquire(timeout=timeout):
                raise self._timed_out(timeout, os.getpid())
        finally:
            self._waiting.discard(thread)

    def _give_up(self) -> None:
        """Let go of what an attempt to lock has got so far."""
        # An interrupt may have come when the mutex was ours already, and nobody had noted that yet.
        if not self._mutex.acquire(blocking=False):
            return  # another thread has it
        try:
            self._close()  # the file may be locked by now
        finally:
            self._mutex.release()
            give_back(self._mutex)  # if it was ours before

    def _lock_file(self, deadline: float, timeout: float) -> None:
        turn: Turn | None = None
        pause = _FIRST_PAUSE
        forgotten = 0
        try:
            while True:
                if self._fd is None:
                    self._fd = self._syscalls.open(
                        self._file, os.O_RDWR | os.O_CREAT | os.O_NOFOLLOW | os.O_NONBLOCK, self._dir_fd
                    )
                    self._has_turns = has_turns(self._fd, self._location)
                if turn is None:
                    turn = Turn(self._fd, has_turns=self._has_turns)
                try:
                    is_locked = turn.has_come() and self._try(self._fd)
                    is_there = not is_locked or self._syscalls.fstat(self._fd).st_nlink > 0
                except OSError as error:
                    forgotten += 1
                    if error.errno != errno.ESTALE or forgotten > _FORGOTTEN:
                        raise
                    is_locked, is_there = True, False  # its server knows of no such file any more
                if is_locked:
                    if is_there:
                        return
                    turn.end()
                    turn = None
                    self._close()  # somebody removed the file: the lock on it keeps nobody out
                    continue
                if time.monotonic() >= deadline:
                    raise self._timed_out(timeout, self._holder())
                turn.wait_for()
                # A little randomness keeps waiting processes from asking in step.
                time.sleep(pause * (0.5 + random.random()))  # noqa: S311 - no secret
                pause = min(pause * 1.5, turn.longest_pause)
        finally:
            if turn is not None:
                turn.end()

    def _try(self, fd: int) -> bool:
        try:
            return lock_descriptor(fd, blocking=False)
        except OSError as error:
            if error.errno == errno.ESTALE:
                raise
            raise self._no_locks(error) from error

    def release(self) -> None:
        """Give the lock back, if this thread has it; in a forked child of the holder, only forget it."""
        me = threading.get_ident()
        # At once: a call that comes in the middle must neither take it for held nor give it back.
        if self._thread != me:
            return  # an interrupt came just after the lock was given back, and it is tried again
        self._thread = None
        try:
            # Unlocking would free the parent's lock: both share one open file description.
            if self._fd is not None and self._pid == os.getpid():
                unlock_descriptor(self._fd)
        except OSError:
            self._close()  # closing the last descriptor unlocks too
        except BaseException:  # an interrupt, perhaps before it was unlocked
            self._close()
            raise
        finally:
            self._mutex.release()
        if self._waiting:
            time.sleep(_FIRST_PAUSE)  # else this thread would have it again before any other wakes up

    def close_if_idle(self) -> None:
        """Close the lock file, unless a thread holds the lock or waits for it; it is opened again when it is needed."""
        if self._thread is not None:
            return
        try:
            if self._mutex.acquire(blocking=False) and self._thread is None:
                self._close()
        finally:
            give_back(self._mutex)

    def abandon(self) -> None:
        """In a forked child: close the descriptor, and never unlock it.

        Left open here it would go on holding a dead parent's lock; unlocked, it would free a living parent's.
        """
        try:
            self._close()
        except OSError:
            pass  # closed by somebody else

    def _holder(self) -> int | None:
        """Return the pid of the process of this host that holds the lock, if the kernel tells."""
        try:
            status = self._syscalls.fstat(self._fd) if self._fd is not None else None
            with open("/proc/locks", encoding="ascii") as lines:
                for line in lines:
                    fields = line.split()
                    if status and fields[1] == "FLOCK" and fields[5].endswith(f":{status.st_ino}"):
                        return int(fields[4])
        except (OSError, ValueError, IndexError):
            pass
        return None

    def _timed_out(self, timeout: float, holder: int | None) -> LockTimeoutError:
        who = f"process {holder} of this host" if holder and holder > 0 else "another process"
        return LockTimeoutError(
            f"Cannot lock {self._location}: {who} held it for {timeout:g} seconds. See what that process does; "
            "the lock is freed when it ends. A longer lock_timeout in the configuration waits longer.",
            file=self._location,
            timeout=timeout,
            holder=holder,
        )

    def _no_locks(self, error: OSError) -> StoreIOError:
        reason = "this file system has no working locks" if error.errno in _NO_LOCKS else os.strerror(error.errno or 0)
        advice = "see whether the file server's lock service runs, or " if error.errno == errno.ENOLCK else ""
        return StoreIOError(
            f"Cannot lock {self._location}: {reason}. Changes that need a lock are refused, as they could be lost; "
            f"{advice}move log_folder to a file system with locks.",
            file=self._location,
            errno=error.errno,
        )

    def _close(self) -> None:
        fd, self._fd = self._fd, None
        if fd is not None:
            self._syscalls.close(fd)

    def __del__(self) -> None:
        try:
            self._close()
        except Exception:  # noqa: BLE001, S110 - at interpreter exit anything may be gone already
            pass


class OpenLocks:
    """The locks that were used last; the files of others are closed."""

    def __init__(self) -> None:
        self._locks: OrderedDict[SidecarLock, None] = OrderedDict()

    def keep(self, lock: SidecarLock) -> None:
        """Keep the file of a lock that is about to be used open, and close that which was used the longest time ago."""
        self._locks.pop(lock, None)
        self._locks[lock] = None  # as the last
        if len(self._locks) > _MAX_OPEN_LOCKS:
            try:
                idle, _ = self._locks.popitem(last=False)
            except KeyError:
                return  # others have closed, or forgotten, all of them
            idle.close_if_idle()

    def forget(self) -> None:
        """Keep none of them."""
        self._locks.clear()

    def reset_after_fork(self) -> None:
        """In a forked child: let go of the parent's locks, never unlocking them."""
        self._locks = OrderedDict()


def _abandon_all() -> None:
    for lock in list(_locks):
        lock.abandon()


in_forked_children(_abandon_all)
