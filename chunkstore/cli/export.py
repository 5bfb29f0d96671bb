"""`chunkstore export`."""

from __future__ import annotations

import os
import sys
from collections.abc import Iterable, Iterator
from typing import Annotated

import msgspec
import typer

from chunkstore.cli.exported_files import ExportedFile, ExportPlan, write_export
from chunkstore.cli.options import (
    ConfigOption,
    JsonOption,
    OptionalRunArgument,
    StoreOption,
    chosen_run,
    open_chosen_store,
)
from chunkstore.cli.output import FINE, PROBLEMS, console, print_error, print_json, print_note
from chunkstore.errors import ChunkstoreError, RunLogNotFoundError
from chunkstore.maintenance.whole_files import STANDARD_OUTPUT
from chunkstore.records.models import RunLog
from chunkstore.stores.base import Store
from chunkstore.views.tables import TABLES
from chunkstore.views.tables.exports import FORMATS, JSON, LINES, PARQUET
from chunkstore.views.texts import counted

_SUFFIXES = {f".{name}": name for name in FORMATS} | {".ndjson": LINES}
_DEFAULT_TABLE = "steps"


class ExportReport(msgspec.Struct, frozen=True, kw_only=True):
    """What an export has written.

    Attributes:
        runs: how many runs are in the files.
        files: the files, in the order in which they were begun.
        unreadable: run ids and the reasons why these runs, or parts of them, are not in the files.
    """

    runs: int
    files: list[ExportedFile]
    unreadable: dict[str, str]


def export_runs(
    to: Annotated[
        str,
        typer.Option(
            "--to",
            "-o",
            metavar="FILE",
            help="A file ending in .json, .jsonl, .csv or .parquet; a folder, ending in /, for all tables; `-` for "
            "standard output.",
        ),
    ],
    run: OptionalRunArgument = None,
    all_runs: Annotated[bool, typer.Option("--all", "-a", help="Export every run, the newest first.")] = False,
    file_format: Annotated[
        str | None,
        typer.Option(
            "--format",
            "-f",
            metavar="FORMAT",
            help=f"One of {', '.join(FORMATS)}. Default: by the file's name.",
            show_default=False,
        ),
    ] = None,
    table: Annotated[
        str | None,
        typer.Option(
            "--table",
            "-t",
            metavar="TABLE",
            help=f"One of {', '.join(TABLES)}. Default: {_DEFAULT_TABLE} for CSV and Parquet.",
            show_default=False,
        ),
    ] = None,
    force: Annotated[bool, typer.Option("--force", help="Replace files that are there.")] = False,
    store: StoreOption = None,
    config: ConfigOption = None,
    json: JsonOption = False,
) -> None:
    """Export a run, or all: JSON documents, JSON lines, or tables as CSV or Parquet.

    .json: whole runs; with --all an array, or a file for each in a folder.
    .jsonl: a line for each record: the run, its branches, its steps.
    .csv, .parquet, and --table: a row for each run, step, attempt, metric value,
    parameter or data set. A file appears when it is complete.
    """
    if (run is None) != all_runs:
        raise typer.BadParameter("Name a run, or give --all.", param_hint="RUN")
    plan = _plan(to, file_format, table, is_many=all_runs, force=force)
    if json and to == STANDARD_OUTPUT:
        raise typer.BadParameter("--json and --to - exclude each other: both print.", param_hint="--json")
    opened = open_chosen_store(store, config)
    unreadable: dict[str, str] = {}
    logs = _all_logs(opened, unreadable) if run is None else _one_log(opened, chosen_run(opened, run), unreadable)
    try:
        runs, files = write_export(plan, logs)
    except ModuleNotFoundError as error:
        raise typer.BadParameter(str(error), param_hint="--to") from None
    if json:
        print_json(ExportReport(runs=runs, files=files, unreadable=unreadable))
    else:
        if to != STANDARD_OUTPUT:
            _say(to, runs, files)
        for run_id, reason in unreadable.items():
            print_error(f"Not all of run {run_id} was exported: {reason}")
    raise typer.Exit(PROBLEMS if unreadable else FINE)


def _plan(to: str, file_format: str | None, table: str | None, *, is_many: bool, force: bool) -> ExportPlan:
    """Return what to write; say what is wrong with the options."""
    is_folder = to.endswith("/") or os.path.isdir(to)
    chosen = file_format or (JSON if to == STANDARD_OUTPUT else _SUFFIXES.get(os.path.splitext(to)[1].lower()))
    if chosen is None or (is_folder and file_format is None):
        raise typer.BadParameter(
            f"The name {to!r} tells no format. Give --format {', '.join(FORMATS)}.", param_hint="--to"
        )
    if chosen not in FORMATS:
        raise typer.BadParameter(f"{chosen!r} is none of {', '.join(FORMATS)}.", param_hint="--format")
    if table is not None and table not in TABLES:
        raise typer.BadParameter(f"{table!r} is none of {', '.join(TABLES)}.", param_hint="--table")
    if table is not None and (is_folder or chosen == JSON):
        what = "A folder gets all tables" if is_folder else "JSON documents hold whole runs"
        raise typer.BadParameter(f"{what}. Leave out --table, or name a CSV or Parquet file.", param_hint="--table")
    if to == STANDARD_OUTPUT and chosen == PARQUET:
        raise typer.BadParameter("Parquet is not text. Name a file.", param_hint="--to")
    if table is None and not is_folder and chosen not in {JSON, LINES}:
        table = _DEFAULT_TABLE
    return ExportPlan(target=to, format=chosen, table=table, is_folder=is_folder, is_many=is_many, force=force)


def _one_log(store: Store, run_id: str, unreadable: dict[str, str]) -> Iterator[tuple[str, RunLog]]:
    log = store.get_run_log(run_id)
    _note_problems(run_id, log, unreadable)
    yield run_id, log


def _all_logs(store: Store, unreadable: dict[str, str]) -> Iterator[tuple[str, RunLog]]:
    """Yield the runs of a store, the newest first; one after the other is read."""
    for run_id in _with_progress([run.run_id for run in store.list_runs()]):
        try:
            log = store.get_run_log(run_id)
        except RunLogNotFoundError:
            continue  # deleted since it was listed
        except ChunkstoreError as error:
            unreadable[run_id] = str(error)
            continue
        _note_problems(run_id, log, unreadable)
        yield run_id, log


def _with_progress(run_ids: list[str]) -> Iterable[str]:
    """Return run ids, and show on a terminal how far it has got."""
    if not sys.stderr.isatty():
        return run_ids
    from rich.progress import track  # noqa: PLC0415 - start-up

    return track(run_ids, "Exporting", console=console(to_errors=True), transient=True)


def _note_problems(run_id: str, log: RunLog, unreadable: dict[str, str]) -> None:
    lost = [problem for problem in log.problems if problem.kind != "orphan"]
    if lost:
        more = f" (and {len(lost) - 1:,} more)" if len(lost) > 1 else ""
        unreadable[run_id] = f"{lost[0].file}: {lost[0].message}{more}"


def _say(to: str, runs: int, files: list[ExportedFile]) -> None:
    what = counted(runs, "run")
    where = to if [file.file for file in files] == [to] else f"{counted(len(files), 'file')} in {to}"
    print_note(f"Wrote {what} to {where}.")
