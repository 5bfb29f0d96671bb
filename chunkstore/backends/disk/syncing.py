"""Bringing files and names to stable storage, also after that has failed.

When a sync fails, the kernel takes what it could not write for written: syncing again would say that all is well. So
who has failed remembers that, and leaves a mark for others; and what nobody has made good since is written again.
"""

from __future__ import annotations

import errno
import os
from collections.abc import Hashable

from chunkstore.backends.disk.folder import READ_FLAGS, Folder
from chunkstore.backends.disk.locks import lock_soon
from chunkstore.backends.disk.syscalls import REFUSED, Syscalls
from chunkstore.backends.disk.writing import discard
from chunkstore.names import ASIDE_PREFIX, UNSYNCED_FILE

_BLOCK = 1 << 20
#: Up to so many files are synced one by one; beyond that one call for the whole file system is faster.
_ONE_BY_ONE = 256
_TOO_MANY_OPEN = {errno.EMFILE, errno.ENFILE}


class Syncs:
    """Syncs folders and files, and remembers where that has failed and nothing has made it good."""

    def __init__(self) -> None:
        self._failed: dict[tuple[Hashable, str], Folder] = {}

    def sync_folder(self, folder: Folder) -> None:
        """Bring all files of a folder, and their names, to stable storage.

        Raises:
            OSError: that cannot be done; it is remembered.
        """
        self._sync(folder, None, UNSYNCED_FILE, heals=True)

    def sync_file(self, folder: Folder, file: str, *, by_itself: bool) -> None:
        """Bring one file and its name to stable storage.

        Args:
            folder: where it is.
            file: its name.
            by_itself: whether it has a mark of its own, as it has nothing to do with the other files of the folder.

        Raises:
            OSError: that cannot be done; it is remembered.
        """
        mark = f"{UNSYNCED_FILE}-{file}" if by_itself else UNSYNCED_FILE
        self._sync(folder, file, mark, heals=by_itself)

    def _sync(self, folder: Folder, file: str | None, mark: str, *, heals: bool) -> None:
        failed = (folder.identity(), mark)
        has_failed = failed in self._failed or folder.has_entry(mark)
        try:
            if has_failed:
                names = [name for name in folder.names() if not name.startswith(".")]
                sync_anew(folder, names if file is None else [file])
            elif file is None:
                sync_files(folder, folder.names())
            if file is not None:
                sync_file(folder, file)
            folder.sync_self()
        except FileNotFoundError:
            raise
        except OSError as error:
            if error.errno in _TOO_MANY_OPEN:
                raise  # nothing was written in vain
            self._failed[failed] = folder  # which keeps its number from being given to another
            leave_mark(folder, mark)  # for others
            raise
        if has_failed and heals:
            self._failed.pop(failed, None)
            discard(folder, mark)


def leave_mark(folder: Folder, file: str) -> None:
    """Make an empty file, as far as that goes: for what is worth knowing later, and no more."""
    try:
        folder.syscalls.close(folder.syscalls.open(file, os.O_CREAT | os.O_WRONLY | os.O_NOFOLLOW, folder.fd))
    except OSError:
        pass


def sync_file(folder: Folder, file: str) -> None:
    """Bring one file to stable storage, if it is a regular file."""
    aside = ASIDE_PREFIX + file
    entry = aside if not folder.has_entry(file) and folder.has_entry(aside) else file
    if not folder.is_regular(entry):
        return
    fd = folder.syscalls.open(entry, READ_FLAGS, folder.fd)
    try:
        folder.syscalls.fsync(fd)
    finally:
        folder.syscalls.close(fd)


def sync_files(folder: Folder, files: list[str]) -> None:
    """Bring files to stable storage, but for those that are gone: one by one, or with all of their file system."""
    if len(files) > _ONE_BY_ONE:
        try:
            folder.syscalls.syncfs(folder.fd)
        except OSError as error:
            if error.errno not in REFUSED:
                raise
        else:
            return
    for file in files:
        try:
            sync_file(folder, file)
        except FileNotFoundError:
            pass  # a temporary file that has its true name by now


def sync_anew(folder: Folder, files: list[str]) -> None:
    """Bring files to stable storage after that has failed, but for those that are gone.

    The bytes, which the kernel still has, are written again, each in its old place; readers notice nothing.

    Raises:
        OSError: they cannot be written, or somebody appends to one of them all the time.
    """
    for file in files:
        try:
            if folder.is_regular(file):
                _write_again(folder, file)
        except FileNotFoundError:
            pass  # removed, or packed


def _write_again(folder: Folder, file: str) -> None:
    syscalls = folder.syscalls
    fd = syscalls.open(file, os.O_RDWR | os.O_NOFOLLOW | os.O_NONBLOCK, folder.fd)
    try:
        if not lock_soon(fd):  # whoever appends takes back, on an error, what it has written
            raise OSError(errno.EBUSY, os.strerror(errno.EBUSY), file)
        offset = 0
        while block := syscalls.pread(fd, _BLOCK, offset):
            view = memoryview(block)
            while view:
                written = syscalls.pwrite(fd, view, offset)
                view, offset = view[written:], offset + written
        syscalls.fsync(fd)
    finally:
        syscalls.close(fd)


def sync_way_to(syscalls: Syscalls, path: str) -> None:
    """Make the names of a folder or file, and of all folders above it, durable: any of them may be new.

    Args:
        syscalls: how files are touched.
        path: an absolute path.
    """
    while (parent := os.path.dirname(path)) != path:
        try:
            Folder(syscalls, parent, follow=True).sync_self()
        except PermissionError:
            return  # whoever made the folder we are in could open this one: it was there before
        except OSError as error:
            if error.errno not in (errno.EINVAL, errno.EROFS):
                raise
            return  # a file system that keeps nothing, or that nobody writes to
        path = parent
