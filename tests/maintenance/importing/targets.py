"""Stores to move runs into, and folders to move them from."""

import chunkstore
from chunkstore.maintenance.importing import import_runs
from chunkstore.stores.chunked import ChunkedStore
from chunkstore.stores.document import DocumentStore
from maintenance.layouts import LAYOUTS, rich_run

PERSISTENT = {"chunked-fs": ChunkedStore, "file-system": DocumentStore}


def open_target(store_type, folder):
    options = {} if store_type == "buffered" else {"log_folder": folder, "durability": "process"}
    return chunkstore.open_store(store_type, **options)


def import_all(source, store):
    """Import a folder in which everything can be read."""
    report = import_runs(str(source), store)
    assert report.problems == []
    return report


def ids(store):
    return sorted(summary.run_id for summary in store.list_runs())


def one_of_each(source):
    """Write a run in every layout into one folder; return them."""
    runs = [rich_run(f"run-{number}") for number in range(len(LAYOUTS))]
    for write, content in zip(LAYOUTS.values(), runs, strict=True):
        write(source, content)
    return runs


def write_text(name, text):
    return lambda folder: (folder / name).write_bytes(text if isinstance(text, bytes) else text.encode())
