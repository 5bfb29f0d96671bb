"""When the steps of a run ran, made from its log."""

from __future__ import annotations

import math
from collections.abc import Iterator
from datetime import datetime, timedelta, timezone

import msgspec
from msgspec import UNSET

from chunkstore.clock import parse_duration, parse_time
from chunkstore.names import unescape_segment
from chunkstore.records.models import FAIL, LOST, PROCESSING, BranchLog, JobLog, RunLog, StepAttempt, StepLog
from chunkstore.views.durations import has_several_starts, last_attempt
from chunkstore.views.timeline.critical_path import critical_path
from chunkstore.views.timeline.spans import BRANCH, STEP, TOP, Span, Timeline, TimelineAttempt, Undated

_EPOCH = datetime(1970, 1, 1, tzinfo=timezone.utc)
_MICROSECOND = timedelta(microseconds=1)


def timeline_of(log: RunLog, *, until: datetime | None = None, unfinished: str = PROCESSING) -> Timeline:
    """Return the timeline of a run.

    Args:
        log: a whole run log.
        until: when what has not ended ends in the drawing: now, for a run that goes on. None for the last time in
            the log. A run that has finished ends when it finished.
        unfinished: what is shown instead of the status PROCESSING.
    """
    finished = parsed_seconds(str(log.notes.get("finished", "")))
    if finished is None and until is not None:
        finished = _seconds_of(until)
    created = parsed_seconds(str(log.notes.get("created", "")))
    builder = _Builder(
        math.nan if created is None else created, -math.inf if finished is None else finished, unfinished
    )
    builder.add_all(log)
    builder.close()
    return Timeline(
        run_id=log.run_id,
        status=unfinished if log.status == PROCESSING else log.status,
        tag=log.tag or "",
        message=str(log.notes.get("message", "")),
        beginning=_EPOCH + builder.beginning * timedelta(seconds=1) if builder.spans else None,
        wall_seconds=builder.wall_seconds,
        spans=builder.spans,
        records=builder.records,
        branch_records=builder.branch_records,
        undated=builder.undated,
        problems=len(log.problems),
    )


def _seconds_of(moment: datetime) -> float:
    return (moment - _EPOCH) / _MICROSECOND / 1e6


def parsed_seconds(text: str) -> float | None:
    """Return a time of the run log in seconds since the epoch; None if it is none, or so far off that it is not UTC."""
    try:
        moment = parse_time(text)
        return None if moment is None else _seconds_of(moment.astimezone(timezone.utc))
    except OverflowError:
        return None


class _Builder:
    """Turns records into spans; times are seconds since the epoch until `close` is called."""

    def __init__(self, created: float, until: float, unfinished: str) -> None:
        self.spans: list[Span] = []
        self.records: list[StepLog | BranchLog | JobLog] = []
        self.branch_records: dict[int, BranchLog] = {}
        self.undated: list[Undated] = []
        self.beginning = 0.0
        self.wall_seconds = 0.0
        self._created = created
        self._until = until
        self._unfinished = unfinished
        self._waiting: list[tuple[StepLog | BranchLog, int, str]] = []
        #: By the `id` of a step, those that ran inside it.
        self._inside: dict[int, list[StepLog]] = {}

    def add_all(self, log: RunLog) -> None:
        """Add everything in a log, also what has no place in its tree; outer records before inner ones."""
        if isinstance(log.job, JobLog):
            self._add(log.job, log.job.attempts, name="job", internal_name="job", kind=STEP, parent=TOP)
        self._wait_for(list(log.orphans.branches.values()), TOP, "")
        self._wait_for(self._outermost([*log.steps.values(), *log.orphans.steps.values()]), TOP, "")
        while self._waiting:
            record, parent, scope = self._waiting.pop()
            if isinstance(record, StepLog):
                self._add_step(record, parent, record.name)
            else:
                self._add_branch(record, parent, scope)

    def _add_step(self, step: StepLog, parent: int, name: str, branch: BranchLog | None = None) -> int:
        place = self._add(
            step,
            step.attempts,
            name=name,
            internal_name=step.internal_name,
            kind=BRANCH if branch else STEP,
            parent=parent,
            status=branch.status if branch else step.status,
        )
        self.spans[place].branches = len(step.branches)
        self.spans[place].failed_branches = sum(inner.status == FAIL for inner in step.branches.values())
        self._wait_for(list(step.branches.values()), place, step.internal_name)
        self._wait_for(self._inside.pop(id(step), []), place, step.internal_name.rpartition(".")[0])
        return place

    def _outermost(self, steps: list[StepLog]) -> list[StepLog]:
        """Return those of the steps of a run or branch that ran inside none of the others."""
        by_name = {step.internal_name: step for step in steps}
        found = []
        for step in steps:
            outer = self._step_around(step, by_name)
            if outer is None:
                found.append(step)
            else:
                self._inside.setdefault(id(outer), []).append(step)
        return found

    @staticmethod
    def _step_around(step: StepLog, by_name: dict[str, StepLog]) -> StepLog | None:
        """Return the step around another one; None also where following these leads back."""
        seen = {step.internal_name}
        nearest = outer = by_name.get(step.inside) if step.inside is not UNSET else None
        while outer is not None and outer.inside is not UNSET:
            if outer.internal_name in seen:
                return None
            seen.add(outer.internal_name)
            outer = by_name.get(outer.inside)
        return nearest

    def _add_branch(self, branch: BranchLog, parent: int, scope: str) -> None:
        name = unescape_segment(branch.internal_name.removeprefix(f"{scope}.") if scope else branch.internal_name)
        steps = self._outermost(list(branch.steps.values()))
        if steps and not steps[0].branches and _encloses(steps[0], steps[1:]):
            place = self._add_step(steps.pop(0), parent, name, branch)
            self.branch_records[place] = branch
        else:
            place = self._add(branch, [], name=name, internal_name=branch.internal_name, kind=BRANCH, parent=parent)
        self._wait_for(steps, place, branch.internal_name)

    def _wait_for(self, records: list[StepLog] | list[BranchLog], place: int, scope: str) -> None:
        self._waiting.extend((record, place, scope) for record in records[::-1])

    def _add(
        self,
        record: StepLog | BranchLog | JobLog,
        attempts: list[StepAttempt],
        *,
        name: str,
        internal_name: str,
        kind: str,
        parent: int,
        status: str = "",
    ) -> int:
        tries = [found for attempt in attempts if (found := _dated(attempt)) is not None]
        status = status or record.status
        start = min((attempt.start for attempt in tries), default=math.nan)
        end = max((attempt.end for attempt in tries), default=math.nan)
        if isinstance(record, StepLog) and has_several_starts(record):
            last = last_attempt(record)
            dated = _dated(last) if last else None
            end = end if dated is None else dated.end
        taken_over_from = ""
        if isinstance(record, StepLog) and record.cached_from is not UNSET:
            # It ran in that run; in this one, it took no time.
            taken_over_from, tries = record.cached_from, []
            start = end = self._moment_of_reuse(record)
        span = Span(
            name=name,
            internal_name=internal_name,
            kind=kind,
            step_type=record.step_type if isinstance(record, StepLog) else "",
            status=status,
            parent=parent,
            depth=0 if parent == TOP else self.spans[parent].depth + 1,
            start=start,
            end=end,
            is_running=status == PROCESSING,
            attempts=tries,
            taken_over_from=taken_over_from,
            late="" if isinstance(record, JobLog) or record.late is UNSET else record.late,
        )
        self.spans.append(span)
        self.records.append(record)
        return len(self.spans) - 1

    def _moment_of_reuse(self, step: StepLog) -> float:
        """Return when a step was taken over; older versions did not note that: then it is when the run began."""
        moment = None if step.reused_at is UNSET else parsed_seconds(step.reused_at)
        return self._created if moment is None else moment

    def close(self) -> None:
        """Give every span its place in time, and put aside those that have none."""
        self._until = max([self._until, *self._ends()])
        for span in reversed(self.spans):  # inner ones first
            self._end(span)
            if span.parent != TOP and not math.isnan(span.start):
                self._stretch(self.spans[span.parent], span)
        self._drop_undated()
        self.beginning = min((span.start for span in self.spans), default=0.0)
        for span in self.spans:
            self._shift(span)
        self.wall_seconds = max(self._ends(), default=0.0)
        for place in critical_path(self.spans):
            self.spans[place].is_critical = True

    def _ends(self) -> Iterator[float]:
        """Yield when each span ended, and each of its attempts: one that does not count may do so later."""
        for span in self.spans:
            if not math.isnan(span.end):
                yield span.end
            for attempt in span.attempts:
                yield attempt.end

    def _end(self, span: Span) -> None:
        if not span.is_running:
            return
        span.status = self._unfinished
        if not math.isnan(span.start):
            span.end = self._until
            span.attempts = [
                msgspec.structs.replace(attempt, end=span.end, status=self._unfinished)
                if attempt.status == PROCESSING
                else attempt
                for attempt in span.attempts
            ]

    @staticmethod
    def _stretch(span: Span, inner: Span) -> None:
        """Let a span without times of its own reach over one inside it."""
        if not span.attempts:
            is_first = math.isnan(span.start)
            span.start = inner.start if is_first else min(span.start, inner.start)
            span.end = inner.end if is_first else max(span.end, inner.end)

    def _drop_undated(self) -> None:
        new_places: dict[int, int] = {TOP: TOP}
        spans: list[Span] = []
        records: list[StepLog | BranchLog | JobLog] = []
        for place, (span, record) in enumerate(zip(self.spans, self.records, strict=True)):
            if math.isnan(span.start):
                self.undated.append(Undated(internal_name=span.internal_name, status=span.status))
                continue
            new_places[place] = len(spans)
            span.parent = new_places[span.parent]
            spans.append(span)
            records.append(record)
        self.spans, self.records = spans, records
        self.branch_records = {
            new_places[place]: branch for place, branch in self.branch_records.items() if place in new_places
        }

    def _shift(self, span: Span) -> None:
        """Count from the beginning; the parent was shifted before."""
        span.start = _rounded(span.start - self.beginning)
        span.end = _rounded(span.end - self.beginning)
        span.attempts = [
            TimelineAttempt(
                start=_rounded(attempt.start - self.beginning),
                end=_rounded(attempt.end - self.beginning),
                status=attempt.status,
            )
            for attempt in span.attempts
        ]
        if span.kind == BRANCH and span.parent != TOP:
            span.waited = max(0.0, _rounded(span.start - self.spans[span.parent].start))


def _rounded(seconds: float) -> float:
    return round(seconds, 6)  # records have microseconds; more digits are noise of the subtraction


def _dated(attempt: StepAttempt) -> TimelineAttempt | None:
    """Return when an attempt was; None if its start is not known.

    One that ends before its start, as the clock was set meanwhile, took as long as was measured.
    """
    start = parsed_seconds(attempt.start_time)
    if start is None:
        return None
    end = parsed_seconds(attempt.end_time)
    if end is not None and end < start:
        end = start + (parse_duration(attempt.duration) or 0.0)
    return TimelineAttempt(start=start, end=start if end is None else end, status=attempt.status)


def _encloses(first: StepLog, others: list[StepLog]) -> bool:
    """Tell whether the first step of a branch went on while all others did: it is the function that ran them."""
    if not others:
        return True
    starts = [parsed_seconds(attempt.start_time) for attempt in first.attempts[:1]]
    ends = [end for attempt in first.attempts if (end := parsed_seconds(attempt.end_time)) is not None]
    if not starts or starts[0] is None:
        return False
    goes_on = first.status == PROCESSING or any(attempt.status == LOST for attempt in first.attempts)
    end = math.inf if goes_on or not ends else max(ends)
    inner = [time for step in others for attempt in step.attempts for time in _times(attempt)]
    return all(starts[0] <= time <= end for time in inner)


def _times(attempt: StepAttempt) -> list[float]:
    times = (parsed_seconds(attempt.start_time), parsed_seconds(attempt.end_time))
    return [time for time in times if time is not None]
