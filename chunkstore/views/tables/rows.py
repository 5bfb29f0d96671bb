"""Run logs as flat tables: runs, steps, attempts, metrics, params and data.

The columns are the attributes of the row types below. Values of users may be of any type, also within one column, so
they come twice: `value` is their JSON as it stands in the files (NaN is `{"$float":"NaN"}` there), and `number` is a
float where the value is a number, NaN and infinities included. Integers beyond 2**53 are exact in `value` alone.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable, Iterator, Mapping
from datetime import datetime, timezone
from typing import Any, NamedTuple

import msgspec
from msgspec import UNSET

from chunkstore.clock import parse_time
from chunkstore.records import codec
from chunkstore.records.base import MetricPoint
from chunkstore.records.models import FAIL, PROCESSING, BranchLog, DataCatalog, JobLog, RunLog, StepAttempt, StepLog
from chunkstore.views.recorded_values import code_of, is_number, unwrapped, version_of

_JOB = "job"


class RunRow(msgspec.Struct, frozen=True, kw_only=True, gc=False):
    """A run.

    Attributes:
        run_id: the run's unique name.
        status: `SUCCESS`, `FAIL` or `PROCESSING`.
        tag: any text that groups runs.
        original_run_id: the run that this one resumes; empty for none.
        dag_hash: a hash of the pipeline's definition; empty if its engine gives none.
        start_time: when the run was created, else when its first step began.
        end_time: when it finished; where nobody recorded that and it has ended, when its last step ended.
        seconds: from start to end.
        steps: how many steps it has, at any depth.
        failed_steps: how many of them failed.
        message: why it failed.
        problems: how many of its files could not be read or have no place in it.
    """

    run_id: str
    status: str
    tag: str
    original_run_id: str
    dag_hash: str
    start_time: datetime | None
    end_time: datetime | None
    seconds: float | None
    steps: int
    failed_steps: int
    message: str
    problems: int


class StepRow(msgspec.Struct, frozen=True, kw_only=True, gc=False):
    """A step of a run. A `runnable` job, which has no steps, is one step that is called `job`.

    Attributes:
        run_id: the run.
        internal_name: the dot path of the step.
        name: what its author called it.
        branch: internal name of the branch it is in; empty for a step of the run itself.
        item: of a branch of a map, what it was run over, as JSON; empty elsewhere.
        step_type: `task`, `map`, `parallel`…
        status: `SUCCESS`, `FAIL` or `PROCESSING`.
        start_time: when its first attempt began.
        end_time: when its last attempt ended; none while it goes on.
        seconds: from start to end.
        attempts: how many there were.
        branches: how many branches it has.
        message: for a failure, its reason.
        code: which code ran: a commit, or a hash of the function.
        input_hash: SHA-256 of what its function was called with; empty where it is not known.
        result: what its function returned, as JSON; empty where it is not kept.
        cached_from: the run whose result was taken over; empty where it ran itself.
        mock: whether it was not really run.
        is_orphan: whether the record of its branch is missing.
    """

    run_id: str
    internal_name: str
    name: str
    branch: str
    item: str
    step_type: str
    status: str
    start_time: datetime | None
    end_time: datetime | None
    seconds: float | None
    attempts: int
    branches: int
    message: str
    code: str
    input_hash: str
    result: str
    cached_from: str
    mock: bool
    is_orphan: bool


class AttemptRow(msgspec.Struct, frozen=True, kw_only=True, gc=False):
    """One try of a step.

    Attributes:
        run_id: the run.
        internal_name: the dot path of the step.
        attempt_number: counts from 1.
        status: `SUCCESS`, `FAIL` or `PROCESSING`.
        start_time: when it began.
        end_time: when it ended; none while it goes on.
        seconds: from start to end.
        message: for a failure, the traceback.
    """

    run_id: str
    internal_name: str
    attempt_number: int | None
    status: str
    start_time: datetime | None
    end_time: datetime | None
    seconds: float | None
    message: str


class MetricRow(msgspec.Struct, frozen=True, kw_only=True, gc=False):
    """One value of a metric.

    Attributes:
        run_id: the run.
        internal_name: the dot path of the step that logged it.
        name: that of the metric.
        step: the step number it was logged with; none for a single value.
        value: as JSON.
        number: the value, if it is a number.
        time: when it was logged; none for a single value.
    """

    run_id: str
    internal_name: str
    name: str
    step: float | None
    value: str
    number: float | None
    time: datetime | None


class ParameterRow(msgspec.Struct, frozen=True, kw_only=True, gc=False):
    """One parameter of a run, a branch or an attempt.

    Attributes:
        run_id: the run.
        scope: `run`, `branch` or `step`; `input` and `output` for what `runnable` gave to a step and got from it.
        internal_name: the dot path of the branch or step; empty for the run.
        attempt_number: of a step, the attempt that was called with it.
        name: that of the parameter.
        value: as JSON.
        number: the value, if it is a number.
    """

    run_id: str
    scope: str
    internal_name: str
    attempt_number: int | None
    name: str
    value: str
    number: float | None


class DataRow(msgspec.Struct, frozen=True, kw_only=True, gc=False):
    """One data set that a step read or wrote.

    Attributes:
        run_id: the run.
        internal_name: the dot path of the step.
        name: what the step calls it.
        stage: `put` or `get`.
        data_hash: SHA-256 of the content, in hexadecimal.
        catalog_relative_path: where the copy lies in the catalog.
        catalog_handler_location: the folder of the catalog.
    """

    run_id: str
    internal_name: str
    name: str
    stage: str
    data_hash: str
    catalog_relative_path: str
    catalog_handler_location: str


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
        seconds=_seconds(start, end),
        steps=len(steps),
        failed_steps=sum(place.record.status == FAIL for place in steps),
        message=str(log.notes.get("message", "")),
        problems=len(log.problems),
    )


def _step_rows(log: RunLog) -> Iterator[StepRow]:
    for place in _steps(log):
        record = place.record
        step = record if isinstance(record, StepLog) else None
        start = _moment(record.attempts[0].start_time) if record.attempts else None
        end = _moment(record.attempts[-1].end_time) if record.attempts else None
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
            seconds=_seconds(start, end),
            attempts=len(record.attempts),
            branches=len(step.branches) if step else 0,
            message=record.message,
            code=", ".join(version_of(identity) for identity in codes),
            input_hash=_text(step.input_hash) if step else "",
            result=_json(step.result) if step else "",
            cached_from=_text(step.cached_from) if step else "",
            mock=record.mock,
            is_orphan=place.is_orphan,
        )


def _attempt_rows(log: RunLog) -> Iterator[AttemptRow]:
    for place in _steps(log):
        for attempt in place.record.attempts:
            start, end = _moment(attempt.start_time), _moment(attempt.end_time)
            yield AttemptRow(
                run_id=log.run_id,
                internal_name=place.internal_name,
                attempt_number=_integer(attempt.attempt_number),
                status=attempt.status,
                start_time=start,
                end_time=end,
                seconds=_seconds(start, end),
                message=attempt.message,
            )


def _metric_rows(log: RunLog) -> Iterator[MetricRow]:
    for place in _steps(log):
        record = place.record
        single = dict(record.user_defined_metrics) if isinstance(record, StepLog) else {}
        if record.attempts and record.attempts[-1].user_defined_metrics is not UNSET:
            single |= record.attempts[-1].user_defined_metrics
        for name, value in single.items():
            yield _metric(log, place, name, unwrapped(value), None)
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
    )


def _parameter_rows(log: RunLog) -> Iterator[ParameterRow]:
    yield from _parameters(log, "run", "", log.parameters)
    for found in _places(log):
        if isinstance(found, BranchLog):
            yield from _parameters(log, "branch", found.internal_name, found.parameters)
            continue
        for attempt in found.record.attempts:
            for scope, values in _scopes(attempt):
                yield from _parameters(log, scope, found.internal_name, values, attempt.attempt_number)
    for name, values in log.orphans.parameters.items():
        yield from _parameters(log, "branch", name, values)


def _scopes(attempt: StepAttempt) -> Iterator[tuple[str, Mapping[str, Any]]]:
    yield "step", attempt.parameters
    if attempt.input_parameters is not UNSET:
        yield "input", attempt.input_parameters
    if attempt.output_parameters is not UNSET:
        yield "output", attempt.output_parameters


def _parameters(
    log: RunLog, scope: str, internal_name: str, values: Mapping[str, Any], attempt_number: int | None = None
) -> Iterator[ParameterRow]:
    for name, wrapped in values.items():
        value = unwrapped(wrapped)
        yield ParameterRow(
            run_id=log.run_id,
            scope=scope,
            internal_name=internal_name,
            attempt_number=None if attempt_number is None else _integer(attempt_number),
            name=name,
            value=_json(value),
            number=_number(value),
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


def _seconds(start: datetime | None, end: datetime | None) -> float | None:
    return (end - start).total_seconds() if start and end else None


def _number(value: Any) -> float | None:
    try:
        return float(value) if is_number(value) else None
    except OverflowError:
        return None


def _integer(value: int) -> int | None:
    return value if abs(value) <= _MOST_INTEGER else None


def _json(value: Any) -> str:
    return "" if value is UNSET else codec.encode(codec.plain(value)).decode()


def _text(value: str | msgspec.UnsetType) -> str:
    return "" if value is UNSET else value
