"""A back end in memory to which every look is a request, as to an object store, and that counts them."""

import itertools
import time
from bisect import bisect_right
from collections import Counter
from contextlib import contextmanager

from chunkstore.backends import MemoryBackend
from chunkstore.backends.caching import Caching, Kept
from chunkstore.backends.paging import PagedNames

#: So many names are in a page of a listing.
_PAGE = 1_000


class CountedReader:
    """A reader that counts a request for each listing, and for each file that it loads."""

    reads_ahead = True

    def __init__(self, reader, requests, backend):
        self._reader = reader
        self._requests = requests
        self._backend = backend
        self.forget_names()

    def forget_names(self):
        names = []

        def page(after):
            if not names:
                names.extend(sorted(self._reader.names()))
            self._requests["list"] += 1
            begin = bisect_right(names, after)
            return names[begin : begin + _PAGE], begin + _PAGE >= len(names)

        self._paged = PagedNames(page)

    def names(self, *, to_load=False):
        return self._paged.all()

    def starting_with(self, prefix):
        return self._paged.starting_with(prefix)

    def load(self, file):
        self._requests["get"] += 1
        return self._reader.load(file)

    def expect(self, files):
        pass

    def glance(self, folder, file):
        try:
            with self._backend.reader(folder) as reader:
                return reader.load(file)
        except FileNotFoundError:
            return b""

    def __getattr__(self, name):
        return getattr(self._reader, name)


class RemoteMemory(MemoryBackend, Caching):
    """Counts what an object store would be asked.

    Attributes:
        requests: how many there were, by kind.
        cache: what is kept, by name: its bytes, its version, and when it was written.
        now: the clock by which that is told, in nanoseconds.
    """

    def __init__(self):
        super().__init__()
        self.location = "memory"
        self.requests = Counter()
        self.cache = {}
        self.versions = itertools.count(1)
        self.now = time.time_ns

    @contextmanager
    def reader(self, folder):
        with super().reader(folder) as reader:
            yield CountedReader(reader, self.requests, self)

    def folders(self):
        folders = super().folders()
        self.requests["list"] += -(-len(folders) // _PAGE) or 1
        return folders

    def kept(self):
        self.requests["list"] += -(-len(self.cache) // _PAGE) or 1
        return [Kept(name, written_at) for name, (_, _, written_at) in list(self.cache.items())]

    def load_kept(self, names):
        self.requests["get"] += len(names)
        return [self.cache[name][:2] if name in self.cache else None for name in names]

    def keep(self, name, data, *, over):
        self.requests["put"] += 1
        present = self.cache.get(name)
        if (None if present is None else present[1]) != over:
            return False
        self.cache[name] = data, next(self.versions), self.now()
        return True

    def drop(self, names):
        self.requests["delete"] += 1
        for name in names:
            self.cache.pop(name, None)

    def counted(self, action):
        """Return how many requests an action makes, by kind."""
        self.requests.clear()
        action()
        return dict(self.requests)
