"""When a run, and what is in it, began and ended; runnable records times of attempts alone."""

from __future__ import annotations

from collections.abc import Iterable, Iterator
from datetime import datetime, timezone

from chunkstore.clock import parse_time, utc_now
from chunkstore.records.base import Record
from chunkstore.records.models import NOTES, BranchLog, JobLog, RunLog, StepAttempt, StepLog

_NEVER = datetime.min.replace(tzinfo=timezone.utc)


def dated(log: RunLog) -> RunLog:
    """Note when a run began and ended, for lists of runs, if nobody has."""
    if log.notes:
        return log
    attempts = list(_attempts(log))
    starts = _ordered(attempt.start_time for attempt in attempts)
    ends = _ordered(attempt.end_time for attempt in attempts)
    notes = {"created": starts[0] if starts else utc_now()}
    if ends:
        notes["finished"] = ends[-1]
    log.run_config = {**log.run_config, NOTES: {**notes, "imported": utc_now()}}
    return log


def begin_of(record: StepLog | BranchLog) -> datetime:
    """Return when the first attempt in a record began; what was never tried comes first."""
    starts = _ordered(attempt.start_time for attempt in _attempts(record))
    return (parse_time(starts[0]) if starts else None) or _NEVER


def _ordered(times: Iterable[str]) -> list[str]:
    """Return those texts that are times, in order."""
    moments = [(moment, text) for text in times if (moment := parse_time(text))]
    return [text for _, text in sorted(moments)]


def _attempts(record: Record) -> Iterator[StepAttempt]:
    if isinstance(record, (StepLog, JobLog)):
        yield from record.attempts
    if isinstance(record, RunLog) and record.job:
        yield from _attempts(record.job)
    if isinstance(record, StepLog):
        for branch in record.branches.values():
            yield from _attempts(branch)
    if isinstance(record, (RunLog, BranchLog)):
        for step in record.steps.values():
            yield from _attempts(step)
