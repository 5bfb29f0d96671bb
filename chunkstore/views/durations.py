"""How long runs, branches and steps took, from the times that were recorded of them."""

from __future__ import annotations

from datetime import datetime, timedelta

from chunkstore.clock import parse_time
from chunkstore.records.models import RunLog, StepLog


def between(start: str, end: str) -> timedelta | None:
    """Return how long it was between two times of the run log; None if one is not known."""
    first: datetime | None = parse_time(start)
    last = parse_time(end)
    return last - first if first and last else None


def step_duration(step: StepLog) -> timedelta | None:
    """Return how long a step took, from the start of its first attempt to the end of its last; None if unknown."""
    starts = [attempt.start_time for attempt in step.attempts if attempt.start_time]
    return between(starts[0], step.attempts[-1].end_time) if starts else None


def run_duration(log: RunLog) -> timedelta | None:
    """Return how long a run took, as it was noted; None if that is not known."""
    return between(str(log.notes.get("created", "")), str(log.notes.get("finished", "")))
