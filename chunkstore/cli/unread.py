"""Saying, at the end of a command, that not all of what it looked at could be read."""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Sequence

import msgspec
import typer

from chunkstore.cli.output import PROBLEMS, print_note
from chunkstore.errors import ChunkstoreError, RunLogNotFoundError
from chunkstore.records.models import Problem, RunLog
from chunkstore.stores.base import Store
from chunkstore.views.pages.run_list import RunRow
from chunkstore.views.texts import counted

#: How many steps the runs may have, in all, that are looked through; and how many it counts as to open a run.
_MOST_STEPS, _STEPS_OF_RUN = 1_000, 5


def end_of(log: RunLog) -> None:
    """End a command that looked at a run: with the exit code for problems, if there are any in it.

    Raises:
        typer.Exit: there are.
    """
    if log.problems:
        print_note(
            f"Not all of run {log.run_id} can be read: {problem_of(log.problems)}. "
            f"`chunkstore verify {log.run_id}` says what to do."
        )
        raise typer.Exit(PROBLEMS)


def problem_of(problems: Sequence[Problem]) -> str:
    """Return how many problems there are, and the first of them; empty if there is none."""
    if not problems:
        return ""
    first = problems[0]
    return f"{counted(len(problems), 'problem')}, the first in {first.file}: {first.message}"


class NotedRows:
    """Rows of a list of runs, of which it is noted whether one could not be read.

    The first ones are looked through for that, until they had as many steps as that may cost; none where each look into
    a run is a request.

    Args:
        rows: the rows.
        store: where the runs are.
    """

    def __init__(self, rows: Iterable[RunRow], store: Store) -> None:
        self._rows = rows
        self._store = store
        self._steps_left = _MOST_STEPS
        self._is_unread = False

    def __iter__(self) -> Iterator[RunRow]:
        for row in self._rows:
            looked_through = row if row.problem or self._store.looks_are_dear else self._looked_through(row)
            self._is_unread |= bool(looked_through.problem)
            yield looked_through

    def _looked_through(self, row: RunRow) -> RunRow:
        steps = _STEPS_OF_RUN + (row.steps.total if row.steps else 0)
        if steps > self._steps_left:
            return row
        self._steps_left -= steps
        try:
            problems = self._store.find_problems(row.run_id)
        except RunLogNotFoundError:
            return row  # deleted since it was listed
        except ChunkstoreError as error:
            return msgspec.structs.replace(row, problem=str(error))
        return msgspec.structs.replace(row, problem=problem_of(problems))

    def end(self) -> None:
        """End a command that has shown the rows; as `end_of`."""
        if self._is_unread:
            raise typer.Exit(PROBLEMS)
