"""`chunkstore diff`: what differs between two runs."""

from __future__ import annotations

import sys
from collections.abc import Iterator
from contextlib import contextmanager
from datetime import timedelta
from typing import TYPE_CHECKING, Annotated

import typer

from chunkstore.cli.options import ConfigOption, JsonOption, RunArgument, StoreOption, chosen_run, open_chosen_store
from chunkstore.cli.output import FINE, PROBLEMS, WRONG_USE, console, escaped, print_error, print_json
from chunkstore.cli.showing import liveness_of
from chunkstore.clock import parse_time
from chunkstore.errors import ChunkstoreError
from chunkstore.records.models import RunLog
from chunkstore.stores.base import Store
from chunkstore.views.compare import compare_runs
from chunkstore.views.compare.diff_table import ADDED, CHANGED, MOST_ROWS, REMOVED, Row, Section, sections
from chunkstore.views.compare.differences import RunDiff, Side
from chunkstore.views.formats import format_local, format_seconds, style_of
from chunkstore.views.pages.run_list import actual_status

if TYPE_CHECKING:  # importing rich takes its time, and `--json` needs none
    from rich.console import Console
    from rich.table import Table

_MARK_STYLES = {ADDED: "green", REMOVED: "red", CHANGED: "yellow"}


def diff(
    first: RunArgument,
    second: RunArgument,
    everything: Annotated[
        bool, typer.Option("--all", "-a", help="Show each difference and each duration; fold and leave out nothing.")
    ] = False,
    store: StoreOption = None,
    config: ConfigOption = None,
    json: JsonOption = False,
) -> None:
    """Show what differs between two runs.

    Ids and times are no differences. A duration is shown if the longer one
    is at least 1.5 times the shorter, and 0.1 s longer; durations alone do
    not make runs different.

    Exit codes, as of diff(1): 0 the same, 1 different, 2 the runs cannot be
    compared, or not all of them and nothing differs in the rest.
    """
    try:
        opened = open_chosen_store(store, config)
        runs = [chosen_run(opened, text) for text in (first, second)]
        with reading(quiet=json):
            logs = [_as_it_is(opened, run_id) for run_id in runs]
        compared = compare_runs(*logs, all_durations=everything)
    except ChunkstoreError as error:
        print_error(str(error))
        raise typer.Exit(WRONG_USE) from None
    if json:
        print_json(compared)  # without what is not set
    else:
        _print_diff(compared, everything=everything)
    if compared.different:
        raise typer.Exit(PROBLEMS)
    raise typer.Exit(WRONG_USE if compared.old.unreadable or compared.new.unreadable else FINE)


def _as_it_is(store: Store, run_id: str) -> RunLog:
    """Return a run with the status that it has: LOST, if whoever recorded it has died."""
    log = store.get_run_log(run_id)
    log.status = actual_status(log.status, liveness_of(store, log))
    return log


@contextmanager
def reading(*, quiet: bool) -> Iterator[None]:
    """Tell somebody at a terminal that runs are being read, as long as that lasts."""
    if quiet or not sys.stderr.isatty():
        yield
        return
    with console(to_errors=True).status("Reading…"):
        yield


def _print_diff(diff: RunDiff, *, everything: bool) -> None:
    out = console()
    found = sections(diff, everything=everything)
    out.print(_sides(diff))
    for section in found:
        out.print(f"\n[bold]{section.title}[/]")
        _print_rows(out, section)
    if not diff.different:
        unread = " in what could be read" if diff.old.unreadable or diff.new.unreadable else ""
        but = ", but for how long they took" if found else ""
        out.print(f"\nThe runs do not differ{unread}{but}.")
    _print_unreadable(diff)


def _sides(diff: RunDiff) -> Table:
    table = _grid(5)
    for mark, side in ((REMOVED, diff.old), (ADDED, diff.new)):
        table.add_row(f"[{_MARK_STYLES[mark]}]{mark}[/]", *_side_cells(side))
    return table


def _side_cells(side: Side) -> list[str]:
    style = style_of(side.status)
    status = escaped(side.status)
    return [
        f"[bold]{escaped(side.run_id)}[/]",
        f"[{style}]{status}[/]" if style else status,
        format_local(parse_time(side.start_time)),
        "" if side.seconds is None else format_seconds(timedelta(seconds=side.seconds)),
    ]


def _print_rows(out: Console, section: Section) -> None:
    cells = [_cells(row) for row in section.rows]
    shown = [place for place in range(4) if any(row[place] for row in cells)]
    table = _grid(len(shown))
    for row in cells:
        table.add_row(*(row[place] for place in shown))
    out.print(table)
    if section.hidden:
        out.print(f"[dim]   … and {section.hidden:,} more; --all shows them[/]")


def _cells(row: Row) -> list[str]:
    style = _MARK_STYLES[row.mark]
    where = f"[dim]{escaped(row.where)}[/]" if row.where and row.name else escaped(row.where)
    what = " ".join(filter(None, [where, escaped(row.name)]))
    old, new = (_value_cell(text) for text in (row.old, row.new))
    values = f"{old} [dim]→[/] {new}" if old and new else f"{old}{new}"
    return [f"[{style}]{row.mark}[/]", what, values, f"[dim]{escaped(row.note)}[/]" if row.note else ""]


def _value_cell(text: str) -> str:
    style = style_of(text)
    return f"[{style}]{escaped(text)}[/]" if style else escaped(text)


def _print_unreadable(diff: RunDiff) -> None:
    sys.stdout.flush()
    for side in (diff.old, diff.new):
        if side.unreadable:
            out = console(to_errors=True)
            lines = "".join(f"\n  {escaped(line)}" for line in side.unreadable[:MOST_ROWS])
            more = len(side.unreadable) - MOST_ROWS
            out.print(
                f"\n[yellow]Not compared, as it cannot be read or placed, in run {escaped(side.run_id)}:[/]{lines}"
                + (f"\n  … and {more:,} more" if more > 0 else ""),
                soft_wrap=True,
            )


def _grid(columns: int) -> Table:
    """Return a table without lines and headers."""
    from rich.table import Table  # noqa: PLC0415 - see above

    table = Table.grid(padding=(0, 2, 0, 0))
    for _ in range(columns):
        table.add_column(overflow="fold")
    return table
