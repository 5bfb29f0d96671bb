"""A run that is deleted and made anew, in each kind of store."""

import pytest
from recorded import step

import chunkstore
from chunkstore.names import PinnedRunId
from chunkstore.records.fields import MetricPoint

RUN = "nightly"


def files(folder):
    return chunkstore.open_store("chunked-fs", log_folder=str(folder / "logs"))


def journal(folder):
    return chunkstore.open_store("chunked-fs", log_folder=str(folder / "logs"), container="journal")


def remembering(folder):
    store = files(folder)
    store.remember_listings(1_000_000)
    return store


def document(folder):
    return chunkstore.open_store("file-system", log_folder=str(folder / "logs"))


STORES = [files, journal, remembering, document]
every_store = pytest.mark.parametrize("open_store", STORES, ids=lambda store: store.__name__)


def record(store, run_id, name):
    """Record a step and what belongs to it in whichever run has the id; return which one that was."""
    before = store.get_run_log(run_id, full=False).incarnation
    pinned = PinnedRunId(run_id, before)
    store.add_step_log(pinned, step(name, status="PROCESSING"))
    store.append_metrics(pinned, name, {"m": [MetricPoint(1, name)]})
    store.add_step_log(pinned, step(name, status="SUCCESS"))
    return before
