"""`chunkstore copy`."""

from __future__ import annotations

from collections.abc import Iterator
from datetime import datetime, timezone
from fnmatch import fnmatchcase
from typing import Annotated

import typer

from chunkstore.cli.options import ConfigOption, JsonOption, StoreOption, chosen_run, open_chosen_store
from chunkstore.cli.output import PROBLEMS, console, escaped, print_error, print_json
from chunkstore.cli.run_progress import shown_progress
from chunkstore.cli.selection import MetricOption, ParamOption, SinceOption, StatusOption, TagOption, Wanted
from chunkstore.maintenance.copying import CopyReport, RunCopy, copy_runs
from chunkstore.maintenance.copying.report import COPIED, FAILED, UNCHANGED, UPDATED
from chunkstore.stores.base import Store
from chunkstore.views.formats import format_bytes
from chunkstore.views.texts import counted

_WILD = "*?["


def copy(
    to: Annotated[
        str,
        typer.Option("--to", "-t", metavar="[TYPE:]FOLDER", help="The store that the copies go to, named as --store."),
    ],
    runs: Annotated[
        list[str] | None,
        typer.Argument(
            metavar="[RUN]...",
            help="Ids of runs, beginnings of some, `latest`, or patterns with * and ?.",
            show_default=False,
        ),
    ] = None,
    all_runs: Annotated[bool, typer.Option("--all", "-a", help="Copy every run.")] = False,
    status: StatusOption = None,
    tag: TagOption = None,
    since: SinceOption = None,
    param: ParamOption = None,
    metric: MetricOption = None,
    seal: Annotated[
        bool, typer.Option("--seal", help="Pack the files of runs that have ended into one, on the way.")
    ] = False,
    data: Annotated[bool, typer.Option("--data/--no-data", help="Copy the data in the catalog too.")] = True,
    replace: Annotated[
        bool, typer.Option("--replace", help="Delete other runs of the same ids where the copies go.")
    ] = False,
    verify: Annotated[
        bool, typer.Option("--verify", help="Read and compare also what has not changed since it was copied.")
    ] = False,
    dry_run: Annotated[
        bool, typer.Option("--dry-run", "-n", help="Show what would be copied, and do nothing.")
    ] = False,
    store: StoreOption = None,
    config: ConfigOption = None,
    json: JsonOption = False,
) -> None:
    """Copy runs into another store: a folder, or a bucket.

    What is there already is left alone; only what is new or has changed is sent.
    A run that still goes on is copied as it is: copy it again for the rest.
    It may be stopped at any moment and started again: a copy says that it goes
    on until everything is there. At the end what was sent is read and compared.

    The exit code is 1 if a run, or a part of one, could not be copied.
    """
    wanted = Wanted.by(status, tag, since, param, metric)
    if not (runs or all_runs or wanted):
        raise typer.BadParameter("Name runs, say which with --status, --tag or --since, or --all.", param_hint="RUN")
    if runs and all_runs:
        raise typer.BadParameter("--all and names of runs exclude each other. Give one of them.", param_hint="--all")
    source, target = open_chosen_store(store, config), open_chosen_store(to, None)
    chosen = list(_chosen(source, runs or [], wanted))
    with shown_progress("Copying") as show:
        report = copy_runs(
            source,
            target,
            chosen,
            seal=seal,
            data=data,
            replace=replace,
            verify=verify,
            dry_run=dry_run,
            progress=lambda _run, done, total: show(done, total),
        )
    if json:
        print_json(report)
    else:
        _print(report)
    if report.has_problems:
        raise typer.Exit(PROBLEMS)


def _chosen(store: Store, named: list[str], wanted: Wanted) -> Iterator[str]:
    """Yield the ids of the runs that are named and meet the conditions."""
    plain = [chosen_run(store, text) for text in named if not set(text) & set(_WILD)]
    patterns = [text for text in named if set(text) & set(_WILD)]
    if not patterns and not wanted and named:
        yield from plain
        return
    for summary, _ in wanted.of(store, datetime.now(timezone.utc)):
        run_id = summary.run_id
        if not named or run_id in plain or any(fnmatchcase(run_id, pattern) for pattern in patterns):
            yield run_id


def _print(report: CopyReport) -> None:
    out = console()
    for run in report.runs:
        for problem in run.problems:
            print_error(f"{run.run_id}: {problem}")
        if run.left_out:
            out.print(
                f"[yellow]left[/]  {escaped(run.run_id)}: {escaped(', '.join(run.left_out))}; not chunkstore's",
                soft_wrap=True,
            )
    by = {outcome: _of(report, outcome) for outcome in (COPIED, UPDATED, UNCHANGED, FAILED)}
    would = "would be " if report.dry_run else ""
    told = [
        f"{counted(len(by[outcome]), 'run')} {text}"
        for outcome, text in (
            (COPIED, f"{would}copied"),
            (UPDATED, f"{would}brought up to date"),
            (UNCHANGED, "there already"),
            (FAILED, "failed"),
        )
        if by[outcome]
    ]
    size = format_bytes(sum(run.bytes for run in report.runs))
    sent = (
        f" ({counted(sum(run.chunks for run in report.runs), 'record')}, {size})" if by[COPIED] or by[UPDATED] else ""
    )
    out.print(f"{', '.join(told) or 'No run matches'}: {escaped(report.target)}{sent}", soft_wrap=True)
    going_on = [run for run in report.runs if not run.has_ended and run.outcome != FAILED]
    if going_on:
        goes, its = ("goes", "its") if len(going_on) == 1 else ("go", "their")
        out.print(f"[dim]{counted(len(going_on), 'run')} {goes} on: copy again for {its} rest.[/]", soft_wrap=True)


def _of(report: CopyReport, outcome: str) -> list[RunCopy]:
    return [run for run in report.runs if run.outcome == outcome]
