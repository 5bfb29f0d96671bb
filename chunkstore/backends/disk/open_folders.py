"""The folders of a backend: which stay open, and what is done in one that others may remove and make anew."""

from __future__ import annotations

import errno
import os
from collections import OrderedDict
from collections.abc import Callable
from typing import TypeVar

from chunkstore.backends.base import Within
from chunkstore.backends.disk.folder import Folder
from chunkstore.backends.disk.freshness import (
    Memory,
    PatientSyscalls,
    again_if_stale,
    is_forgotten,
    look_afresh,
    memory_of,
)
from chunkstore.backends.disk.os_errors import fail
from chunkstore.backends.disk.syncing import sync_way_to
from chunkstore.backends.disk.syscalls import Syscalls
from chunkstore.backends.errors import MissingError
from chunkstore.backends.mount import Mount
from chunkstore.backends.reader import FolderReader
from chunkstore.errors import ChunkstoreError

_T = TypeVar("_T")
_MAX_OPEN_FOLDERS = 112
#: What a folder that was removed may answer; EPERM is what ext4 says when asked for a file without a name in it.
_STALE = {errno.ENOENT, errno.ESTALE, errno.EPERM}
#: What a folder says that holds no run any more.
_EMPTY = {errno.ENOENT, errno.ESTALE}
_ATTEMPTS = 2
#: How often something is done anew because a file server has forgotten what it was done with.
_FORGOTTEN = 5


class OpenFolders:
    """A top folder and those in it, some of them open.

    Args:
        syscalls: how files are touched.
        top: the path of the top folder.
        sync_writes: whether all that is written must survive a loss of power at once.
        find_mount: tells what is mounted where a path leads.

    Attributes:
        syscalls: how files are touched.
        top: the path of the top folder.
    """

    def __init__(
        self, syscalls: Syscalls, top: str, *, sync_writes: bool, find_mount: Callable[[str], Mount | None]
    ) -> None:
        self.syscalls = syscalls
        self.top = top
        self._sync_writes = sync_writes
        self._find_mount = find_mount
        self._memory: tuple[Memory | None] | None = None
        self._open: OrderedDict[str, Folder] = OrderedDict()
        # The top folder, if the way to it is known to be durable; while it is open, no other gets its inode.
        self._durable_top: Folder | None = None

    def path(self, folder: str) -> str:
        """Return the path of a folder."""
        return f"{self.top}{os.sep}{folder}" if folder else self.top  # quicker than to join them

    @property
    def memory(self) -> Memory | None:
        """What is to be minded where the folders are; found out when that matters."""
        if self._memory is None:
            self._memory = (memory_of(self._find_mount(self.top)),)
            if self._memory[0]:
                self.syscalls = PatientSyscalls(self.syscalls)
        return self._memory[0]

    def look_afresh(self) -> None:
        """Learn which folders other hosts have made or removed, where this host would not ask.

        Raises:
            OSError: that cannot be done.
        """
        if self.memory:
            look_afresh(self.syscalls, self.top)

    @again_if_stale
    def fresh(self, folder: str) -> Folder:
        """Open a folder for one use.

        Raises:
            OSError: that cannot be done.
        """
        path = self.path(folder)
        if self.memory:
            # A run may have come since it was asked for in vain, or another one have its name; so may the top.
            look_afresh(self.syscalls, self.top if folder else path)
        # The top may be a symbolic link, as its owner chose it; a run's folder may not.
        return Folder(self.syscalls, path, follow=not folder, memory=self.memory)

    def reopened(self, folder: str) -> Folder:
        """Open a folder for a look at what is in it, where a look at which folder it is comes later; or as `fresh`."""
        try:
            return Folder(self.syscalls, self.path(folder), follow=not folder, memory=self.memory)
        except FileNotFoundError:
            return self.fresh(folder)

    def cached(self, folder: str) -> Folder:
        """Return a folder that is open, perhaps for long: its path may lead elsewhere by now.

        Raises:
            OSError: it cannot be opened.
        """
        found = self._open.get(folder)
        if found is not None:
            return found
        opened = self.fresh(folder)
        if self._sync_writes:
            # Whoever made the folder need not have come to making it durable, and what is in it is no better.
            self.sync_way_to(folder)
        found = self._open.setdefault(folder, opened)
        if len(self._open) > _MAX_OPEN_FOLDERS:
            try:
                self._open.popitem(last=False)
            except KeyError:
                pass  # others have let go of all
        return found

    def meant(self, folder: str, within: Within) -> Folder:
        """Return the open folder of a name, or that which is meant by `within`; see `Backend`.

        Raises:
            MissingError: it is not there.
            OSError: it cannot be opened.
        """
        if within is None:
            return self.cached(folder)
        for attempt in range(1, _ATTEMPTS + 1):
            handle = self.cached(folder)
            try:
                if handle.examined(within.examine) == within.incarnation:
                    return handle
            except OSError as error:
                if error.errno not in _EMPTY and not isinstance(error, FileNotFoundError):
                    raise
            if attempt == _ATTEMPTS or handle.is_current():
                break
            self.forget(folder)
        raise MissingError(self.path(folder))

    def examined(self, folder: str, examine: Callable[[FolderReader], str]) -> str:
        """Return what `examine` says of a folder; see `Backend.examined`."""
        try:
            for attempt in range(1, _ATTEMPTS + 1):
                handle = self.cached(folder)
                try:
                    return handle.examined(examine)
                except (OSError, ChunkstoreError):
                    if attempt == _ATTEMPTS or handle.is_current():
                        raise
                self.forget(folder)
            raise MissingError(self.path(folder))
        except OSError as error:
            fail(error, self.path(folder))

    def forget(self, folder: str) -> None:
        """Let go of a folder; it is closed when nobody works in it any more."""
        self._open.pop(folder, None)

    def forget_all(self) -> None:
        """Let go of all folders."""
        self._open.clear()
        self._durable_top = None

    def reset_after_fork(self) -> None:
        """In a forked child: let go of the parent's descriptors."""
        self._open = OrderedDict()
        self._durable_top = None

    def do(
        self,
        folder: str,
        verb: Callable[[Folder], _T],
        undo: Callable[[Folder, _T], None] | None = None,
        *,
        within: Within = None,
    ) -> _T:
        """Do something in a folder whose handle is cached, and do it anew once if that handle was stale.

        A folder that was moved aside, as deleting it begins, takes whatever is written to its old handle along. So the
        path is looked at after the deed: if it leads elsewhere by then, the deed has not been done.

        Args:
            folder: the folder.
            verb: what to do.
            undo: what to do with the verb's result if it was done in the wrong place.
            within: see `Backend`.

        Raises:
            MissingError: there is no such folder.
            ChunkstoreError: what the operating system says else, for users.
        """
        try:
            for attempt in range(1, _FORGOTTEN + 1):
                handle = self.meant(folder, within)
                try:
                    result = verb(handle)
                except OSError as error:
                    if not is_forgotten(error):
                        if attempt >= _ATTEMPTS or error.errno not in _STALE or handle.is_current():
                            raise
                    elif attempt == _FORGOTTEN:
                        raise
                else:
                    current = False
                    try:
                        current = handle.is_current()
                        if current:
                            return result
                    finally:
                        if undo is not None and not current:
                            undo(handle, result)
                    if attempt >= _ATTEMPTS:
                        break
                self.forget(folder)
            raise MissingError(self.path(folder))
        except OSError as error:
            fail(error, self.path(folder))

    def sync_way_to(self, folder: str) -> None:
        """Make a folder's own name durable, and those of the folders above, all of which may be new.

        Raises:
            OSError: that cannot be done.
        """
        if folder:
            top = self.fresh("")
            top.sync_self()
            known = self._durable_top
            if known is None or known.identity() != top.identity():
                sync_way_to(self.syscalls, self.top)
                self._durable_top = top
        else:
            sync_way_to(self.syscalls, self.top)
