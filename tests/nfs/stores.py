"""Stores that tests open on both hosts."""

import chunkstore
from chunkstore import StepLog

RUN = "run"
#: By what a run is kept in: the type and the options of its store.
KINDS = {
    "files": ("chunked-fs", {}),
    "journal": ("chunked-fs", {"container": "journal"}),
    "document": ("file-system", {}),
}


def opened(folder, kind="files", **options):
    """Return a store in a folder."""
    store_type, fixed = KINDS[kind]
    return chunkstore.open_store(store_type, log_folder=folder, **{**fixed, **options})


def step(name, **fields):
    """Return a record of a step."""
    return StepLog(name=name, internal_name=name, **fields)
