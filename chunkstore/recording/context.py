"""What the code that runs now belongs to; threads and async tasks keep apart."""

from __future__ import annotations

from collections.abc import Sequence
from contextlib import AbstractContextManager
from contextvars import ContextVar
from typing import Generic, TypeVar

from chunkstore.errors import StoreUsageError

_T = TypeVar("_T")


class _Block(AbstractContextManager[None], Generic[_T]):
    """A block in which something is the current one, inside others.

    It is no generator: one that is still open when the interpreter ends would be ended with it, when nothing works.
    """

    def __init__(self, innermost: ContextVar[_Block[_T] | None], value: _T | None) -> None:
        self.value = value
        self.outer: _Block[_T] | None = None
        self.is_over = False
        self._innermost = innermost

    def __enter__(self) -> None:
        self.outer = _open(self._innermost)
        self._innermost.set(self)

    def __exit__(self, *_: object) -> None:
        self.is_over = True
        self._innermost.set(_open(self._innermost))


def leave_all(blocks: Sequence[AbstractContextManager[None]]) -> None:
    """Leave blocks, the innermost first, also those that an interrupt has just kept from being left.

    Args:
        blocks: in the order in which they were entered; each may be left twice, or before it was entered.
    """
    try:
        _leave_all(blocks)
    except BaseException:
        _leave_all(blocks)
        raise


def _leave_all(blocks: Sequence[AbstractContextManager[None]]) -> None:
    for block in reversed(blocks):
        block.__exit__(None, None, None)


def _open(innermost: ContextVar[_Block[_T] | None]) -> _Block[_T] | None:
    """Return the innermost block here that has not been left, or None."""
    block = innermost.get()
    while block is not None and block.is_over:
        block = block.outer
    return block


class Current(Generic[_T]):
    """Which run, or which step, is recorded here.

    Blocks may be left in another order than they were entered, or in another thread, as generators do that take turns.
    So one that is left is marked, and whoever looks passes over it to the one around it.

    Args:
        what: what it is called.
        block: what begins one in a `with` block.
    """

    def __init__(self, what: str, block: str) -> None:
        self._what = what
        self._block = block
        self._innermost: ContextVar[_Block[_T] | None] = ContextVar(f"chunkstore_{what}", default=None)

    def get(self) -> _T:
        """Return it.

        Raises:
            StoreUsageError: there is none.
        """
        value = self.find()
        if value is None:
            raise StoreUsageError(
                f"There is no current {self._what}. Call this inside `with {self._block}`, or in a function that a "
                f"step, map or parallel runs. A thread that you start yourself does not inherit the {self._what}: "
                f"pass it the {self._what}."
            )
        return value

    def find(self) -> _T | None:
        """Return it, or None if there is none."""
        block = _open(self._innermost)
        return None if block is None else block.value

    def being(self, value: _T | None) -> AbstractContextManager[None]:
        """Return a block in which `value` is the current one."""
        return _Block(self._innermost, value)
