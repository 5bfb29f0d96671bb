"""Garbage collections are put off while a large run is put together: none of its many objects is garbage.

Python's collector looks through new objects whenever there are some hundred more, and from time to time through all.
"""

from __future__ import annotations

import gc
from collections.abc import Callable
from typing import TypeVar

from chunkstore.forks import in_forked_children

_T = TypeVar("_T")

#: One entry for each call that has put collections off.
_waiting: list[None] = []


def without_collections(action: Callable[[], _T]) -> _T:
    """Return what `action` returns, called without collections in this process, and have them again afterwards.

    Memory that other threads give up meanwhile in cycles is found later; `action` should take seconds at most.
    """
    if not gc.isenabled():
        return action()
    try:
        _waiting.append(None)
        gc.disable()
        return action()
    finally:
        gc.enable()
        _waiting.pop()


def _reset_after_fork() -> None:
    """In a forked child: the thread that would have collections again is not there."""
    if _waiting:
        _waiting.clear()
        gc.enable()


in_forked_children(_reset_after_fork)
