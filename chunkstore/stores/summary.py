"""What is found out of a run that is about to end, to be noted in its own record."""

from __future__ import annotations

from collections.abc import Collection, Iterable
from typing import Any, NamedTuple

from chunkstore.records.attempts import step_counts
from chunkstore.records.late import LEFT_RUNNING, LeftRunning, Unended
from chunkstore.records.models import AT_LEAST, CONTENTS, FAIL, PROCESSING, SEALED, SUMMING, BranchLog, RunLog, StepLog
from chunkstore.stores.contents import Contents, counted


def tally(records: Iterable[StepLog | BranchLog]) -> tuple[dict[str, int], Unended]:
    """Return how many of the steps among the records of a run have which status, and what has not ended."""
    unended = Unended()
    return step_counts(unended.passing(records)), unended


class Summary(NamedTuple):
    """A run, summed up.

    Attributes:
        steps: how many steps, at any depth, have which status; None if that cannot be read.
        log: the whole run, if that was asked for.
        summing: stands in the run's own record as long as nobody has added anything since the run was summed up; empty
            where nobody takes it away, so that more may have come.
        contents: what the chunks hold; None where they cannot be read, or the run does not consist of chunks.
        unended: what had not ended.
        pending: the names of branches that may be about to begin.
        reason: the error that ends the run; empty if none does.
        sealed: what is noted of the file in which its chunks are sealed already; None if they are not.
    """

    steps: dict[str, int] | None
    log: RunLog | None = None
    summing: str = ""
    contents: Contents | None = None
    unended: Unended | None = None
    pending: Collection[str] = ()
    reason: str = ""
    sealed: dict[str, Any] | None = None

    def notes(self, log: RunLog) -> dict[str, Any]:
        """Return what to note in a run's own record; None for a note that shall not be there."""
        left = (self.unended or Unended()).left_running(self.pending)
        noted = LeftRunning(left, self.reason).with_earlier(log.notes)
        # What still runs goes on to write, and need not find out that the run has ended.
        is_sure = noted is None and self.contents is not None and log.notes.get(SUMMING) == self.summing
        return {
            "steps": self._steps_then(),
            SUMMING: None,
            AT_LEAST: counted(self.contents) if self.contents is not None and not self.summing else None,
            CONTENTS: self.contents if is_sure else None,
            LEFT_RUNNING: noted,
            **({SEALED: self.sealed} if self.sealed else {}),
        }

    def _steps_then(self) -> dict[str, int] | None:
        """Return how many steps have which status as readers will see them when the run has ended."""
        if self.steps is None or PROCESSING not in self.steps:
            return self.steps
        others = {status: count for status, count in self.steps.items() if status != PROCESSING}
        return {**others, FAIL: self.steps[PROCESSING] + others.get(FAIL, 0)}
