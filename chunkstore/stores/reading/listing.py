"""The names of the files in a run's folder, and for how long a listing of them may be used again."""

from __future__ import annotations

import time
from bisect import bisect_left, insort
from collections.abc import Callable, Iterable

from chunkstore.backends.reader import FolderReader


class Listing:
    """The names of a folder's files, of which those of one record are found without a look at all the others.

    Args:
        names: in any order.
    """

    def __init__(self, names: Iterable[str]) -> None:
        self._names = list(names)
        self._is_sorted = False
        self._known: frozenset[str] | None = None

    def names(self) -> list[str]:
        """Return all names, in no certain order."""
        return self._names.copy()

    def starting_with(self, prefix: str) -> list[str]:
        """Return the names that begin with `prefix`."""
        names = self._sorted()
        while True:
            count = len(names)
            start = end = bisect_left(names, prefix)
            while end < len(names) and names[end].startswith(prefix):
                end += 1
            found = names[start:end]
            if len(names) == count:
                return found
            # Others have added some, and moved the rest.

    def has(self, name: str) -> bool:
        """Tell whether a name is in it."""
        if self._known is None or len(self._known) != len(self._names):
            self._known = frozenset(self._names)
        return name in self._known

    def add(self, name: str) -> None:
        """Add the name of a file that was made since."""
        names = self._sorted()
        place = bisect_left(names, name)
        if names[place : place + 1] != [name]:
            insort(names, name)

    def _sorted(self) -> list[str]:
        # Not before it is needed: a read of the whole run has its own order.
        if not self._is_sorted:
            self._names.sort()
            self._is_sorted = True
        return self._names


class AskedListing(Listing):
    """A listing of a folder where each thousand names are a request: only what is asked for is listed.

    Args:
        reader: the folder, opened for a read.
    """

    def __init__(self, reader: FolderReader) -> None:
        super().__init__(())
        self._reader = reader
        self._asked: dict[str, list[str]] = {}
        self._whole: Listing | None = None

    def names(self) -> list[str]:
        """Return all names, in no certain order."""
        return self._all().names()

    def starting_with(self, prefix: str) -> list[str]:
        """Return the names that begin with `prefix`."""
        if self._whole is not None:
            return self._whole.starting_with(prefix)
        if prefix not in self._asked:
            self._asked[prefix] = self._reader.starting_with(prefix)
        return self._asked[prefix].copy()

    def has(self, name: str) -> bool:
        """Tell whether a name is in it."""
        return name in self.starting_with(name)

    def _all(self) -> Listing:
        if self._whole is None:
            self._whole = Listing(self._reader.names(to_load=True))
        return self._whole


class _Remembered:
    def __init__(self, listing: Listing, until: int, changed_at: int) -> None:
        self.listing = listing
        self.until = until
        self.changed_at = changed_at


class ListingMemory:
    """The last listing of each run, kept for a while that is in proportion to what it cost.

    A listing costs the more the larger the run is. Whoever looks up single records again and again would pay for the
    run's size each time; with a share of 20, listing takes a twentieth of the time at most, whatever the size.

    Args:
        share: for how many times as long as it took a listing is used again; 0 for never.
    """

    def __init__(self, share: int = 0) -> None:
        self.start_anew(share)

    def start_anew(self, share: int) -> None:
        """Forget everything.

        Args:
            share: as for the class.
        """
        self.share = share
        self._remembered: dict[str, _Remembered] = {}

    def fresh(self, run_id: str, names: Callable[[], list[str]], changed_at: int = 0) -> Listing:
        """Return a listing made now.

        Args:
            run_id: the run.
            names: lists its folder.
            changed_at: when anything in the folder changed last, asked before the call.
        """
        start = time.monotonic_ns()
        listing = Listing(names())
        if self.share:
            end = time.monotonic_ns()
            self._remembered[run_id] = _Remembered(listing, end + self.share * (end - start), changed_at)
        return listing

    def recent(self, run_id: str, changed_at: int | None = None) -> Listing | None:
        """Return a listing that may still be used, or None.

        Args:
            run_id: the run.
            changed_at: when anything in the folder changed last, so that a listing is used only if nobody else has
                changed anything since; None to take that chance.
        """
        remembered = self._remembered.get(run_id)
        if remembered is None or time.monotonic_ns() >= remembered.until:
            return None
        return remembered.listing if changed_at in (None, remembered.changed_at) else None

    def add(self, run_id: str, name: str, before: int = 0, after: int = 0) -> None:
        """Add a file that this process has written.

        Args:
            run_id: the run.
            name: the file.
            before: when anything in the folder had changed last before that.
            after: the same, afterwards.
        """
        remembered = self._remembered.get(run_id)
        if remembered:
            remembered.listing.add(name)
            if remembered.changed_at == before:
                remembered.changed_at = after

    def forget(self, run_id: str) -> None:
        """Use no earlier listing of a run any more."""
        self._remembered.pop(run_id, None)
