"""All that was recorded of one step."""

from __future__ import annotations

import sys
from collections.abc import Iterator, Sequence
from typing import Any, NamedTuple

from msgspec import UNSET

from chunkstore.clock import parse_time
from chunkstore.names import readable_name
from chunkstore.records.attempts import counting_attempt
from chunkstore.records.models import PROCESSING, StepAttempt, StepLog
from chunkstore.views.durations import attempt_duration, step_duration
from chunkstore.views.formats import format_local, format_seconds, status_text
from chunkstore.views.pages.run_page import identity_text
from chunkstore.views.pages.tree import DETAIL, MESSAGE, NAME, Line, Part, spaced
from chunkstore.views.recorded_values import (
    code_of,
    is_number,
    metrics_of,
    number_text,
    parameters_of,
    value_text,
)
from chunkstore.views.texts import counted, shown_message

_BARS = "▁▂▃▄▅▆▇█"
_MOST_BARS = 24


class Section(NamedTuple):
    """A part of the page: a title, and its lines or the cells of a table."""

    title: str
    columns: tuple[str, ...]
    rows: Sequence[tuple[str, ...]]


def step_heading(step: StepLog, unended: str) -> Iterator[Line]:
    """Yield the lines that stand above all else of a step.

    Args:
        step: the step.
        unended: what the status PROCESSING stands for.
    """
    status = unended if step.status == PROCESSING else step.status
    yield spaced(
        [
            Part(status_text(status), status),
            Part(readable_name(step.internal_name), NAME),
            Part(step.step_type, DETAIL),
            Part(format_seconds(step_duration(step)), DETAIL),
        ]
    )
    if step.cached_from is not UNSET:
        yield [Part(f"taken over from {step.cached_from}", DETAIL)]
    if step.message:
        yield [Part(shown_message(step.message), MESSAGE)]
    for identity in code_of(step):
        yield [Part(f"code     {identity_text(identity)}", DETAIL)]


def step_sections(step: StepLog) -> Iterator[Section]:
    """Yield the tables of what was recorded of a step, those that hold something."""
    if step.attempts:
        # Who ran each is of interest where several did.
        by_several = len({attempt.start for attempt in step.attempts}) > 1
        counts = counting_attempt(step)
        yield Section(
            "attempts",
            ("", "status", "started", "took", *(("where", "") if by_several else ())),
            [
                (
                    str(attempt.attempt_number),
                    attempt.status,
                    format_local(parse_time(attempt.start_time)),
                    format_seconds(attempt_duration(attempt)),
                    *((where(attempt), "counts" if attempt is counts else "") if by_several else ()),
                )
                for attempt in step.attempts
            ],
        )
    for attempt in step.attempts:
        if left := list(_left_by(attempt)):
            yield Section(f"recorded in attempt {attempt.attempt_number}", ("", "name", "value"), left)
    if parameters := parameters_of(step):
        yield Section("parameters", ("name", "value"), [(name, _whole(value)) for name, value in parameters.items()])
    if metrics := metrics_of(step):
        shown = [(name, number_text(value) if is_number(value) else _whole(value)) for name, value in metrics.items()]
        yield Section("metrics", ("name", "value"), shown)
    if step.metric_series is not UNSET:
        rows = [
            (
                name,
                f"{len(points):,}",
                number_text(points[-1].value),
                sparkline([point.value for point in points]),
            )
            for name, points in step.metric_series.items()
            if points
        ]
        if rows:
            yield Section("series", ("name", "points", "last", ""), rows)
    if step.data_catalog:
        lines = []
        for data in step.data_catalog:  # a hash is wide enough for a line of its own
            lines += [(data.stage, data.name), ("", f"SHA-256 {data.data_hash}"), ("", data.catalog_relative_path)]
        yield Section("data", ("", ""), lines)
    if step.result is not UNSET:
        yield Section("result", ("value",), [(_whole(step.result),)])


def where(attempt: StepAttempt) -> str:
    """Return who ran an attempt, and where; empty if nobody recorded that."""
    process = "" if attempt.pid is UNSET else f"process {attempt.pid}"
    host = f"on {attempt.host}" if attempt.host else ""
    job = f"({attempt.job})" if attempt.job else ""
    return " ".join(filter(None, [process, host, job]))


def _left_by(attempt: StepAttempt) -> Iterator[tuple[str, str, str]]:
    """Yield what an attempt recorded that does not count: its kind, its name and a value."""
    for name, value in ({} if attempt.metrics is UNSET else attempt.metrics).items():
        yield "metric", name, number_text(value) if is_number(value) else _whole(value)
    for name, points in ({} if attempt.metric_series is UNSET else attempt.metric_series).items():
        if points:
            yield "series", name, f"{number_text(points[-1].value)} ({counted(len(points), 'point')})"
    for data in [] if attempt.data_catalog is UNSET else attempt.data_catalog:
        yield data.stage, data.name, f"SHA-256 {data.data_hash}"
    if attempt.result is not UNSET:
        yield "result", "", _whole(attempt.result)


def tracebacks(step: StepLog) -> Iterator[tuple[int, str]]:
    """Yield the numbers of the attempts that failed, and what they said."""
    for attempt in step.attempts:
        if attempt.message.strip():
            yield attempt.attempt_number, attempt.message.strip()


def _whole(value: Any) -> str:
    return value_text(value, None)


def sparkline(values: list[Any]) -> str:
    """Return a line of bars that shows how numbers went; of more than fit, one of each group."""
    numbers = [float(value) for value in values if is_number(value) and abs(value) <= sys.float_info.max]
    if not numbers:
        return ""
    count = min(len(numbers), _MOST_BARS)
    chosen = [numbers[index * (len(numbers) - 1) // max(count - 1, 1)] for index in range(count)]
    low, high = min(chosen), max(chosen)
    # Of numbers as large as there are, the difference is none; of numbers as small, the half of it.
    half = high / 2 - low / 2
    shares = ((number / 2 - low / 2) / half if half else 0.0 for number in chosen)
    return "".join(_BARS[round(share * (len(_BARS) - 1))] for share in shares)
