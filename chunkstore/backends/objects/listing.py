"""Listing objects: each comes once, also where a request fails in the middle and the list is begun anew."""

from __future__ import annotations

from collections.abc import Iterator
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from chunkstore.backends.objects.place import Client

#: How many objects a page has at most.
PAGE = 1_000


class Listing:
    """The objects below a folder, page by page.

    Args:
        folder: the folder, without a slash at its end.
        after: a key; only those come that are sorted behind it.
    """

    def __init__(self, folder: str, after: str) -> None:
        self._folder = folder
        self._pages: Iterator[Any] | None = None
        #: The last key that has come.
        self._position = after
        #: Keys up to this one do not come (again).
        self._behind = after
        self._first = ""

    def next_page(self, client: Client) -> list[Any] | None:
        """Return what is told of the next objects; None after the last. It can be called again after it has failed."""
        import obstore  # noqa: PLC0415 - an extra

        begins = self._pages is None
        if self._pages is None:
            offset = self._position or None
            self._pages = iter(obstore.list(client, self._folder or None, offset=offset, chunk_size=PAGE))
        try:
            page = next(self._pages, None)
        except BaseException:
            self._pages = None
            raise
        if not page:
            return None
        if begins:
            self._behind = self._position if self._is_known(page[0]["path"]) else ""
            self._first = self._first or page[0]["path"]
        new = [meta for meta in page if meta["path"] > self._behind]
        if new:
            self._position = new[-1]["path"]
        return new

    def _is_known(self, key: str) -> bool:
        """Tell whether a list that begins with a key has what has come already.

        Some servers do not know where to begin, and some sort keys in a way of their own, but none does both.
        """
        return key in {self._position, self._first} or (not self._first and key <= self._position)
