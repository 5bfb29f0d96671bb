"""How far a look through many runs has come, for people who wait."""

from __future__ import annotations

import sys
from collections.abc import Callable, Iterator
from contextlib import contextmanager

from chunkstore.cli.output import console


@contextmanager
def shown_progress(what: str) -> Iterator[Callable[[int, int], None]]:
    """Show a bar where errors go, while the `with` block lasts; nothing unless that is a terminal.

    Args:
        what: what is being done, `Checking`.

    Yields:
        A function to be called with how many runs are done, and how many there are.
    """
    if not sys.stderr.isatty():
        yield lambda _done, _total: None
        return
    # On terminals alone.
    from rich.progress import BarColumn, MofNCompleteColumn, Progress, TextColumn, TimeRemainingColumn  # noqa: PLC0415

    columns = (TextColumn(what), BarColumn(), MofNCompleteColumn(), TextColumn("runs"), TimeRemainingColumn())
    # What is printed meanwhile is printed above the bar, unless it goes elsewhere.
    bar = Progress(*columns, console=console(to_errors=True), transient=True, redirect_stdout=sys.stdout.isatty())
    with bar:
        task = bar.add_task(what)
        yield lambda done, total: bar.update(task, completed=done, total=total)
