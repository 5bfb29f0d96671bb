"""Names that are listed in pages, in order, each of which is a request: none is listed twice."""

from __future__ import annotations

from bisect import bisect_left
from collections.abc import Callable
from typing import NamedTuple

#: Lists names behind one, as many as a page has; and whether there are no more.
Page = Callable[[str], tuple[list[str], bool]]


class _Span(NamedTuple):
    """All names behind one, up to the last of them; or up to the end."""

    after: str
    names: list[str]
    is_last: bool

    def tells_of(self, after: str) -> bool:
        """Tell whether all names behind one, as far as this goes, are in it."""
        return self.after <= after and (self.is_last or after < self.names[-1])


class PagedNames:
    """The names in a folder, of which pages are listed as they are needed.

    Args:
        page: lists one.
    """

    def __init__(self, page: Page) -> None:
        self._page = page
        self._spans: list[_Span] = []

    def all(self) -> list[str]:
        """Return all names, in order."""
        return self._behind("", lambda _name: True)

    def starting_with(self, prefix: str) -> list[str]:
        """Return the names that begin with `prefix`, in order."""
        if not self._spans:
            self._list("")  # most folders have no more than a page
        # What comes right before the prefix, as far as names have such characters.
        after = prefix[:-1] + chr(ord(prefix[-1]) - 1) if prefix else ""
        found = self._behind(after, lambda name: name < prefix or name.startswith(prefix))
        return [name for name in found if name.startswith(prefix)]

    def _behind(self, after: str, is_wanted: Callable[[str], bool]) -> list[str]:
        """Return the names behind one up to the first that is not wanted."""
        found: list[str] = []
        while True:
            span = next((one for one in self._spans if one.tells_of(after)), None) or self._list(after)
            names = span.names[bisect_left(span.names, after) :] if after else span.names
            for name in names:
                if not is_wanted(name):
                    return found
                if name != after:
                    found.append(name)
            if span.is_last:
                return found
            after = span.names[-1]

    def _list(self, after: str) -> _Span:
        names, is_last = self._page(after)
        span = _Span(after, names, is_last or not names)
        self._spans.append(span)
        return span
