"""Changes without locks: a file is put only if nobody has put it since it was loaded; else the change is made anew."""

from __future__ import annotations

import random
import threading
import time
from abc import abstractmethod
from collections.abc import Callable, Hashable, Iterable
from contextlib import AbstractContextManager
from typing import NoReturn, TypeVar

from chunkstore.backends.base import Backend, Change, Within
from chunkstore.backends.errors import MissingError
from chunkstore.backends.reader import FileVersion, FolderReader
from chunkstore.backends.turns import check_turn, take_turn
from chunkstore.errors import LockTimeoutError
from chunkstore.names import LOCK_FILE, RUN_FILE

_T = TypeVar("_T")

#: Is told of a file that was loaded, and its version; None if it was missing.
Note = Callable[[str, FileVersion | None], None]

#: Seconds of the first pause after a conflict, at most, and of the longest one: hundreds may want to change one file.
_FIRST_PAUSE, _LONGEST_PAUSE = 0.01, 8.0


class ConflictError(Exception):
    """Somebody else has changed a file since it was loaded.

    Args:
        file: its name.
    """

    def __init__(self, file: str) -> None:
        super().__init__(file)
        self.file = file


class _Pauses:
    """The pauses of one change.

    They become longer, so that many do not keep the server busy with what is in vain; and the less time is left, the
    shorter: who has come last does not overtake all others.

    Args:
        patience: for how many seconds the change is made anew.
    """

    def __init__(self, patience: float) -> None:
        self._patience = patience
        self._deadline = time.monotonic() + patience
        self._longest = _FIRST_PAUSE
        #: Whether there has been one since the last try began.
        self.has_been = False

    def left(self) -> float:
        """Return how much of the time is left, from 1 to 0."""
        return max(0.0, self._deadline - time.monotonic()) / self._patience if self._patience else 0.0

    def wait(self) -> None:
        """Let others go first."""
        self.has_been = True
        time.sleep(random.uniform(0, self._longest * self.left()))  # noqa: S311 - who met once does not meet again
        self._longest = min(2 * self._longest, _LONGEST_PAUSE)


class _Present(threading.local):
    pauses: _Pauses | None = None


_present = _Present()


def give_way() -> None:
    """Pause, if this thread is in the middle of a change, as another was faster; then it is made anew.

    A back end may call it before it looks what is there instead; else what it finds is old when that is needed.
    """
    if _present.pauses is not None:
        _present.pauses.wait()


class Optimistic(Backend):
    """A back end whose files are put only if they are as they were loaded.

    Attributes:
        lock_timeout: for how many seconds a change that others overtake again and again is made anew.
    """

    lock_timeout: float = 60.0

    @abstractmethod
    def noting_reader(self, folder: str, note: Note) -> AbstractContextManager[FolderReader]:
        """Open a folder for one read, as `reader`, that notes what is loaded, before anybody gets it."""

    def reader(self, folder: str) -> AbstractContextManager[FolderReader]:
        return self.noting_reader(folder, _note_nothing)

    @abstractmethod
    def load_version(self, folder: str, file: str) -> tuple[bytes, FileVersion]:
        """Return the bytes of a file, and what no other version of it has.

        Raises:
            MissingError: there is no such folder or file.
        """

    def known_version(self, folder: str, file: str) -> tuple[bytes, FileVersion] | None:
        """Return what this process knows of a file without asking, which may be old; None if it does not."""
        return None

    def load(self, folder: str, file: str) -> bytes:
        return self.load_version(folder, file)[0]

    @abstractmethod
    def put_if_unchanged(
        self, folder: str, file: str, data: bytes, version: FileVersion | None, *, within: Within = None
    ) -> FileVersion:
        """Replace a file of a version, or with None make it; return the new version.

        Raises:
            MissingError: there is no such folder.
            ConflictError: it is of another version by now, or there is one.
        """

    @abstractmethod
    def remove_folder_if_unchanged(self, folder: str, loaded: Iterable[tuple[str, FileVersion | None]]) -> None:
        """Remove a folder as `remove_folder`, if the file that decides whether it exists is as it was loaded.

        Args:
            folder: the folder.
            loaded: the files that were loaded, and their versions; None for one that was missing.

        Raises:
            MissingError: there is no such folder.
            ConflictError: that file is of another version by now.
        """

    def change(
        self, folder: str, action: Callable[[Change], _T], *, lock: str = LOCK_FILE, within: Within = None
    ) -> _T:
        place: Hashable = (self.location if self.shared_between_processes else id(self), folder, lock)
        outer, pauses = _present.pauses, _Pauses(self.lock_timeout)
        _present.pauses = pauses
        try:
            return take_turn(place, _nothing_to_take, lambda: self._try_as_known(folder, action, within))
        except ConflictError:
            return self._try_again(place, folder, action, within, pauses)
        finally:
            _present.pauses = outer

    def _try_again(
        self, place: Hashable, folder: str, action: Callable[[Change], _T], within: Within, pauses: _Pauses
    ) -> _T:
        while True:
            pauses.has_been = False
            try:
                return take_turn(place, _nothing_to_take, lambda: action(_OptimisticChange(self, folder, within)))
            except ConflictError as conflict:
                if not pauses.left():
                    self._give_up(folder, conflict.file)
            if not pauses.has_been:
                pauses.wait()

    def _try_as_known(self, folder: str, action: Callable[[Change], _T], within: Within) -> _T:
        """Return what an action returns, unless it went by something that may be old."""
        change = _OptimisticChange(self, folder, within, may_be_old=True)
        try:
            result = action(change)
        except Exception as error:
            if change.unsure:
                raise ConflictError(RUN_FILE) from error
            raise
        if change.unsure:
            raise ConflictError(RUN_FILE)
        return result

    def _give_up(self, folder: str, file: str) -> NoReturn:
        raise LockTimeoutError(
            f"Cannot change {file} of {folder or 'the top'} in {self.location}: others have changed it again and again "
            f"for {self.lock_timeout} seconds. Try again, change it less often, or raise lock_timeout.",
            file=file,
            timeout=self.lock_timeout,
            holder=None,
        )


def _note_nothing(file: str, version: FileVersion | None) -> None:
    pass


def _nothing_to_take() -> Callable[[], None]:
    return lambda: None


class _OptimisticChange(Change):
    def __init__(self, backend: Optimistic, folder: str, within: Within, *, may_be_old: bool = False) -> None:
        self._may_be_old = may_be_old
        #: Files of which it is not known that they are as they were known.
        self.unsure: set[str] = set()
        self._backend = backend
        self._folder = folder
        self._within = within
        self._versions: dict[str, FileVersion | None] = {}

    def reader(self) -> AbstractContextManager[FolderReader]:
        return self._backend.noting_reader(self._folder, self._note)

    def load(self, file: str, *, known: bool = False) -> bytes:
        found = self._backend.known_version(self._folder, file) if known and self._may_be_old else None
        if found is not None and file not in self._versions:
            self.unsure.add(file)
            self._note(file, found[1])
            return found[0]
        try:
            data, version = self._backend.load_version(self._folder, file)
        except MissingError:
            self._note(file, None)
            raise
        self._note(file, version)
        return data

    def _note(self, file: str, version: FileVersion | None) -> None:
        if self._versions.setdefault(file, version) != version:
            raise ConflictError(file)

    def replace(self, file: str, data: bytes, *, durable: bool = False) -> None:
        check_turn()
        known = self._versions.get(file)
        self._versions[file] = self._backend.put_if_unchanged(self._folder, file, data, known, within=self._within)
        self.unsure.discard(file)

    def remove_folder(self) -> None:
        check_turn()
        self._backend.remove_folder_if_unchanged(self._folder, self._versions.items())
