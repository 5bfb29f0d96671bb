"""Whose turn it is to change something under a lock, when a thread that has the lock asks for it once more.

That is a finaliser or the handler of a signal, in the middle of such a change. It must not wait for the lock, as its
own thread has it; what it changes must be there when it returns; and the change in whose middle it came must not undo
that. So it does its work at once. The other one, which may have read what is no longer true, finds that out when it is
about to write, or right after it has written, and starts anew.
"""

from __future__ import annotations

import os
import threading
from collections.abc import Callable, Hashable
from typing import TypeVar

from chunkstore.backends.errors import MissingError, locked_twice
from chunkstore.errors import StoreUsageError
from chunkstore.interrupts import guarded
from chunkstore.records.garbage import without_collections

_T = TypeVar("_T")
_R = TypeVar("_R")

#: How often a change may start anew because something came while a function of the caller ran: more is no handler of a
#: signal, but that function itself.
_MOST_CALLS_BACK = 2
_MOST_STARTS = 1_000


class OvertakenError(Exception):
    """What was read under a lock has been changed by a call that came in the middle: the change has to start anew."""


class _Written:
    """What a file was replaced by.

    Attributes:
        turn: stands for the turn whose doing that was; not itself, as that would make a circle.
        place: under which lock.
        file: which file.
        data: what it holds since; None if that failed.
    """

    def __init__(self, turn: object, place: Hashable, file: Hashable, data: bytes) -> None:
        self.turn = turn
        self.place = place
        self.file = file
        self.data: bytes | None = data


class _Turn:
    """What one call does under a lock.

    Args:
        place: the lock.
        acquire: takes it, and returns what gives it back.
        outer: the turn of this thread that this one came in the middle of, or that it is a part of.
    """

    def __init__(self, place: Hashable, acquire: Callable[[], Callable[[], None]], outer: _Turn | None) -> None:
        self.place = place
        self.outer = outer
        self.token = object()
        self.pid = os.getpid()
        self.acquire = acquire
        self.release: Callable[[], None] = lambda: None
        self.is_held = False
        self.is_giving_back = False
        self.is_disturbed = False
        self.is_asking = False
        self.was_called_back = False
        # What all turns of this thread have written since the outermost began.
        self.written: list[_Written] = [] if outer is None else outer.written
        self._start = 0

    def take(self, action: Callable[[], _T]) -> _T:
        """Return what an action returns, called when the lock is ours."""
        same = self._of_same_lock()
        if same is not None:
            same.was_called_back |= same.is_asking
            if same.is_giving_back:
                same.release()
            elif same.is_held or same.has_just_taken_it():
                return self._until_done(action)
            self.acquire = same.acquire  # another backend would wait for it
        return self._hold(action)

    def _of_same_lock(self) -> _Turn | None:
        turn = self.outer
        while turn is not None and (turn.place != self.place or turn.pid != self.pid):
            turn = turn.outer
        return turn

    def has_just_taken_it(self) -> bool:
        """Tell whether the lock was taken just now, which is not noted yet."""
        self.is_disturbed = True  # if it is being taken just now, it has to be taken again after what is done here
        try:
            self.acquire()()
        except StoreUsageError:
            self.is_held = True
        return self.is_held

    def _hold(self, action: Callable[[], _T]) -> _T:
        while True:
            self.is_disturbed = self.is_giving_back = False
            self.release = release = self.acquire()
            try:
                if self.is_disturbed:
                    continue
                self.is_held = True
                return self._until_done(action)
            finally:
                self.is_held, self.is_giving_back = False, True
                try:
                    release()
                except BaseException:
                    release()
                    raise

    def _until_done(self, action: Callable[[], _T]) -> _T:
        calls_back = 0
        for number in range(_MOST_STARTS):
            self._start = len(self.written)
            self.is_asking = self.was_called_back = False
            try:
                # What records at every collection would come in the middle of every start.
                return without_collections(action) if number else action()
            except OvertakenError:
                calls_back += self.was_called_back
                if calls_back > _MOST_CALLS_BACK:
                    break
        raise locked_twice(str(self.place))

    def ask(self, change: Callable[[_T], _R], value: _T) -> _R:
        """Return what a function of the caller makes of something that was read."""
        self.is_asking = True
        result = change(value)
        self.is_asking = False
        return result

    def replace(
        self, file: Hashable, data: bytes, write: Callable[[bytes], None], load: Callable[[], bytes | None]
    ) -> None:
        """Replace a file by what was made of what this turn has read; see `Backend.replace_as_read`."""
        mine = _Written(self.token, self.place, file, data)
        if self.was_called_back or self._others(self._start):
            raise OvertakenError
        if self.outer is not None and load() == data:
            return  # as a change of nothing, it could not be told from no change
        self.written.append(mine)
        try:
            write(data)
        except BaseException:
            if not self._put_right(mine, write, load):
                mine.data = None
            raise
        if self._put_right(mine, write, load):
            raise OvertakenError

    def _put_right(self, mine: _Written, write: Callable[[bytes], None], load: Callable[[], bytes | None]) -> bool:
        """Undo what was written over a change that came in the middle; tell whether there was such a one."""
        theirs = self._last_of_others(self._start, mine)
        if theirs is None or load() != mine.data:
            return False  # if they came before, they have seen what was written here
        while theirs is not None and theirs.data is not None:
            again = _Written(theirs.turn, theirs.place, theirs.file, theirs.data)
            start = len(self.written)
            self.written.append(again)
            write(theirs.data)
            theirs = self._last_of_others(start, again)
            if theirs is not None and load() == theirs.data:
                break
        return True

    def _last_of_others(self, start: int, mine: _Written) -> _Written | None:
        """Return what others have written last to the same file, from some place of the list on."""
        return next((written for written in reversed(self._others(start, mine)) if written.file == mine.file), None)

    def _others(self, start: int, mine: _Written | None = None) -> list[_Written]:
        """Return what others have written under this lock, from some place of the list on."""
        return [
            written
            for written in self.written[start:]
            if written.data is not None
            and written.place == self.place
            and written.turn is not self.token
            and written is not mine
        ]


class _Present(threading.local):
    turn: _Turn | None = None


_present = _Present()


@guarded
def take_turn(place: Hashable, acquire: Callable[[], Callable[[], None]], action: Callable[[], _T]) -> _T:
    """Return what an action returns, called while a lock is held, by this call or by one that it came in the middle of.

    Args:
        place: the lock.
        acquire: takes it, and returns what gives it back; raises `StoreUsageError` if this thread has it.
        action: may be called again, if something came in its middle that changed what it had read.
    """
    outer = _present.turn
    turn = _Turn(place, acquire, outer)
    try:
        _present.turn = turn
        result = turn.take(action)
        _present.turn = outer
    except BaseException:
        _present.turn = outer
        raise
    return result


def present_turn() -> _Turn | None:
    """Return the turn that this thread is at."""
    return _present.turn


def check_turn() -> None:
    """Find out, before something is written that was made of what was read, whether a change function has written.

    Raises:
        OvertakenError: the function of the caller has called the store; `take_turn` starts anew then, or gives up.
    """
    turn = _present.turn
    if turn is not None and turn.was_called_back:
        raise OvertakenError


def ask(change: Callable[[_T], _R], value: _T) -> _R:
    """Return what a function of the caller makes of something, in whatever turn this thread is at."""
    turn = _present.turn
    return change(value) if turn is None else turn.ask(change, value)


def loaded(load: Callable[[], bytes]) -> bytes | None:
    """Return what a file holds, or None if there is none."""
    try:
        return load()
    except MissingError:
        return None
