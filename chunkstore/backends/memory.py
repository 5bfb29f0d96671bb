"""Bytes in the memory of one process, shared by its threads."""

from __future__ import annotations

import itertools
import os
import threading
import time
from collections.abc import Callable, Hashable, Iterator, Mapping, Sequence
from contextlib import contextmanager
from typing import NoReturn

from chunkstore.backends.base import PROCESS, Data, Within
from chunkstore.backends.capabilities import (
    Appending,
    Grouping,
    Journal,
    Locking,
    Looking,
    RemovingUnchanged,
    Syncing,
    Watching,
    never,
)
from chunkstore.backends.errors import MissingError, locked_twice
from chunkstore.backends.polling import poll
from chunkstore.backends.reader import FileVersion, FolderReader
from chunkstore.errors import LockTimeoutError, StoreUsageError
from chunkstore.interrupts import give_back
from chunkstore.names import END_OF_TIME

#: No two changes have the same number, also where a folder is made anew.
_changes = itertools.count(1)


class MemoryBackend(Looking, Watching, Grouping, RemovingUnchanged, Appending, Syncing, Locking):
    """Files in a dict.

    It belongs to the process that made it: other processes cannot see its records, so it refuses to work in a forked
    child and to be pickled, instead of losing what is written there.

    Args:
        lock_timeout: seconds to wait for a lock.
    """

    shared_between_processes = False

    def __init__(self, *, lock_timeout: float = 60.0) -> None:
        self.location = "memory"
        self.durability = PROCESS
        self._lock_timeout = lock_timeout
        self._folders: dict[str, _Files] = {"": _Files()}
        self._pid = os.getpid()

    def __reduce__(self) -> NoReturn:
        raise StoreUsageError(
            "Cannot send a buffered store to another process: its runs live in the memory of this one. Use threads, "
            "or the store type 'chunked-fs' or 'file-system'."
        )

    def _files(self, folder: str) -> _Files:
        if os.getpid() != self._pid:
            raise StoreUsageError(
                f"This buffered store belongs to process {self._pid} and was copied to process {os.getpid()} by a "
                "fork: what is recorded here would be lost. Use the store type 'chunked-fs' or 'file-system'."
            )
        return self._folders[folder] if folder in self._folders else _missing(folder)

    def _meant(self, folder: str, within: Within) -> _Files:
        """Return the files of a folder, or of that which is meant by `within`."""
        files = self._files(folder)
        if within is not None and self._examined(folder, files, within.examine) != within.incarnation:
            _missing(folder)
        return files

    def examined(self, folder: str, examine: Callable[[FolderReader], str]) -> str:
        return self._examined(folder, self._files(folder), examine)

    @staticmethod
    def _examined(folder: str, files: _Files, examine: Callable[[FolderReader], str]) -> str:
        if files.examined is None:
            files.examined = examine(_MemoryReader(folder, files))
        return files.examined

    def folders(self) -> dict[str, int]:
        self._files("")
        return {folder: END_OF_TIME for folder in list(self._folders) if folder}

    def create_folder(
        self, folder: str, files: Mapping[str, bytes], *, incarnation: str = "", durable: bool = False
    ) -> None:
        self._files("")
        made = _Files(files)
        if self._folders.setdefault(folder, made) is not made:
            raise FileExistsError(folder)

    def remove_folder(self, folder: str) -> None:
        self._files(folder)
        if self._folders.pop(folder, None) is None:
            _missing(folder)

    @contextmanager
    def reader(self, folder: str) -> Iterator[FolderReader]:
        # What is removed meanwhile stays whole for whoever reads it: the files are not taken away one by one.
        yield _MemoryReader(folder, self._files(folder))

    def publish(self, folder: str, file: str, data: Data, *, durable: bool = False, within: Within = None) -> None:
        self._meant(folder, within).add({file: data if isinstance(data, bytes) else b"".join(data)})

    def write_together(
        self,
        folder: str,
        files: Sequence[tuple[str, bytes, bool]],
        *,
        before: Callable[[], None] | None = None,
        durable: bool = False,
        within: Within = None,
    ) -> None:
        present = self._meant(folder, within)
        if before is not None:
            before()
        present.add({file: data for file, data, is_new in files if is_new})
        for file, data, is_new in files:
            if not is_new:
                present[file] = data

    def replace(self, folder: str, file: str, data: bytes, *, durable: bool = False, within: Within = None) -> None:
        self._meant(folder, within)[file] = data

    def append(
        self,
        folder: str,
        file: str,
        data: bytes,
        *,
        is_durable: Callable[[], bool] = never,
        within: Within = None,
    ) -> None:
        self._meant(folder, within).append(file, data)

    def begin_journal(self, folder: str, file: str, *, within: Within = None) -> Journal:
        self.publish(folder, file, b"", within=within)
        return _MemoryJournal(self, folder, within, file)

    def continue_journal(self, folder: str, file: str, *, within: Within = None) -> Journal:
        if file not in self._meant(folder, within):
            _missing(file)
        return _MemoryJournal(self, folder, within, file)

    def remove_unchanged(self, folder: str, file: str, data: bytes) -> bool:
        return self._files(folder).remove_if(file, lambda held: held == data)

    def remove_complete(self, folder: str, file: str, size: int) -> bool:
        return self._files(folder).remove_if(file, lambda held: len(held) == size)

    def remove(self, folder: str, file: str) -> None:
        del self._files(folder)[file]

    def version(self, folder: str, file: str) -> FileVersion:
        return (self._files(folder).version(file),)

    def changed_at(self, folder: str) -> int:
        return self._files(folder).changes

    def has(self, folder: str, file: str, *, within: Within = None) -> bool:
        return file in self._meant(folder, within)

    def acquire_lock(self, folder: str, file: str, *, within: Within = None) -> Callable[[], None]:
        deadline = time.monotonic() + self._lock_timeout
        while True:
            files = self._meant(folder, within)
            # The lock is that of these files: whoever waits for it until they are gone asks for that of the new ones.
            lock = files.locks.setdefault(file, _MemoryLock())
            if lock.thread == threading.get_ident():
                raise locked_twice(f"{folder or file} in memory")
            if not lock.acquire(max(deadline - time.monotonic(), 0)):
                raise LockTimeoutError(
                    f"Cannot lock {folder or file} in memory: another thread held it for {self._lock_timeout} "
                    "seconds. Try again, or raise lock_timeout.",
                    file=file,
                    timeout=self._lock_timeout,
                    holder=self._pid,
                )
            if self._folders.get(folder) is files:
                return lock.release
            lock.release()

    def sync(self, folder: str, file: str | None = None) -> None:
        if file is not None and file not in self._files(folder):
            _missing(file)
        self._files(folder)

    def watch(self, folder: str) -> Iterator[set[str]]:
        return poll()

    def close(self) -> None:
        for files in list(self._folders.values()):
            files.examined = None


class _Files:
    """The files of a folder, and when each was changed last, in changes.

    All is done by single operations of built-in types, so that neither threads nor handlers of signals come in between.

    Attributes:
        changes: how many there were.
        made: the number of the change that made the folder.
        locks: by file.
        examined: what was found out about the folder, see `Backend.examined`.
    """

    def __init__(self, files: Mapping[str, bytes] | None = None) -> None:
        # Of each file, the parts that make it up: what is appended is one more.
        self._parts: dict[str, list[bytes]] = {}
        self._versions: dict[str, int] = {}
        self.changes = self.made = next(_changes)
        self.locks: dict[str, _MemoryLock] = {}
        self.examined: str | None = None
        for file, data in (files or {}).items():
            self[file] = data

    def __contains__(self, file: str) -> bool:
        return file in self._parts

    def __iter__(self) -> Iterator[str]:
        return iter(list(self._parts))

    def __getitem__(self, file: str) -> bytes:
        return b"".join(self._found(file))

    def _found(self, file: str) -> list[bytes]:
        parts = self._parts.get(file)
        return _missing(file) if parts is None else parts

    def __setitem__(self, file: str, data: bytes) -> None:
        self._parts[file] = [data]
        self._note(file)

    def __delitem__(self, file: str) -> None:
        if self._parts.pop(file, None) is None:
            _missing(file)
        self.changes = next(_changes)

    def add(self, files: Mapping[str, bytes]) -> None:
        """Add new files, all or none."""
        added: list[str] = []
        for file, data in files.items():
            parts = [data]
            if self._parts.setdefault(file, parts) is not parts:
                for other in added:
                    del self[other]
                raise FileExistsError(file)
            added.append(file)
            self._note(file)

    def append(self, file: str, data: bytes) -> None:
        """Add to the end of a file."""
        parts = self._found(file)
        parts.append(data)
        if self._parts.get(file) is not parts:
            _missing(file)  # it has been removed meanwhile
        self._note(file)

    def remove_if(self, file: str, is_right: Callable[[bytes], bool]) -> bool:
        """Remove a file, if it holds the right thing; tell whether it is gone."""
        if file in self._parts and not is_right(self[file]):
            return False
        parts = self._parts.pop(file, None)
        if parts is not None and not is_right(b"".join(parts)):  # it was changed between the look and the deed
            self._parts.setdefault(file, parts)
            return False
        self.changes = next(_changes)
        return file not in self._parts

    def version(self, file: str) -> int:
        """Return the number of the last change of a file."""
        self._found(file)
        return self._versions.get(file, 0)

    def _note(self, file: str) -> None:
        self.changes = self._versions[file] = next(_changes)


class _MemoryLock:
    def __init__(self) -> None:
        # Of the kind that knows its owner: an interrupt may come when it is ours and nobody has noted that yet.
        self._mutex = threading.RLock()
        self.thread: int | None = None

    def acquire(self, timeout: float) -> bool:
        try:
            if not self._mutex.acquire(timeout=timeout):
                return False
            self.thread = threading.get_ident()
        except BaseException:
            give_back(self._mutex)
            raise
        return True

    def release(self) -> None:
        me = threading.get_ident()
        if self.thread == me:  # else it has been released by the call that was interrupted
            self.thread = None
            self._mutex.release()


class _MemoryReader(FolderReader):
    def __init__(self, folder: str, files: _Files) -> None:
        self.location = f"memory/{folder}"
        self._files = files

    def names(self, *, to_load: bool = False) -> list[str]:
        return list(self._files)

    def all_entries(self) -> list[str]:
        return list(self._files)

    def changed_at(self) -> int:
        return self._files.changes

    def identity(self) -> Hashable:
        return self._files.made

    def forget_names(self) -> None:
        pass  # nothing is remembered

    def modified_at(self, file: str) -> int:
        return END_OF_TIME

    def glance(self, folder: str, file: str) -> bytes:
        return b""

    def version(self, file: str) -> FileVersion:
        return (self._files.version(file),)

    def has(self, file: str) -> bool:
        return file in self._files

    def load(self, file: str) -> bytes:
        return self._files[file]

    def size(self, file: str) -> int:
        return len(self.load(file))

    def load_part(self, file: str, start: int, size: int) -> bytes:
        return self.load(file)[start : start + size]


class _MemoryJournal(Journal):
    def __init__(self, backend: MemoryBackend, folder: str, within: Within, file: str) -> None:
        self.file = file
        self._backend = backend
        self._folder = folder
        self._within = within

    def append(self, data: bytes, *, is_durable: Callable[[], bool] = never) -> None:
        self._backend.append(self._folder, self.file, data, within=self._within)

    def close(self) -> None:
        pass


def _missing(name: str) -> NoReturn:
    raise MissingError(name)
