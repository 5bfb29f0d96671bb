"""`chunkstore ls`."""

from __future__ import annotations

import sys
import time
from collections.abc import Callable, Iterator
from datetime import datetime, timezone
from enum import Enum
from fnmatch import fnmatchcase
from itertools import islice
from typing import Annotated, Any, TypeVar

import typer

from chunkstore.cli.options import ConfigOption, JsonOption, StoreOption, open_chosen_store
from chunkstore.cli.output import console, print_json_items, print_note
from chunkstore.cli.unread import NotedRows
from chunkstore.errors import ChunkstoreError
from chunkstore.records.summaries import RunSummary
from chunkstore.stores.base import Store
from chunkstore.views.formats import style_of
from chunkstore.views.pages.run_filters import (
    Comparison,
    Matches,
    parse_comparison,
    parse_since,
    started_since,
)
from chunkstore.views.pages.run_list import COLUMNS, RunRow, aligned, cells, run_row, widths
from chunkstore.views.recorded_values import is_wrapped, parameters_in
from chunkstore.views.texts import printable

_T = TypeVar("_T")

#: Rows shown on a terminal, if nobody says how many.
_USUAL_LIMIT = 20
#: The columns are as wide as the first rows need, of which so many are waited for, and so long, in seconds.
_FIRST_ROWS = 32
_LONGEST_WAIT = 0.15
#: On terminals of fewer columns, the columns of the table stand closer.
_NARROW = 100


class SortKey(str, Enum):
    """What rows can be sorted by."""

    STARTED = "started"
    DURATION = "duration"
    STATUS = "status"
    STEPS = "steps"
    FAILED = "failed"
    TAG = "tag"
    RUN = "run"


_KEYS: dict[SortKey, Callable[[RunRow], tuple[bool, float | str]]] = {
    SortKey.STARTED: lambda row: (bool(row.started), row.started),
    SortKey.DURATION: lambda row: (row.seconds is not None, row.seconds or 0.0),
    SortKey.STATUS: lambda row: (bool(row.status), row.status),
    SortKey.STEPS: lambda row: (row.steps is not None, row.steps.total if row.steps else 0),
    SortKey.FAILED: lambda row: (row.steps is not None, row.steps.failed if row.steps else 0),
    SortKey.TAG: lambda row: (bool(row.tag), row.tag),
    SortKey.RUN: lambda row: (True, row.run_id),
}
#: These are sorted from A to Z; all others have the largest first.
_FROM_A = frozenset({SortKey.STATUS, SortKey.TAG, SortKey.RUN})


def _parsed_by(parse: Callable[[str], _T]) -> Callable[[str], _T]:
    def parser(text: str) -> _T:
        try:
            return parse(text)
        except ValueError as error:
            raise typer.BadParameter(str(error)) from None

    return parser


def _since(text: str) -> datetime:
    return parse_since(text, datetime.now(timezone.utc))


def list_runs(
    status: Annotated[
        list[str] | None,
        typer.Option("--status", metavar="STATUS", help="Only runs of this status, also LOST or UNKNOWN; repeatable."),
    ] = None,
    tag: Annotated[
        list[str] | None, typer.Option("--tag", metavar="TAG", help="Only runs of this tag; * and ? match; repeatable.")
    ] = None,
    since: Annotated[
        datetime | None,
        typer.Option(
            parser=_parsed_by(_since), metavar="AGE", help="Only runs started since then: 30min, 12h, 2d, 2024-02-02."
        ),
    ] = None,
    param: Annotated[
        list[Comparison] | None,
        typer.Option(
            parser=_parsed_by(parse_comparison),
            metavar="KEY=VALUE",
            help="Only runs with such a parameter; also < <= > >= !=; repeatable.",
        ),
    ] = None,
    metric: Annotated[
        list[Comparison] | None,
        typer.Option(
            parser=_parsed_by(parse_comparison),
            metavar="'NAME<VALUE'",
            help="Only runs in which a step has such a metric; repeatable.",
        ),
    ] = None,
    limit: Annotated[
        int | None,
        typer.Option(
            "--limit",
            "-n",
            min=0,
            metavar="N",
            help=f"Show so many runs at most; 0 for all. Default: {_USUAL_LIMIT} on a terminal, all elsewhere.",
            show_default=False,
        ),
    ] = None,
    sort: Annotated[
        SortKey, typer.Option(metavar="KEY", help=f"Sort by {', '.join(key.value for key in SortKey)}.")
    ] = SortKey.STARTED,
    reverse: Annotated[bool, typer.Option("--reverse", "-r", help="Turn the order around.")] = False,
    store: StoreOption = None,
    config: ConfigOption = None,
    json: JsonOption = False,
) -> None:
    """List runs, the newest first: status, start, duration, steps and tag.

    LOST is a run whose process has died; UNKNOWN one of which nobody can tell.
    The exit code is 1 if a run could not be read; the first ones are looked through, the rest by `verify`.
    """
    opened = open_chosen_store(store, config)
    now = datetime.now(timezone.utc)
    conditions = Matches("parameter", param or []), Matches("metric", metric or [])
    rows = _rows(opened, now, status or [], tag or [], since, *conditions)
    if sort != SortKey.STARTED or reverse:
        rows = iter(sorted(rows, key=_KEYS[sort], reverse=(sort not in _FROM_A) != reverse))
    if limit is None:
        limit = _USUAL_LIMIT if sys.stdout.isatty() and not json else 0
    shown = NotedRows(islice(rows, min(limit, sys.maxsize)) if limit else rows, opened)
    count = print_json_items(shown) if json else _print_table(iter(shown), now)
    if not count and next(opened.list_runs(), None):
        why = " ".join(filter(None, (each.why_none() for each in conditions)))
        if why or not json:
            print_note(f"None of the runs in {opened.backend.location} matches. {why}".rstrip())
    elif not json and not count:
        print_note(f"There are no runs in {opened.backend.location}.")
    elif not json and limit and next(rows, None) is not None:
        print_note("There are more; --limit 0 shows all.")
    shown.end()


def _rows(
    store: Store,
    now: datetime,
    status: list[str],
    tags: list[str],
    since: datetime | None,
    parameters: Matches,
    metrics: Matches,
) -> Iterator[RunRow]:
    """Yield the runs that meet all conditions; what costs the least to look at is looked at first."""
    wanted = {each.upper() for each in status}
    for summary in store.list_runs():
        if since is not None and not started_since(summary.start_time, since):
            continue
        if tags and not any(fnmatchcase(summary.tag, each) for each in tags):
            continue
        try:
            liveness = None if summary.is_over else store.liveness(summary.run_id)
            row = run_row(summary, None, liveness, now)
            if wanted and row.status.upper() not in wanted:
                continue
            if parameters and not parameters.parameters(_parameters(store, summary.run_id)):
                continue
            if metrics and not metrics.metrics(store.iter_records(summary.run_id)):
                continue
        except FileNotFoundError:
            continue  # deleted since it was listed
        except ChunkstoreError:
            if parameters or metrics:
                continue  # what cannot be read meets no condition
            row = run_row(summary, None, None, now)
        yield run_row(summary, _counts(store, summary), liveness, now)


def _parameters(store: Store, run_id: str) -> dict[str, Any]:
    """Return the parameters of a run as their author gave them."""
    found = store.get_parameters(run_id)
    if not any(map(is_wrapped, found.values())):
        return found
    return parameters_in(store.get_run_log(run_id, full=False), found)


def _counts(store: Store, summary: RunSummary) -> dict[str, int] | None:
    """Return how many steps have which status, None if they cannot be read."""
    if summary.steps is not None or summary.problem:
        return summary.steps
    try:
        return store.count_steps(summary.run_id)
    except (ChunkstoreError, OSError):
        return None


def _print_table(rows: Iterator[RunRow], now: datetime) -> int:
    """Print rows as they come; return how many there were."""
    first: list[RunRow] = []
    deadline = time.monotonic() + _LONGEST_WAIT
    for row in rows:
        first.append(row)
        if len(first) == _FIRST_ROWS or time.monotonic() > deadline:
            break
    if not first:
        return 0
    column_widths = widths([cells(row, now) for row in first])
    printer = _TablePrinter(column_widths, now)
    printer.print_title()
    count = 0
    for some in (first, rows):
        for row in some:
            printer.print_row(row)
            count += 1
    return count


class _TablePrinter:
    """Prints rows: in colour and cut to the width of a terminal, else plain and whole."""

    def __init__(self, column_widths: list[int], now: datetime) -> None:
        self._widths = column_widths
        self._now = now
        self._console = console() if sys.stdout.isatty() else None
        is_narrow = self._console is not None and self._console.width < _NARROW
        self._gap = " " if is_narrow else "  "

    def print_title(self) -> None:
        self._print(aligned(COLUMNS, self._widths, self._gap), "", "dim")

    def print_row(self, row: RunRow) -> None:
        self._print(aligned(cells(row, self._now), self._widths, self._gap), style_of(row.status), "")

    def _print(self, texts: list[str], status_style: str, style: str) -> None:
        texts = [printable(text) for text in texts]
        if self._console is None:
            sys.stdout.write("".join(texts).rstrip() + "\n")
            return
        from rich.text import Text  # noqa: PLC0415 - on terminals alone

        styles = (status_style, "" if style else "bold", "", "", "", "" if style else "cyan")
        line = Text.assemble(*zip(texts, styles, strict=True), style=style)
        self._console.print(line, no_wrap=True, overflow="ellipsis", crop=True)
