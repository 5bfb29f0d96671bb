"""What the code that runs now belongs to; threads and async tasks keep apart."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import ExitStack, contextmanager
from contextvars import ContextVar
from typing import Generic, TypeVar

from chunkstore.errors import StoreUsageError

_T = TypeVar("_T")


class Current(Generic[_T]):
    """Which run, or which step, is recorded here.

    Args:
        what: what it is called.
        block: what begins one in a `with` block.
    """

    def __init__(self, what: str, block: str) -> None:
        self._what = what
        self._block = block
        self._value: ContextVar[_T | None] = ContextVar(f"chunkstore_{what}", default=None)

    def get(self) -> _T:
        """Return it.

        Raises:
            StoreUsageError: there is none.
        """
        value = self._value.get()
        if value is None:
            raise StoreUsageError(
                f"There is no current {self._what}. Call this inside `with {self._block}`, or in a function that a "
                f"step, map or parallel runs. A thread that you start yourself does not inherit the {self._what}: "
                f"pass it the {self._what}."
            )
        return value

    def peek(self) -> _T | None:
        """Return it; None if there is none."""
        return self._value.get()

    @contextmanager
    def being(self, value: _T | None) -> Iterator[None]:
        """Make `value` the current one."""
        token = self._value.set(value)
        try:
            yield
        finally:
            self._value.reset(token)


def leave(entered: ExitStack | None) -> None:
    """Leave what made something the current one."""
    if entered is not None:
        try:
            entered.close()
        except ValueError:
            pass  # left in another thread or task than entered: its context is not ours to restore
