"""Bytes in files of a folder, shared by any number of threads, processes and hosts."""

from __future__ import annotations

import errno
import os
import stat
import threading
import weakref
from collections import OrderedDict
from collections.abc import Callable, Hashable, Iterable, Iterator, Mapping, Sequence
from contextlib import contextmanager
from functools import lru_cache
from typing import Any, NoReturn, TypeVar

from chunkstore.backends.base import (
    AT_THE_END,
    STEP,
    Backend,
    Expected,
    FileVersion,
    FolderReader,
    Joined,
    Journal,
    Judge,
    MissingError,
    never,
)
from chunkstore.backends.disk.appended import DirectoryJournal, append
from chunkstore.backends.disk.folder import Folder, sync_way_to, temporary_names
from chunkstore.backends.disk.held import HeldFile, JoinedFile, is_held, joined
from chunkstore.backends.disk.locks import SidecarLock
from chunkstore.backends.disk.mounts import Mount, mount_of
from chunkstore.backends.disk.os_errors import os_error
from chunkstore.backends.disk.quarantine import quarantine
from chunkstore.backends.disk.syscalls import SYSTEM, Syscalls
from chunkstore.backends.disk.watching import changes_in
from chunkstore.backends.entries import Entry, entries_in
from chunkstore.errors import ChunkstoreError, CorruptChunkError, StoreIOError
from chunkstore.names import DELETED_PREFIX, LOCK_FILE, TEMPORARY_PREFIX, UNSYNCED_FILE

_T = TypeVar("_T")
_MAX_OPEN_FOLDERS = 112
_MAX_OPEN_LOCKS = 8
_NFS_PREFIX = ".nfs"
_GONE = (FileNotFoundError, NotADirectoryError)
#: What a folder that was removed may answer; EPERM is what ext4 says when asked for a file without a name in it.
_STALE = {errno.ENOENT, errno.ESTALE, errno.EPERM}
_ATTEMPTS = 2
_TOO_MANY_OPEN = {errno.EMFILE, errno.ENFILE}
#: How often a folder may be removed while somebody else makes it.
_CREATIONS = 100

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
        self.durability = durability
        self._sync_writes = durability == STEP
        self._lock_timeout = lock_timeout
        self._syscalls = syscalls
        self._open_folders: OrderedDict[str, Folder] = OrderedDict()
        self._mutex = threading.Lock()
        # Locks that were used last; the files of others are closed.
        self._open_locks: OrderedDict[SidecarLock, None] = OrderedDict()
        # Where a sync has failed, and nothing has made that good.
        self._unsynced: dict[tuple[Hashable, str], Folder] = {}
        # Whether no other host can have the files mounted; found out when that matters.
        self._is_local: bool | None = None
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
                self._open_folders.popitem(last=False)
        return found

    def _opened(self, folder: str, within: Expected | None) -> Folder:
        """Return the open folder of a name, or that which is meant by `within`."""
        if within is None:
            return self._cached(folder)
        for attempt in range(1, _ATTEMPTS + 1):
            handle = self._cached(folder)
            try:
                if handle.examined(within.examine) == within.incarnation:
                    return handle
            except FileNotFoundError:
                pass  # it holds no run any more
            if attempt == _ATTEMPTS or handle.is_current():
                break
            self._forget(folder)
        raise MissingError(self._path(folder))

    def examined(self, folder: str, examine: Callable[[FolderReader], str]) -> str:
        try:
            for attempt in range(1, _ATTEMPTS + 1):
                handle = self._cached(folder)
                try:
                    return handle.examined(examine)
                except (OSError, ChunkstoreError):
                    if attempt == _ATTEMPTS or handle.is_current():
                        raise
                self._forget(folder)
            raise MissingError(self._path(folder))
        except OSError as error:
            self._fail(error, folder)

    def _forget(self, folder: str) -> None:
        with self._mutex:
            self._open_folders.pop(folder, None)

    def let_go(self, folder: str) -> None:
        self._forget(folder)

    def close(self) -> None:
        with self._mutex:
            self._open_folders.clear()
            self._open_locks.clear()
            self._durable_top = None

    def reset_after_fork(self) -> None:
        """In a forked child: let go of the parent's descriptors (never unlocking them) and of its mutexes."""
        self._mutex = threading.Lock()
        self._open_folders = OrderedDict()
        self._open_locks = OrderedDict()
        self._durable_top = None

    def _in_folder(
        self,
        folder: str,
        verb: Callable[[Folder], _T],
        undo: Callable[[Folder, _T], None] | None = None,
        *,
        within: Expected | None = None,
    ) -> _T:
        """Do something in a folder whose handle is cached, and do it anew once if that handle was stale.

        A folder that was moved aside, as deleting it begins, takes whatever is written to its old handle along. So the
        path is looked at after the deed: if it leads elsewhere by then, the deed has not been done.

        Args:
            folder: the folder.
            verb: what to do.
            undo: what to do with the verb's result if it was done in the wrong place.
            within: see `Backend`.
        """
        try:
            for attempt in range(1, _ATTEMPTS + 1):
                handle = self._opened(folder, within)
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

    def create_folder(self, folder: str, files: Mapping[str, bytes], *, durable: bool = False) -> None:
        durable = durable or self._sync_writes
        try:
            for _ in range(_CREATIONS):
                self._make_root()
                if self._create_folder(folder, files, durable=durable):
                    return
            raise MissingError(self._path(folder))
        except FileNotFoundError as error:
            raise os_error(error, self._path(folder)) from error  # somebody removes the top folder right now
        except OSError as error:
            self._fail(error, folder)

    def _create_folder(self, folder: str, files: Mapping[str, bytes], *, durable: bool) -> bool:
        """Make a folder; tell whether that is done: one that is being removed may be in the way."""
        # The folder is filled under another name and renamed when it is whole: nobody sees half a run, and rename
        # refuses to replace a folder that has something in it.
        temporary = self._path(temporary_names.next())
        target = self._path(folder)
        handle = None
        try:
            self._syscalls.mkdir(temporary)
            handle = Folder(self._syscalls, temporary)
            for file, data in files.items():
                handle.write_plain(file, data, durable=durable)
            if durable:
                handle.sync_self()
            try:
                self._syscalls.rename(temporary, target)
            except OSError as error:
                if error.errno not in (errno.ENOTEMPTY, errno.EEXIST):
                    raise
                self._remove_tree(temporary)
                return self._complete_folder(folder, files, durable=durable)
        except BaseException:
            self._discard_new(handle, temporary, files)
            raise
        self._forget(folder)
        if durable:
            # If this fails the run stays, though nobody was told of it: others may have joined it by now.
            self._sync_way_to(folder)
        return True

    def _discard_new(self, handle: Folder | None, path: str, files: Iterable[str]) -> None:
        """Remove a folder that was not to be renamed, also where no descriptor is left to list it with."""
        try:
            if handle is not None and handle.is_current():  # else it has its true name by now: it is a run
                for file in files:
                    handle.discard(file)
        except OSError:
            pass  # then it is left to what comes next
        self._discard_tree(path)

    def _complete_folder(self, folder: str, files: Mapping[str, bytes], *, durable: bool) -> bool:
        """Put the files into a folder that is there already; the last one decides whether it was a run.

        Returns:
            Whether that is done, and the folder still there.
        """
        *others, last = files

        def complete(handle: Folder) -> None:
            if last in handle.names():
                raise FileExistsError(self._path(folder))
            for file in others:
                handle.replace(file, files[file], durable=durable)
            handle.publish(last, files[last], durable=durable, take_back=False)

        try:
            if last in self._fresh(folder).names():
                raise FileExistsError(self._path(folder))  # the usual case: nobody waits for a lock to hear that
            # Whoever removes the folder takes the lock too: from here on it is one and the same.
            self.while_locked(folder, LOCK_FILE, lambda: self._in_folder(folder, complete))
        except FileNotFoundError:
            return False
        if durable:
            self._sync_way_to(folder)
        return True

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
        except (OSError, CorruptChunkError, StoreIOError) as error:
            # What is missing, or no longer what it was, may have been removed with the whole folder.
            if folder and not isinstance(error, MissingError) and not self._is_there(handle):
                raise MissingError(self._path(folder)) from None
            if isinstance(error, OSError):
                self._fail(error, folder)
            raise
        if folder and not self._is_there(handle):
            raise MissingError(self._path(folder))

    def _is_there(self, handle: Folder) -> bool:
        """Tell whether an open folder was not removed: whoever does that renames it before anything else."""
        try:
            return handle.is_current()
        except OSError as error:
            self._fail(error, handle.location)

    def publish(
        self,
        folder: str,
        file: str,
        data: bytes | Sequence[bytes],
        *,
        durable: bool = False,
        within: Expected | None = None,
    ) -> None:
        if not folder:
            self._make_root_for_files()
        durable = durable or self._sync_writes
        # A file at the top is a whole run, which others may have joined by the time that something fails.
        self._in_folder(
            folder,
            lambda handle: handle.publish(file, data, durable=durable, take_back=bool(folder)),
            (lambda handle, _: handle.discard(file)) if folder else None,
            within=within,
        )

    def write_together(
        self,
        folder: str,
        files: Sequence[tuple[str, bytes, bool]],
        *,
        before: Callable[[], None] | None = None,
        durable: bool = False,
        within: Expected | None = None,
    ) -> None:
        def take_back(handle: Folder, _done: None) -> None:
            for file, _, is_new in files:
                if is_new:
                    handle.discard(file)

        def write(handle: Folder) -> None:
            handle.write_together(files, before=before, durable=durable)

        durable = durable or self._sync_writes
        self._in_folder(folder, write, take_back, within=within)

    def publish_all(self, folder: str, files: Iterable[tuple[str, bytes]]) -> None:
        self._in_folder(folder, lambda handle: handle.publish_all(files))

    def _make_root_for_files(self) -> None:
        try:
            self._make_root()
        except OSError as error:
            self._fail(error, "")

    def replace(
        self, folder: str, file: str, data: bytes, *, durable: bool = False, within: Expected | None = None
    ) -> None:
        durable = durable or self._sync_writes
        self._in_folder(folder, lambda handle: handle.replace(file, data, durable=durable), within=within)

    def append(
        self,
        folder: str,
        file: str,
        data: bytes,
        *,
        is_durable: Callable[[], bool] = never,
        within: Expected | None = None,
    ) -> None:
        def open_file(handle: Folder) -> tuple[Folder, int]:
            return handle, handle.open_for_append(file)

        # Only the opening may be done twice: what was begun to be written must not be written again.
        handle, fd = self._in_folder(
            folder, open_file, lambda stale, opened: stale.close_file(opened[1]), within=within
        )
        try:
            try:
                size = append(self._syscalls, handle, fd, data, durable=self._sync_writes, is_durable=is_durable)
            except BaseException:
                handle.close_file(fd)
                raise
            try:
                handle.close_file(fd)
            except OSError:
                handle.cut(file, size)  # a file server may say only here that there is no room for it
                raise
        except FileNotFoundError:
            if not self._is_there(handle):
                self._forget(folder)
            raise MissingError(os.path.join(self._path(folder), file)) from None
        except OSError as error:
            raise os_error(error, os.path.join(self._path(folder), file)) from error

    def begin_journal(self, folder: str, file: str, *, within: Expected | None = None) -> Journal:
        return self._journal(folder, file, is_new=True, within=within)

    def continue_journal(self, folder: str, file: str, *, within: Expected | None = None) -> Journal:
        return self._journal(folder, file, is_new=False, within=within)

    def _journal(self, folder: str, file: str, *, is_new: bool, within: Expected | None) -> Journal:
        def open_file(handle: Folder) -> DirectoryJournal:
            return DirectoryJournal(self._syscalls, handle, file, durable=self._sync_writes, is_new=is_new)

        return self._in_folder(folder, open_file, lambda _, stale: stale.close(), within=within)

    def remove_unchanged(self, folder: str, file: str, data: bytes) -> bool:
        return self._in_folder(folder, lambda handle: handle.remove_unchanged(file, data))

    def remove_complete(self, folder: str, file: str, size: int) -> bool:
        return self._in_folder(folder, lambda handle: handle.remove_complete(file, size))

    def remove(self, folder: str, file: str) -> None:
        self._in_folder(folder, lambda handle: handle.remove(file, durable=self._sync_writes))

    def changed_at(self, folder: str) -> int:
        return self._in_folder(folder, lambda handle: handle.changed_at())

    def has(self, folder: str, file: str, *, within: Expected | None = None) -> bool:
        # Whoever wants to know goes on to write, which tells whether the folder is there.
        try:
            return self._opened(folder, within).has_entry(file)
        except OSError as error:
            self._fail(error, folder)

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

    def hold(self, folder: str, file: str, data: bytes, *, together: bool = False) -> Callable[[], None]:
        kind = JoinedFile if together else HeldFile
        try:
            held = self._in_folder(
                folder,
                lambda handle: kind(self._syscalls, handle, file, data),
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

    def joined(self, folder: str, file: str) -> Joined | None:
        try:
            return joined(self._syscalls, self._fresh(folder), file)
        except OSError:
            return None

    def mount(self) -> Mount | None:
        return mount_of(self.location)

    def acquire_lock(self, folder: str, file: str, *, within: Expected | None = None) -> Callable[[], None]:
        def acquire(handle: Folder) -> tuple[Folder, SidecarLock]:
            lock = handle.lock(file)
            self._close_locks_but(lock)  # before it is ours: an interrupt must find nothing to be given back
            lock.acquire(self._lock_timeout)
            return handle, lock

        acquired = self._in_folder(folder, acquire, lambda _, taken: taken[1].release(), within=within)

        def release() -> None:
            # The handle is held on to as well: the lock works on its descriptor.
            _handle, lock = acquired
            lock.release()

        return release

    def _close_locks_but(self, lock: SidecarLock) -> None:
        with self._mutex:
            self._open_locks[lock] = None
            self._open_locks.move_to_end(lock)
            idle = self._open_locks.popitem(last=False)[0] if len(self._open_locks) > _MAX_OPEN_LOCKS else None
        if idle is not None:
            idle.close_if_idle()

    def remove_lock(self, folder: str, file: str) -> None:
        # Elsewhere the file stays: other hosts may go on seeing it for a while, and so two could hold two locks.
        if self._is_local is None:
            mount = self.mount()
            self._is_local = mount is not None and mount.is_local
        if self._is_local:
            self._cached(folder).discard(file)

    def sync(self, folder: str, file: str | None = None) -> None:
        try:
            handle = self._fresh(folder)
            mark = UNSYNCED_FILE if folder else f"{UNSYNCED_FILE}-{file}"
            failed = (handle.identity(), mark)
            has_failed = failed in self._unsynced or handle.has_entry(mark)
            try:
                if has_failed:
                    names = [name for name in handle.names() if not name.startswith(".")]
                    handle.sync_anew(names if file is None else [file])
                elif file is None:
                    handle.sync_files(handle.names())
                if file is not None:
                    handle.sync_file(file)
                handle.sync_self()
            except FileNotFoundError:
                raise
            except OSError as error:
                if error.errno in _TOO_MANY_OPEN:
                    raise  # nothing was written in vain
                self._unsynced[failed] = handle  # which keeps its number from being given to another
                handle.leave_mark(mark)  # for others
                raise
            if has_failed and (file is None or not folder):
                self._unsynced.pop(failed, None)
                handle.discard(mark)
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
