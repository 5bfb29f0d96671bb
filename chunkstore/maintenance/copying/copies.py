"""Copying runs from one store into another."""

from __future__ import annotations

import os
from collections import deque
from collections.abc import Callable, Iterable
from concurrent.futures import Future, ThreadPoolExecutor
from itertools import islice

from chunkstore.errors import StoreUsageError
from chunkstore.maintenance.copying.into_chunks import CopyIntoChunks
from chunkstore.maintenance.copying.into_records import CopyIntoRecords
from chunkstore.maintenance.copying.one_run import CopyOptions
from chunkstore.maintenance.copying.report import CopyReport, RunCopy
from chunkstore.names import check_run_id
from chunkstore.stores.base import Store
from chunkstore.stores.chunked import ChunkedStore

#: How many runs are copied at once, and how many chunks of one.
_AT_ONCE = 32


def copy_runs(
    source: Store,
    target: Store,
    run_ids: Iterable[str] | None = None,
    *,
    seal: bool = False,
    data: bool = True,
    replace: bool = False,
    verify: bool = False,
    dry_run: bool = False,
    concurrency: int = _AT_ONCE,
    progress: Callable[[RunCopy, int, int], None] | None = None,
) -> CopyReport:
    """Copy runs from one store into another; the stores may be of different types, and one of them in a bucket.

    Between stores that keep runs in chunks, those are copied byte for byte under their names, and a later copy sends
    only what is new or has changed. Else the records are copied. A run that is still recorded is copied as it is; copy
    it again for the rest. The copy says that it goes on until everything is there, so a copy that was stopped is never
    taken for the whole, and copying again completes it. At the end what is there is read and compared.

    The copy is another run than its source: it has an identity of its own, and its notes say whose copy it is. Nobody
    records it, so it is never LIVE. Record nothing into a copy: it is not copied any more then.

    Args:
        source: where the runs are.
        target: where the copies go.
        run_ids: which; None for all.
        seal: whether runs that have ended are sealed in the target, also where they are not in the source.
        data: whether the data that the records name is copied into the catalog of the target.
        replace: whether another run of the same id is deleted in the target.
        verify: whether copies of which nothing has changed are read and compared too.
        dry_run: whether it is only looked what there is to do.
        concurrency: how many runs are copied at once, and how many chunks of each are sent at once.
        progress: called when a run is done with what became of it, how many are done, and how many there are.

    Returns:
        What became of each run; what goes wrong with one says nothing of the next.

    Raises:
        StoreUsageError: both are the same store.
    """
    if _place(source) == _place(target):
        raise StoreUsageError(f"Cannot copy runs within {source.backend.location}: it is the same store. Name two.")
    chosen = list(run_ids) if run_ids is not None else [run.run_id for run in source.list_runs()]
    for run_id in chosen:
        check_run_id(run_id)
    options = CopyOptions(
        seal=seal, data=data, replace=replace, verify=verify, dry_run=dry_run, concurrency=max(concurrency, 1)
    )
    report = CopyReport(source=source.backend.location, target=target.backend.location, dry_run=dry_run)

    def copy(run_id: str) -> RunCopy:
        kind = CopyIntoChunks if isinstance(target, ChunkedStore) else CopyIntoRecords
        return kind(source, target, run_id, options).make()

    unique = iter(dict.fromkeys(chosen))
    total = len(set(chosen))
    waiting: deque[Future[RunCopy]] = deque()
    with ThreadPoolExecutor(options.concurrency, thread_name_prefix="chunkstore-copy") as pool:
        try:
            while True:
                waiting.extend(
                    pool.submit(copy, run_id) for run_id in islice(unique, 2 * options.concurrency - len(waiting))
                )
                if not waiting:
                    break
                report.runs.append(waiting.popleft().result())
                if progress:
                    progress(report.runs[-1], len(report.runs), total)
        except BaseException:
            options.stop.set()
            for future in waiting:
                future.cancel()
            raise
    return report


def _place(store: Store) -> tuple[object, ...]:
    """Return what two stores have in common that are the same."""
    if not store.backend.shared_between_processes:
        return id(store.backend), isinstance(store, ChunkedStore)
    where = store.backend.location
    where = where if "://" in where else os.path.realpath(where)
    return where, isinstance(store, ChunkedStore)
