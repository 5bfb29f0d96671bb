"""Objects that outlive a fork: in the child, no thread is left to give back a mutex that it held in the parent."""

from __future__ import annotations

import os
import weakref
from typing import Protocol


class Renewable(Protocol):
    """Something with mutexes, or with knowledge that only the process has that came by it."""

    def reset_after_fork(self) -> None:
        """In the child: let go of what belongs to the parent."""


_objects: weakref.WeakSet[Renewable] = weakref.WeakSet()


def renew_after_fork(value: Renewable) -> None:
    """Have an object's `reset_after_fork` called in every child that is forked while it lives."""
    _objects.add(value)


def _renew() -> None:
    for value in list(_objects):
        value.reset_after_fork()


if hasattr(os, "register_at_fork"):
    os.register_at_fork(after_in_child=_renew)
