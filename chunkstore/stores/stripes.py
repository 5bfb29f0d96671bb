"""Mutexes for what threads must not do at once, however many things there are to be done."""

from __future__ import annotations

import threading
from collections.abc import Iterable
from contextlib import AbstractContextManager

_COUNT = 16


class Stripes:
    """A few mutexes, of which each stands for all things of some hashes."""

    def __init__(self) -> None:
        self.reset_after_fork()

    def reset_after_fork(self) -> None:
        """In a forked child: let go of mutexes that threads of the parent may hold."""
        self.mutexes: list[AbstractContextManager[object]] = [threading.Lock() for _ in range(_COUNT)]

    def of(self, *key: str) -> AbstractContextManager[object]:
        """Return the mutex that stands for one thing."""
        return self.mutexes[hash(key) % _COUNT]

    def of_all(self, keys: Iterable[tuple[str, ...]]) -> list[AbstractContextManager[object]]:
        """Return the mutexes that stand for some things, each once, in the order in which everybody takes them."""
        return [self.mutexes[place] for place in sorted({hash(key) % _COUNT for key in keys})]
