"""Run log stores: a layout over a backend, and over any layout what every store can do.

Imports run one way, from below: what files hold (`chunk_files`, `stored`, `options`); `packed` and `runs`; `reading`;
`writing`. Beside those, `layout` says what a layout fills; over it come `methods`, `base.Store`, the layouts `chunked`
and `document`, and `named`, which makes the stores that users name.
"""

from chunkstore.stores.base import Store
from chunkstore.stores.chunked import ChunkedStore
from chunkstore.stores.document import DocumentStore
from chunkstore.stores.named import DEFAULT_STORE_TYPE, STORE_TYPES, make_store
from chunkstore.stores.options import StoreOptions
from chunkstore.stores.run_lookup import LATEST, find_run, runs_starting_with

__all__ = [
    "DEFAULT_STORE_TYPE",
    "LATEST",
    "STORE_TYPES",
    "ChunkedStore",
    "DocumentStore",
    "Store",
    "StoreOptions",
    "find_run",
    "make_store",
    "runs_starting_with",
]
