"""Run logs as rows of flat tables; `columns` tells what is in them."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Iterator, Mapping
from datetime import datetime, timedelta, timezone
from typing import Any, NamedTuple

import msgspec
from msgspec import UNSET

from chunkstore.clock import parse_time
from chunkstore.names import readable_name
from chunkstore.records import codec
from chunkstore.records.attempts import counting_attempt, step_counts
from chunkstore.records.fields import MetricPoint
from chunkstore.records.models import FAIL, PROCESSING, BranchLog, DataCatalog, JobLog, RunLog, StepAttempt, StepLog
from chunkstore.views.durations import attempt_duration, last_attempt, step_duration
from chunkstore.views.recorded_values import (
    code_of,
    is_number,
    metrics_of,
    parameters_in,
    unwrapped_all,
    version_of,
)
from chunkstore.views.tables.columns import AttemptRow, DataRow, MetricRow, ParameterRow, RunRow, StepRow

_JOB = "job"


class _Place(NamedTuple):
    """A step, and where in the run it is."""

    internal_name: str
    record: StepLog | JobLog
    branch: BranchLog | None = None
    is_orphan: bool = False


def rows_of(log: RunLog, table: str) -> Iterator[msgspec.Struct]:
    """Return the rows of a run in one of the `TABLES`, in order of execution."""
    return TABLES[table].rows(log)


# --- walking through a run -------------------------------------------------------------------------------------------


def _places(log: RunLog) -> Iterator[_Place | BranchLog]:
    """Yield every step and branch, outer ones before inner ones; without recursion, as nesting may be deep."""
    if isinstance(log.job, JobLog):
        yield _Place(_JOB, log.job)
    waiting: list[_Place | BranchLog] = [_Place(name, step) for name, step in log.steps.items()]
    waiting += [_Place(name, step, is_orphan=True) for name, step in log.orphans.steps.items()]
    waiting += log.orphans.branches.values()
    waiting.reverse()
    while waiting:
        found = waiting.pop()
        yield found
        if isinstance(found, BranchLog):
            waiting.extend([_Place(name, step, found) for name, step in found.steps.items()][::-1])
        elif isinstance(found.record, StepLog):
            waiting.extend(list(found.record.branches.values())[::-1])


def _steps(log: RunLog) -> Iterator[_Place]:
    return (found for found in _places(log) if isinstance(found, _Place))


# --- one table after the other ---------------------------------------------------------------------------------------


def _run_rows(log: RunLog) -> Iterator[RunRow]:
    steps = list(_steps(log))
    records = (found if isinstance(found, BranchLog) else found.record for found in _places(log))
    counts = step_counts(record for record in records if not isinstance(record, JobLog))
    failed_jobs = sum(isinstance(place.record, JobLog) and place.record.status == FAIL for place in steps)
    attempts = [attempt for place in steps for attempt in place.record.attempts]
    start = _moment(str(log.notes.get("created", ""))) or _extreme(min, (attempt.start_time for attempt in attempts))
    end = _moment(str(log.notes.get("finished", "")))
    if end is None and log.status != PROCESSING:
        end = _extreme(max, (attempt.end_time for attempt in attempts))
    yield RunRow(
        run_id=log.run_id,
        status=log.status,
        tag=log.tag or "",
        original_run_id=log.original_run_id or "",
        dag_hash=log.dag_hash or "",
        start_time=start,
        end_time=end,
        seconds=_in_seconds(max(end - start, timedelta()) if start and end else None),
        steps=len(steps),
        failed_steps=counts.get(FAIL, 0) + failed_jobs,
        message=str(log.notes.get("message", "")),
        problems=len(log.problems),
    )


def _step_rows(log: RunLog) -> Iterator[StepRow]:
    for place in _steps(log):
        record = place.record
        step = record if isinstance(record, StepLog) else None
        start = _moment(record.attempts[0].start_time) if record.attempts else None
        last = last_attempt(record)
        end = _moment(last.end_time) if last else None
        codes = code_of(step) if step else record.code_identities
        yield StepRow(
            run_id=log.run_id,
            internal_name=place.internal_name,
            name=step.name if step else _JOB,
            branch=place.branch.internal_name if place.branch else "",
            item=_json(place.branch.item) if place.branch else "",
            step_type=step.step_type if step else _JOB,
            status=record.status,
            start_time=start,
            end_time=end,
            seconds=_in_seconds(step_duration(record)),
            attempts=len(record.attempts),
            branches=len(step.branches) if step else 0,
            message=record.message,
            code=", ".join(version_of(identity) for identity in codes),
            input_hash=_text(step.input_hash) if step else "",
            result=_json(step.result) if step else "",
            cached_from=_text(step.cached_from) if step else "",
            mock=record.mock,
            is_orphan=place.is_orphan,
            shown_name=readable_name(place.internal_name),
            late=_text(step.late) if step else "",
        )


def _attempt_rows(log: RunLog) -> Iterator[AttemptRow]:
    for place in _steps(log):
        counting = counting_attempt(place.record)
        for attempt in place.record.attempts:
            start, end = _moment(attempt.start_time), _moment(attempt.end_time)
            yield AttemptRow(
                run_id=log.run_id,
                internal_name=place.internal_name,
                attempt_number=_integer(attempt.attempt_number),
                status=attempt.status,
                start_time=start,
                end_time=end,
                seconds=_in_seconds(attempt_duration(attempt)),
                message=attempt.message,
                shown_name=readable_name(place.internal_name),
                host=_text(attempt.host),
                pid=None if attempt.pid is UNSET else _integer(attempt.pid),
                start=_text(attempt.start),
                counts=attempt is counting,
            )


def _metric_rows(log: RunLog) -> Iterator[MetricRow]:
    for place in _steps(log):
        record = place.record
        for name, value in metrics_of(record).items():
            yield _metric(log, place, name, value, None)
        series = record.metric_series if isinstance(record, StepLog) else UNSET
        for name, points in {} if series is UNSET else series.items():
            for point in points:
                yield _metric(log, place, name, point.value, point)


def _metric(log: RunLog, place: _Place, name: str, value: Any, point: MetricPoint | None) -> MetricRow:
    return MetricRow(
        run_id=log.run_id,
        internal_name=place.internal_name,
        name=name,
        step=_number(point.step) if point else None,
        value=_json(value),
        number=_number(value),
        time=_moment(point.time) if point else None,
        shown_name=readable_name(place.internal_name),
    )


def _parameter_rows(log: RunLog) -> Iterator[ParameterRow]:
    yield from _parameters(log, "run", "", parameters_in(log, log.parameters))
    for found in _places(log):
        if isinstance(found, BranchLog):
            yield from _parameters(log, "branch", found.internal_name, parameters_in(log, found.parameters))
            continue
        for attempt in found.record.attempts:
            for scope, values in _scopes(attempt):
                yield from _parameters(log, scope, found.internal_name, values, attempt.attempt_number)
    for name, values in log.orphans.parameters.items():
        yield from _parameters(log, "branch", name, parameters_in(log, values))


def _scopes(attempt: StepAttempt) -> Iterator[tuple[str, Mapping[str, Any]]]:
    yield "step", attempt.parameters
    if attempt.input_parameters is not UNSET:
        yield "input", unwrapped_all(attempt.input_parameters)
    if attempt.output_parameters is not UNSET:
        yield "output", unwrapped_all(attempt.output_parameters)


def _parameters(
    log: RunLog, scope: str, internal_name: str, values: Mapping[str, Any], attempt_number: int | None = None
) -> Iterator[ParameterRow]:
    for name, value in values.items():
        yield ParameterRow(
            run_id=log.run_id,
            scope=scope,
            internal_name=internal_name,
            attempt_number=None if attempt_number is None else _integer(attempt_number),
            name=name,
            value=_json(value),
            number=_number(value),
            shown_name=readable_name(internal_name),
        )


def _data_rows(log: RunLog) -> Iterator[DataRow]:
    for place in _steps(log):
        for entry in place.record.data_catalog:
            yield _data(log, place, entry)


def _data(log: RunLog, place: _Place, entry: DataCatalog) -> DataRow:
    return DataRow(
        run_id=log.run_id,
        internal_name=place.internal_name,
        name=entry.name,
        stage=entry.stage,
        data_hash=entry.data_hash,
        catalog_relative_path=entry.catalog_relative_path,
        catalog_handler_location=entry.catalog_handler_location,
        shown_name=readable_name(place.internal_name),
    )


class Table(NamedTuple):
    """One of the tables.

    Attributes:
        row: its columns and their types.
        rows: returns the rows of a run.
    """

    row: type[msgspec.Struct]
    rows: Callable[[RunLog], Iterator[msgspec.Struct]]


#: All tables by name.
TABLES = {
    "runs": Table(RunRow, _run_rows),
    "steps": Table(StepRow, _step_rows),
    "attempts": Table(AttemptRow, _attempt_rows),
    "metrics": Table(MetricRow, _metric_rows),
    "params": Table(ParameterRow, _parameter_rows),
    "data": Table(DataRow, _data_rows),
}


# --- values ----------------------------------------------------------------------------------------------------------

#: What a column of whole numbers can hold.
_MOST_INTEGER = 2**63 - 1


def _moment(text: str) -> datetime | None:
    """Return a time of the run log in UTC; None if it is none, or no time of UTC."""
    moment = parse_time(text)
    try:
        return moment.astimezone(timezone.utc) if moment else None
    except OverflowError:
        return None


def _extreme(choose: Callable[[Iterable[datetime]], datetime], texts: Iterable[str]) -> datetime | None:
    moments = [moment for text in texts if (moment := _moment(text)) is not None]
    return choose(moments) if moments else None


def _in_seconds(duration: timedelta | None) -> float | None:
    return None if duration is None else duration.total_seconds()


def _number(value: Any) -> float | None:
    try:
        return float(value) if is_number(value) else None
    except OverflowError:
        return None


def _integer(value: int) -> int | None:
    return value if abs(value) <= _MOST_INTEGER else None


def _json(value: Any) -> str:
    return "" if value is UNSET else codec.json_text(codec.plain(value))


def _text(value: str | msgspec.UnsetType) -> str:
    return "" if value is UNSET else value
