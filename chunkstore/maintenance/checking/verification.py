"""Looking through a store for everything that is wrong in it."""

from __future__ import annotations

import time
from collections import deque
from collections.abc import Callable, Iterator
from typing import NamedTuple

from chunkstore.backends.entries import FOLDER
from chunkstore.backends.errors import MissingError
from chunkstore.maintenance.checking import chunked_runs, documents
from chunkstore.maintenance.checking.findings import FOREIGN, NEWER_FORMAT, QUARANTINED, STALE, SUPERSEDED, Finding
from chunkstore.maintenance.checking.recorded_data import left_over_data, temporary_in
from chunkstore.maintenance.checking.repair import repair
from chunkstore.names import DOCUMENT_SUFFIX
from chunkstore.recording.catalog import catalog_of
from chunkstore.stores.base import Store
from chunkstore.stores.chunked import ChunkedStore

#: Seconds after which a run is looked at again if something seemed wrong: whoever is writing is further by then.
_PAUSE = 0.25
#: What does not come and go while somebody writes.
_LASTING = frozenset({SUPERSEDED, STALE, FOREIGN, NEWER_FORMAT, QUARANTINED})

#: Is told how many runs have been looked through, and how many there are.
Progress = Callable[[int, int], None]


class _Suspect(NamedTuple):
    run_id: str
    found: list[Finding]
    due: float


def verify(
    store: Store,
    run_id: str | None = None,
    *,
    with_data: bool = False,
    with_repair: bool = False,
    on_progress: Progress = lambda _done, _total: None,
) -> Iterator[Finding]:
    """Yield everything that is wrong in a store, run by run, as soon as it is sure.

    Nobody is disturbed, and nobody has to stop: what seems wrong is looked at again a moment later, so that what is
    written right now is no finding. Nothing is written, unless `with_repair` is set.

    Args:
        store: the store.
        run_id: a single run; None for all, and what lies beside them.
        with_data: whether the data in the catalog is hashed and compared with what was recorded.
        with_repair: whether files of which nothing can be read are moved into a folder `quarantine` beside them.
        on_progress: is told how many runs have been looked through, and how many there are.

    Yields:
        Findings; with `with_repair`, those that were moved say where to.
    """
    for found in _Verification(store, with_data=with_data).findings(run_id, on_progress):
        yield repair(store, found) if with_repair else found


class _Verification:
    def __init__(self, store: Store, *, with_data: bool) -> None:
        self._store = store
        self._with_data = with_data
        self._suspects: deque[_Suspect] = deque()

    def findings(self, run_id: str | None, on_progress: Progress) -> Iterator[Finding]:
        run_ids = [run_id] if run_id is not None else self._all_runs()
        on_progress(0, len(run_ids))
        for done, each in enumerate(run_ids, 1):
            found = self._check(each)
            if any(one.kind not in _LASTING for one in found):
                self._suspects.append(_Suspect(each, found, time.monotonic() + _PAUSE))
            else:
                yield from found
            on_progress(done, len(run_ids))
            yield from self._confirmed(until=time.monotonic())
        yield from self._confirmed(until=None)
        if run_id is None:
            yield from self._check_top()

    def _confirmed(self, until: float | None) -> Iterator[Finding]:
        """Yield what is still wrong with the runs that are due; with None, wait for all."""
        while self._suspects and (until is None or self._suspects[0].due <= until):
            suspect = self._suspects.popleft()
            time.sleep(max(0.0, suspect.due - time.monotonic()))
            again = self._check(suspect.run_id)
            yield from (one for one in suspect.found if one in again)

    def _all_runs(self) -> list[str]:
        """Return the ids of all that may be runs."""
        try:
            entries = self._store.backend.entries("")
        except MissingError:
            return []
        if not isinstance(self._store, ChunkedStore):
            found = filter(documents.is_document, entries)
            return sorted(entry.name.removesuffix(DOCUMENT_SUFFIX) for entry in found)
        if not self._store.backend.shared_between_processes:
            return sorted(self._store.backend.folders())
        return sorted(entry.name for entry in entries if entry.kind == FOLDER and not entry.name.startswith("."))

    def _check(self, run_id: str) -> list[Finding]:
        if isinstance(self._store, ChunkedStore):
            return chunked_runs.check_chunked_run(self._store, run_id, with_data=self._with_data)
        return documents.check_document(self._store, run_id, with_data=self._with_data)

    def _check_top(self) -> Iterator[Finding]:
        try:
            entries = sorted(self._store.backend.entries(""))
        except MissingError:
            return
        check_top = chunked_runs.check_top if isinstance(self._store, ChunkedStore) else documents.check_top
        yield from check_top(entries)
        for _, entry in temporary_in(catalog_of(self._store, "", ""), "", deep=False):
            yield left_over_data("", entry.name, entry)
