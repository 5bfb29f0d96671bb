"""Where the data of a run lies: in the catalog of its store, or where its records say."""

from __future__ import annotations

import os
from collections.abc import Iterable, Iterator

import msgspec
from msgspec import UnsetType

from chunkstore.backends.errors import MissingError
from chunkstore.backends.objects.place import is_url
from chunkstore.errors import ChunkstoreError
from chunkstore.names import incarnation_of, is_data_folder
from chunkstore.recording.catalog import PUT, Catalog, catalog_in_folder, catalog_of
from chunkstore.records.models import BranchLog, DataCatalog, JobLog, RunLog, StepAttempt, StepLog
from chunkstore.stores.base import Store


def put_by(records: Iterable[StepLog | BranchLog]) -> Iterator[tuple[StepLog, DataCatalog]]:
    """Yield what steps have put into the catalog, first what attempts did that do not count."""
    for record in records:
        if isinstance(record, StepLog):
            attempts = [entry for attempt in record.attempts for entry in data_of_attempt(attempt)]
            yield from ((record, entry) for entry in put_among([*attempts, *record.data_catalog]))


def data_of_attempt(attempt: StepAttempt) -> list[DataCatalog]:
    """Return the data of an attempt that does not count; that of the one that does is the step's."""
    return [] if isinstance(attempt.data_catalog, UnsetType) else attempt.data_catalog


def put_among(entries: Iterable[DataCatalog]) -> list[DataCatalog]:
    """Return those of some records of data that tell where it was put."""
    return [entry for entry in entries if entry.stage == PUT and entry.catalog_relative_path]


def catalogs(store: Store, run_id: str, incarnation: str, entries: Iterable[DataCatalog]) -> list[Catalog]:
    """Return the catalogs in which data of a run may be: that of its store, and those which its records name.

    A relative place is looked for from the log folder and from the working folder.

    Args:
        store: where the run is.
        run_id: the run.
        incarnation: its identity.
        entries: the records of the data.
    """
    usual = catalog_of(store, run_id, incarnation)
    places = {location for entry in entries if (location := _named(entry, run_id))}
    found = dict.fromkeys(path for location in sorted(places) for path in _candidates(store, location))
    return [usual, *(at_another_place(usual, path) for path in found if path != usual.path)]


def at_another_place(usual: Catalog, path: str) -> Catalog:
    """Return the catalog of the same run at another place.

    What records say is not enough to take a folder there for the run's: it must be noted that this run has made it.
    """
    return catalog_in_folder(path, usual.run_id, usual.incarnation)


def _named(entry: DataCatalog, run_id: str) -> str:
    """Return which catalog a record names; empty if none, or if it is about no data of the run."""
    location = entry.catalog_handler_location
    folder = entry.catalog_relative_path.partition("/")[0]
    return location if "\0" not in location and is_data_folder(folder, run_id) else ""


def _candidates(store: Store, location: str) -> list[str]:
    """Return the folders that a record may mean; of buckets, none but the store's own is looked into."""
    if is_url(location):
        return []
    is_on_disk = store.backend.shared_between_processes and not is_url(store.backend.location)
    starts = [os.path.dirname(store.backend.location)] if is_on_disk else []
    try:
        starts.append(os.getcwd())
    except FileNotFoundError:
        pass  # the working folder is gone
    return list(dict.fromkeys(os.path.normpath(os.path.join(start, location)) for start in starts))


def holding(found: list[Catalog], entry: DataCatalog) -> Catalog | None:
    """Return which of some catalogs has the folder that a record names; None if that is nowhere."""
    folder = entry.catalog_relative_path.partition("/")[0]
    there = [catalog for catalog in found if catalog.has_folder(folder)]
    return next((catalog for catalog in there if folder in catalog.folders()), there[0] if there else None)


class DataOfRun(msgspec.Struct, frozen=True):
    """Where the data of a run lies that may be deleted with it.

    Attributes:
        elsewhere: catalogs other than the store's in which the run has data of its own.
        left: why data that its records name can not be found, or told to be its own; empty if there is none such.
    """

    elsewhere: list[str] = []
    left: str = ""


def data_of_run(store: Store, run_id: str) -> DataOfRun:
    """Return where the data of a run lies, as its records say; what cannot be read says nothing.

    Args:
        store: where the run is.
        run_id: the run, pinned if it has an identity.
    """
    try:
        log = store.get_run_log(run_id, full=False)
        entries = [entry for _, entry in put_by(store.iter_records(run_id))] + _of_job(log)
    except (ChunkstoreError, MissingError):
        return DataOfRun()
    usual, *others = catalogs(store, str(run_id), incarnation_of(run_id) or log.incarnation, entries)
    own = [catalog.path for catalog in others if catalog.folders()]
    if own or not others or usual.folders():
        return DataOfRun(own)
    named = sorted({location for entry in entries if (location := _named(entry, str(run_id)))})
    where = ", ".join(named)
    folders = {entry.catalog_relative_path.partition("/")[0] for entry in entries}
    there = [catalog.path for catalog in others if any(map(catalog.has_folder, folders))]
    if there:
        return DataOfRun(
            left=f"its records say that its data is in the catalog {there[0]}, where nothing says that it is its own: "
            "it stays. Name that catalog in a configuration, with --config, to delete it"
        )
    return DataOfRun(left=f"its records say that its data is in the catalog {where}, and there is none of this run")


def _of_job(log: RunLog) -> list[DataCatalog]:
    return list(log.job.data_catalog) if isinstance(log.job, JobLog) else []
