"""Files of lines that one process appends to, until somebody has packed and removed them.

Whoever appends holds a lock on the file itself for the length of one write, and so does whoever removes it. So a line
is either in the file when it is packed, or its writer finds that the file is gone and begins another one.
"""

from __future__ import annotations

import errno
import os
import stat
import weakref
from collections.abc import Callable

from chunkstore.backends.capabilities import Journal, never
from chunkstore.backends.disk.folder import Folder
from chunkstore.backends.disk.locks import lock_now, unlock
from chunkstore.backends.disk.os_errors import os_error
from chunkstore.backends.disk.syscalls import REFUSED, Syscalls
from chunkstore.backends.disk.writing import write_whole
from chunkstore.backends.errors import MissingError
from chunkstore.forks import in_forked_children

_journals: weakref.WeakSet[DirectoryJournal] = weakref.WeakSet()


def open_to_append(folder: Folder, file: str) -> int:
    """Return a descriptor of a regular file, to add to its end."""
    fd = folder.syscalls.open(file, os.O_WRONLY | os.O_APPEND | os.O_NOFOLLOW | os.O_NONBLOCK, folder.fd)
    is_regular = False
    try:
        is_regular = stat.S_ISREG(folder.syscalls.fstat(fd).st_mode)
    finally:
        if not is_regular:
            folder.syscalls.close(fd)
    if not is_regular:
        raise OSError(errno.ENXIO, os.strerror(errno.ENXIO), file)
    return fd


def append_and_close(
    folder: Folder, file: str, fd: int, data: bytes, *, durable: bool, is_durable: Callable[[], bool]
) -> None:
    """Add bytes to the end of an open file; if that fails, the file is left as it was, as far as that can be done.

    Args:
        folder: where the file is.
        file: its name.
        fd: opened to append; it is closed.
        data: what to add.
        durable: whether it survives a loss of power when this returns, as the name of the file does already.
        is_durable: whether it must, and the name too; see `Backend.append`.

    Raises:
        FileNotFoundError: the file has been removed, or is being removed; nothing was added.
    """
    try:
        size = _append(folder, fd, data, durable=durable, is_durable=is_durable)
    except BaseException:
        folder.syscalls.close(fd)
        raise
    try:
        folder.syscalls.close(fd)
    except OSError:
        _cut_closed(folder, file, size)  # a file server may say only here that there is no room for it
        raise


def _append(folder: Folder, fd: int, data: bytes, *, durable: bool, is_durable: Callable[[], bool]) -> int:
    """Add bytes to the end of an open file, which stays open; return how long the file was before."""
    syscalls = folder.syscalls
    size = -1
    try:
        _lock(fd)
        status = syscalls.fstat(fd)
        _require(status.st_nlink > 0)
        size = status.st_size
        write_whole(syscalls, fd, data)
        if durable:
            _sync_data(syscalls, fd)
        elif is_durable():
            syscalls.fsync(fd)
            folder.sync_self()
        elif folder.memory:
            syscalls.flush(fd)
        _require(folder.is_current())
    except BaseException as error:
        _cut(syscalls, fd, size)
        if isinstance(error, OSError):
            _require(error.errno != errno.ESTALE)  # its server knows of no such file any more
        raise
    finally:
        unlock(fd)
    return size


def _sync_data(syscalls: Syscalls, fd: int) -> None:
    try:
        syscalls.fdatasync(fd)
    except OSError as error:
        if error.errno not in REFUSED:
            raise
        syscalls.fsync(fd)


def _lock(fd: int) -> None:
    _require(lock_now(fd))


def _require(is_there: bool) -> None:
    if not is_there:
        raise FileNotFoundError(errno.ENOENT, "it was removed, or is being removed")


def _cut(syscalls: Syscalls, fd: int, size: int) -> None:
    """Take back what was not acknowledged; should that fail, it is a line that was cut off or came to be all the same.

    Either way nothing more is written to this file, so that such a line stays the last.
    """
    try:
        if size >= 0:
            syscalls.truncate(fd, size)
    except OSError:
        pass


def _cut_closed(folder: Folder, file: str, size: int) -> None:
    """As `_cut`, for a file that has been closed."""
    try:
        fd = open_to_append(folder, file)
        try:
            _cut(folder.syscalls, fd, size)
        finally:
            folder.syscalls.close(fd)
    except OSError:
        pass  # it is gone, or the very failure that brought us here


class DirectoryJournal(Journal):
    """A file of a folder that stays open to append to.

    Args:
        folder: where the file is.
        file: its name.
        durable: whether every line is made durable.
        is_new: whether it is to be made; else it is one that this process made before.

    Raises:
        FileExistsError: there is such a file, and it should be new.
        FileNotFoundError: there is none, and it should not.
        OSError: it cannot be made, or opened.
    """

    def __init__(self, folder: Folder, file: str, *, durable: bool, is_new: bool) -> None:
        self.file = file
        self._syscalls = folder.syscalls
        self._folder = folder
        self._path = os.path.join(folder.location, file)
        self._durable = durable
        self._has_durable_name = False
        self._size = 0
        self._fd = -1
        _journals.add(self)
        flags = os.O_WRONLY | os.O_APPEND | os.O_NOFOLLOW | os.O_NONBLOCK | (os.O_CREAT | os.O_EXCL if is_new else 0)
        self._fd = folder.syscalls.open(file, flags, folder.fd)
        status = folder.syscalls.fstat(self._fd)
        self._identity = status.st_dev, status.st_ino
        self._size = status.st_size

    def append(self, data: bytes, *, is_durable: Callable[[], bool] = never) -> None:
        fd = self._fd
        try:
            try:
                _lock(fd)
                if self._folder.memory:
                    # The lock has made this host ask the server, and nobody removes the file while we have it.
                    _require(self._syscalls.fstat(fd).st_nlink > 0)
                write_whole(self._syscalls, fd, data)
                if self._durable or is_durable():
                    self._sync(fd)
                elif self._folder.memory:
                    self._syscalls.flush(fd)
                # Looked at after the deed: if the path leads elsewhere by then, nobody is going to read the line.
                _require(self._folder.memory is None or self._folder.is_current())
                status = self._syscalls.lstat(self._path)
                _require((status.st_dev, status.st_ino) == self._identity)
                self._size += len(data)
            except BaseException:
                _cut(self._syscalls, fd, self._size)
                raise
            finally:
                unlock(fd)
        except (FileNotFoundError, NotADirectoryError):
            raise MissingError(self._path) from None
        except OSError as error:
            if error.errno == errno.ESTALE:
                raise MissingError(self._path) from None  # the server knows of no such file any more
            raise os_error(error, self._path) from error

    def _sync(self, fd: int) -> None:
        _sync_data(self._syscalls, fd)
        if not self._has_durable_name:
            self._folder.sync_self()
            self._has_durable_name = True

    def close(self) -> None:
        fd, self._fd = self._fd, -1
        try:
            if fd >= 0:
                self._syscalls.close(fd)
        except OSError:
            pass  # what was acknowledged was written, and whoever finishes the run syncs it

    def __del__(self) -> None:
        try:
            self.close()
        except Exception:  # noqa: BLE001, S110 - at interpreter exit anything may be gone already
            pass


def _abandon_all() -> None:
    """In a forked child: close what the parent appends to; both share one open file, and so its lock."""
    for journal in list(_journals):
        journal.close()


in_forked_children(_abandon_all)
