"""The files of an export: one, a table each in a folder, or a document for each run in a folder."""

from __future__ import annotations

import os
import sys
from collections.abc import Iterable, Iterator
from contextlib import ExitStack
from typing import IO

import msgspec

from chunkstore.maintenance.whole_files import STANDARD_OUTPUT, make_folder, whole_file
from chunkstore.records.models import RunLog
from chunkstore.views.tables import TABLES
from chunkstore.views.tables.exports import JSON, LINES, Document, DocumentArray, Export, RecordLines, table_export


class ExportPlan(msgspec.Struct, frozen=True, kw_only=True):
    """What to write.

    Attributes:
        target: a file, a folder, or `-` for the standard output.
        format: one of `chunkstore.views.tables.exports.FORMATS`.
        table: which table; None for all in a folder, or for whole runs.
        is_folder: whether the target is one.
        is_many: whether runs come in an array, where the format is JSON.
        force: whether to replace files.
    """

    target: str
    format: str
    table: str | None
    is_folder: bool
    is_many: bool
    force: bool


class ExportedFile(msgspec.Struct, frozen=True, kw_only=True):
    """A file that was written.

    Attributes:
        file: its path, or `-` for the standard output.
        entries: how many runs, records or rows are in it.
    """

    file: str
    entries: int


def write_export(plan: ExportPlan, logs: Iterable[tuple[str, RunLog]]) -> tuple[int, list[ExportedFile]]:
    """Write runs, one after the other, to files that appear when they are complete.

    Args:
        plan: what to write.
        logs: run ids and run logs.

    Returns:
        How many runs were written, and the files.

    Raises:
        StoreUsageError: a file is there already, or cannot be written.
        ModuleNotFoundError: the format needs a package that is not installed.
    """
    if plan.is_folder:
        make_folder(plan.target)
        if plan.format == JSON:
            written = [_write_document(plan, run_id, log) for run_id, log in logs]
            return len(written), written
    runs = 0
    with ExitStack() as files:
        exports = dict(_begun(plan, files))
        for _, log in logs:
            runs += 1
            for export in exports.values():
                export.add(log)
    return runs, [ExportedFile(file=path, entries=export.written) for path, export in exports.items()]


def _write_document(plan: ExportPlan, run_id: str, log: RunLog) -> ExportedFile:
    path = os.path.join(plan.target, f"{run_id}.json")
    with whole_file(path, overwrite=plan.force) as file, Document(file) as document:
        document.add(log)
    return ExportedFile(file=path, entries=1)


def _begun(plan: ExportPlan, files: ExitStack) -> Iterator[tuple[str, Export]]:
    """Open the files of a plan."""
    if plan.is_folder:
        for table in TABLES:
            path = os.path.join(plan.target, f"{table}.{plan.format}")
            yield path, files.enter_context(table_export(_opened(path, plan, files), table, plan.format))
    else:
        yield plan.target, files.enter_context(_of_one_file(plan, _opened(plan.target, plan, files)))


def _opened(path: str, plan: ExportPlan, files: ExitStack) -> IO[bytes]:
    if path == STANDARD_OUTPUT:
        return sys.stdout.buffer
    return files.enter_context(whole_file(path, overwrite=plan.force))


def _of_one_file(plan: ExportPlan, file: IO[bytes]) -> Export:
    if plan.table is not None:
        return table_export(file, plan.table, plan.format)
    if plan.format == LINES:
        return RecordLines(file)
    return DocumentArray(file) if plan.is_many else Document(file)
