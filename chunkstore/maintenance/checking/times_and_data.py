"""What can be wrong with records that can be read: impossible times, and steps that are not there."""

from __future__ import annotations

import time
from collections.abc import Callable, Iterable, Iterator
from datetime import datetime, timedelta, timezone

from msgspec import UNSET

from chunkstore.clock import format_nanoseconds, parse_time
from chunkstore.maintenance.checking.findings import MISSING, TIME, Finding, finding
from chunkstore.names import ChunkName, readable_name
from chunkstore.records.attempts import step_counts
from chunkstore.records.models import BranchLog, RunLog, StepAttempt, StepLog
from chunkstore.stores.runs.run_list import summary_of
from chunkstore.stores.stored import is_finished

#: Clocks of hosts, and times without an offset, differ by less.
_TOLERANCE = timedelta(days=1)
_TOLERANCE_NS = 86_400 * 1_000_000_000
#: Nanoseconds since the epoch, in 2001; nothing was recorded before.
_EARLIEST = 10**18

#: What to do about records that were there once.
MISSING_CHUNKS = "Restore the files of the others from a backup: chunks, sealed files, or journals."

#: Returns the file that holds a record, below the log folder.
FileOf = Callable[[StepLog | BranchLog], str]


def missing_steps(log: RunLog, file: str, records: Iterable[StepLog | BranchLog]) -> list[Finding]:
    """Return a finding if a run has fewer steps than were counted when it finished.

    To be asked where nothing else tells what has become of them: damage that is told, or a quarantine.

    Args:
        log: the run's own record.
        file: where it is.
        records: all that was found.
    """
    counted = summary_of(log).steps
    if counted is None or not is_finished(log):
        return []
    there = sum(step_counts(records).values())
    missing = sum(counted.values()) - there
    if missing <= 0:
        return []
    message = f"The run finished with {sum(counted.values()):,} steps, and {there:,} of them are here."
    return [finding(MISSING, log.run_id, file, message, MISSING_CHUNKS)]


def impossible_times(log: RunLog, file: str, records: Iterable[StepLog | BranchLog], file_of: FileOf) -> list[Finding]:
    """Return what is wrong with the times in a run's records.

    Args:
        log: the run's own record.
        file: the file that holds it.
        records: the steps and branches.
        file_of: tells where each is.
    """
    run_id = log.run_id
    latest = datetime.now(timezone.utc) + _TOLERANCE
    notes = log.notes
    created, finished = str(notes.get("created") or ""), str(notes.get("finished") or "")
    wrong = [finding(TIME, run_id, file, f"The run {reason}.") for reason in _reasons(created, finished, latest)]
    if not isinstance(log.job, (type(UNSET), type(None))):
        for attempt in log.job.attempts:
            wrong += [finding(TIME, run_id, file, f"The job {reason}.") for reason in _attempt(attempt, latest)]
    for record in records:
        for attempt in record.attempts if isinstance(record, StepLog) else ():
            where = f"Attempt {attempt.attempt_number} of step {readable_name(record.internal_name)}"
            wrong += [
                finding(TIME, run_id, file_of(record), f"{where} {reason}.") for reason in _attempt(attempt, latest)
            ]
    return wrong


def _attempt(attempt: StepAttempt, latest: datetime) -> Iterator[str]:
    return _reasons(attempt.start_time, attempt.end_time, latest)


def _reasons(start: str, end: str, latest: datetime) -> Iterator[str]:
    first, last = parse_time(start), parse_time(end)
    for what, text, moment in (("starts", start, first), ("ends", end, last)):
        if text and moment is None:
            yield f"{what} at {text[:40]!r}, which is no time"
        elif moment is not None and moment > latest:
            yield f"{what} in the future, at {text}"
    if first is not None and last is not None and last < first:
        yield f"ends before it starts: {end} is before {start}"


def impossible_time_in_name(run_id: str, file: str, chunk: ChunkName) -> list[Finding]:
    """Return what is wrong with the time in the name of a chunk, if that is so."""
    if _EARLIEST <= chunk.timestamp <= time.time_ns() + _TOLERANCE_NS:
        return []
    return [
        finding(
            TIME,
            run_id,
            file,
            f"By its name, it was recorded at {format_nanoseconds(chunk.timestamp)}.",
            "Check the clock of the host that recorded it; whoever records after it counts on from that time.",
        )
    ]
