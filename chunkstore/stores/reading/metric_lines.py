"""Metric series: lines that are appended beside a step, and joined with it when it is read."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from typing import Any

import msgspec
from msgspec import UNSET, UnsetType

from chunkstore.errors import CorruptChunkError, InvalidValueError
from chunkstore.names import readable_name
from chunkstore.records import codec
from chunkstore.records.attempts import counted_attempt
from chunkstore.records.decoding import revived_point
from chunkstore.records.fields import MetricPoint
from chunkstore.records.integrity import has_checksum, without_checksum
from chunkstore.records.models import StepAttempt, StepLog
from chunkstore.stores.reading.problems import UNREADABLE, Problems

Series = dict[str, list[MetricPoint]]


class MetricLine(msgspec.Struct, kw_only=True):
    """Points that were logged at one time; a line of `Metric-….jsonl`.

    Attributes:
        internal_name: the step.
        over: which record of the step they belong to; empty if whoever logged them had not recorded it.
        points: the points by the metric's name, with floats that JSON lacks still marked.
        attempt: which attempt of the step logged them, unset where they are the step's, whichever counts.
    """

    internal_name: str
    over: str = ""
    points: Series
    attempt: int | UnsetType = UNSET


def as_series(series: Any) -> Series:
    """Return series as a step holds them.

    Raises:
        InvalidValueError: it is no mapping of names to points.
    """
    if isinstance(series, Mapping) and all(isinstance(points, Sequence) for points in series.values()):
        return {name: list(points) for name, points in series.items()}
    reason = "it must be a dict of lists of MetricPoint"
    raise InvalidValueError(f"Cannot record the metrics: {reason}.", key="series", reason=reason)


def metric_lines(load: Callable[[str], bytes], file: str, problems: Problems) -> Iterator[MetricLine]:
    """Yield the lines in a file of metrics; none if it is gone.

    Args:
        load: returns all its bytes.
        file: its name.
        problems: where it is noted what cannot be read.
    """
    try:
        data = load(file)
    except FileNotFoundError:
        return
    except UNREADABLE as error:
        problems.report(file, error)
        return
    *lines, rest = data.split(b"\n")
    # What stands after the last line break is a write that was cut off, and so was not acknowledged. Unless it is
    # whole but for the line break itself.
    if has_checksum(rest[:-1] + b"\n"):
        lines.append(rest)
    elif rest and not rest.startswith(b"{"):
        problems.report(file, codec.corrupt(file, len(data) - len(rest), "it ends in something else"))
    for line in lines:
        if not line:
            problems.add("corrupt", file, "it holds empty lines")
            continue
        try:
            whole = without_checksum(line + b"\n", file)
            metric_line = codec.decode(whole, file, codec.decoder_of(MetricLine))
        except (CorruptChunkError, msgspec.ValidationError) as error:
            problems.report(file, error)
            continue
        yield metric_line


def lines_of_steps(
    files: Mapping[str, Iterable[MetricLine]], steps: Mapping[str, Sequence[StepLog]], problems: Problems
) -> Iterator[tuple[Sequence[StepLog], list[MetricLine]]]:
    """Yield steps with the lines for them; of a file for a step that there is not, the rest is passed over."""
    found: dict[str, list[MetricLine]] = {}
    for file, lines in files.items():
        for line in lines:
            if line.internal_name not in steps:
                problems.add("orphan", file, f"there is no step {readable_name(line.internal_name)}")
                break
            found.setdefault(line.internal_name, []).append(line)
    for name, of_step in found.items():
        yield steps[name], of_step


def add_lines(step: StepLog, lines: Iterable[MetricLine]) -> None:
    """Add the points of lines to the ends of the series of a step, or of the attempt that logged them.

    A record that was read and written again brings the points of its lines along; those are not doubled.
    """
    by_attempt: dict[int, list[MetricLine]] = {}
    counted = counted_attempt(step)
    for line in lines:
        attempt = counted if line.attempt is UNSET else line.attempt
        by_attempt.setdefault(attempt if 0 < attempt <= len(step.attempts) else counted, []).append(line)
    for attempt, of_attempt in by_attempt.items():
        record: StepLog | StepAttempt = step if attempt == counted else step.attempts[attempt - 1]
        record.metric_series = _joined(record.metric_series, of_attempt)


def _joined(own: Series | UnsetType, lines: Iterable[MetricLine]) -> Series | UnsetType:
    series: Series = {} if own is UNSET else {name: list(points) for name, points in own.items()}
    known = {name: set(map(_exact, points)) for name, points in series.items()}
    for line in lines:
        for name, points in line.points.items():
            seen = known.get(name, ())
            added = [point for point in map(revived_point, points) if not seen or _exact(point) not in seen]
            series.setdefault(name, []).extend(added)
    return series or own


def _exact(point: MetricPoint) -> tuple[int | float, str, str]:
    return point.step, point.time, repr(point.value)
