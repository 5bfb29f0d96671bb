"""Saying, at the end of a command, that not all of what it looked at could be read."""

from __future__ import annotations

from collections.abc import Iterable, Iterator

import typer

from chunkstore.cli.output import PROBLEMS, print_note
from chunkstore.records.models import RunLog
from chunkstore.views.pages.run_list import RunRow
from chunkstore.views.texts import counted


def end_of(log: RunLog) -> None:
    """End a command that looked at a run: with the exit code for problems, if there are any in it.

    Raises:
        typer.Exit: there are.
    """
    if log.problems:
        first = log.problems[0]
        what = counted(len(log.problems), "problem")
        print_note(
            f"Not all of run {log.run_id} can be read: {what}, the first in {first.file}: {first.message}. "
            f"`chunkstore verify {log.run_id}` says what to do."
        )
        raise typer.Exit(PROBLEMS)


class NotedRows:
    """Rows of a list of runs, of which it is noted whether one could not be read.

    Args:
        rows: the rows.
    """

    def __init__(self, rows: Iterable[RunRow]) -> None:
        self._rows = rows
        self._is_unread = False

    def __iter__(self) -> Iterator[RunRow]:
        for row in self._rows:
            self._is_unread |= bool(row.problem)
            yield row

    def end(self) -> None:
        """End a command that has shown the rows; as `end_of`."""
        if self._is_unread:
            raise typer.Exit(PROBLEMS)
