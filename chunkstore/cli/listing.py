"""`chunkstore ls`."""

from __future__ import annotations

import sys
import time
from collections.abc import Callable, Iterator
from datetime import datetime, timezone
from enum import Enum
from itertools import islice
from typing import Annotated

import typer

from chunkstore.cli.options import ConfigOption, JsonOption, StoreOption, open_chosen_store
from chunkstore.cli.output import console, print_json_items, print_note
from chunkstore.cli.selection import MetricOption, ParamOption, SinceOption, StatusOption, TagOption, Wanted
from chunkstore.cli.unread import NotedRows
from chunkstore.errors import ChunkstoreError
from chunkstore.records.summaries import RunSummary
from chunkstore.stores.base import Store
from chunkstore.views.formats import style_of
from chunkstore.views.pages.run_list import COLUMNS, RunRow, aligned, cells, run_row, widths
from chunkstore.views.texts import printable

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


def list_runs(
    status: StatusOption = None,
    tag: TagOption = None,
    since: SinceOption = None,
    param: ParamOption = None,
    metric: MetricOption = None,
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
    wanted = Wanted.by(status, tag, since, param, metric)
    rows: Iterator[RunRow] = (
        run_row(summary, _counts(opened, summary), liveness, now) for summary, liveness in wanted.of(opened, now)
    )
    if sort != SortKey.STARTED or reverse:
        rows = iter(sorted(rows, key=_KEYS[sort], reverse=(sort not in _FROM_A) != reverse))
    if limit is None:
        limit = _USUAL_LIMIT if sys.stdout.isatty() and not json else 0
    shown = NotedRows(islice(rows, min(limit, sys.maxsize)) if limit else rows, opened)
    count = print_json_items(shown) if json else _print_table(iter(shown), now)
    if not count and next(opened.list_runs(), None):
        why = " ".join(filter(None, (each.why_none() for each in (wanted.parameters, wanted.metrics))))
        if why or not json:
            print_note(f"None of the runs in {opened.backend.location} matches. {why}".rstrip())
    elif not json and not count:
        print_note(f"There are no runs in {opened.backend.location}.")
    elif not json and limit and next(rows, None) is not None:
        print_note("There are more; --limit 0 shows all.")
    shown.end()


def _counts(store: Store, summary: RunSummary) -> dict[str, int] | None:
    """Return how many steps have which status, None if they cannot be read."""
    if summary.steps is not None or summary.problem or store.looks_are_dear:
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
