"""What every back end does: a few short verbs over bytes in folders; what only some do is in `capabilities`."""

from __future__ import annotations

from abc import ABC, abstractmethod
from collections.abc import Callable, Iterable, Mapping, Sequence
from contextlib import AbstractContextManager
from typing import ClassVar, Protocol, TypeVar

from chunkstore.backends.entries import FILE, Entry
from chunkstore.backends.errors import MissingError
from chunkstore.backends.reader import FileVersion, FolderReader
from chunkstore.names import LOCK_FILE

_T = TypeVar("_T")

#: What a file holds, in one piece or several.
Data = bytes | Sequence[bytes]

PROCESS, AT_THE_END, STEP = "process", "run", "step"
#: What a returned call survives: the death of any process; also, once the run has finished, a loss of power; also a
#: loss of power at once.
DURABILITY_LEVELS = (PROCESS, AT_THE_END, STEP)


class Expected(Protocol):
    """Which of all folders that have, had or get a name is meant.

    Attributes:
        incarnation: what tells it from the others.
    """

    incarnation: str

    def examine(self, reader: FolderReader) -> str:
        """Return what tells an open folder from the others; see `Backend.examined`."""


#: The folder that is meant; None for whichever has the name.
Within = Expected | None


class Change(ABC):
    """What an action of `Backend.change` gets: a folder in which nobody else changes what this action has loaded."""

    @abstractmethod
    def reader(self) -> AbstractContextManager[FolderReader]:
        """Open the folder, as `Backend.reader`; what is loaded through it counts as loaded by this action."""

    @abstractmethod
    def load(self, file: str, *, known: bool = False) -> bytes:
        """Return the bytes of a file.

        Args:
            file: its name.
            known: whether what this process knows of it will do at first, as the action is going to replace it: if it
                is not so any more, or the action does not replace it, that is called anew.

        Raises:
            MissingError: there is no such file, which counts as loaded, too.
        """

    @abstractmethod
    def replace(self, file: str, data: bytes, *, durable: bool = False) -> None:
        """Replace a file that this action has loaded, or make one that it has found missing, or takes to be missing.

        If somebody else has changed it since, it stays as it is, and the action is called anew; so this raises
        something that the action must let pass. Of several files, each is a change by itself.
        """

    @abstractmethod
    def remove_folder(self) -> None:
        """Remove the folder, as `Backend.remove_folder`, whose deciding file this action has loaded; as `replace`."""


class Backend(ABC):
    """Files of bytes in folders one level deep; the folder "" is the top.

    Every verb is all or nothing. What is written with `durable`, or at all at the level `step`, survives a loss of
    power when the verb returns. `MissingError` and `FileExistsError` are part of the contract; whatever else goes wrong
    becomes a `StoreIOError`, `StoreAccessError` or `StoreFullError`.

    A folder can be removed and made anew at any time. Verbs that are told by `within` which one is meant do what they
    do in that one, or raise `MissingError`; the others take whichever has the name. What was read of a folder that is
    removed meanwhile does not count: the reader raises `MissingError` at its end.

    Attributes:
        location: where the top is, for people.
        durability: one of `DURABILITY_LEVELS`.
        shared_between_processes: whether other processes see the same files.
        seconds_between_looks: how long those wait who follow what is written where nothing tells of it.
        may_be_forked: whether a forked child can use it, whatever its parent has done with it before.
    """

    location: str
    durability: str
    shared_between_processes: bool
    seconds_between_looks: ClassVar[float] = 2.0
    may_be_forked: ClassVar[bool] = True

    # --- folders -----------------------------------------------------------------------------------------------------

    @abstractmethod
    def folders(self) -> dict[str, int]:
        """Return all folders, and when anything was made or replaced in each last; none if there is no top yet.

        The times are in nanoseconds, and as exact as the place has them; far ahead where nobody knows. Links, pipes and
        devices may be among them, with a negative time.
        """

    @abstractmethod
    def examined(self, folder: str, examine: Callable[[FolderReader], str]) -> str:
        """Return what `examine` says of a folder; it is asked again only when it may be another folder by now.

        Raises:
            MissingError: there is no such folder.
        """

    @abstractmethod
    def create_folder(
        self, folder: str, files: Mapping[str, bytes], *, incarnation: str = "", durable: bool = False
    ) -> None:
        """Make a folder that holds `files` from its first moment on; the last of them decides whether it existed.

        Args:
            folder: the folder.
            files: names, and what they hold.
            incarnation: what tells the folder from others; see `Expected`.
            durable: see the class.

        Raises:
            FileExistsError: the folder exists, with that file in it; no reader of that will see any of the others.
        """

    @abstractmethod
    def remove_folder(self, folder: str) -> None:
        """Remove a folder with all its files; it is gone at once for everybody.

        Raises:
            MissingError: there is no such folder.
        """

    @abstractmethod
    def reader(self, folder: str) -> AbstractContextManager[FolderReader]:
        """Open a folder for one read.

        Raises:
            MissingError: there is no such folder; or, at the end of the block, it was removed meanwhile.
        """

    def entries(self, folder: str) -> list[Entry]:
        """Return what lies in a folder, which may be one inside another; also what readers pass over.

        Raises:
            MissingError: there is no such folder.
        """
        with self.reader(folder) as reader:
            return [Entry(name, FILE) for name in reader.names()]

    # --- files -------------------------------------------------------------------------------------------------------

    @abstractmethod
    def publish(self, folder: str, file: str, data: Data, *, durable: bool = False, within: Within = None) -> None:
        """Make a new file, whole from its first moment on.

        Raises:
            MissingError: there is no such folder.
            FileExistsError: there is such a file; it is not touched.
        """

    @abstractmethod
    def replace(self, folder: str, file: str, data: bytes, *, durable: bool = False, within: Within = None) -> None:
        """Replace a file, or make it: readers see the old bytes or the new ones.

        Raises:
            MissingError: there is no such folder.
        """

    @abstractmethod
    def change(
        self, folder: str, action: Callable[[Change], _T], *, lock: str = LOCK_FILE, within: Within = None
    ) -> _T:
        """Return what `action` returns, which loads files and replaces them: no other such change is lost or undone.

        A call that comes in the middle of an action of the same thread, from a finaliser or the handler of a signal,
        does not wait for it: the action is called again.

        Args:
            folder: the folder.
            action: may be called any number of times; what it did the last time counts.
            lock: the name of the lock under which that is done, where there are locks.
            within: see the class.

        Raises:
            MissingError: there is no such folder.
            LockTimeoutError: others have kept it from being done for too long.
        """

    @abstractmethod
    def remove(self, folder: str, file: str) -> None:
        """Remove a file.

        Raises:
            MissingError: there is no such file.
        """

    def remove_all(self, folder: str, files: Iterable[str]) -> None:
        """Remove many files, in any order; those that are gone already are passed over."""
        for file in files:
            try:
                self.remove(folder, file)
            except MissingError:
                pass

    def publish_all(self, folder: str, files: Iterable[tuple[str, bytes]], *, within: Within = None) -> None:
        """Make many new files that survive a loss of power, each whole from its first moment on, if there is none.

        Raises:
            MissingError: there is no such folder.
        """
        for file, data in files:
            try:
                self.publish(folder, file, data, durable=True, within=within)
            except FileExistsError:
                pass  # it stays

    def remove_left_over(self, folder: str, name: str) -> None:
        """Remove, if it is there, a file or folder that no reader looks at, and that somebody who was stopped left."""
        try:
            self.remove(folder, name)
        except MissingError:
            pass

    # --- single looks ------------------------------------------------------------------------------------------------

    def load(self, folder: str, file: str) -> bytes:
        """Return the bytes of one file; see `FolderReader.load`."""
        with self.reader(folder) as reader:
            return reader.load(file)

    def has(self, folder: str, file: str, *, within: Within = None) -> bool:
        """Tell whether there is a file of that name.

        Raises:
            MissingError: there is no such folder.
        """
        with self.reader(folder) as reader:
            return reader.has(file)

    def version(self, folder: str, file: str) -> FileVersion:
        """Return something that is another one after a file was replaced.

        Raises:
            MissingError: there is no such file.
        """
        with self.reader(folder) as reader:
            return reader.version(file)

    def changed_at(self, folder: str) -> int:
        """Return what a reader's `changed_at` would.

        Raises:
            MissingError: there is no such folder.
        """
        with self.reader(folder) as reader:
            return reader.changed_at()

    # --- what is held open -------------------------------------------------------------------------------------------

    def let_go(self, folder: str) -> None:
        """Give back what is held open of a folder that is not going to be written to for a while."""

    def close(self) -> None:
        """Give back what is held open; the backend can be used again."""
