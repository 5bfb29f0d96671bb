"""The data of a run that moves in: it stays where it is, and nobody is to delete it with the run that it came from."""

from __future__ import annotations

import logging
import os
from collections.abc import Iterator

from chunkstore.errors import ChunkstoreError
from chunkstore.names import is_data_folder
from chunkstore.recording.catalog import catalog_in_folder
from chunkstore.records.attempts import data_of
from chunkstore.records.models import BranchLog, DataCatalog, JobLog, RunLog, StepLog
from chunkstore.stores.base import Store

logger = logging.getLogger("chunkstore")

_USUAL = ".catalog"


def keep_data(store: Store, log: RunLog, incarnation: str, source: str) -> None:
    """Have a run that is about to be imported keep the data that its records refer to.

    Args:
        store: where it is going to be.
        log: the run.
        incarnation: its identity there.
        source: the folder that it was imported from.
    """
    beside_source = os.path.join(os.path.dirname(os.path.abspath(source)), _USUAL)
    entries = list(_entries(log))
    recorded = {os.path.abspath(entry.catalog_handler_location) for entry in entries if _is_path(entry)}
    folders = {entry.catalog_relative_path.partition("/")[0] for entry in entries}
    for place in sorted({store.catalog_path, beside_source, *recorded}):
        for folder in sorted(folders):
            catalog = catalog_in_folder(place, log.run_id, incarnation)
            if not is_data_folder(folder, log.run_id) or not catalog.has_folder(folder):
                continue
            try:
                catalog.keep(folder)
            except (ChunkstoreError, OSError) as error:
                # As where it may only be read: then it is not deleted by way of this either.
                logger.warning("The data of run %s in %s is not kept from being deleted: %s", log.run_id, place, error)


def _is_path(entry: DataCatalog) -> bool:
    return bool(entry.catalog_handler_location) and "\0" not in entry.catalog_handler_location


def _entries(log: RunLog) -> Iterator[DataCatalog]:
    if isinstance(log.job, JobLog):
        yield from log.job.data_catalog
    waiting: list[StepLog | BranchLog] = [*log.steps.values()]
    waiting += [*log.orphans.steps.values(), *log.orphans.branches.values()]
    while waiting:
        record = waiting.pop()
        if isinstance(record, StepLog):
            yield from data_of(record)
            waiting.extend(record.branches.values())
        else:
            waiting.extend(record.steps.values())
