"""What outlives a fork: no thread of the child gives back a mutex, and what its parent holds is not its own."""

from __future__ import annotations

import os
import weakref
from collections.abc import Callable
from typing import Protocol


class Renewable(Protocol):
    """Something with mutexes, timers, or knowledge that only the process has that came by it."""

    def reset_after_fork(self) -> None:
        """In the child: let go of what belongs to the parent."""


class Noting(Renewable, Protocol):
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
    """Have an object's `note_fork` called whenever this process forks while it lives; in the child, it is renewed."""
    renew_after_fork(value)
    _noting.add(value)


def _renew() -> None:
    for value in list(_renewable):
        value.reset_after_fork()


def _note() -> None:
    for value in list(_noting):
        value.note_fork()


in_forked_children(_renew)
if hasattr(os, "register_at_fork"):
    os.register_at_fork(after_in_parent=_note)
