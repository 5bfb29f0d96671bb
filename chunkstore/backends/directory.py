"""Bytes in files of a folder, shared by any number of threads, processes and hosts."""

from __future__ import annotations

import errno
import os
import stat
import threading
import weakref
from collections import OrderedDict
from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from contextlib import contextmanager
from functools import lru_cache
from typing import Any, NoReturn, TypeVar

from chunkstore.backends.appended import DirectoryJournal, append
from chunkstore.backends.base import (
    AT_THE_END,
    STEP,
    Backend,
    FileVersion,
    FolderReader,
    Journal,
    Judge,
    MissingError,
)
from chunkstore.backends.entries import Entry, entries_in
from chunkstore.backends.folder import Folder, sync_way_to, temporary_names
from chunkstore.backends.held import HeldFile, is_held
from chunkstore.backends.locks import SidecarLock
from chunkstore.backends.mounts import Mount, mount_of
from chunkstore.backends.os_errors import os_error
from chunkstore.backends.quarantine import quarantine
from chunkstore.backends.syscalls import SYSTEM, Syscalls
from chunkstore.backends.watching import changes_in
from chunkstore.errors import ChunkstoreError
from chunkstore.names import DELETED_PREFIX, LOCK_FILE, TEMPORARY_PREFIX

_T = TypeVar("_T")
_MAX_OPEN_FOLDERS = 64
_NFS_PREFIX = ".nfs"
_GONE = (FileNotFoundError, NotADirectoryError)
#: What a folder that was removed may answer; EPERM is what ext4 says when asked for a file without a name in it.
_STALE = {errno.ENOENT, errno.ESTALE, errno.EPERM}
_ATTEMPTS = 2
#: Folders that are known to be of a format that may be written; beyond so many, they are looked at again.
_MAX_ADMITTED = 10_000

_backends: weakref.WeakSet[DirectoryBackend] = weakref.WeakSet()


class DirectoryBackend(Backend):
    """Files below a folder of the file system.

    Args:
        root: the top folder; it is made when something is written.
        durability: one of `DURABILITY_LEVELS`.
        lock_timeout: seconds to wait for a lock.
        syscalls: how files are touched; tests pass one that fails.
    """

    shared_between_processes = True

    def __init__(
        self,
        root: str | os.PathLike[str],
        *,
        durability: str = AT_THE_END,
        lock_timeout: float = 60.0,
        syscalls: Syscalls = SYSTEM,
    ) -> None:
        self.location = os.path.abspath(root)
        self.admitted = set()
        self.durability = durability
        self._sync_writes = durability == STEP
        self._lock_timeout = lock_timeout
        self._syscalls = syscalls
        self._open_folders: OrderedDict[str, Folder] = OrderedDict()
        self._mutex = threading.Lock()
        # The top folder, if the way to it is known to be durable; while it is open, no other gets its inode.
        self._durable_top: Folder | None = None
        _backends.add(self)

    def __reduce__(self) -> tuple[Any, ...]:
        return _shared, (self.location, self.durability, self._lock_timeout)

    # --- open folders ------------------------------------------------------------------------------------------------

    def _path(self, folder: str) -> str:
        return f"{self.location}{os.sep}{folder}" if folder else self.location  # quicker than to join them

    def _fresh(self, folder: str) -> Folder:
        # The top may be a symbolic link, as its owner chose it; a run's folder may not.
        return Folder(self._syscalls, self._path(folder), follow=not folder)

    def _cached(self, folder: str) -> Folder:
        found = self._open_folders.get(folder)
        if found is not None:
            return found
        opened = self._fresh(folder)
        if self._sync_writes:
            # Whoever made the folder need not have come to making it durable, and what is in it is no better.
            self._sync_way_to(folder)
        with self._mutex:
            found = self._open_folders.setdefault(folder, opened)
            while len(self._open_folders) > _MAX_OPEN_FOLDERS:
                name, _ = self._open_folders.popitem(last=False)
                self.admitted.discard(name)
            if len(self.admitted) > _MAX_ADMITTED:
                self.admitted.clear()
        return found

    def _forget(self, folder: str) -> None:
        with self._mutex:
            self._open_folders.pop(folder, None)
            self.admitted.discard(folder)

    def close(self) -> None:
        with self._mutex:
            self._open_folders.clear()
            self._durable_top = None
            self.admitted.clear()

    def reset_after_fork(self) -> None:
        """In a forked child: let go of the parent's descriptors (never unlocking them) and of its mutexes."""
        self._mutex = threading.Lock()
        self._open_folders = OrderedDict()
        self._durable_top = None
        self.admitted = set()

    def _in_folder(
        self, folder: str, verb: Callable[[Folder], _T], undo: Callable[[Folder, _T], None] | None = None
    ) -> _T:
        """Do something in a folder whose handle is cached, and do it anew once if that handle was stale.

        A folder that was moved aside, as deleting it begins, takes whatever is written to its old handle along. So the
        path is looked at after the deed: if it leads elsewhere by then, the deed has not been done.

        Args:
            folder: the folder.
            verb: what to do.
            undo: what to do with the verb's result if it was done in the wrong place.
        """
        try:
            for attempt in range(1, _ATTEMPTS + 1):
                handle = self._cached(folder)
                try:
                    result = verb(handle)
                except OSError as error:
                    if attempt == _ATTEMPTS or error.errno not in _STALE or handle.is_current():
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
                self._forget(folder)
            raise MissingError(self._path(folder))
        except OSError as error:
            self._fail(error, folder)

    def _fail(self, error: OSError, folder: str) -> NoReturn:
        """Raise what the contract of `Backend` says for an error of the operating system."""
        if isinstance(error, (ChunkstoreError, MissingError, FileExistsError)):
            raise error
        if isinstance(error, FileNotFoundError):
            raise MissingError(self._path(folder)) from None
        raise os_error(error, self._path(folder)) from error

    # --- folders -----------------------------------------------------------------------------------------------------

    def folders(self) -> dict[str, int]:
        try:
            top = self._fresh("")
            return self._syscalls.scan_folders(top.fd)
        except FileNotFoundError:
            return {}
        except OSError as error:
            self._fail(error, "")

    def create_folder(self, folder: str, files: Mapping[str, bytes]) -> None:
        try:
            self._make_root()
            self._create_folder(folder, files)
        except FileNotFoundError as error:
            raise os_error(error, self._path(folder)) from error  # somebody removes the top folder right now
        except OSError as error:
            self._fail(error, folder)

    def _create_folder(self, folder: str, files: Mapping[str, bytes]) -> None:
        # The folder is filled under another name and renamed when it is whole: nobody sees half a run, and rename
        # refuses to replace a folder that has something in it.
        temporary = self._path(temporary_names.next())
        target = self._path(folder)
        handle = None
        try:
            self._syscalls.mkdir(temporary)
            handle = Folder(self._syscalls, temporary)
            for file, data in files.items():
                handle.write_plain(file, data, durable=self._sync_writes)
            if self._sync_writes:
                handle.sync_self()
            try:
                self._syscalls.rename(temporary, target)
            except OSError as error:
                if error.errno not in (errno.ENOTEMPTY, errno.EEXIST):
                    raise
                self._remove_tree(temporary)
                self._complete_folder(folder, files)
                return
        except BaseException:
            self._discard_new(handle, temporary, files)
            raise
        self._forget(folder)
        if self._sync_writes:
            # If this fails the run stays, though nobody was told of it: others may have joined it by now.
            self._sync_way_to(folder)

    def _discard_new(self, handle: Folder | None, path: str, files: Iterable[str]) -> None:
        """Remove a folder that was not to be renamed, also where no descriptor is left to list it with."""
        try:
            if handle is not None and handle.is_current():  # else it has its true name by now: it is a run
                for file in files:
                    handle.discard(file)
        except OSError:
            pass  # then it is left to what comes next
        self._discard_tree(path)

    def _complete_folder(self, folder: str, files: Mapping[str, bytes]) -> None:
        """Put the files into a folder that is there already; the last one decides whether it was a run."""
        *others, last = files
        handle = self._fresh(folder)
        if last in handle.names():
            raise FileExistsError(self._path(folder))  # the usual case: nobody waits for a lock to hear that

        def complete() -> None:
            if last in handle.names():
                raise FileExistsError(self._path(folder))
            for file in others:
                handle.replace(file, files[file], durable=self._sync_writes)
            handle.publish(last, files[last], durable=self._sync_writes, take_back=False)

        self.while_locked(folder, LOCK_FILE, complete)
        if self._sync_writes:
            self._sync_way_to(folder)

    def _make_root(self) -> None:
        """Make the top folder and those above it."""
        missing = []
        path = self.location
        while not self._exists(path):
            missing.append(path)
            path = os.path.dirname(path)
        for made in reversed(missing):
            try:
                self._syscalls.mkdir(made)
            except FileExistsError:
                pass  # another process was faster

    def _exists(self, path: str) -> bool:
        try:
            self._syscalls.lstat(path)
        except FileNotFoundError:
            return False
        return True

    def remove_folder(self, folder: str) -> None:
        self._forget(folder)
        aside = self._path(f"{DELETED_PREFIX}{temporary_names.next().removeprefix(TEMPORARY_PREFIX)}")
        try:
            try:
                self._syscalls.rename(self._path(folder), aside)
                self._remove_tree(aside)
            except BaseException:
                self._discard_tree(aside)  # gone it is by now, so no interrupt shall leave a part of it
                raise
            if self._sync_writes:
                self._fresh("").sync_self()
        except OSError as error:
            self._fail(error, folder)

    def _remove_tree(self, path: str) -> None:
        while True:
            handle = Folder(self._syscalls, path)
            for name in handle.all_entries():
                try:
                    self._syscalls.unlink(name, handle.fd)
                except (IsADirectoryError, PermissionError):  # the latter is what POSIX says of a folder
                    if name not in handle.all_entries():
                        continue  # it was removed all the same, as when the answer of a file server is lost
                    if not stat.S_ISDIR(self._syscalls.lstat(name, handle.fd).st_mode):
                        raise
                    self._remove_tree(os.path.join(path, name))
                except OSError as error:
                    if error.errno not in (errno.ENOENT, errno.EBUSY):
                        raise
            try:
                self._syscalls.rmdir(path)
            except OSError as error:
                if error.errno not in (errno.ENOTEMPTY, errno.EEXIST):
                    raise
                names = handle.all_entries()
                if names and all(name.startswith(_NFS_PREFIX) for name in names):
                    return  # NFS keeps files that somebody has open under such names, and removes them later
                continue  # a writer that still had the folder open added a file
            return

    def _discard_tree(self, path: str) -> None:
        """Remove a folder of our own on the way out of an error, as far as that goes."""
        for remove in (self._syscalls.rmdir, self._remove_tree):  # an empty one needs no descriptor
            try:
                remove(path)
            except OSError:
                continue
            return

    # --- files -------------------------------------------------------------------------------------------------------

    @contextmanager
    def reader(self, folder: str) -> Iterator[FolderReader]:
        try:
            handle = self._fresh(folder)
        except OSError as error:
            if isinstance(error, _GONE) or error.errno == errno.ELOOP:
                raise MissingError(self._path(folder)) from None
            self._fail(error, folder)
        try:
            yield handle
        except OSError as error:
            self._fail(error, folder)

    def publish(self, folder: str, file: str, data: bytes | Sequence[bytes], *, durable: bool = False) -> None:
        if not folder:
            self._make_root_for_files()
        durable = durable or self._sync_writes
        # A file at the top is a whole run, which others may have joined by the time that something fails.
        self._in_folder(folder, lambda handle: handle.publish(file, data, durable=durable, take_back=bool(folder)))

    def publish_all(self, folder: str, files: Iterable[tuple[str, bytes]]) -> None:
        self._in_folder(folder, lambda handle: handle.publish_all(files))

    def _make_root_for_files(self) -> None:
        try:
            self._make_root()
        except OSError as error:
            self._fail(error, "")

    def replace(self, folder: str, file: str, data: bytes, *, durable: bool = False) -> None:
        durable = durable or self._sync_writes
        self._in_folder(folder, lambda handle: handle.replace(file, data, durable=durable))

    def append(self, folder: str, file: str, data: bytes, *, durable: bool = False) -> None:
        def open_file(handle: Folder) -> tuple[Folder, int]:
            return handle, handle.open_for_append(file)

        # Only the opening may be done twice: what was begun to be written must not be written again.
        handle, fd = self._in_folder(folder, open_file, lambda stale, opened: stale.close_file(opened[1]))
        try:
            try:
                append(self._syscalls, fd, data, durable=durable or self._sync_writes)
            finally:
                handle.close_file(fd)
            current = handle.is_current()
        except FileNotFoundError:
            raise MissingError(os.path.join(self._path(folder), file)) from None
        except OSError as error:
            raise os_error(error, os.path.join(self._path(folder), file)) from error
        if not current:
            self._forget(folder)
            raise MissingError(self._path(folder))

    def begin_journal(self, folder: str, file: str) -> Journal:
        def begin(handle: Folder) -> DirectoryJournal:
            return DirectoryJournal(self._syscalls, handle, file, durable=self._sync_writes)

        return self._in_folder(folder, begin, lambda _, stale: stale.close())

    def remove_unchanged(self, folder: str, file: str, data: bytes) -> bool:
        return self._in_folder(folder, lambda handle: handle.remove_unchanged(file, data))

    def remove_complete(self, folder: str, file: str, size: int) -> bool:
        return self._in_folder(folder, lambda handle: handle.remove_complete(file, size))

    def remove(self, folder: str, file: str) -> None:
        self._in_folder(folder, lambda handle: handle.remove(file, durable=self._sync_writes))

    def changed_at(self, folder: str) -> int:
        return self._in_folder(folder, lambda handle: handle.changed_at())

    def version(self, folder: str, file: str) -> FileVersion:
        try:
            status = self._syscalls.lstat(f"{self._path(folder)}{os.sep}{file}")
        except OSError as error:
            self._fail(error, folder)
        return status.st_ino, status.st_size, status.st_mtime_ns

    def entries(self, folder: str) -> list[Entry]:
        try:
            return entries_in(self._syscalls, self._fresh(folder))
        except OSError as error:
            self._fail(error, folder)

    def quarantine(self, folder: str, file: str, is_damaged: Judge) -> str:
        return self._in_folder(folder, lambda handle: quarantine(self._syscalls, handle, file, is_damaged))

    def remove_left_over(self, folder: str, name: str) -> None:
        path = os.path.join(self._path(folder), name)
        try:
            if not stat.S_ISDIR(self._syscalls.lstat(path).st_mode):
                self._syscalls.unlink(path)
                return
            # As in `remove_folder`: should anybody still be about to give it its true name, that one finds it gone.
            if not name.startswith(DELETED_PREFIX):
                aside = f"{DELETED_PREFIX}{temporary_names.next().removeprefix(TEMPORARY_PREFIX)}"
                target = os.path.join(self._path(folder), aside)
                self._syscalls.rename(path, target)
                path = target
            self._remove_tree(path)
        except FileNotFoundError:
            pass  # it has its true name by now, or somebody else has removed it
        except OSError as error:
            self._fail(error, folder)

    def watch(self, folder: str) -> Iterator[set[str]]:
        return changes_in(self._path(folder))

    def hold(self, folder: str, file: str, data: bytes) -> Callable[[], None]:
        try:
            held = self._in_folder(
                folder,
                lambda handle: HeldFile(self._syscalls, handle, file, data),
                lambda _, stale: stale.release(),
            )
        except (ChunkstoreError, MissingError):
            return lambda: None  # then nobody can tell whether this process lives; that is no reason not to work
        return held.release

    def is_held(self, folder: str, file: str) -> bool | None:
        try:
            return is_held(self._syscalls, self._fresh(folder), file)
        except OSError:
            return None

    def mount(self) -> Mount | None:
        return mount_of(self.location)

    def acquire_lock(self, folder: str, file: str) -> Callable[[], None]:
        def acquire(handle: Folder) -> tuple[Folder, SidecarLock]:
            lock = handle.lock(file)
            lock.acquire(self._lock_timeout)
            return handle, lock

        acquired = self._in_folder(folder, acquire, lambda _, taken: taken[1].release())

        def release() -> None:
            # The handle is held on to as well: the lock works on its descriptor.
            _handle, lock = acquired
            lock.release()

        return release

    def sync(self, folder: str, file: str | None = None) -> None:
        try:
            handle = self._fresh(folder)
            if file is None:
                handle.sync_files(handle.names())
            else:
                handle.sync_file(file)
            handle.sync_self()
            self._sync_way_to(folder)
        except OSError as error:
            self._fail(error, folder)

    def _sync_way_to(self, folder: str) -> None:
        """Make a folder's own name durable, and those of the folders above, all of which may be new."""
        if folder:
            top = self._fresh("")
            top.sync_self()
            known = self._durable_top
            if known is None or known.identity() != top.identity():
                sync_way_to(self._syscalls, self.location)
                self._durable_top = top
        else:
            sync_way_to(self._syscalls, self.location)


@lru_cache(maxsize=8)
def _shared(root: str, durability: str, lock_timeout: float) -> DirectoryBackend:
    """Return the backend that all receivers in this process share: a worker opens a folder once, not once per task."""
    return DirectoryBackend(root, durability=durability, lock_timeout=lock_timeout)


def _reset_after_fork() -> None:
    for backend in list(_backends):
        backend.reset_after_fork()


if hasattr(os, "register_at_fork"):
    os.register_at_fork(after_in_child=_reset_after_fork)
