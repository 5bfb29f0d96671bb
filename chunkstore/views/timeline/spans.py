"""What a timeline is made of: one span for each step.

Times are seconds since the first step began. A composite step or branch without times of its own reaches from the
first to the last of what is inside it. The usual branch, which runs one function, is one span and not two. What was
taken over from an earlier run took no time in this one.
"""

from __future__ import annotations

from collections.abc import Iterator
from datetime import datetime, timedelta

import msgspec

from chunkstore.records.models import BranchLog, JobLog, StepLog

STEP, BRANCH = "step", "branch"
#: The parent of what is in no other span.
TOP = -1


class TimelineAttempt(msgspec.Struct, frozen=True, kw_only=True, gc=False):
    """One try of a step.

    Attributes:
        start: seconds since the timeline's beginning.
        end: likewise; of an attempt that goes on, the timeline's end.
        status: `SUCCESS`, `FAIL` or `PROCESSING`.
    """

    start: float
    end: float
    status: str


class Span(msgspec.Struct, kw_only=True):
    """The time of one step or branch.

    Attributes:
        name: what its author called it.
        internal_name: the dot path of the record.
        kind: `step` or `branch`; a branch that runs one function has the internal name of that step.
        step_type: `task`, `map`, `parallel`…; empty for a branch of several steps.
        status: as recorded, but `LOST` or `UNKNOWN` for what never ended in a run that nobody records any more.
        parent: the place in `Timeline.spans` of what it is in; -1 for none.
        depth: how many spans it is in.
        start: seconds since the timeline's beginning.
        end: likewise; of what goes on, the timeline's end. Attempts that do not count may end later.
        waited: of a branch, seconds between the start of its composite step and its own.
        is_running: whether it has not ended.
        is_critical: whether it is on the critical path; see `critical_path`.
        branches: how many branches it has.
        failed_branches: how many of them failed.
        attempts: one entry per try, those without a start left out; of what was taken over, none.
        taken_over_from: the run whose result was taken over, at one moment; empty for what ran.
        late: what became of it after the run had ended; empty where it had ended before.
    """

    name: str
    internal_name: str
    kind: str
    step_type: str
    status: str
    parent: int
    depth: int
    start: float
    end: float
    waited: float = 0.0
    is_running: bool = False
    is_critical: bool = False
    branches: int = 0
    failed_branches: int = 0
    attempts: list[TimelineAttempt] = msgspec.field(default_factory=list)
    taken_over_from: str = ""
    late: str = ""

    @property
    def seconds(self) -> float:
        """How long it took."""
        return self.end - self.start


class Undated(msgspec.Struct, frozen=True, kw_only=True):
    """A step or branch without times: it has not begun, or nobody recorded when.

    Attributes:
        internal_name: the dot path of the record.
        status: as recorded.
    """

    internal_name: str
    status: str


class Timeline(msgspec.Struct, kw_only=True):
    """The spans of a run.

    Attributes:
        run_id: the run.
        status: of the run; `LOST` or `UNKNOWN` if nobody records it any more.
        tag: that of the run.
        message: why the run failed.
        beginning: the moment from which seconds are counted; None if there is no span.
        wall_seconds: from the first start to the last end.
        spans: outer ones before inner ones, in order of execution.
        records: what the spans stand for, at the same places; where that is a branch and its function, the latter.
        branch_records: the branches of such spans, by their places.
        undated: what could not be placed.
        problems: how many files of the run could not be read or have no place in it.
    """

    run_id: str
    status: str
    tag: str
    message: str
    beginning: datetime | None
    wall_seconds: float
    spans: list[Span]
    records: list[StepLog | BranchLog | JobLog]
    branch_records: dict[int, BranchLog]
    undated: list[Undated]
    problems: int

    def branch_of(self, place: int) -> BranchLog | None:
        """Return the branch that a span stands for, if it does."""
        record = self.records[place]
        return record if isinstance(record, BranchLog) else self.branch_records.get(place)

    def moment(self, seconds: float) -> datetime | None:
        """Return the moment so many seconds after the beginning."""
        return self.beginning + timedelta(seconds=seconds) if self.beginning else None

    @property
    def children(self) -> list[list[int]]:
        """The places of the spans inside each span, and at the end of the list, of those in none."""
        children: list[list[int]] = [[] for _ in range(len(self.spans) + 1)]
        for place, span in enumerate(self.spans):
            children[span.parent].append(place)
        return children


def times_at_work(timeline: Timeline) -> Iterator[tuple[float, float]]:
    """Yield when each step was at work itself: composite ones never, others while nothing inside them was."""
    children = timeline.children
    for place, span in enumerate(timeline.spans):
        inner = children[place]
        if inner and (span.branches or not span.attempts):
            continue
        inside = [timeline.spans[child] for child in inner]
        busy = [(child.start, child.end) for child in inside]
        busy += [(attempt.start, attempt.end) for child in inside for attempt in child.attempts]
        busy.sort()
        for attempt in tries_of(span):
            yield from _between(attempt.start, attempt.end, busy)


def _between(start: float, end: float, busy: list[tuple[float, float]]) -> Iterator[tuple[float, float]]:
    """Yield the parts of a time that others, in order of their starts, leave free."""
    for other_start, other_end in busy:
        if start < min(other_start, end):
            yield start, min(other_start, end)
        start = max(start, other_end)
    if start < end:
        yield start, end


def tries_of(span: Span) -> list[TimelineAttempt]:
    """Return when a span was at work: its attempts, or all of it if nobody recorded any."""
    return span.attempts or [TimelineAttempt(start=span.start, end=span.end, status=span.status)]
