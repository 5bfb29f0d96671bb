"""Marks of tests that are run for every store or every layout."""

import pytest

from chunkstore.stores.base import StoreOptions
from chunkstore.stores.chunked import ChunkedStore
from chunkstore.stores.document import DocumentStore

STORES = ["chunked-fs", "file-system"]
every_store = pytest.mark.parametrize("store_type", STORES)

LAYOUTS = {
    "files": ChunkedStore,
    "journal": lambda backend: ChunkedStore(backend, StoreOptions(container="journal")),
    "document": DocumentStore,
}
every_layout = pytest.mark.parametrize("layout", LAYOUTS.values(), ids=list(LAYOUTS))
