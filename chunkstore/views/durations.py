"""How long runs, branches and steps took, from the times that were recorded of them.

Clocks may be set while something runs, and two hosts may not agree about the time: no duration is negative, and what
was measured by a clock that nobody sets counts more than two times.
"""

from __future__ import annotations

from datetime import datetime, timedelta

from chunkstore.clock import parse_duration, parse_time
from chunkstore.records.attempts import counting_attempt
from chunkstore.records.models import JobLog, RunLog, StepAttempt, StepLog

_NOTHING = timedelta()


def between(start: str, end: str) -> timedelta | None:
    """Return how long it was between two times of the run log; None if one is not known."""
    first: datetime | None = parse_time(start)
    last = parse_time(end)
    return max(last - first, _NOTHING) if first and last else None


def attempt_duration(attempt: StepAttempt) -> timedelta | None:
    """Return how long an attempt took, as it was measured, or from its start to its end; None if unknown."""
    took = between(attempt.start_time, attempt.end_time)
    measured = parse_duration(attempt.duration)
    return took if measured is None or took is None else timedelta(seconds=measured)


def has_several_starts(step: StepLog | JobLog) -> bool:
    """Tell whether several processes have begun with a step, which may have been at work at once."""
    return len({attempt.start for attempt in step.attempts}) > 1


def last_attempt(step: StepLog | JobLog) -> StepAttempt | None:
    """Return the attempt with which a step ended, or goes on; None if it has not begun.

    Where it was started several times, that is the one that counts: others may go on beside it, and after it.
    """
    if has_several_starts(step):
        return counting_attempt(step)
    return step.attempts[-1] if step.attempts else None


def step_duration(step: StepLog | JobLog) -> timedelta | None:
    """Return how long a step took, from the start of its first attempt to the end of its last; None if unknown."""
    begun = [attempt for attempt in step.attempts if attempt.start_time]
    last = last_attempt(step)
    if not begun or last is None:
        return None
    took = between(begun[0].start_time, last.end_time)
    attempts = [duration for attempt in begun if (duration := attempt_duration(attempt)) is not None]
    if took is None or not attempts or has_several_starts(step):
        return took
    return attempts[0] if len(begun) == len(step.attempts) == 1 else max(took, sum(attempts, _NOTHING))


def run_duration(log: RunLog) -> timedelta | None:
    """Return how long a run took, as it was noted; None if that is not known."""
    return between(str(log.notes.get("created", "")), str(log.notes.get("finished", "")))
