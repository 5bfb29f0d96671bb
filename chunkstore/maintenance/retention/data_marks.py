"""Marks beside the runs: the data of one is to be deleted as soon as the run itself is gone."""

from __future__ import annotations

from chunkstore.names import PinnedRunId, incarnation_of, is_incarnation
from chunkstore.recording.catalog import catalog_of
from chunkstore.records.codec import encode
from chunkstore.stores.base import Store

#: How the name of a mark begins.
DATA_MARK = ".deleted-data-"


def data_mark(run_id: str) -> str:
    """Return the name of a run's mark."""
    return f"{DATA_MARK}{'~'.join(_names_of(run_id))}"


def _names_of(run_id: str) -> list[str]:
    """Return the id of a run, and its identity if it has one."""
    return [name for name in (str(run_id), incarnation_of(run_id)) if name]


def pinned_in(mark: str) -> PinnedRunId:
    """Return which run the name of a mark names."""
    run_id, _, incarnation = mark.removeprefix(DATA_MARK).rpartition("~")
    if is_incarnation(incarnation):
        return PinnedRunId(run_id, incarnation)
    return PinnedRunId(mark.removeprefix(DATA_MARK), "")


def marked(store: Store, run_id: str) -> bytes:
    """Return what a run's mark holds."""
    names = dict(zip(("run_id", "incarnation"), _names_of(run_id), strict=False))
    return encode({**names, "catalog": store.catalog_path})


def remove_data(store: Store, run_id: str) -> None:
    """Delete what a run has put into the catalog."""
    catalog_of(store, run_id, incarnation_of(run_id)).remove()
