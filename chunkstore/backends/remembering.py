"""A reader that loads each file of a folder once, for those who go through it more than once."""

from __future__ import annotations

from collections.abc import Hashable, Iterable

from chunkstore.backends.reader import FileVersion, FolderReader


class RememberingReader(FolderReader):
    """Lists a folder once and loads each file once; what is loaded stays in memory.

    Args:
        reader: the folder, opened for this read.
    """

    def __init__(self, reader: FolderReader) -> None:
        self.location = reader.location
        self.reads_ahead = reader.reads_ahead
        self._reader = reader
        self._names: list[str] | None = None
        self._loaded: dict[str, bytes] = {}

    def expect(self, files: Iterable[str]) -> None:
        self._reader.expect(file for file in files if file not in self._loaded)

    def names(self, *, to_load: bool = False) -> list[str]:
        if self._names is None:
            self._names = self._reader.names(to_load=to_load)
        return list(self._names)

    def all_entries(self) -> list[str]:
        return self._reader.all_entries()

    def forget_names(self) -> None:
        self._names = None
        self._reader.forget_names()

    def has(self, file: str) -> bool:
        return self._reader.has(file)

    def identity(self) -> Hashable:
        return self._reader.identity()

    def modified_at(self, file: str) -> int:
        return self._reader.modified_at(file)

    def version(self, file: str) -> FileVersion:
        return self._reader.version(file)

    def load(self, file: str) -> bytes:
        if file not in self._loaded:
            self._loaded[file] = self._reader.load(file)
        return self._loaded[file]
