"""Files that are locked as long as the process lives that made them: the kernel tells when it has died."""

from __future__ import annotations

import os
import weakref

from chunkstore.backends.folder import Folder
from chunkstore.backends.locks import is_locked, lock_now, unlock
from chunkstore.backends.syscalls import Syscalls

_held: weakref.WeakSet[HeldFile] = weakref.WeakSet()


class HeldFile:
    """A locked file. It is empty until it is locked, so nobody takes a holder that is about to lock it for dead.

    Args:
        syscalls: how files are touched.
        folder: where the file is.
        file: its name.
        data: who holds it, for people.

    Raises:
        OSError: it cannot be made.
    """

    def __init__(self, syscalls: Syscalls, folder: Folder, file: str, data: bytes) -> None:
        self._syscalls = syscalls
        self._folder = folder
        self._file = file
        self._fd = -1
        _held.add(self)
        self._fd = syscalls.open(file, os.O_RDWR | os.O_CREAT | os.O_NOFOLLOW | os.O_NONBLOCK, folder.fd)
        try:
            if not lock_now(self._fd):
                self.abandon()  # somebody else holds it, and goes on holding it
                return
            syscalls.truncate(self._fd, 0)
            syscalls.write(self._fd, data)
        except BaseException:
            self.release()
            raise

    def release(self) -> None:
        """Remove the file, as far as that goes: without the lock it means nothing."""
        if self._fd < 0:
            return
        self._folder.discard(self._file)
        unlock(self._fd)  # forked children may have it open too
        self.abandon()

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


def is_held(syscalls: Syscalls, folder: Folder, file: str) -> bool | None:
    """Tell whether the process that made a file lives; None if there is no such file.

    Raises:
        OSError: it cannot be looked at.
    """
    fd = syscalls.open(file, os.O_RDONLY | os.O_NOFOLLOW | os.O_NONBLOCK, folder.fd)
    try:
        return is_locked(fd) if syscalls.fstat(fd).st_size else None
    finally:
        syscalls.close(fd)


def _abandon_all() -> None:
    """In a forked child: it does not stand for its parent, which may die before."""
    for held in list(_held):
        held.abandon()


if hasattr(os, "register_at_fork"):
    os.register_at_fork(after_in_child=_abandon_all)
