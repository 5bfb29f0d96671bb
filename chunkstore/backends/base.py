"""What a backend does: a few short verbs over bytes in folders."""

from __future__ import annotations

from abc import ABC, abstractmethod
from collections.abc import Callable, Hashable, Iterable, Iterator, Mapping, Sequence
from contextlib import AbstractContextManager, contextmanager
from typing import NamedTuple, Protocol, TypeVar

from chunkstore.backends.entries import FILE, Entry
from chunkstore.backends.mount import Mount
from chunkstore.backends.polling import poll
from chunkstore.backends.reader import FileVersion, FolderReader
from chunkstore.backends.turns import loaded, present_turn, take_turn

_T = TypeVar("_T")


def never() -> bool:
    """Say no, where something is asked of whoever calls."""
    return False


#: What a file holds, in one piece or several.
Data = bytes | Sequence[bytes]

#: Is given what loads a file; tells whether that is damaged.
Judge = Callable[[Callable[[], bytes]], bool]

PROCESS, AT_THE_END, STEP = "process", "run", "step"
#: What a returned call survives: the death of any process; also, once the run has finished, a loss of power; also a
#: loss of power at once.
DURABILITY_LEVELS = (PROCESS, AT_THE_END, STEP)


class Holder(NamedTuple):
    """Who holds a file alone.

    Attributes:
        data: what it has written.
        is_alive: whether it still holds the file; None if that cannot be looked at.
    """

    data: bytes
    is_alive: bool | None


class Joined(NamedTuple):
    """Who holds a file together.

    Attributes:
        living: what those have written who live; empty bytes for one of whom nothing is known.
        dead: what those have written who died without giving it back; of each, too, what those wrote who came later.
    """

    living: list[bytes]
    dead: Sequence[tuple[bytes, Sequence[bytes]]] = ()


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


class Journal(ABC):
    """A file of lines that one process appends to.

    Attributes:
        file: its name.
    """

    file: str

    @abstractmethod
    def append(self, data: bytes, *, is_durable: Callable[[], bool] = never) -> None:
        """Add bytes to its end, as `Backend.append`; after an error, nothing more is to be appended.

        Raises:
            MissingError: the file, or its folder, was removed; nothing was added to it.
        """

    @abstractmethod
    def close(self) -> None:
        """Give back what is held open."""


class Backend(ABC):
    """Files of bytes in folders one level deep; the folder "" is the top.

    Every verb is all or nothing. What is written with `durable`, or at all at the level `step`, survives a loss of
    power when the verb returns. `MissingError` and `FileExistsError` are part of the contract; whatever else the
    operating system says becomes a `StoreIOError`, `StoreAccessError` or `StoreFullError`.

    A folder can be removed and made anew at any time. Verbs that are told by `within` which one is meant do what they
    do in that one, or raise `MissingError`; the others take whichever has the name. What was read of a folder that is
    removed meanwhile does not count: the reader raises `MissingError` at its end.

    Attributes:
        location: where the top is, for people.
        durability: one of `DURABILITY_LEVELS`.
        shared_between_processes: whether other processes see the same files.
    """

    location: str
    durability: str
    shared_between_processes: bool

    @abstractmethod
    def folders(self) -> dict[str, int]:
        """Return all folders, and when anything was made or replaced in each last; none if there is no top yet.

        The times are in nanoseconds, and as exact as the file system has them; far ahead where nobody knows. Links,
        pipes and devices may be among them, with a negative time.
        """

    @abstractmethod
    def examined(self, folder: str, examine: Callable[[FolderReader], str]) -> str:
        """Return what `examine` says of a folder; it is asked again only when it may be another folder by now.

        Raises:
            MissingError: there is no such folder.
        """

    @abstractmethod
    def create_folder(self, folder: str, files: Mapping[str, bytes], *, durable: bool = False) -> None:
        """Make a folder that holds `files` from its first moment on; the last of them decides whether it existed.

        Raises:
            FileExistsError: the folder exists, with that file in it.
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

    @abstractmethod
    def publish(self, folder: str, file: str, data: Data, *, durable: bool = False, within: Within = None) -> None:
        """Make a new file, whole from its first moment on.

        Raises:
            MissingError: there is no such folder.
            FileExistsError: there is such a file; it is not touched.
        """

    def publish_all(self, folder: str, files: Iterable[tuple[str, bytes]]) -> None:
        """Make many new files that survive a loss of power, each whole from its first moment on, if there is none.

        Raises:
            MissingError: there is no such folder.
        """
        for file, data in files:
            try:
                self.publish(folder, file, data, durable=True)
            except FileExistsError:
                pass  # it stays

    @abstractmethod
    def write_together(
        self,
        folder: str,
        files: Sequence[tuple[str, bytes, bool]],
        *,
        before: Callable[[], None] | None = None,
        durable: bool = False,
        within: Within = None,
    ) -> None:
        """Make or replace several files one after the other, or none if anything fails before the first is there.

        Args:
            folder: the folder.
            files: names, what they hold, and whether each is new; else it is replaced.
            before: what to do when all are written and none has got its name.
            durable: see the class.
            within: see the class.

        Raises:
            MissingError: there is no such folder.
            FileExistsError: there is one that should be new; those that are new are taken back.
        """

    @abstractmethod
    def replace(self, folder: str, file: str, data: bytes, *, durable: bool = False, within: Within = None) -> None:
        """Replace a file, or make it: readers see the old bytes or the new ones.

        Raises:
            MissingError: there is no such folder.
        """

    @abstractmethod
    def append(
        self,
        folder: str,
        file: str,
        data: bytes,
        *,
        is_durable: Callable[[], bool] = never,
        within: Within = None,
    ) -> None:
        """Add bytes to the end of a file that nobody else appends to.

        Args:
            folder: the folder.
            file: the file.
            data: what to add.
            is_durable: is asked, when the bytes are in the file, whether they must survive a loss of power before this
                returns; if they cannot be made to, they are taken back.
            within: see the class.

        Raises:
            MissingError: there is no such folder or file, or the file is being removed.
        """

    @abstractmethod
    def begin_journal(self, folder: str, file: str, *, within: Within = None) -> Journal:
        """Make a new, empty file to append to many times.

        Raises:
            MissingError: there is no such folder.
            FileExistsError: there is such a file; it is not touched.
        """

    @abstractmethod
    def continue_journal(self, folder: str, file: str, *, within: Within = None) -> Journal:
        """Open a journal of our own again, which was closed.

        Raises:
            MissingError: there is no such folder or file.
        """

    @abstractmethod
    def remove(self, folder: str, file: str) -> None:
        """Remove a file.

        Raises:
            MissingError: there is no such file.
        """

    @abstractmethod
    def remove_unchanged(self, folder: str, file: str, data: bytes) -> bool:
        """Remove a file that others may replace at any time, unless it holds anything but `data`.

        Readers find the file, old or new, until it is gone.

        Returns:
            Whether it is gone.
        """

    @abstractmethod
    def remove_complete(self, folder: str, file: str, size: int) -> bool:
        """Remove a file that is appended to, unless anything was added since it was `size` bytes long.

        Returns:
            Whether it is gone.
        """

    def changed_at(self, folder: str) -> int:
        """Return what a reader's `changed_at` would, without opening the folder if that can be avoided.

        Raises:
            MissingError: there is no such folder.
        """
        with self.reader(folder) as reader:
            return reader.changed_at()

    @abstractmethod
    def has(self, folder: str, file: str, *, within: Within = None) -> bool:
        """Tell whether there is a file of that name; the folder is not opened for that if it is open already.

        Raises:
            MissingError: there is no such folder.
        """

    def version(self, folder: str, file: str) -> FileVersion:
        """Return something that is another one after a file was replaced.

        Raises:
            MissingError: there is no such file.
        """
        with self.reader(folder) as reader:
            return reader.version(file)

    def watch(self, folder: str) -> Iterator[set[str]]:
        """Yield the names of files that may have changed, soon after they have, and nothing from time to time.

        It is a hint: names may be missing, and others too many.
        """
        return poll()

    def hold(
        self,
        folder: str,
        file: str,
        data: bytes,
        *,
        together: bool = False,
        is_over: Callable[[], bool] = lambda: True,
    ) -> Callable[[], None]:
        """Make a file that says that this process lives, until it ends or gives it back; nothing if that cannot be.

        Args:
            folder: the folder.
            file: the file.
            data: who this process is; a JSON object.
            together: whether others hold the same file beside this process.
            is_over: tells, as one gives back what was held together, whether nobody will ask any more who has died.

        Returns:
            Gives it back; the last one removes the file, unless it tells of somebody who has died.
        """
        return lambda: None

    def holder(self, folder: str, file: str) -> Holder | None:
        """Return who holds a file alone, or held it; None if there is no such file.

        Nobody is kept from anything by that, and nobody else who asks takes the question for a holder.
        """
        return None

    def joined(self, folder: str, file: str) -> Joined | None:
        """Return who holds a file together; None if there is no such file, or nobody can tell."""
        return None

    def check_what_ending_needs(self) -> None:
        """Find out before a run begins, at little cost, whether what its end needs works here: locks and syncs.

        Raises:
            StoreIOError: it does not; the message says what to do.
        """

    def mount(self) -> Mount | None:
        """Return what is mounted where the files are; None if nobody tells."""
        return None

    @abstractmethod
    def acquire_lock(self, folder: str, file: str, *, within: Within = None) -> Callable[[], None]:
        """Keep everybody else out who asks for the same lock.

        Returns:
            Gives the lock back; may be called again by a thread whose first call was interrupted.

        Raises:
            MissingError: there is no such folder.
            LockTimeoutError: it was not free in time.
        """

    def remove_lock(self, folder: str, file: str) -> None:
        """Remove a lock file whose lock this thread holds, where others who wait for it are sure to notice."""

    @abstractmethod
    def sync(self, folder: str, file: str | None = None) -> None:
        """Return when a file, or with None everything in `folder`, would survive a loss of power."""

    def entries(self, folder: str) -> list[Entry]:
        """Return what lies in a folder, which may be one inside another; also what readers pass over.

        Raises:
            MissingError: there is no such folder.
        """
        with self.reader(folder) as reader:
            return [Entry(name, FILE) for name in reader.names()]

    def quarantine(self, folder: str, file: str, is_damaged: Judge) -> str:
        """Move a file that its owner may replace at any time out of the way, if it is damaged.

        To be called under the run's lock. Where bytes cannot be damaged, nothing is moved.

        Returns:
            Where it is now, below the folder; empty if it was not moved.
        """
        return ""

    def remove_left_over(self, folder: str, name: str) -> None:
        """Remove, if it is there, a file or folder that no reader looks at, and that somebody who was stopped left."""

    def while_locked(self, folder: str, file: str, action: Callable[[], _T], *, within: Within = None) -> _T:
        """Return what `action` returns, called while a lock keeps everybody else out; see `acquire_lock`.

        A call that comes in the middle of an action of the same thread, from a finaliser or the handler of a signal,
        does not wait for it. Should that change what the action has read, `replace_as_read` notices, and the action is
        called again. The lock is given back whenever the user interrupts. A `with` statement cannot promise that:
        Python looks for signals before it runs the first line of an `__exit__`.
        """
        place = (self.place, folder, file)
        return take_turn(place, lambda: self.acquire_lock(folder, file, within=within), action)

    def replace_as_read(
        self, folder: str, file: str, data: bytes, *, durable: bool = False, within: Within = None
    ) -> None:
        """As `replace`, for what was read under the lock that is held, and changed.

        Raises:
            OvertakenError: a finaliser or the handler of a signal has changed something under the same lock since;
                `while_locked` starts anew then.
        """
        turn = present_turn()
        assert turn is not None

        def write(new: bytes) -> None:
            self.replace(folder, file, new, durable=durable, within=within)

        turn.replace((self.place, folder, file), data, write, lambda: loaded(lambda: self.load(folder, file)))

    @property
    def place(self) -> Hashable:
        """What backends of one process have in common that have their files in the same place."""
        return self.location if self.shared_between_processes else id(self)

    @contextmanager
    def lock(self, folder: str, file: str) -> Iterator[None]:
        """Hold a lock for the length of a `with` block, in code that nobody interrupts; else use `while_locked`."""
        release = self.acquire_lock(folder, file)
        try:
            yield
        finally:
            release()

    def load(self, folder: str, file: str) -> bytes:
        """Return the bytes of one file; see `FolderReader.load`."""
        with self.reader(folder) as reader:
            return reader.load(file)

    def let_go(self, folder: str) -> None:
        """Give back what is held open of a folder that is not going to be written to for a while."""

    def close(self) -> None:
        """Give back what is held open; the backend can be used again."""
