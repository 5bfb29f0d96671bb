"""What a back end may do beyond what every one does, and what a store does about it where it does not.

A store asks for one by `isinstance(backend, Appending)`.
"""

from __future__ import annotations

from abc import ABC, abstractmethod
from collections.abc import Callable, Hashable, Iterator, Mapping, Sequence
from contextlib import AbstractContextManager, contextmanager
from typing import ClassVar, NamedTuple, TypeVar

from chunkstore.backends.base import Backend, Change, Within
from chunkstore.backends.mount import Mount
from chunkstore.backends.reader import FileVersion, FolderReader
from chunkstore.backends.turns import loaded, present_turn, take_turn
from chunkstore.errors import StoreUsageError
from chunkstore.names import LOCK_FILE

_T = TypeVar("_T")

#: Is given what loads a file; tells whether that is damaged.
Judge = Callable[[Callable[[], bytes]], bool]


def lacking(backend: Backend, what: str, why: str) -> StoreUsageError:
    """Return the error for what a back end cannot do.

    Args:
        backend: which one.
        what: what was asked for, as in `Cannot … in s3://bucket`.
        why: what there is not.
    """
    return StoreUsageError(
        f"Cannot {what} in {backend.location}: {why}. Use a store in a folder for that, or copy the runs to one."
    )


def never() -> bool:
    """Say no, where something is asked of whoever calls."""
    return False


# --- looking ---------------------------------------------------------------------------------------------------------


class Looking(Backend):
    """Single looks cost little: a store may take some each time that it writes.

    Elsewhere it does not look whether the run has ended before each record, and a listing is not used again.
    """

    @abstractmethod
    def has(self, folder: str, file: str, *, within: Within = None) -> bool:
        """As `Backend.has`; the folder is not opened for that if it is open already."""

    @abstractmethod
    def version(self, folder: str, file: str) -> FileVersion:
        """As `Backend.version`."""

    @abstractmethod
    def changed_at(self, folder: str) -> int:
        """As `Backend.changed_at`, without opening the folder if that can be avoided."""


class Watching(Backend):
    """It tells of changes. Elsewhere one looks for them from time to time."""

    @abstractmethod
    def watch(self, folder: str) -> Iterator[set[str]]:
        """Yield the names of files that may have changed, soon after they have, and nothing from time to time.

        It is a hint: names may be missing, and others too many.
        """


# --- writing ---------------------------------------------------------------------------------------------------------


class Grouping(Backend):
    """Several files are made at once, also a folder of many. Elsewhere a whole run is written sealed."""

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


class RemovingUnchanged(Backend):
    """A file is removed only if it is as it was read. Elsewhere what others may replace is not removed."""

    @abstractmethod
    def remove_unchanged(self, folder: str, file: str, data: bytes) -> bool:
        """Remove a file that others may replace at any time, unless it holds anything but `data`.

        Readers find the file, old or new, until it is gone.

        Returns:
            Whether it is gone.
        """


class Journal(ABC):
    """A file of lines that one process appends to.

    Attributes:
        file: its name.
    """

    file: str

    @abstractmethod
    def append(self, data: bytes, *, is_durable: Callable[[], bool] = never) -> None:
        """Add bytes to its end, as `Appending.append`; after an error, nothing more is to be appended.

        Raises:
            MissingError: the file, or its folder, was removed; nothing was added to it.
        """

    @abstractmethod
    def close(self) -> None:
        """Give back what is held open."""


class Appending(Backend):
    """Files can be added to. Elsewhere there are no journals, and metric points come in many files."""

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
    def remove_complete(self, folder: str, file: str, size: int) -> bool:
        """Remove a file that is appended to, unless anything was added since it was `size` bytes long.

        Returns:
            Whether it is gone.
        """


class Syncing(Backend):
    """What is written may be lost with the power until it is synced. Elsewhere everything that is written stays."""

    @abstractmethod
    def sync(self, folder: str, file: str | None = None) -> None:
        """Return when a file, or with None everything in `folder`, would survive a loss of power."""

    def check_what_ending_needs(self) -> None:
        """Find out before a run begins, at little cost, whether what its end needs works here: locks and syncs.

        Raises:
            StoreIOError: it does not; the message says what to do.
        """


# --- who lives -------------------------------------------------------------------------------------------------------


class Holder(NamedTuple):
    """Who holds a file alone.

    Attributes:
        data: what it has written.
        is_alive: whether it still holds the file; None if that cannot be looked at.
        heard_at: where no kernel tells that, when the file was renewed last, in nanoseconds; else 0.
        silence: likewise, after how many seconds without a renewal its holder is taken to have died.
    """

    data: bytes
    is_alive: bool | None
    heard_at: int = 0
    silence: float = 0.0


class Joined(NamedTuple):
    """Who holds a file together.

    Attributes:
        living: what those have written who live; empty bytes for one of whom nothing is known.
        dead: what those have written who died without giving it back; of each, too, what those wrote who came later.
        doubtful: what those have written of whom that cannot be told.
        heard_at: as of a `Holder`, when any of them was heard last.
        silence: likewise.
    """

    living: list[bytes]
    dead: Sequence[tuple[bytes, Sequence[bytes]]] = ()
    doubtful: Sequence[bytes] = ()
    heard_at: int = 0
    silence: float = 0.0


def cannot_tell() -> bool | None:
    """Say nothing, where something is asked of whoever calls."""
    return None


class Holding(Backend):
    """Files tell whether those live who have made them. Elsewhere nobody knows who still records a run.

    Attributes:
        holds_for_incarnations: whether what is held tells of one incarnation of a folder alone, and of no other that
            gets its name meanwhile.
    """

    holds_for_incarnations: ClassVar[bool] = False

    @abstractmethod
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
        """Make a file that says that this process lives, until it ends or gives it back; nothing if that cannot be.

        Args:
            folder: the folder.
            file: the file.
            data: who this process is; a JSON object.
            together: whether others hold the same file beside this process.
            is_over: tells, as one gives back what was held together, whether nobody will ask any more who has died.
            incarnation: which folder is meant of all that have, had or get the name; empty for whichever has it.
            is_there: tells whether that one is still there; None if that cannot be told.

        Returns:
            Gives it back; the last one removes the file, unless it tells of somebody who has died.
        """

    def stop_holding(self, folder: str, file: str) -> bool:
        """Leave it to whoever calls this to remove a file with others; tell whether this process holds it alone."""
        return False

    @abstractmethod
    def holder(self, folder: str, file: str, incarnation: str = "") -> Holder | None:
        """Return who holds a file alone, or held it; None if there is no such file, or it is of another incarnation.

        Nobody is kept from anything by that, and nobody else who asks takes the question for a holder.
        """

    @abstractmethod
    def joined(self, folder: str, file: str, incarnation: str = "") -> Joined | None:
        """Return who holds a file together; None if there is no such file, or nobody can tell."""

    def mount(self) -> Mount | None:
        """Return what is mounted where the files are; None if nobody tells."""
        return None


# --- upkeep ----------------------------------------------------------------------------------------------------------


class Quarantining(Backend):
    """Bytes can be damaged, and moved out of the way. Elsewhere nothing is repaired."""

    @abstractmethod
    def quarantine(self, folder: str, file: str, is_damaged: Judge) -> str:
        """Move a file that its owner may replace at any time out of the way, if it is damaged; under the run's lock.

        Returns:
            Where it is now, below the folder; empty if it was not moved.
        """


class Clearing(Backend):
    """It knows itself what those have left who were stopped. Elsewhere that is told by the names of files."""

    @abstractmethod
    def clear_left_overs(self, ends: Mapping[str, bool], *, dry_run: bool = False) -> list[int]:
        """Remove what is no part of any folder that can be read, and has lain there for long.

        Args:
            ends: of folders, whether nobody works with them any more. All others that can be read are left alone.
            dry_run: whether nothing is removed.

        Returns:
            The sizes of what was removed, or would have been.
        """


# --- keeping others out ----------------------------------------------------------------------------------------------


class Locking(Backend):
    """Others can be kept out. Elsewhere a change of what others have changed is made anew."""

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

    def change(
        self, folder: str, action: Callable[[Change], _T], *, lock: str = LOCK_FILE, within: Within = None
    ) -> _T:
        """As `Backend.change`, under the lock."""
        change = _LockedChange(self, folder, within)
        return self.while_locked(folder, lock, lambda: action(change), within=within)

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


class _LockedChange(Change):
    """A change under the lock of a folder."""

    def __init__(self, backend: Locking, folder: str, within: Within) -> None:
        self._backend = backend
        self._folder = folder
        self._within = within

    def reader(self) -> AbstractContextManager[FolderReader]:
        return self._backend.reader(self._folder)

    def load(self, file: str, *, known: bool = False) -> bytes:
        return self._backend.load(self._folder, file)

    def replace(self, file: str, data: bytes, *, durable: bool = False) -> None:
        self._backend.replace_as_read(self._folder, file, data, durable=durable, within=self._within)

    def remove_folder(self) -> None:
        self._backend.remove_folder(self._folder)
