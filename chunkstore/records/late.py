"""What still ran when a run ended, and what it has recorded since: kept, told as late, and without a say in the run.

Whoever ends a run notes what had not ended by then. So readers know what came too late by its name alone, whatever the
clocks of hosts say, and whoever still writes need not know that the run has ended. Pure: no I/O.
"""

from __future__ import annotations

from collections.abc import Collection, Iterable, Iterator, Mapping
from typing import Any

import msgspec
from msgspec import UNSET

from chunkstore.records.models import FAIL, NOTES, PROCESSING, SUCCESS, BranchLog, RunLog, StepAttempt, StepLog

#: The note of what still ran.
LEFT_RUNNING = "left_running"
#: What has become of something whose end nobody has recorded.
UNKNOWN = "UNKNOWN"


class LeftRunning(msgspec.Struct, omit_defaults=True):
    """What the end of a run notes.

    Attributes:
        records: by the internal name of what still ran or was yet to begin, what inside it had ended by then.
        reason: the error that ended the run; empty if none did.
    """

    records: dict[str, list[str]] = {}
    reason: str = ""

    @classmethod
    def of(cls, notes: Mapping[str, Any]) -> LeftRunning:
        """Return what is noted."""
        try:
            return msgspec.convert(notes.get(LEFT_RUNNING, {}), cls)
        except msgspec.ValidationError:
            return cls()  # not ours

    def with_earlier(self, notes: Mapping[str, Any]) -> dict[str, Any] | None:
        """Return what to note, with what an earlier end of the same run has noted; None for nothing."""
        earlier = LeftRunning.of(notes)
        records = {**self.records, **earlier.records}
        return msgspec.to_builtins(LeftRunning(records, self.reason or earlier.reason)) if records else None


def without_late(log: RunLog) -> RunLog:
    """Return the own record of a run that goes on again: what still ran when it ended is part of it as all else."""
    notes = {key: value for key, value in log.notes.items() if key != LEFT_RUNNING}
    return msgspec.structs.replace(log, run_config={**log.run_config, NOTES: notes})


def count_late(steps: Mapping[str, StepLog]) -> None:
    """Alter steps, and all inside them, so that what came late counts as what it came to: the work is done."""
    for step in steps.values():
        _count(step)
        for branch in step.branches.values():
            _count(branch)
            count_late(branch.steps)


def _count(record: StepLog | BranchLog) -> None:
    if record.late not in (UNSET, UNKNOWN):
        record.status, record.late, record.began_late = str(record.late), UNSET, UNSET
        if record.status == SUCCESS:
            record.message = "" if isinstance(record, StepLog) else UNSET


def still_running(steps: Mapping[str, StepLog]) -> Iterator[str]:
    """Yield the names of branches, at any depth, that may still run though their run has ended."""
    for step in steps.values():
        for name, branch in step.branches.items():
            if branch.late == UNKNOWN:
                yield name
            else:
                yield from still_running(branch.steps)


class Unended:
    """Finds out, as all records of a run that ends pass by, what has not ended."""

    def __init__(self) -> None:
        self._open: dict[str, None] = {}
        self._ended: dict[str, str] = {}

    def passing(self, records: Iterable[StepLog | BranchLog]) -> Iterator[StepLog | BranchLog]:
        """Yield records, each as it is."""
        for record in records:
            name = record.internal_name
            if record.status == PROCESSING:
                self._open[name] = None
            else:
                self._ended[name] = _inside(record)
            yield record

    def left_running(self, pending: Iterable[str]) -> dict[str, list[str]]:
        """Return what has not ended, and by name of each what inside it has.

        Args:
            pending: names of what may be about to begin; what has ended is none of that.
        """
        left: dict[str, list[str]] = {name: [] for name in self._open}
        left.update({name: [] for name in pending if name not in self._ended})
        if left:
            for name, inside in self._ended.items():
                if (outer := _nearest(name, inside, left)) is not None:
                    left[outer].append(name)
        return left


class LateRecords:
    """Tells, record by record in the order of execution, what came too late in a run that has ended.

    Args:
        left: what the end of the run has noted.
        finished: when that was.
    """

    def __init__(self, left: LeftRunning, finished: str) -> None:
        self._known = {name: frozenset(inside) for name, inside in left.records.items()}
        self._began: set[str] = set()
        self._why = f": interrupted: {left.reason}" if left.reason else ""
        self._finished = finished

    @classmethod
    def of(cls, log: RunLog) -> LateRecords | None:
        """Return what tells of the records of a run; None if nothing of it ran on."""
        if LEFT_RUNNING not in log.notes:
            return None
        left = LeftRunning.of(log.notes)
        return cls(left, str(log.notes.get("finished", ""))) if left.records else None

    def is_left(self, name: str) -> bool:
        """Tell whether nobody waits any more for what has this name."""
        return name in self._known or self._has_begun_late(name, "")

    def _has_begun_late(self, name: str, inside: str) -> bool:
        if inside in self._began:
            return True
        outer = _nearest(name, inside, self._known)
        return outer is not None and name not in self._known[outer]

    def tell(self, record: StepLog | BranchLog, given: Collection[str] = ()) -> bool:
        """Make a record say what it was when the run ended, and what became of it later; return whether it does.

        Args:
            record: as it was recorded last; it is altered.
            given: fields that somebody has set on purpose, in a change laid over it.
        """
        name = record.internal_name
        if record.late is not UNSET or "status" in given:
            return False  # it was told already where this is a copy of
        began_late = name not in self._known
        if began_late:
            if not self._has_begun_late(name, _inside(record)):
                return False
            self._began.add(name)
            record.began_late = True
        record.late = UNKNOWN if record.status == PROCESSING else record.status
        message = f"{'began after' if began_late else 'still ran when'} the run {'had ' * began_late}ended{self._why}; "
        message += "it may have ended later" if record.late == UNKNOWN else f"it ended later: {record.late}"
        if "message" not in given:
            record.message = message
        record.status = FAIL
        if record.attempts is not UNSET:
            record.attempts = [self._closed(attempt, message) for attempt in record.attempts]
        return True

    def _closed(self, attempt: StepAttempt, message: str) -> StepAttempt:
        if attempt.status != PROCESSING:
            return attempt
        return msgspec.structs.replace(attempt, status=FAIL, message=message, end_time=self._finished)


def _inside(record: StepLog | BranchLog) -> str:
    return record.inside if isinstance(record, StepLog) and record.inside is not UNSET else ""


def _nearest(name: str, inside: str, known: Collection[str]) -> str | None:
    """Return the nearest of some records that another one is inside of; None if it is in none of them."""
    if inside in known:
        return inside
    end = name.rfind(".")
    while end > 0:
        if name[:end] in known:
            return name[:end]
        end = name.rfind(".", 0, end)
    return None
