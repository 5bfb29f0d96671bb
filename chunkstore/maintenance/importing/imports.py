"""Recording the runs of a folder in a store."""

from __future__ import annotations

import os
from collections.abc import Callable

from chunkstore.errors import RunLogExistsError
from chunkstore.maintenance.importing.kept_data import keep_data
from chunkstore.maintenance.importing.report import ImportReport
from chunkstore.maintenance.importing.sources import Source, find_runs, is_of_chunkstore
from chunkstore.maintenance.importing.times import dated
from chunkstore.names import check_run_id, new_incarnation
from chunkstore.stores.base import Store
from chunkstore.stores.chunked import ChunkedStore


def import_runs(
    source: str | os.PathLike[str], store: Store, *, progress: Callable[[str, int, int], None] | None = None
) -> ImportReport:
    """Record every run of a folder in a store. The folder is only read; a run that the store holds is left alone.

    No field is lost: those that chunkstore does not know are kept beside those that it does. Data stays where it is; it
    is not deleted with the run that was imported. Each run appears in the store whole or not at all, so an import that
    was interrupted can simply be run again. A run of which a part cannot be read is recorded without it; to import it
    again, once that part is mended, delete it first.

    Args:
        source: the folder that holds the runs.
        store: where they go.
        progress: called before each run with its id, how many came before it, and how many there are.

    Returns:
        What was imported, what was there, and what could not be read.

    Raises:
        ConfigurationError: there is no such folder.
    """
    report = ImportReport()
    source = os.fspath(source)
    found = find_runs(source, report)
    for number, run in enumerate(found):
        if progress:
            progress(run.run_id, number, len(found))
        with report.noting(run.run_id, run.place):
            _import_run(run, source, store, report)
    return report


def _import_run(run: Source, source: str, store: Store, report: ImportReport) -> None:
    check_run_id(run.run_id)
    if run.run_id in report.imported:
        report.note(run.run_id, run.place, "there is another run of this id here, which was imported")
    elif store.has_run(run.run_id):
        report.present.append(run.run_id)
        if _lies_in(store, source) and run.place == run.run_id and not is_of_chunkstore(run.run_id, source):
            report.note(run.run_id, run.place, "it is in a layout of runnable's own; import it into another folder")
    elif (log := run.read(report)) is not None:
        incarnation = new_incarnation()
        # Before: should this be stopped in between, data is kept for nobody, which is better than lost for somebody.
        keep_data(store, log, incarnation, source)
        try:
            store.add_run_log(dated(log), incarnation=incarnation)
        except RunLogExistsError:
            report.present.append(run.run_id)  # another import was quicker
            return
        report.imported.append(run.run_id)


def _lies_in(store: Store, source: str) -> bool:
    """Tell whether a store keeps its runs, as folders, in the folder that is imported."""
    return isinstance(store, ChunkedStore) and os.path.abspath(store.backend.location) == os.path.abspath(source)
