"""A timeline as a trace, for Perfetto (https://ui.perfetto.dev) and chrome://tracing.

The format is the JSON object form of the Trace Event Format:
https://docs.google.com/document/d/1CvAClvFfyA5R-PhYUmn5OOQtYMH4h6I0nSsKchNAySU
"""

from __future__ import annotations

import json
from collections.abc import Iterator
from datetime import datetime, timedelta, timezone
from typing import Any

from msgspec import UNSET

from chunkstore.names import readable_name
from chunkstore.records import codec
from chunkstore.records.models import BranchLog, JobLog, StepLog
from chunkstore.version import __version__
from chunkstore.views.recorded_values import metrics_of, parameters_of
from chunkstore.views.timeline.concurrency import concurrency
from chunkstore.views.timeline.lanes import rows_of, shared_lanes
from chunkstore.views.timeline.spans import TOP, Span, Timeline

#: The run's own steps are process 1, the steps inside a composite step the process after it.
_RUN = 1
#: The critical path is a thread of the run, above the others.
_CRITICAL_PATH, _STEPS = 1, 2
#: Parts of the time for which the trace tells how many steps went on at once.
_PARTS = 1_000
_EPOCH = datetime(1970, 1, 1, tzinfo=timezone.utc)
_MICROSECOND = timedelta(microseconds=1)


def trace_lines(timeline: Timeline) -> Iterator[str]:
    """Yield a trace, an event in a line.

    Lanes are threads. Steps are complete events (`ph` is `X`) with times in microseconds since 1970; those on the
    critical path are also of the category `critical`, and the innermost of them are in a thread of their own, as far
    as they follow each other. Attempts of a step that was tried more than once are events inside its own. A counter
    tells how many steps went on at once.
    """
    other = {"run_id": timeline.run_id, "status": timeline.status, "chunkstore": __version__}
    yield f'{{"displayTimeUnit":"ms","otherData":{_encoded(other)},"traceEvents":['
    separator = "\n"
    for event in _events(timeline):
        yield f"{separator}{_encoded(event)}"
        separator = ",\n"
    yield "\n]}\n"


def _encoded(value: Any) -> str:
    return codec.encode(value).decode()


def _events(timeline: Timeline) -> Iterator[dict[str, Any]]:
    beginning = (timeline.beginning - _EPOCH) // _MICROSECOND if timeline.beginning else 0
    yield _named("process_name", _RUN, 0, f"run {timeline.run_id}")
    yield _sorted("process_sort_index", _RUN, 0, _RUN)
    yield from _at_once(timeline, beginning)
    yield from _critical_path(timeline, beginning)
    yield from _outermost(timeline, beginning)
    yield from _inside(timeline, beginning)


def _at_once(timeline: Timeline, beginning: int) -> Iterator[dict[str, Any]]:
    """Yield counter events that tell how many steps went on at once, on average, in equal parts of the time."""
    part = timeline.wall_seconds * 1e6 / _PARTS
    counts = [round(count, 3) for count in concurrency(timeline, _PARTS)] if timeline.wall_seconds else []
    for place, count in enumerate([*counts, 0][: len(counts) + bool(counts)]):
        if not place or count != counts[place - 1]:
            time = beginning + round(place * part)
            yield {"name": "steps at once", "ph": "C", "ts": time, "pid": _RUN, "args": {"steps": count}}


def _outermost(timeline: Timeline, beginning: int) -> Iterator[dict[str, Any]]:
    """Yield the steps of the run itself, which share threads where they do not overlap."""
    tops = timeline.children[TOP]
    lanes = shared_lanes([(timeline.spans[place].start, timeline.spans[place].end) for place in tops])
    for lane in range(max(lanes, default=-1) + 1):
        yield from _thread(_RUN, _STEPS + lane, f"steps, lane {lane + 1}")
    for place, lane in zip(tops, lanes, strict=True):
        yield from _of_span(timeline, place, _RUN, _STEPS + lane, beginning)


def _inside(timeline: Timeline, beginning: int) -> Iterator[dict[str, Any]]:
    """Yield what is inside the steps of the run: a process for each of these, a thread for each lane."""
    # Threads of several processes have different numbers too, as those of a system do.
    thread = _STEPS + len(timeline.children[TOP])
    process, is_new = _RUN, False
    for row in rows_of(timeline, most_branches=0, most_steps=len(timeline.spans)):
        first = timeline.spans[row.spans[0]]
        if first.parent == TOP:
            step, is_new = first, True
            continue
        if is_new:
            process, is_new = process + 1, False
            yield _named("process_name", process, 0, step.name)
            yield _sorted("process_sort_index", process, 0, process)
        thread += 1
        yield from _thread(process, thread, f"lane {row.lane}{', inside' if row.is_inner else ''}")
        for place in row.spans:
            yield from _of_span(timeline, place, process, thread, beginning)


def _thread(process: int, thread: int, name: str) -> Iterator[dict[str, Any]]:
    yield _named("thread_name", process, thread, name)
    yield _sorted("thread_sort_index", process, thread, thread)


def _of_span(timeline: Timeline, place: int, process: int, thread: int, beginning: int) -> Iterator[dict[str, Any]]:
    span = timeline.spans[place]
    category = f"{span.kind},critical" if span.is_critical else span.kind
    yield _complete(span.name, category, (span.start, span.end), (process, thread), beginning) | {
        "args": _arguments(span, timeline.records[place], timeline.branch_of(place))
    }
    if len(span.attempts) > 1:
        for number, attempt in enumerate(span.attempts, start=1):
            times = (attempt.start, attempt.end)
            yield _complete(f"attempt {number}", "attempt", times, (process, thread), beginning) | {
                "args": {"status": attempt.status}
            }


def _critical_path(timeline: Timeline, beginning: int) -> Iterator[dict[str, Any]]:
    children = timeline.children
    innermost = [
        span
        for place, span in enumerate(timeline.spans)
        if span.is_critical and not any(timeline.spans[child].is_critical for child in children[place])
    ]
    if not innermost:
        return
    yield from _thread(_RUN, _CRITICAL_PATH, "critical path")
    last = 0.0
    for span in sorted(innermost, key=lambda span: (span.start, span.end)):
        if span.start >= last:  # clocks of several hosts may disagree; events of a thread must not
            last = span.end
            times = (span.start, span.end)
            yield _complete(readable_name(span.internal_name), "critical", times, (_RUN, _CRITICAL_PATH), beginning) | {
                "args": {"status": span.status}
            }


def _arguments(span: Span, record: StepLog | BranchLog | JobLog, branch: BranchLog | None) -> dict[str, Any]:
    found: dict[str, Any] = {"internal_name": span.internal_name, "status": span.status}
    if span.is_running:
        found["running"] = True
    if span.taken_over_from:
        found["taken_over_from"] = span.taken_over_from
    if span.late:
        found["late"] = span.late
    if span.waited:
        found["waited_seconds"] = span.waited
    if span.branches:
        found |= {"branches": span.branches, "failed_branches": span.failed_branches}
    if branch is not None and branch.item is not UNSET:
        found["item"] = _readable(branch.item)
    if isinstance(record, StepLog):
        parts = {"metrics": metrics_of(record), "parameters": parameters_of(record)}
        found |= {name: _readable(values) for name, values in parts.items() if values}
    if record.message is not UNSET and record.message:
        found["message"] = record.message
    return found


def _readable(value: Any) -> Any:
    """Return a value of which JSON holds all: floats that JSON lacks become text."""
    return json.loads(codec.json_text(codec.plain(value)), parse_constant=str)


def _complete(
    name: str, category: str, times: tuple[float, float], place: tuple[int, int], beginning: int
) -> dict[str, Any]:
    start, end = (round(time * 1e6) for time in times)
    return {
        "name": name,
        "cat": category,
        "ph": "X",
        "ts": beginning + start,
        "dur": end - start,
        "pid": place[0],
        "tid": place[1],
    }


def _named(what: str, process: int, thread: int, name: str) -> dict[str, Any]:
    return {"name": what, "ph": "M", "pid": process, "tid": thread, "args": {"name": name}}


def _sorted(what: str, process: int, thread: int, index: int) -> dict[str, Any]:
    return {"name": what, "ph": "M", "pid": process, "tid": thread, "args": {"sort_index": index}}
