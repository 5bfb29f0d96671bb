"""What can be read in a folder."""

from __future__ import annotations

from abc import ABC, abstractmethod
from collections.abc import Hashable, Iterable

from chunkstore.backends.errors import MissingError

#: What changes when a file is replaced by another.
FileVersion = tuple[Hashable, ...]


class FolderReader(ABC):
    """A view of one folder for the length of one read.

    Attributes:
        location: where the folder is, for people.
        reads_ahead: whether each file that is loaded costs a request, so that it is worth saying which come next, and a
            file is better loaded whole than in parts.
    """

    location: str
    reads_ahead: bool = False

    def expect(self, files: Iterable[str]) -> None:
        """Be told which files will be loaded next, in about this order, after those that were named before.

        Where each is a request, many are loaded at once and kept until they are asked for, as far as memory is meant to
        go; a file that is never asked for, or is gone by then, does no harm.

        Args:
            files: names; of files in folders of this one, `folder/file`, as for `glance`.
        """

    # --- what there is -----------------------------------------------------------------------------------------------

    @abstractmethod
    def names(self, *, to_load: bool = False) -> list[str]:
        """Return the names of all files: every one that was acknowledged before the call, and perhaps later ones.

        Args:
            to_load: whether most of them will be loaded; then more may be found out about them on the way.
        """

    def starting_with(self, prefix: str) -> list[str]:
        """Return those of the names of all files that begin with `prefix`."""
        return [name for name in self.names() if name.startswith(prefix)]

    def all_entries(self) -> list[str]:
        """Return the names of all entries, also of those that are no files for readers; a single listing."""
        return self.names()

    def forget_names(self) -> None:
        """Return from `names` no name any more that was found before and is not there."""

    def has(self, file: str) -> bool:
        """Tell whether there is a file of that name."""
        try:
            self.version(file)
        except MissingError:
            return False
        return True

    @abstractmethod
    def identity(self) -> Hashable:
        """Return what tells the folder from any other that there is, also one that gets its name later."""

    # --- when it was written -----------------------------------------------------------------------------------------

    def changed_at(self) -> int:
        """Return a number that is another one after a file was made, replaced or removed, as far as can be told."""
        return hash(frozenset((name, self._version_if_there(name)) for name in self.names()))

    def _version_if_there(self, file: str) -> FileVersion:
        try:
            return self.version(file)
        except MissingError:
            return ()

    @abstractmethod
    def modified_at(self, file: str) -> int:
        """Return when a file was written last, in nanoseconds; far ahead if nobody knows."""

    @abstractmethod
    def version(self, file: str) -> FileVersion:
        """Return something that is another one after a file was replaced, or appended to.

        Raises:
            MissingError: there is no such file.
        """

    # --- what is in it -----------------------------------------------------------------------------------------------

    @abstractmethod
    def load(self, file: str) -> bytes:
        """Return the bytes of a file, never a mixture of two writes.

        Raises:
            MissingError: there is no such file.
            UnreadableFileError: it cannot be read.
        """

    def glance(self, folder: str, file: str) -> bytes:
        """Return what a small file in a folder of this one holds, or nothing, at little cost.

        It may be a part, or of something that is no regular file: only bytes that end in their checksum count.
        """
        return b""

    def size(self, file: str) -> int:
        """Return the length of a file in bytes.

        Raises:
            MissingError: there is no such file.
        """
        return len(self.load(file))

    def load_part(self, file: str, start: int, size: int) -> bytes:
        """Return up to `size` bytes of a file that is never replaced, from the byte `start` on.

        Raises:
            MissingError: there is no such file.
            UnreadableFileError: it cannot be read.
        """
        return self.load(file)[start : start + size]
