"""`chunkstore verify`."""

from __future__ import annotations

from typing import TYPE_CHECKING, Annotated

import msgspec
import typer

from chunkstore.cli.options import (
    ConfigOption,
    JsonOption,
    OptionalRunArgument,
    StoreOption,
    chosen_run,
    open_chosen_store,
)
from chunkstore.cli.output import PROBLEMS, console, escaped, print_json
from chunkstore.cli.run_progress import shown_progress
from chunkstore.maintenance.checking import PROBLEM, Finding, verify
from chunkstore.views.texts import counted

if TYPE_CHECKING:
    from rich.console import Console

_MARKS = {True: "[bold red]✘[/]", False: "[yellow]·[/]"}


class VerifyReport(msgspec.Struct, frozen=True, kw_only=True):
    """What `chunkstore verify` found.

    Attributes:
        store: where the runs are.
        runs: how many runs, or folders that could be runs, were looked through.
        problems: how many findings are problems.
        notes: how many are not.
        moved: how many files were moved into quarantine.
        findings: all of them.
    """

    store: str
    runs: int
    problems: int
    notes: int
    moved: int
    findings: list[Finding]


def verify_runs(
    run: OptionalRunArgument = None,
    data: Annotated[
        bool,
        typer.Option("--data", help="Also hash the data in the catalog, which may take long, and compare it."),
    ] = False,
    repair: Annotated[
        bool,
        typer.Option(
            "--repair",
            help="Move files of which nothing can be read into a folder `quarantine` beside them. Nothing is deleted.",
        ),
    ] = False,
    store: StoreOption = None,
    config: ConfigOption = None,
    json: JsonOption = False,
) -> None:
    """Find everything that is wrong in a store, and say what to do about it.

    Problems are what was recorded and cannot be read, is not what it was, or
    has lost its place; with any, the exit code is 1. Notes are harmless:
    remains of processes that were killed, records that newer ones have
    superseded, files that do not belong here. Runs may go on meanwhile.
    """
    opened = open_chosen_store(store, config)
    run_id = None if run is None else chosen_run(opened, run)
    printer = None if json else console()
    found: list[Finding] = []
    runs = 0
    with shown_progress("Checking") as show:

        def on_progress(done: int, total: int) -> None:
            nonlocal runs
            runs = done
            show(done, total)

        for one in verify(opened, run_id, with_data=data, with_repair=repair, on_progress=on_progress):
            found.append(one)
            if printer:
                _print_finding(printer, one)
    problems = sum(one.severity == PROBLEM for one in found)
    report = VerifyReport(
        store=opened.backend.location,
        runs=runs,
        problems=problems,
        notes=len(found) - problems,
        moved=sum(bool(one.moved_to) for one in found),
        findings=found,
    )
    if printer:
        _print_summary(printer, report, with_data=data)
    else:
        print_json(report)
    if problems:
        raise typer.Exit(PROBLEMS)


def _print_finding(printer: Console, found: Finding) -> None:
    from rich.padding import Padding  # noqa: PLC0415 - `--json` needs none of it

    mark = _MARKS[found.severity == PROBLEM]
    moved = f"Moved to {found.moved_to}. " if found.moved_to else ""
    message, advice = escaped(found.message), f"[dim]{escaped(moved + found.advice)}[/]"
    if not printer.is_terminal:  # a line each, for `grep`
        one_line = " ".join(f"{found.message} {moved}{found.advice}".split())
        printer.print(
            f"{found.severity:<7}  {found.kind:<12}  {escaped(found.file)}  {escaped(one_line)}", soft_wrap=True
        )
        return
    printer.print(f"{mark} [bold]{found.kind}[/]  {escaped(found.file)}", soft_wrap=True)
    printer.print(Padding(f"{message} {advice}", (0, 0, 0, 2)))


def _print_summary(printer: Console, report: VerifyReport, *, with_data: bool) -> None:
    runs = counted(report.runs, "run")
    where = f"{runs} of {escaped(report.store)}"
    if report.problems:
        outcome = f"[bold red]{counted(report.problems, 'problem')}[/] in {where}"
    else:
        outcome = f"[green]No problems[/] in {where}"
    notes = f", {counted(report.notes, 'note')}" if report.notes else ""
    moved = f", {counted(report.moved, 'file')} moved into quarantine" if report.moved else ""
    data = "" if with_data else " [dim]The data in the catalog was not looked at: --data does that.[/]"
    printer.print(f"{outcome}{notes}{moved}.{data}", soft_wrap=True)
