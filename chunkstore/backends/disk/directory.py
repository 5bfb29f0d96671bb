"""Bytes in files of a folder, shared by any number of threads, processes and hosts."""

from __future__ import annotations

import errno
import os
from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from contextlib import contextmanager
from functools import lru_cache
from typing import Any, TypeVar

from chunkstore.backends.base import AT_THE_END, PROCESS, STEP, Data, Within
from chunkstore.backends.capabilities import (
    Appending,
    Grouping,
    Holder,
    Holding,
    Joined,
    Journal,
    Judge,
    Locking,
    Looking,
    Quarantining,
    RemovingUnchanged,
    Syncing,
    Watching,
    cannot_tell,
    never,
)
from chunkstore.backends.disk.appended import DirectoryJournal, append_and_close, open_to_append
from chunkstore.backends.disk.checks import check_what_ending_needs
from chunkstore.backends.disk.creation import create_folder, make_top
from chunkstore.backends.disk.folder import Folder, version_of
from chunkstore.backends.disk.freshness import UnsyncedError, again_if_stale
from chunkstore.backends.disk.held import HeldFile, JoinedFile, holder, joined
from chunkstore.backends.disk.listing import entries_in
from chunkstore.backends.disk.locks import OpenLocks, SidecarLock
from chunkstore.backends.disk.mounts import mount_of
from chunkstore.backends.disk.open_folders import OpenFolders
from chunkstore.backends.disk.os_errors import fail, os_error
from chunkstore.backends.disk.publishing import publish, publish_all, replace, write_together
from chunkstore.backends.disk.quarantine import quarantine
from chunkstore.backends.disk.removal import remove, remove_complete, remove_unchanged
from chunkstore.backends.disk.syncing import Syncs
from chunkstore.backends.disk.syscalls import SYSTEM, Syscalls
from chunkstore.backends.disk.trees import move_and_remove, remove_left_over
from chunkstore.backends.disk.watching import changes_in
from chunkstore.backends.disk.writing import discard
from chunkstore.backends.entries import Entry
from chunkstore.backends.errors import MissingError
from chunkstore.backends.mount import Mount
from chunkstore.backends.reader import FileVersion, FolderReader
from chunkstore.errors import ChunkstoreError, CorruptChunkError, StoreIOError
from chunkstore.forks import renew_after_fork
from chunkstore.names import LOCK_FILE

_T = TypeVar("_T")

_GONE = (FileNotFoundError, NotADirectoryError)


class DirectoryBackend(
    Looking, Watching, Grouping, RemovingUnchanged, Appending, Syncing, Holding, Quarantining, Locking
):
    """Files below a folder of the file system.

    Args:
        root: the top folder; it is made when something is written.
        durability: one of `DURABILITY_LEVELS`.
        lock_timeout: seconds to wait for a lock.
        syscalls: how files are touched; tests pass one that fails.
        find_mount: tells what is mounted where a path leads; tests pass one that knows of a file server.
    """

    shared_between_processes = True

    def __init__(
        self,
        root: str | os.PathLike[str],
        *,
        durability: str = AT_THE_END,
        lock_timeout: float = 60.0,
        syscalls: Syscalls = SYSTEM,
        find_mount: Callable[[str], Mount | None] = mount_of,
    ) -> None:
        self.location = os.path.abspath(root)
        self.durability = durability
        self._sync_writes = durability == STEP
        self._lock_timeout = lock_timeout
        self._find_mount = find_mount
        self._folders = OpenFolders(syscalls, self.location, sync_writes=self._sync_writes, find_mount=find_mount)
        self._locks = OpenLocks()
        self._syncs = Syncs()
        self._was_checked = False
        # Whether no other host can have the files mounted; found out when that matters.
        self._is_local: bool | None = None
        renew_after_fork(self)

    def __reduce__(self) -> tuple[Any, ...]:
        return _shared, (self.location, self.durability, self._lock_timeout)

    def examined(self, folder: str, examine: Callable[[FolderReader], str]) -> str:
        return self._folders.examined(folder, examine)

    def let_go(self, folder: str) -> None:
        self._folders.forget(folder)

    def close(self) -> None:
        self._folders.forget_all()
        self._locks.forget()

    def reset_after_fork(self) -> None:
        """In a forked child: let go of the parent's descriptors, never unlocking them."""
        self._folders.reset_after_fork()
        self._locks.reset_after_fork()

    # --- folders -----------------------------------------------------------------------------------------------------

    def folders(self) -> dict[str, int]:
        @again_if_stale
        def scan() -> dict[str, int]:
            top = self._folders.fresh("")
            return self._folders.syscalls.scan_folders(top.fd)

        try:
            return scan()
        except FileNotFoundError:
            return {}
        except OSError as error:
            fail(error, self.location)

    def create_folder(
        self, folder: str, files: Mapping[str, bytes], *, incarnation: str = "", durable: bool = False
    ) -> None:
        def while_locked(action: Callable[[], None]) -> None:
            self.while_locked(folder, LOCK_FILE, action)

        durable = durable or self._sync_writes
        create_folder(self._folders, folder, files, durable=durable, while_locked=while_locked)

    def remove_folder(self, folder: str) -> None:
        path = self._folders.path(folder)
        try:
            self._folders.look_afresh()
            self._folders.forget(folder)
            move_and_remove(self._folders.syscalls, path)
            if self._sync_writes:
                self._folders.fresh("").sync_self()
        except OSError as error:
            fail(error, path)

    # --- files -------------------------------------------------------------------------------------------------------

    @contextmanager
    def reader(self, folder: str) -> Iterator[FolderReader]:
        try:
            handle = self._folders.fresh(folder)
        except OSError as error:
            if isinstance(error, _GONE) or error.errno == errno.ELOOP:
                raise MissingError(self._folders.path(folder)) from None
            fail(error, self._folders.path(folder))
        try:
            yield handle
        except (OSError, CorruptChunkError, StoreIOError) as error:
            # What is missing, or no longer what it was, may have been removed with the whole folder.
            if folder and not isinstance(error, MissingError) and not self._is_there(handle):
                raise MissingError(self._folders.path(folder)) from None
            if isinstance(error, OSError):
                fail(error, self._folders.path(folder))
            raise
        if folder and not self._is_there(handle):
            raise MissingError(self._folders.path(folder))

    def _is_there(self, handle: Folder) -> bool:
        """Tell whether an open folder was not removed: whoever does that renames it before anything else."""
        try:
            return handle.is_current()
        except OSError as error:
            fail(error, handle.location)

    def publish(self, folder: str, file: str, data: Data, *, durable: bool = False, within: Within = None) -> None:
        if not folder:
            self._make_top()
        durable = durable or self._sync_writes

        def make(handle: Folder) -> None:
            try:
                # A file at the top is a whole run, which others may have joined by the time that something fails.
                publish(handle, file, data, durable=durable, take_back=bool(folder))
            except FileExistsError:
                # This host may remember one that another host has removed since.
                handle.look_afresh()
                if not handle.memory or handle.has_entry(file):
                    raise
                publish(handle, file, data, durable=durable, take_back=bool(folder))

        undo = (lambda handle, _: discard(handle, file)) if folder else None
        self._folders.do(folder, make, undo, within=within)

    def write_together(
        self,
        folder: str,
        files: Sequence[tuple[str, bytes, bool]],
        *,
        before: Callable[[], None] | None = None,
        durable: bool = False,
        within: Within = None,
    ) -> None:
        def take_back(handle: Folder, _done: None) -> None:
            for file, _, is_new in files:
                if is_new:
                    discard(handle, file)

        def write(handle: Folder) -> None:
            write_together(handle, files, before=before, durable=durable)

        durable = durable or self._sync_writes
        self._folders.do(folder, write, take_back, within=within)

    def publish_all(self, folder: str, files: Iterable[tuple[str, bytes]], *, within: Within = None) -> None:
        # Not by `do`, which may do it anew: what was given once is used up.
        try:
            handle = self._folders.fresh(folder) if within is None else self._folders.meant(folder, within)
            publish_all(handle, files)
            if not handle.is_current():
                raise MissingError(handle.location)
        except OSError as error:
            fail(error, self._folders.path(folder))

    def _make_top(self) -> None:
        try:
            make_top(self._folders.syscalls, self.location)
        except OSError as error:
            fail(error, self.location)

    def replace(self, folder: str, file: str, data: bytes, *, durable: bool = False, within: Within = None) -> None:
        durable = durable or self._sync_writes
        self._folders.do(folder, lambda handle: replace(handle, file, data, durable=durable), within=within)

    def append(
        self,
        folder: str,
        file: str,
        data: bytes,
        *,
        is_durable: Callable[[], bool] = never,
        within: Within = None,
    ) -> None:
        def open_file(handle: Folder) -> tuple[Folder, int]:
            return handle, open_to_append(handle, file)

        def close(handle: Folder, opened: tuple[Folder, int]) -> None:
            handle.syscalls.close(opened[1])

        # Only the opening may be done twice: what was begun to be written must not be written again.
        handle, fd = self._folders.do(folder, open_file, close, within=within)
        path = os.path.join(self._folders.path(folder), file)
        try:
            append_and_close(handle, file, fd, data, durable=self._sync_writes, is_durable=is_durable)
        except FileNotFoundError:
            if not self._is_there(handle):
                self._folders.forget(folder)
            raise MissingError(path) from None
        except OSError as error:
            raise os_error(error, path) from error

    def begin_journal(self, folder: str, file: str, *, within: Within = None) -> Journal:
        return self._journal(folder, file, is_new=True, within=within)

    def continue_journal(self, folder: str, file: str, *, within: Within = None) -> Journal:
        return self._journal(folder, file, is_new=False, within=within)

    def _journal(self, folder: str, file: str, *, is_new: bool, within: Within) -> Journal:
        def open_file(handle: Folder) -> DirectoryJournal:
            return DirectoryJournal(handle, file, durable=self._sync_writes, is_new=is_new)

        return self._folders.do(folder, open_file, lambda _, stale: stale.close(), within=within)

    def remove_unchanged(self, folder: str, file: str, data: bytes) -> bool:
        return self._afresh(folder, lambda handle: remove_unchanged(handle, file, data))

    def remove_complete(self, folder: str, file: str, size: int) -> bool:
        return self._afresh(folder, lambda handle: remove_complete(handle, file, size))

    def remove(self, folder: str, file: str) -> None:
        self._afresh(folder, lambda handle: remove(handle, file, durable=self._sync_writes))

    def _afresh(self, folder: str, verb: Callable[[Folder], _T]) -> _T:
        """Do something in a folder that is open, perhaps for long, as other hosts have left it."""

        def do(handle: Folder) -> _T:
            handle.look_afresh()
            return verb(handle)

        return self._folders.do(folder, do)

    def changed_at(self, folder: str) -> int:
        return self._afresh(folder, lambda handle: handle.changed_at())

    def has(self, folder: str, file: str, *, within: Within = None) -> bool:
        # Whoever wants to know goes on to write, which tells whether the folder is there.
        @again_if_stale
        def look() -> bool:
            handle = self._folders.meant(folder, within)
            handle.look_afresh()
            return handle.has_entry(file)

        try:
            return look()
        except OSError as error:
            fail(error, self._folders.path(folder))

    def version(self, folder: str, file: str) -> FileVersion:
        try:
            if self._folders.memory:
                return self._folders.reopened(folder).version(file)
            return version_of(self._folders.syscalls.lstat(f"{self._folders.path(folder)}{os.sep}{file}"))
        except OSError as error:
            fail(error, self._folders.path(folder))

    def entries(self, folder: str) -> list[Entry]:
        try:
            return again_if_stale(lambda: entries_in(self._folders.fresh(folder)))()
        except OSError as error:
            fail(error, self._folders.path(folder))

    def quarantine(self, folder: str, file: str, is_damaged: Judge) -> str:
        return self._afresh(folder, lambda handle: quarantine(handle, file, is_damaged))

    def remove_left_over(self, folder: str, name: str) -> None:
        path = os.path.join(self._folders.path(folder), name)
        try:
            remove_left_over(self._folders.syscalls, path)
        except FileNotFoundError:
            pass  # it has its true name by now, or somebody else has removed it
        except OSError as error:
            fail(error, self._folders.path(folder))

    def watch(self, folder: str) -> Iterator[set[str]]:
        return changes_in(self._folders.path(folder))

    def hold(
        self,
        folder: str,
        file: str,
        data: bytes,
        *,
        together: bool = False,
        is_over: Callable[[], bool] = lambda: True,
        incarnation: str = "",
        is_there: Callable[[], bool | None] = cannot_tell,
    ) -> Callable[[], None]:
        def hold_it(handle: Folder) -> HeldFile | JoinedFile:
            return JoinedFile(handle, file, data, is_over) if together else HeldFile(handle, file, data)

        try:
            held = self._folders.do(folder, hold_it, lambda _, stale: stale.release())
        except (ChunkstoreError, MissingError):
            return lambda: None  # then nobody can tell whether this process lives; that is no reason not to work
        return held.release

    def holder(self, folder: str, file: str, incarnation: str = "") -> Holder | None:
        try:
            return holder(self._folders.fresh(folder), file)
        except FileNotFoundError:
            return None
        except OSError:
            return Holder(b"", None)

    def joined(self, folder: str, file: str, incarnation: str = "") -> Joined | None:
        try:
            return joined(self._folders.fresh(folder), file)
        except OSError:
            return None

    def check_what_ending_needs(self) -> None:
        if self._was_checked:
            return
        self._make_top()
        try:
            again_if_stale(lambda: check_what_ending_needs(self._folders.fresh(""), syncs=self.durability != PROCESS))()
        except OSError as error:
            fail(error, self.location)
        self._was_checked = True

    def mount(self) -> Mount | None:
        return self._find_mount(self.location)

    def acquire_lock(self, folder: str, file: str, *, within: Within = None) -> Callable[[], None]:
        def acquire(handle: Folder) -> tuple[Folder, SidecarLock]:
            lock = handle.lock(file)
            self._locks.keep(lock)  # before it is ours: an interrupt must find nothing to be given back
            lock.acquire(self._lock_timeout)
            return handle, lock

        acquired = self._folders.do(folder, acquire, lambda _, taken: taken[1].release(), within=within)

        def release() -> None:
            # The handle is held on to as well: the lock works on its descriptor.
            _handle, lock = acquired
            lock.release()

        return release

    def remove_lock(self, folder: str, file: str) -> None:
        # Elsewhere the file stays: other hosts may go on seeing it for a while, and so two could hold two locks.
        if self._is_local is None:
            mount = self.mount()
            self._is_local = mount is not None and mount.is_local
        if self._is_local:
            discard(self._folders.cached(folder), file)

    def sync(self, folder: str, file: str | None = None) -> None:
        @again_if_stale  # what has failed is written again, see `Syncs`
        def sync() -> None:
            try:
                handle = self._folders.fresh(folder)
                if file is None:
                    self._syncs.sync_folder(handle)
                else:
                    self._syncs.sync_file(handle, file, by_itself=not folder)
                self._folders.sync_way_to(folder)
            except UnsyncedError as error:
                raise OSError(*error.args) from error  # nothing else was done

        try:
            sync()
        except OSError as error:
            fail(error, self._folders.path(folder))


@lru_cache(maxsize=8)
def _shared(root: str, durability: str, lock_timeout: float) -> DirectoryBackend:
    """Return the backend that all receivers in this process share: a worker opens a folder once, not once per task."""
    return DirectoryBackend(root, durability=durability, lock_timeout=lock_timeout)
