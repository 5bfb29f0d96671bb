"""How many requests something makes of an object store: counted at a proxy, or where there is none, at the client."""

import contextlib
import threading

import obstore
import pytest
from object_fixtures import ObjectPlace

from chunkstore.testing.proxy.requests import Counted, Request

#: So many names are in a page of a listing.
_PAGE = 1_000


class _CountingClient:
    """Counts what is asked of obstore's store in memory, as if each call were sent to a server."""

    def __init__(self, monkeypatch):
        self._counted = []
        self._under_way = 0
        self._mutex = threading.Lock()
        for name, operation in {
            "put": "put",
            "get": "get",
            "get_range": "get",
            "get_ranges": "get",
            "head": "head",
            "copy": "copy",
            "delete": "delete many",
            "list_with_delimiter": "list",
        }.items():
            monkeypatch.setattr(obstore, name, self._counting(getattr(obstore, name), operation))
        monkeypatch.setattr(obstore, "list", self._listing(obstore.list))

    @contextlib.contextmanager
    def counted(self):
        counted = Counted()
        self._counted.append(counted)
        try:
            yield counted
        finally:
            self._counted.remove(counted)

    def _count(self, operation, key):
        with self._mutex:
            self._under_way += 1
            for counted in self._counted:
                counted.add(Request("", operation, str(key), {}, {}, 0), self._under_way)

    def _done(self):
        with self._mutex:
            self._under_way -= 1

    def _counting(self, call, operation):
        def counting(store, key=None, *arguments, **options):
            self._count(operation, key)
            try:
                found = call(store, key, *arguments, **options)
                if operation == "list":
                    for _ in range((len(found["common_prefixes"]) + len(found["objects"]) - 1) // _PAGE):
                        self._count(operation, key)
                        self._done()
                return found
            finally:
                self._done()

        return counting

    def _listing(self, call):
        def listing(store, prefix=None, *, chunk_size=_PAGE, **options):
            pages = call(store, prefix, chunk_size=_PAGE, **options)
            assert chunk_size <= _PAGE

            def counting():
                is_first = True
                while True:
                    page = next(pages, [])
                    if page or is_first:
                        self._count("list", prefix)
                        self._done()
                    if not page:
                        return
                    is_first = False
                    yield page

            return counting()

        return listing


@pytest.fixture(params=["memory", "s3"])
def counted_place(request, monkeypatch):
    """A place, and what counts the requests made of it: `with requests.counted() as counted`."""
    if request.param == "memory":
        place = request.getfixturevalue("memory_place")
        yield place, _CountingClient(monkeypatch)
    else:
        proxy = request.getfixturevalue("s3_proxy")
        yield request.getfixturevalue("s3_place").through(proxy.endpoint), proxy


def opened(place: ObjectPlace):
    """Return a new store object in a place."""
    import chunkstore

    return chunkstore.open_store(place.url, **place.options)
