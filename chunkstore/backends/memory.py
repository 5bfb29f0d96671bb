"""Bytes in the memory of one process, shared by its threads."""

from __future__ import annotations

import itertools
import os
import threading
from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from contextlib import contextmanager
from typing import NoReturn

from chunkstore.backends.base import PROCESS, Backend, FileVersion, FolderReader, Journal, MissingError
from chunkstore.backends.locks import locked_twice
from chunkstore.backends.mounts import Mount
from chunkstore.backends.watching import poll
from chunkstore.errors import LockTimeoutError, StoreUsageError
from chunkstore.names import END_OF_TIME

#: No two changes have the same number, also where a folder is made anew.
_changes = itertools.count(1)


class MemoryBackend(Backend):
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
        self.admitted = set()
        self._lock_timeout = lock_timeout
        self._folders: dict[str, _Files] = {"": _Files()}
        self._mutex = threading.Lock()
        self._locks: dict[tuple[str, str], _MemoryLock] = {}
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

    def folders(self) -> dict[str, int]:
        self._files("")
        return {folder: END_OF_TIME for folder in list(self._folders) if folder}

    def create_folder(self, folder: str, files: Mapping[str, bytes]) -> None:
        self._files("")
        with self._mutex:
            if folder in self._folders:
                raise FileExistsError(folder)
            self._folders[folder] = _Files(files)

    def remove_folder(self, folder: str) -> None:
        self._files(folder)
        with self._mutex:
            self._folders.pop(folder, None)
            for key in [key for key in self._locks if key[0] == folder]:
                del self._locks[key]
        self.admitted.discard(folder)

    @contextmanager
    def reader(self, folder: str) -> Iterator[FolderReader]:
        yield _MemoryReader(folder, self._files(folder))

    def publish(self, folder: str, file: str, data: bytes | Sequence[bytes], *, durable: bool = False) -> None:
        files = self._files(folder)
        with self._mutex:
            if file in files:
                raise FileExistsError(file)
            files[file] = data if isinstance(data, bytes) else b"".join(data)

    def publish_all(self, folder: str, files: Iterable[tuple[str, bytes]]) -> None:
        for file, data in files:
            try:
                self.publish(folder, file, data)
            except FileExistsError:
                pass  # it stays

    def replace(self, folder: str, file: str, data: bytes, *, durable: bool = False) -> None:
        self._files(folder)[file] = data

    def append(self, folder: str, file: str, data: bytes, *, durable: bool = False) -> None:
        files = self._files(folder)
        with self._mutex:
            if file not in files:
                _missing(file)
            files[file] += data

    def begin_journal(self, folder: str, file: str) -> Journal:
        self.publish(folder, file, b"")
        return _MemoryJournal(self, folder, file)

    def remove_unchanged(self, folder: str, file: str, data: bytes) -> bool:
        files = self._files(folder)
        with self._mutex:
            if file in files and files[file] == data:
                del files[file]
            return file not in files

    def remove_complete(self, folder: str, file: str, size: int) -> bool:
        files = self._files(folder)
        with self._mutex:
            if file in files and len(files[file]) == size:
                del files[file]
            return file not in files

    def remove(self, folder: str, file: str) -> None:
        files = self._files(folder)
        with self._mutex:
            if file not in files:
                _missing(file)
            del files[file]

    def changed_at(self, folder: str) -> int:
        return self._files(folder).changes

    def version(self, folder: str, file: str) -> FileVersion:
        return _MemoryReader(folder, self._files(folder)).version(file)

    def watch(self, folder: str) -> Iterator[set[str]]:
        return poll()

    def hold(self, folder: str, file: str, data: bytes) -> Callable[[], None]:
        return lambda: None  # whoever asks lives in this process

    def is_held(self, folder: str, file: str) -> bool | None:
        return None

    def mount(self) -> Mount | None:
        return None

    def acquire_lock(self, folder: str, file: str) -> Callable[[], None]:
        self._files(folder)
        with self._mutex:
            lock = self._locks.setdefault((folder, file), _MemoryLock())
        if lock.thread == threading.get_ident():
            raise locked_twice(f"{folder or file} in memory")
        if not lock.acquire(self._lock_timeout):
            raise LockTimeoutError(
                f"Cannot lock {folder or file} in memory: another thread held it for {self._lock_timeout} seconds. "
                "Try again, or raise lock_timeout.",
                file=file,
                timeout=self._lock_timeout,
                holder=self._pid,
            )

        def release() -> None:
            lock.release()

        return release

    def sync(self, folder: str, file: str | None = None) -> None:
        if file is not None and file not in self._files(folder):
            _missing(file)
        self._files(folder)

    def close(self) -> None:
        self.admitted.clear()


class _Files(dict[str, bytes]):
    """The files of a folder, and when each was changed last, in changes.

    Attributes:
        changes: how many there were.
        versions: of each file, the number of its last change.
    """

    def __init__(self, files: Mapping[str, bytes] | None = None) -> None:
        super().__init__()
        self.changes = next(_changes)
        self.versions: dict[str, int] = {}
        for file, data in (files or {}).items():
            self[file] = data

    def __setitem__(self, file: str, data: bytes) -> None:
        super().__setitem__(file, data)
        self.changes = self.versions[file] = next(_changes)

    def __delitem__(self, file: str) -> None:
        super().__delitem__(file)
        self.changes = next(_changes)


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
            try:
                self._mutex.release()
            except RuntimeError:
                pass  # it was not ours yet
            raise
        return True

    def release(self) -> None:
        if self.thread == threading.get_ident():  # else it has been released by the call that was interrupted
            self.thread = None
            self._mutex.release()


class _MemoryReader(FolderReader):
    def __init__(self, folder: str, files: _Files) -> None:
        self.location = f"memory/{folder}"
        self._files = files

    def names(self, *, to_load: bool = False) -> list[str]:
        return list(self._files)

    def changed_at(self) -> int:
        return self._files.changes

    def forget_names(self) -> None:
        pass  # nothing is remembered

    def modified_at(self, file: str) -> int:
        return END_OF_TIME

    def glance(self, folder: str, file: str) -> bytes:
        return b""

    def version(self, file: str) -> FileVersion:
        return (self._files.versions[file],) if file in self._files else _missing(file)

    def has(self, file: str) -> bool:
        return file in self._files

    def load(self, file: str) -> bytes:
        data = self._files.get(file)
        return _missing(file) if data is None else data

    def size(self, file: str) -> int:
        return len(self.load(file))

    def load_part(self, file: str, start: int, size: int) -> bytes:
        return self.load(file)[start : start + size]


class _MemoryJournal(Journal):
    def __init__(self, backend: MemoryBackend, folder: str, file: str) -> None:
        self.file = file
        self._backend = backend
        self._folder = folder

    def append(self, data: bytes, *, durable: bool = False) -> None:
        self._backend.append(self._folder, self.file, data)

    def close(self) -> None:
        pass


def _missing(name: str) -> NoReturn:
    raise MissingError(name)
