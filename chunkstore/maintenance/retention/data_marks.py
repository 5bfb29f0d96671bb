"""Marks beside the runs: the data of one is to be deleted as soon as the run itself is gone."""

from __future__ import annotations

import os
from collections.abc import Sequence

import msgspec

from chunkstore.maintenance.data_places import at_another_place
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


def marked(store: Store, run_id: str, elsewhere: Sequence[str] = ()) -> bytes:
    """Return what a run's mark holds.

    Args:
        store: where the run is.
        run_id: the run.
        elsewhere: other catalogs that have data of the run.
    """
    names = dict(zip(("run_id", "incarnation"), _names_of(run_id), strict=False))
    others = {"elsewhere": list(elsewhere)} if elsewhere else {}
    return encode({**names, "catalog": store.catalog_path, **others})


def elsewhere_in(mark: bytes) -> list[str]:
    """Return which other catalogs a mark names; they are believed no more than that they may have data of the run."""
    try:
        return msgspec.json.decode(mark, type=_Elsewhere).elsewhere
    except (msgspec.DecodeError, UnicodeDecodeError, RecursionError):
        return []


class _Elsewhere(msgspec.Struct):
    elsewhere: list[str] = []


def remove_data(store: Store, run_id: str, elsewhere: Sequence[str] = ()) -> None:
    """Delete what a run has put into the catalog of its store, and into others in which it says so."""
    usual = catalog_of(store, run_id, incarnation_of(run_id))
    usual.remove()
    for path in elsewhere:
        if "\0" not in path and os.path.isabs(path):
            at_another_place(usual, path).remove()
