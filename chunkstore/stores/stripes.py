"""Mutexes for what threads must not do at once, however many things there are to be done."""

from __future__ import annotations

import threading
from collections.abc import Callable, Iterable
from typing import TypeVar

from chunkstore.interrupts import passable

_T = TypeVar("_T")
_COUNT = 16


class Stripes:
    """A few mutexes, of which each stands for all things of some hashes."""

    def __init__(self) -> None:
        self.reset_after_fork()

    def reset_after_fork(self) -> None:
        """In a forked child: let go of mutexes that threads of the parent may hold."""
        self.mutexes = [threading.RLock() for _ in range(_COUNT)]

    def of(self, *key: str) -> threading.RLock:
        """Return the mutex that keeps other threads from one thing."""
        return self.mutexes[hash(key) % _COUNT]

    def hold_all(self, keys: Iterable[tuple[str, ...]], action: Callable[[], _T]) -> _T:
        """Return what an action returns, called when other threads are kept from some things.

        Each mutex is taken once, in the order in which everybody takes them.
        """
        return self._hold(sorted({hash(key) % _COUNT for key in keys}), action)

    def _hold(self, places: list[int], action: Callable[[], _T]) -> _T:
        if not places:
            return action()
        with passable(self.mutexes[places[0]]):
            return self._hold(places[1:], action)
