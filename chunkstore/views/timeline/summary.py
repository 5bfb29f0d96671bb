"""What a timeline comes to, for people and for machines."""

from __future__ import annotations

import math

import msgspec

from chunkstore.clock import format_time
from chunkstore.views.timeline.spans import TOP, Span, Timeline, Undated, times_at_work

#: How many of the longest steps a summary names.
MOST_LONGEST = 3


class TimelineSummary(msgspec.Struct, frozen=True, kw_only=True):
    """What a timeline comes to.

    Attributes:
        wall_seconds: from the first start to the last end.
        work_seconds: what all attempts of all steps took together; composite steps count by what is inside them, and
            no moment of a step counts in which steps inside it were at work.
        parallelism: work by wall time: how many steps ran at once, on average.
        critical_path: places of the outermost spans on the critical path, in order of time.
        critical_seconds: what these took together.
        longest: places of the steps that took longest, composite ones left out.
    """

    wall_seconds: float
    work_seconds: float
    parallelism: float
    critical_path: list[int]
    critical_seconds: float
    longest: list[int]


def summarize(timeline: Timeline) -> TimelineSummary:
    """Return what a timeline comes to."""
    children = timeline.children
    leaves = [place for place in range(len(timeline.spans)) if not children[place]]
    work = math.fsum(end - start for start, end in times_at_work(timeline))
    path = sorted(
        (place for place in children[TOP] if timeline.spans[place].is_critical),
        key=lambda place: timeline.spans[place].start,
    )
    return TimelineSummary(
        wall_seconds=timeline.wall_seconds,
        work_seconds=work,
        parallelism=work / timeline.wall_seconds if timeline.wall_seconds else 0.0,
        critical_path=path,
        critical_seconds=math.fsum(timeline.spans[place].seconds for place in path),
        longest=sorted(leaves, key=lambda place: -timeline.spans[place].seconds)[:MOST_LONGEST],
    )


class TimelineReport(msgspec.Struct, frozen=True, kw_only=True):
    """A timeline for machines.

    Attributes:
        run_id: the run.
        status: of the run; `LOST` or `UNKNOWN` if nobody records it any more.
        beginning: the moment from which seconds are counted, in UTC; empty if no step has begun.
        wall_seconds: from the first start to the last end.
        work_seconds: what all attempts of all steps took together.
        parallelism: work by wall time.
        critical_path: internal names on the critical path, outer ones before those inside them.
        spans: outer ones before inner ones, in order of execution.
        undated: steps and branches without times.
        problems: how many files of the run could not be read or have no place in it.
    """

    run_id: str
    status: str
    beginning: str
    wall_seconds: float
    work_seconds: float
    parallelism: float
    critical_path: list[str]
    spans: list[Span]
    undated: list[Undated]
    problems: int


def report_of(timeline: Timeline) -> TimelineReport:
    """Return a timeline for machines."""
    summary = summarize(timeline)
    return TimelineReport(
        run_id=timeline.run_id,
        status=timeline.status,
        beginning=format_time(timeline.beginning) if timeline.beginning else "",
        wall_seconds=timeline.wall_seconds,
        work_seconds=summary.work_seconds,
        parallelism=summary.parallelism,
        critical_path=[span.internal_name for span in timeline.spans if span.is_critical],
        spans=timeline.spans,
        undated=timeline.undated,
        problems=timeline.problems,
    )
