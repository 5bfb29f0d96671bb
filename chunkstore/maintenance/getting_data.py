"""Getting data of a run back, when the run is over."""

from __future__ import annotations

import os
from pathlib import Path

import msgspec

from chunkstore.errors import DataNotFoundError, StoreUsageError
from chunkstore.maintenance.data_places import catalogs, data_of_attempt, holding, put_among, put_by
from chunkstore.names import readable_name
from chunkstore.recording.catalog import Catalog
from chunkstore.records.assemble import flatten
from chunkstore.records.attempts import counted_attempt
from chunkstore.records.models import BranchLog, DataCatalog, RunLog, StepLog
from chunkstore.stores.base import Store
from chunkstore.views.pages.step_lookup import find_record
from chunkstore.views.texts import printable


class GotData(msgspec.Struct, frozen=True, kw_only=True):
    """Data that was copied out of a catalog.

    Attributes:
        run_id: the run.
        step: the internal name of the step that has put it.
        name: what it is called.
        sha256: its hash, as it was recorded and as the copy has it.
        file: the path of the copy.
    """

    run_id: str
    step: str
    name: str
    sha256: str
    file: str


def get_data(
    store: Store,
    run_id: str,
    name: str,
    *,
    step: str | None = None,
    attempt: int | None = None,
    to: str | os.PathLike[str] | None = None,
) -> Path:
    """Copy data of a run out of the catalog; while a run is recorded, `Step.get_data` also records that it was read.

    Args:
        store: where the run is.
        run_id: the run.
        name: what the data is called.
        step: which step has put it: an internal name, or the end of one; None for the one that has put it last.
        attempt: which attempt of the step, counted from 1, together with `step`; None for the one that counts.
        to: where to copy it: a file or a folder; None for its name in the working folder.

    Returns:
        The path of the copy; its bytes are those that were recorded.

    Raises:
        RunLogNotFoundError: there is no such run.
        StepLogNotFoundError: there is no such step.
        DataNotFoundError: nobody has put data of this name, or it is gone, or was changed.
        StoreUsageError: an attempt is named, and no step.
    """
    return Path(got_data(store, run_id, name, step=step, attempt=attempt, to=to).file)


def got_data(
    store: Store,
    run_id: str,
    name: str,
    *,
    step: str | None,
    attempt: int | None,
    to: str | os.PathLike[str] | None,
) -> GotData:
    """Copy data of a run out of the catalog; see `get_data`."""
    if attempt is not None and step is None:
        raise StoreUsageError(f"Cannot get attempt {attempt} of no step. Say which step is meant.")
    log = store.get_run_log(run_id)
    put = list(put_by(flatten(log)[0])) if step is None else _put_in(find_record(log, step), attempt)
    names = {entry.name for _, entry in put}
    if name not in names:  # what is written out where it is shown may be typed so
        name = next((each for each in names if printable(each) == name), name)
    named = [(by, entry) for by, entry in put if entry.name == name]
    if not named:
        raise _none(log, name, step, attempt, [entry for _, entry in put])
    if step is not None:
        by, entry = named[-1]
        path, _ = _catalog(store, log, entry).get_version(entry, to)
        return GotData(run_id=log.run_id, step=by.internal_name, name=name, sha256=entry.data_hash, file=str(path))
    entry = _of_the_run(log.run_id, name, named)
    by_hash = {put.data_hash: by for by, put in named if put.catalog_relative_path == entry.catalog_relative_path}
    path, got = _catalog(store, log, entry).get_newest(entry, by_hash, to)
    return GotData(
        run_id=log.run_id,
        step=by_hash[got.data_hash].internal_name,
        name=name,
        sha256=got.data_hash,
        file=str(path),
    )


def _put_in(record: StepLog | BranchLog, number: int | None) -> list[tuple[StepLog, DataCatalog]]:
    """Return what a step has put, or the steps of a branch; of one attempt, if a number is given."""
    if isinstance(record, BranchLog):
        return [put for step in record.steps.values() for put in _put_in(step, number)]
    if number is None:
        return [(record, entry) for entry in put_among(record.data_catalog)]
    counts = counted_attempt(record)
    entries = [
        entry
        for place, attempt in enumerate(record.attempts, 1)
        if attempt.attempt_number == number
        for entry in (record.data_catalog if place == counts else data_of_attempt(attempt))
    ]
    return [(record, entry) for entry in put_among(entries)]


def _catalog(store: Store, log: RunLog, entry: DataCatalog) -> Catalog:
    places = catalogs(store, log.run_id, log.incarnation, [entry])
    return holding(places, entry) or places[0]


def _of_the_run(run_id: str, name: str, named: list[tuple[StepLog, DataCatalog]]) -> DataCatalog:
    """Return a record of the data that is meant, of which several branches may have put some of one name."""
    by_path = {entry.catalog_relative_path: (by, entry) for by, entry in named}
    of_the_run = [entry for path, (_, entry) in by_path.items() if path.count("/") == name.count("/") + 1]
    if len(of_the_run) == 1 or len(by_path) == 1:
        return (of_the_run or [entry for _, entry in by_path.values()])[0]
    steps = ", ".join(readable_name(by.internal_name) for by, _ in list(by_path.values())[:5])
    raise DataNotFoundError(
        f"Cannot get {name!r}: {len(by_path):,} branches of run {run_id!r} have put data of that name, in steps "
        f"{steps}, among others. Say which step is meant.",
        run_id=run_id,
        name=name,
    )


def _none(log: RunLog, name: str, step: str | None, attempt: int | None, put: list[DataCatalog]) -> DataNotFoundError:
    who = f"run {log.run_id!r}" if step is None else f"step {step!r} of run {log.run_id!r}"
    who = who if attempt is None else f"attempt {attempt} of {who}"
    names = ", ".join(repr(each) for each in list(dict.fromkeys(entry.name for entry in put))[:5])
    has = f"It has put {names}" if names else "It has put none"
    unread = (
        f" But not all of the run can be read: {log.problems[0].file}: {log.problems[0].message}."
        if log.problems
        else ""
    )
    return DataNotFoundError(
        f"Cannot get {name!r}: {who} has put no such data. {has}; `chunkstore show {log.run_id} --data` lists all."
        f"{unread}",
        run_id=log.run_id,
        name=name,
    )
