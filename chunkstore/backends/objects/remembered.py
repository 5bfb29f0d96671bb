"""Objects that were got lately: one that is listed with the same version need not be got again."""

from __future__ import annotations

from collections import OrderedDict
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from chunkstore.backends.objects.client import Found, Version

#: Bytes that are kept at most, and of the largest object that is.
_MOST_BYTES = 32 << 20
_LARGEST = 1 << 20
#: What an object costs beside its bytes.
_OVERHEAD = 500


class RememberedObjects:
    """The last objects that were got or put, by key, up to a number of bytes.

    Threads and finalisers use it at once: all is done by single operations of built-in types.
    """

    def __init__(self) -> None:
        self._objects: OrderedDict[str, Found] = OrderedDict()
        self._bytes = 0

    def add(self, key: str, found: Found) -> None:
        """Remember an object."""
        size = _size(found)
        if size > _LARGEST:
            return
        self.forget(key)
        self._objects[key] = found
        self._bytes += size
        while self._bytes > _MOST_BYTES:
            try:
                _, old = self._objects.popitem(last=False)
            except KeyError:
                self._bytes = 0
                return
            size = _size(old)  # before the rest is read: other threads may come in the middle of a call
            self._bytes -= size

    def get(self, key: str, version: Version) -> Found | None:
        """Return an object, if that version of it is remembered."""
        found = self._objects.get(key)
        return found if found is not None and found.version == version else None

    def latest(self, key: str) -> Found | None:
        """Return an object as it was known last, which it need not be any more."""
        return self._objects.get(key)

    def forget(self, key: str) -> None:
        """Forget an object."""
        old = self._objects.pop(key, None)
        if old is not None:
            size = _size(old)
            self._bytes -= size


def _size(found: Found) -> int:
    return len(found.data) + _OVERHEAD
