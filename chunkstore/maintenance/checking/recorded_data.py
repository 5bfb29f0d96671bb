"""What is wrong with the data that runs have put into the catalog."""

from __future__ import annotations

import time
from collections.abc import Callable, Hashable, Iterable, Iterator
from typing import NamedTuple

from chunkstore.backends.entries import FOLDER, Entry
from chunkstore.backends.errors import MissingError
from chunkstore.clock import format_nanoseconds
from chunkstore.errors import ChunkstoreError, RunLogNotFoundError
from chunkstore.maintenance.checking.findings import DATA, LEFT_OVER, SUPERSEDED, Finding, finding
from chunkstore.maintenance.data_places import catalogs, holding, put_by
from chunkstore.maintenance.left_overs import is_temporary, is_worth_mentioning
from chunkstore.names import readable_name
from chunkstore.recording.catalog import Catalog, hash_of, is_hash
from chunkstore.records.models import BranchLog, RunLog, StepLog
from chunkstore.stores.base import Store
from chunkstore.stores.runs import LIVE, LOST
from chunkstore.stores.stored import is_finished
from chunkstore.views.formats import format_bytes


def data_findings(
    store: Store, log: RunLog, records: Iterable[StepLog | BranchLog], *, with_hashes: bool
) -> list[Finding]:
    """Return what is wrong with the data of a run.

    Args:
        store: where the run is.
        log: the run's own record.
        records: its steps and branches.
        with_hashes: whether the data is compared with what was recorded of it; else only left-overs are told.
    """
    put = list(put_by(records))
    found = catalogs(store, log.run_id, log.incarnation, [entry for _, entry in put])
    wrong = [
        one for catalog in found for folder in catalog.folders() for one in _left_overs(store, log, catalog, folder)
    ]
    named = {entry.data_hash for _, entry in put}
    wrong += [
        one for catalog in found for folder in catalog.own_folders() for one in _unnamed(catalog, log, folder, named)
    ]
    if not with_hashes:
        return wrong
    recorded: dict[tuple[str, Catalog], dict[str, str]] = {}
    for step, entry in put:
        if is_hash(entry.data_hash):
            place = holding(found, entry)
            where = entry.catalog_relative_path, place or found[0]
            recorded.setdefault(where, {})[entry.data_hash] = readable_name(step.internal_name)
    hashes = _Hashes()
    others = "".join(f", nor in {catalog.path}" for catalog in found[1:])
    for (path, catalog), steps in recorded.items():
        looked = _Place(catalog, f"{catalog.path}{others if catalog == found[0] else ''}")
        wrong += _data(hashes, looked, log.run_id, path, steps)
    return wrong


#: Nanoseconds within which data that was put is recorded.
_RECORDED_WITHIN = 60_000_000_000


class _Place(NamedTuple):
    """A catalog, and all places where somebody has looked for it."""

    catalog: Catalog
    looked_at: str


class _Hashes:
    """Hashes files, each once: mostly the newest version and the plain file are the same."""

    def __init__(self) -> None:
        self._known: dict[Hashable, str] = {}

    def of(self, catalog: Catalog, path: str, digest: str = "") -> str | None:
        """Return the SHA-256 of the newest version of data, or of what is kept under a hash; None if there is none."""
        found = catalog.version(path, digest) if digest else catalog.newest(path)
        if found is None:
            return None
        with found.content:
            if found.identity not in self._known:
                self._known[found.identity] = hash_of(found.content)
            return self._known[found.identity]


def _data(hashes: _Hashes, place: _Place, run_id: str, path: str, recorded: dict[str, str]) -> Iterator[Finding]:
    catalog = place.catalog
    steps = ", ".join(dict.fromkeys(recorded.values()))
    if any(part in {"", ".", ".."} for part in path.split("/")) or "\0" in path:
        yield finding(DATA, run_id, path, f"The data of {steps} has a path that leads out of the catalog.")
        return
    try:
        plain = hashes.of(catalog, path)
        if plain is None:
            yield finding(DATA, run_id, path, f"The data of {steps} is not in the catalog {place.looked_at}.")
        elif plain not in recorded:
            yield _changed(run_id, path, steps, plain, next(reversed(recorded)))
        for digest, step in recorded.items():
            kept = hashes.of(catalog, path, digest)
            if kept == digest or kept is None:
                continue
            if kept != plain:
                yield _changed(run_id, f"{catalog.versions_in(path.partition('/')[0])}/{digest}", step, kept, digest)
            elif plain in recorded:
                yield _replaced(catalog, run_id, path, step, recorded[plain])
    except (OSError, ChunkstoreError) as error:
        yield finding(DATA, run_id, path, f"The data of {steps} cannot be read: {error}")


def _changed(run_id: str, path: str, steps: str, found: str, recorded: str) -> Finding:
    message = f"has changed: its SHA-256 is {found[:12]}…, recorded was {recorded[:12]}…."
    return finding(DATA, run_id, path, f"The data of {steps} {message}")


def _replaced(catalog: Catalog, run_id: str, path: str, step: str, newer: str) -> Finding:
    """Return the finding for data whose name other data has got since, and which is not kept beside that."""
    message = f"The data of {step} has been replaced by that of {newer}, and is not there any more."
    if catalog.has_folder(catalog.versions_in(path.partition("/")[0])):
        return finding(DATA, run_id, path, message)
    # runnable, and older versions of this library, keep no more than the newest.
    return finding(SUPERSEDED, run_id, path, message, "Nothing can be done: who put it kept no more than the newest.")


def _left_overs(store: Store, log: RunLog, catalog: Catalog, folder: str) -> Iterator[Finding]:
    for place, entry in temporary_in(catalog, folder, lambda: _is_given_up(store, log)):
        yield left_over_data(log.run_id, f"{place}/{entry.name}", entry)


def _is_given_up(store: Store, log: RunLog) -> bool:
    """Tell whether nobody records a run any more."""
    try:
        state = store.liveness(log.run_id).state
    except RunLogNotFoundError:
        return False  # deleted just now
    return state == LOST or (is_finished(log) and state != LIVE)


def _unnamed(catalog: Catalog, log: RunLog, folder: str, named: set[str]) -> Iterator[Finding]:
    """Yield versions that no record names: somebody was stopped after putting data, and before recording that."""
    path = catalog.versions_in(folder)
    try:
        entries = catalog.entries(path)
    except (ChunkstoreError, MissingError):
        return
    now = time.time_ns()
    for entry in entries:
        if is_hash(entry.name) and entry.name not in named and now - entry.modified_at > _RECORDED_WITHIN:
            message = f"No record names this data, which was put at {format_nanoseconds(entry.modified_at)}."
            advice = "It goes with the data of the run: `chunkstore gc --data`."
            yield finding(LEFT_OVER, log.run_id, f"{path}/{entry.name}", message, advice)


def left_over_data(run_id: str, path: str, entry: Entry) -> Finding:
    """Return the finding for a temporary file in the catalog."""
    begun = format_nanoseconds(entry.modified_at)
    message = f"Somebody was stopped while copying into the catalog, at {begun}: {format_bytes(entry.space)} are left."
    return finding(LEFT_OVER, run_id, path, message, "`chunkstore gc --data` removes it when it is surely nobody's.")


def temporary_in(
    catalog: Catalog, folder: str, is_given_up: Callable[[], bool] = lambda: False, *, deep: bool = True
) -> Iterator[tuple[str, Entry]]:
    """Yield what somebody left who was stopped while writing, and the folder that it is in."""
    now = time.time_ns()
    try:
        entries = catalog.entries(folder)
    except (ChunkstoreError, MissingError):
        return
    for entry in entries:
        if is_temporary(entry):
            if is_worth_mentioning(entry, now, is_given_up):
                yield folder, entry
        elif deep and entry.kind == FOLDER:
            yield from temporary_in(catalog, f"{folder}/{entry.name}", is_given_up)
