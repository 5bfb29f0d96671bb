"""A back end that has what every one has, and nothing beyond: to test stores over it, and to begin one of your own."""

from __future__ import annotations

import itertools
from collections.abc import Callable, Iterable, Iterator, Mapping
from contextlib import AbstractContextManager, contextmanager
from typing import NoReturn

from chunkstore.backends.base import STEP, Data, Within
from chunkstore.backends.errors import MissingError
from chunkstore.backends.optimistic import ConflictError, Note, Optimistic
from chunkstore.backends.reader import FileVersion, FolderReader
from chunkstore.errors import StoreUsageError
from chunkstore.names import END_OF_TIME

_numbers = itertools.count(1)


class PlainBackend(Optimistic):
    """Files in a dict, each replaced only if it is as it was loaded: without locks, journals, or anything held.

    Args:
        lock_timeout: for how many seconds a change that others overtake again and again is made anew.
    """

    shared_between_processes = False
    seconds_between_looks = 0.02

    def __init__(self, *, lock_timeout: float = 60.0) -> None:
        self.location = "plain"
        self.durability = STEP
        self.lock_timeout = lock_timeout
        self._folders: dict[str, _Files] = {"": _Files({})}

    def __reduce__(self) -> NoReturn:
        raise StoreUsageError(
            "Cannot send a plain backend to another process: its files live in the memory of this one."
        )

    # --- folders -----------------------------------------------------------------------------------------------------

    def folders(self) -> dict[str, int]:
        return {folder: END_OF_TIME for folder in list(self._folders) if folder}

    def _files(self, folder: str) -> _Files:
        files = self._folders.get(folder)
        return _missing(folder) if files is None or files.is_removed else files

    def _meant(self, folder: str, within: Within) -> _Files:
        files = self._files(folder)
        return files if within is None or files.examined(within.examine) == within.incarnation else _missing(folder)

    def examined(self, folder: str, examine: Callable[[FolderReader], str]) -> str:
        return self._files(folder).examined(examine)

    def create_folder(
        self, folder: str, files: Mapping[str, bytes], *, incarnation: str = "", durable: bool = False
    ) -> None:
        made = _Files(files)
        present = self._folders.setdefault(folder, made)
        if present is made:
            return
        if not present.is_removed:
            raise FileExistsError(folder)
        self._drop(folder, present)
        self.create_folder(folder, files)

    def remove_folder(self, folder: str) -> None:
        while True:
            files = self._files(folder)
            try:
                self.remove_folder_if_unchanged(folder, {files.deciding: files.version(files.deciding)}.items())
            except ConflictError:
                continue
            return

    def remove_folder_if_unchanged(self, folder: str, loaded: Iterable[tuple[str, FileVersion | None]]) -> None:
        files = self._files(folder)
        files.put(files.deciding, None, dict(loaded)[files.deciding])
        self._drop(folder, files)

    def _drop(self, folder: str, files: _Files) -> None:
        """Forget the files of a folder that was removed; another one may have its name by now."""
        if self._folders.get(folder) is files:
            self._folders.pop(folder, None)

    def noting_reader(self, folder: str, note: Note) -> AbstractContextManager[FolderReader]:
        @contextmanager
        def opened() -> Iterator[FolderReader]:
            files = self._files(folder)
            yield _PlainReader(f"plain/{folder}", files, note)
            if files.is_removed:
                _missing(folder)

        return opened()

    # --- files -------------------------------------------------------------------------------------------------------

    def publish(self, folder: str, file: str, data: Data, *, durable: bool = False, within: Within = None) -> None:
        try:
            self.put_if_unchanged(
                folder, file, data if isinstance(data, bytes) else b"".join(data), None, within=within
            )
        except ConflictError:
            raise FileExistsError(file) from None

    def replace(self, folder: str, file: str, data: bytes, *, durable: bool = False, within: Within = None) -> None:
        files = self._meant(folder, within)
        while True:
            try:
                files.put(file, data, files.version(file))
            except ConflictError:
                continue
            return

    def put_if_unchanged(
        self, folder: str, file: str, data: bytes, version: FileVersion | None, *, within: Within = None
    ) -> FileVersion:
        files = self._meant(folder, within)
        new = files.put(file, data, version)
        return _missing(folder) if files.is_removed else new

    def load_version(self, folder: str, file: str) -> tuple[bytes, FileVersion]:
        return self._files(folder).found(file)

    def remove(self, folder: str, file: str) -> None:
        files = self._files(folder)
        files.put(file, None, files.found(file)[1])

    def close(self) -> None:
        for files in list(self._folders.values()):
            files.forget()


class _Files:
    """The files of a folder, each with all its versions: a new one has the next number, which only one can give it.

    All is done by single operations of built-in types, so that neither threads nor handlers of signals come in between.

    Attributes:
        number: that of no other folder.
        deciding: the file that says whether the folder exists; empty if nothing does.
    """

    def __init__(self, files: Mapping[str, bytes]) -> None:
        self.number = next(_numbers)
        self.deciding = list(files)[-1] if files else ""
        self._examined: str | None = None
        # By file and number; without bytes, where the file was removed.
        self._versions: dict[str, dict[int, tuple[bytes | None]]] = {file: {1: (data,)} for file, data in files.items()}

    @property
    def is_removed(self) -> bool:
        return bool(self.deciding) and self.version(self.deciding) is None

    def examined(self, examine: Callable[[FolderReader], str]) -> str:
        if self._examined is None:
            self._examined = examine(_PlainReader("plain", self, lambda _file, _version: None))
        return self._examined

    def forget(self) -> None:
        self._examined = None

    def names(self) -> list[str]:
        return [file for file in list(self._versions) if self.version(file) is not None]

    def found(self, file: str) -> tuple[bytes, FileVersion]:
        versions = self._versions.get(file, {})
        number = len(versions)
        data = versions[number][0] if number else None
        return _missing(file) if data is None else (data, (number,))

    def version(self, file: str) -> FileVersion | None:
        try:
            return self.found(file)[1]
        except MissingError:
            return None

    def put(self, file: str, data: bytes | None, version: FileVersion | None) -> FileVersion:
        """Make the version that comes after one, or the first."""
        versions = self._versions.setdefault(file, {})
        number = len(versions) + 1
        mine = (data,)
        if version != self.version(file) or versions.setdefault(number, mine) is not mine:
            raise ConflictError(file)
        return (number,)


class _PlainReader(FolderReader):
    def __init__(self, location: str, files: _Files, note: Note) -> None:
        self.location = location
        self._files = files
        self._note = note

    def names(self, *, to_load: bool = False) -> list[str]:
        return self._files.names()

    def identity(self) -> int:
        return self._files.number

    def modified_at(self, file: str) -> int:
        return END_OF_TIME

    def version(self, file: str) -> FileVersion:
        return self._files.found(file)[1]

    def load(self, file: str) -> bytes:
        try:
            data, version = self._files.found(file)
        except MissingError:
            self._note(file, None)
            raise
        self._note(file, version)
        return data


def _missing(name: str) -> NoReturn:
    raise MissingError(name)
