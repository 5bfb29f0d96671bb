"""What outlives a fork: no thread of the child gives back a mutex, and what its parent holds is not its own."""

from __future__ import annotations

import os
import weakref
from collections.abc import Callable
from typing import Any, Generic, Protocol, TypeVar

_T = TypeVar("_T")


class Renewable(Protocol):
    """Something with mutexes, timers, or knowledge that only the process has that came by it."""

    def reset_after_fork(self) -> None:
        """In the child: let go of what belongs to the parent."""


class Noting(Protocol):
    """Something of which a child may have a copy that waits to be written too."""

    def note_fork(self) -> None:
        """In the parent: remember that there is a child now, with a copy of this object."""


_renewable: weakref.WeakSet[Renewable] = weakref.WeakSet()
_noting: weakref.WeakSet[Noting] = weakref.WeakSet()


def in_forked_children(function: Callable[[], None]) -> None:
    """Have a function called in every child that is forked from now on."""
    if hasattr(os, "register_at_fork"):
        os.register_at_fork(after_in_child=function)


def renew_after_fork(value: Renewable) -> None:
    """Have an object's `reset_after_fork` called in every child that is forked while it lives."""
    _renewable.add(value)


def note_forks(value: Noting) -> None:
    """Have an object's `note_fork` called whenever this process forks while it lives."""
    _noting.add(value)


def _renew() -> None:
    for value in _all(_renewable):
        value.reset_after_fork()


def _note() -> None:
    for value in _all(_noting):
        value.note_fork()


def _all(objects: weakref.WeakSet[_T]) -> list[_T]:
    while True:
        try:
            return list(objects)
        except RuntimeError:
            pass  # another thread has added one meanwhile


class ComputedOnce(Generic[_T]):
    """An attribute that is computed when it is first asked for, as by `functools.cached_property`, without its mutex.

    Before Python 3.12 that is one for all objects of a class, and no child gets another: forked while any thread
    computes the attribute of any object, it would wait forever for that of its own. If threads ask for one at once,
    each computes it.
    """

    def __init__(self, compute: Callable[[Any], _T]) -> None:
        self._compute = compute

    def __set_name__(self, owner: type, name: str) -> None:
        self._name = name

    def __get__(self, instance: object, owner: type | None = None) -> _T:
        value = instance.__dict__[self._name] = self._compute(instance)  # which is found first from now on
        return value


in_forked_children(_renew)
if hasattr(os, "register_at_fork"):
    os.register_at_fork(after_in_parent=_note)
