"""Removing what was left of writes and deletions that were stopped."""

from __future__ import annotations

import re
import time
from collections.abc import Collection, Sequence

from chunkstore.backends.capabilities import Clearing, Locking
from chunkstore.backends.entries import FILE, FOLDER, Entry
from chunkstore.backends.errors import MissingError
from chunkstore.errors import ChunkstoreError
from chunkstore.maintenance.left_overs import is_surely_over, is_temporary
from chunkstore.maintenance.retention.data_marks import DATA_MARK, elsewhere_in, marked, pinned_in, remove_data
from chunkstore.maintenance.retention.disk_space import Folders, space_in
from chunkstore.maintenance.retention.rules import LeftOvers
from chunkstore.names import DOCUMENT_SUFFIX, LOCK_FILE, check_run_id
from chunkstore.recording.catalog import catalog_of
from chunkstore.records.summaries import RunSummary
from chunkstore.stores.base import Store
from chunkstore.stores.chunked import ChunkedStore
from chunkstore.stores.runs.liveness import LIVE, LOST

_LOCK = re.compile(rf"\.(.+){re.escape(LOCK_FILE)}\Z")


def remove_left_overs(
    store: Store, *, with_data: bool = False, dry_run: bool = False, without: Collection[str] = ()
) -> LeftOvers:
    """Remove temporary files of processes that have died, and what is left of runs whose deletion was stopped.

    A temporary file goes when it is a day old and its process is not found on this host. In runs that somebody records
    at this moment nothing is touched.

    Args:
        store: where to look.
        with_data: whether the catalog is cleaned too.
        dry_run: whether they are only counted.
        without: runs that are not looked at.

    Raises:
        ChunkstoreError: something cannot be removed.
    """
    now = time.time_ns()
    skipped = set(without)
    summaries = list(store.list_runs())
    left_alone = {each.run_id for each in summaries if each.run_id in skipped or _is_left_alone(store, each)}
    found = _in_store(store, summaries, left_alone, now, dry_run=dry_run)
    if not dry_run:
        _finish_deletions(store)
    catalog = catalog_of(store, "", "")  # of no run: its top
    # Without being asked to, nothing of the catalog is removed; but that there is something is told.
    leave_data = dry_run or not with_data
    in_catalog: list[int] = []
    there = _names_in(catalog)
    for summary in summaries if there else ():
        if summary.run_id in left_alone:
            continue
        of_run = catalog_of(store, summary.run_id, summary.incarnation)
        for folder in there.intersection(of_run.folders()):
            in_catalog += _in_tree(of_run, folder, now, dry_run=leave_data)
    in_catalog += _in_folder(catalog, "", now, dry_run=leave_data)
    if with_data:
        return LeftOvers(files=len(found) + len(in_catalog), space=sum(found) + sum(in_catalog))
    return LeftOvers(
        files=len(found), space=sum(found), files_in_catalog=len(in_catalog), space_in_catalog=sum(in_catalog)
    )


def _in_store(
    store: Store, summaries: Sequence[RunSummary], left_alone: Collection[str], now: int, *, dry_run: bool
) -> list[int]:
    """Remove what is left over among the runs, but for their data; return how much space each of it took."""
    if isinstance(store.backend, Clearing):
        ends = {each.run_id: bool(each.end_time) for each in summaries if each.run_id not in left_alone}
        return store.backend.clear_left_overs(ends, dry_run=dry_run)
    found = _in_folder(store.backend, "", now, dry_run=dry_run) + _idle_locks(store, dry_run=dry_run)
    for summary in summaries:
        if summary.run_id not in left_alone:
            found += _in_folder(store.backend, summary.run_id, now, dry_run=dry_run)
    return found


def _is_left_alone(store: Store, summary: RunSummary) -> bool:
    if summary.end_time or not store.backend.shared_between_processes:
        return False
    try:
        state = store.liveness(summary.run_id).state
    except (ChunkstoreError, MissingError):
        return True
    # Where a file tells neither its age nor its writer, in doubt somebody is about to write in its place.
    return state == LIVE or (state != LOST and isinstance(store.backend, Clearing))


def _in_folder(folders: Folders, folder: str, now: int, *, dry_run: bool) -> list[int]:
    """Remove what is left over in a folder; return how much space each of it took."""
    try:
        entries = folders.entries(folder)
    except (ChunkstoreError, MissingError):
        return []
    found = []
    for entry in filter(_is_removable, entries):
        if is_surely_over(entry, now):
            found.append(space_in(folders, folder, entry))
            if not dry_run:
                folders.remove_left_over(folder, entry.name)
    return found


def _names_in(folders: Folders) -> set[str]:
    try:
        return {entry.name for entry in folders.entries("")}
    except (ChunkstoreError, MissingError):
        return set()


def _in_tree(folders: Folders, folder: str, now: int, *, dry_run: bool) -> list[int]:
    """As `_in_folder`, also in the folders inside."""
    found = _in_folder(folders, folder, now, dry_run=dry_run)
    try:
        inner = [entry.name for entry in folders.entries(folder) if entry.kind == FOLDER and not _is_removable(entry)]
    except (ChunkstoreError, MissingError):
        inner = []
    for name in inner:
        found += _in_tree(folders, f"{folder}/{name}", now, dry_run=dry_run)
    return found


def _is_removable(entry: Entry) -> bool:
    return is_temporary(entry) and not entry.name.startswith(DATA_MARK)


def _finish_deletions(store: Store) -> None:
    """Delete the data of runs that are gone already: whoever was deleting both was stopped in between."""
    try:
        marks = [entry.name for entry in store.backend.entries("") if entry.name.startswith(DATA_MARK)]
    except MissingError:
        return
    for mark in marks:
        run_id = pinned_in(mark)
        try:
            check_run_id(run_id)
            # What the file says is taken for no more than whether it is about this catalog.
            said = store.backend.load("", mark)
            elsewhere = elsewhere_in(said)
            if said != marked(store, run_id, elsewhere):
                continue
            if not store.has_run(run_id):
                remove_data(store, run_id, elsewhere)
            store.backend.remove_left_over("", mark)
        except (ChunkstoreError, MissingError):
            pass  # it stays for the next time, unless somebody else has done the same


def _idle_locks(store: Store, *, dry_run: bool) -> list[int]:
    """Remove lock files of runs that are gone; return how much space each of them took."""
    backend = store.backend
    if isinstance(store, ChunkedStore) or not isinstance(backend, Locking):
        return []  # they went with the runs, or there are none
    try:
        entries = backend.entries("")
    except (ChunkstoreError, MissingError):
        return []
    names = {entry.name for entry in entries}
    found = [
        entry
        for entry in entries
        if entry.kind == FILE
        and (match := _LOCK.match(entry.name))
        and f"{match.group(1)}{DOCUMENT_SUFFIX}" not in names
    ]
    for entry in () if dry_run else found:

        def remove(lock: str = entry.name) -> None:
            if not backend.has("", _locked_document(lock)):
                backend.remove_lock("", lock)

        backend.while_locked("", entry.name, remove)
    return [entry.space for entry in found]


def _locked_document(lock: str) -> str:
    """Return the document that a lock file is for."""
    return f"{lock[1 : -len(LOCK_FILE)]}{DOCUMENT_SUFFIX}"
