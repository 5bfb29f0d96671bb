"""The items of `amap`: from lists, generators and async generators alike, one at a time."""

from __future__ import annotations

from collections.abc import AsyncIterable, AsyncIterator, Iterable, Iterator
from typing import Any

from chunkstore.recording.composite import as_given

#: What comes after the last item.
END = object()


class Items:
    """Where items come from.

    Args:
        given: an iterable, or an async one.
    """

    def __init__(self, given: Iterable[Any] | AsyncIterable[Any]) -> None:
        self._later: AsyncIterator[Any] | None = None
        self._now: Iterator[Any] = iter(())
        if isinstance(given, AsyncIterable):
            self._later = aiter(given)
        else:
            self._now = as_given(given)

    async def next(self) -> Any:
        """Return the next item, or `END`."""
        return next(self._now, END) if self._later is None else await anext(self._later, END)

    async def close(self) -> None:
        """End a generator that is not to give the rest of its items."""
        if self._later is not None:
            if (aclose := getattr(self._later, "aclose", None)) is not None:
                await aclose()
        elif (close := getattr(self._now, "close", None)) is not None:
            close()
