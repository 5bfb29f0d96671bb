"""`chunkstore gc`."""

from __future__ import annotations

import sys
from typing import TYPE_CHECKING, Annotated, Literal

import msgspec
import typer

from chunkstore.cli.options import ConfigOption, JsonOption, StoreOption, open_chosen_store
from chunkstore.cli.output import PROBLEMS, WRONG_USE, console, escaped, print_error, print_json
from chunkstore.cli.run_progress import shown_progress
from chunkstore.clock import parse_time
from chunkstore.maintenance.data_places import data_of_run
from chunkstore.maintenance.retention import (
    Candidate,
    Kept,
    Outcome,
    Plan,
    Rule,
    check_rule,
    collect,
    parse_age,
    plan_retention,
    remove_left_overs,
)
from chunkstore.stores.base import Store
from chunkstore.stores.runs.liveness import LOST
from chunkstore.views.formats import format_bytes, format_local, style_of
from chunkstore.views.texts import counted, printable

if TYPE_CHECKING:
    from rich.console import Console

#: On a terminal no more rows are shown; in a pipe all are.
_MOST_ROWS = 20


class GcReport(msgspec.Struct, frozen=True, kw_only=True):
    """What `chunkstore gc` did, or would do.

    Attributes:
        store: where the runs are.
        dry_run: whether nothing was done.
        runs: how many runs there were.
        unfinished: how many of them had not finished.
        deleted: the runs that were deleted, or would be.
        kept: runs that meet the rule and were kept, and why.
        failed: runs that could not be deleted, and why.
        left_overs: how many files and folders of writes that were stopped were removed, or would be.
        freed: how many bytes of the disk are free again, or would be.
        data_left: with `--data`, runs that were deleted and whose data stays, and why.
        left_overs_in_catalog: how many files of copies that were stopped are in the catalog, and left without `--data`.
        space_in_catalog: how many bytes of the disk those take.
    """

    store: str
    dry_run: bool
    runs: int
    unfinished: int
    deleted: list[Candidate]
    kept: list[Kept]
    failed: list[Kept]
    left_overs: int
    freed: int
    data_left: list[Kept] = []
    left_overs_in_catalog: int = 0
    space_in_catalog: int = 0


def collect_garbage(
    keep_last: Annotated[
        int | None,
        typer.Option("--keep-last", min=0, metavar="N", help="Keep the N newest runs.", show_default=False),
    ] = None,
    older_than: Annotated[
        str | None,
        typer.Option(
            "--older-than",
            metavar="AGE",
            help="Only runs that ended longer ago: 90m, 12h, 30d, 2w.",
            show_default=False,
        ),
    ] = None,
    status: Annotated[
        list[str] | None,
        typer.Option(
            "--status",
            metavar="STATUS",
            help="Only runs of this status: SUCCESS, FAIL, or LOST. May be repeated.",
            show_default=False,
        ),
    ] = None,
    tag: Annotated[
        list[str] | None,
        typer.Option("--tag", metavar="TAG", help="Only runs with this tag. May be repeated.", show_default=False),
    ] = None,
    data: Annotated[bool, typer.Option("--data", help="Also delete the data of these runs in the catalog.")] = False,
    dry_run: Annotated[
        bool, typer.Option("--dry-run", "-n", help="Show what would be deleted, and do nothing.")
    ] = False,
    yes: Annotated[bool, typer.Option("--yes", "-y", help="Do not ask.")] = False,
    store: StoreOption = None,
    config: ConfigOption = None,
    json: JsonOption = False,
) -> None:
    """Delete runs that nobody needs any more.

    A run is deleted only if it meets everything that is given, and something
    must be given. --keep-last counts the runs with the given tags and statuses,
    the newest first, whatever their age: `--status FAIL --keep-last 5` keeps
    the five newest failures. Without --status, all that have finished are meant.

    Runs that have not finished are never touched; with --status LOST, those go
    whose owner surely died. A run is kept while a later one that resumed it has
    not succeeded. Temporary files that dead processes left are removed too.
    It may be stopped at any moment and started again.
    """
    rule = Rule(
        keep_last=keep_last,
        older_than=None if older_than is None else parse_age(older_than),
        statuses=frozenset(text.upper() for text in status or ()),
        tags=frozenset(tag or ()),
    )
    check_rule(rule)
    opened = open_chosen_store(store, config)
    may_ask = not json and sys.stdin.isatty() and sys.stdout.isatty()
    if not (dry_run or yes or may_ask):
        print_error("Nobody is there to be asked, and nothing was deleted. Say --yes to delete, or --dry-run to look.")
        raise typer.Exit(WRONG_USE)
    printer = None if json else console()
    plan = plan_retention(opened, rule, with_data=data)
    if printer:
        _print_plan(printer, plan, dry_run=dry_run)
    if plan.delete and not dry_run and not yes and not _agreed(plan, data):
        raise typer.Exit
    outcomes: list[Outcome] = []
    if not dry_run:
        with shown_progress("Deleting") as show:
            outcomes.extend(collect(opened, plan, with_data=data, on_progress=show))
    going = [run.run_id for run in plan.delete] if dry_run else []
    left_overs = remove_left_overs(opened, with_data=data, dry_run=dry_run, without=going)
    deleted = plan.delete if dry_run else [outcome.run for outcome in outcomes if outcome.deleted]
    report = GcReport(
        store=opened.backend.location,
        dry_run=dry_run,
        runs=plan.runs,
        unfinished=plan.unfinished,
        deleted=deleted,
        kept=[*plan.kept, *(_as_kept(outcome) for outcome in outcomes if not outcome.deleted and not outcome.failed)],
        failed=[_as_kept(outcome) for outcome in outcomes if outcome.failed],
        left_overs=left_overs.files,
        freed=sum(run.space for run in deleted) + left_overs.space,
        data_left=_data_left(opened, plan)
        if dry_run and data
        else [Kept(run_id=outcome.run.run_id, reason=outcome.data_left) for outcome in outcomes if outcome.data_left],
        left_overs_in_catalog=left_overs.files_in_catalog,
        space_in_catalog=left_overs.space_in_catalog,
    )
    if printer:
        _print_report(printer, report)
    else:
        print_json(report)
    if report.failed:
        raise typer.Exit(PROBLEMS)


def _data_left(store: Store, plan: Plan) -> list[Kept]:
    """Return of which runs data would stay, and why."""
    found = [Kept(run_id=run.run_id, reason=data_of_run(store, run.run_id).left) for run in plan.delete]
    return [stays for stays in found if stays.reason]


def _as_kept(outcome: Outcome) -> Kept:
    return Kept(run_id=outcome.run.run_id, reason=outcome.reason)


def _agreed(plan: Plan, data: bool) -> bool:
    what = counted(len(plan.delete), "run")
    return typer.confirm(f"Delete {what}{' with data' if data else ''}? This cannot be undone.")


def _print_plan(printer: Console, plan: Plan, *, dry_run: bool) -> None:
    from rich.table import Table  # noqa: PLC0415 - `--json` needs none of it

    if not plan.delete:
        return
    if not printer.is_terminal:  # a line each, for `grep`
        for run in plan.delete:
            printer.file.write("  ".join(("delete", *map(printable, _cells(run)))) + "\n")
        return
    printer.print("Would delete:" if dry_run else "To delete:")
    table = Table(box=None, pad_edge=False, padding=(0, 2, 0, 0), header_style="dim")
    has_tags = any(run.tag for run in plan.delete)
    for name in ("run", "status", "ended", *(["tag"] if has_tags else []), "size"):
        justify: Literal["left", "right"] = "right" if name == "size" else "left"
        table.add_column(name, no_wrap=name not in ("run", "tag"), overflow="fold", justify=justify)
    for run in plan.delete[:_MOST_ROWS]:
        run_id, status, ended, tag, size = map(escaped, _cells(run))
        table.add_row(
            run_id, f"[{style_of(run.status) or 'default'}]{status}[/]", ended, *([tag] if has_tags else []), size
        )
    printer.print(table)
    if len(plan.delete) > _MOST_ROWS:
        printer.print(f"[dim]… and {len(plan.delete) - _MOST_ROWS:,} more; in a pipe, all are listed.[/]")


def _cells(run: Candidate) -> tuple[str, str, str, str, str]:
    ended = format_local(parse_time(run.end_time) or parse_time(run.start_time))
    return run.run_id, run.status, ended, run.tag, format_bytes(run.space)


def _print_report(printer: Console, report: GcReport) -> None:
    for kept in report.kept:
        printer.print(f"[yellow]kept[/]    {escaped(kept.run_id)}: {escaped(kept.reason)}", soft_wrap=True)
    for failed in report.failed:
        printer.print(f"[bold red]failed[/]  {escaped(failed.run_id)}: {escaped(failed.reason)}", soft_wrap=True)
    for stays in report.data_left:
        printer.print(f"[yellow]data[/]    {escaped(stays.run_id)}: {escaped(stays.reason)}", soft_wrap=True)
    would = "Would delete" if report.dry_run else "Deleted"
    left = f" and {counted(report.left_overs, 'left-over file')}" if report.left_overs else ""
    frees = "that would free" if report.dry_run else "that freed"
    rest = report.runs - (0 if report.dry_run else len(report.deleted))
    line = f"{would} {counted(len(report.deleted), 'run')}{left}; {frees} {format_bytes(report.freed)}."
    stay = f" {counted(rest, 'run')} {'are' if rest != 1 else 'is'} in {escaped(report.store)}"
    stay = f" Of {counted(report.runs, 'run')}, {len(report.deleted):,} would go" if report.dry_run else stay
    unfinished = report.unfinished - sum(run.status == LOST for run in report.deleted)
    still = f"; {unfinished:,} {'have' if unfinished != 1 else 'has'} not finished" if unfinished else ""
    printer.print(f"{line}[dim]{stay}{still}.[/]", soft_wrap=True)
    if report.left_overs_in_catalog:
        files = counted(report.left_overs_in_catalog, "file")
        size = format_bytes(report.space_in_catalog)
        printer.print(f"In the catalog, copies that were stopped have left {files} of {size}; --data removes them.")
