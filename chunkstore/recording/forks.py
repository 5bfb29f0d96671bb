"""Objects that outlive a fork: in the child, no thread is left to give back a mutex that it held in the parent."""

from __future__ import annotations

import os
import weakref
from typing import Protocol


class Renewable(Protocol):
    """Something with mutexes, timers or values of the parent's that wait to be written."""

    def reset_after_fork(self) -> None:
        """In the child: let go of what belongs to the parent."""

    def note_fork(self) -> None:
        """In the parent: remember that there is a child now, with a copy of this object."""


_objects: weakref.WeakSet[Renewable] = weakref.WeakSet()


def renew_after_fork(value: Renewable) -> None:
    """Have an object's `reset_after_fork` called in every child that is forked while it lives, `note_fork` here."""
    _objects.add(value)


def _renew() -> None:
    for value in list(_objects):
        value.reset_after_fork()


def _note() -> None:
    for value in list(_objects):
        value.note_fork()


if hasattr(os, "register_at_fork"):
    os.register_at_fork(after_in_child=_renew, after_in_parent=_note)
