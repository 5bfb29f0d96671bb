"""The columns of the flat tables that run logs become: runs, steps, attempts, metrics, params and data.

The columns are the attributes of the row types below. Values of users may be of any type, also within one column, so
they come twice: `value` is their JSON, with `NaN`, `Infinity` and `-Infinity` as Python's `json` writes and reads them,
and `number` is a float where the value is a number, NaN and infinities included. Integers beyond 2**53 are exact in
`value` alone.

So do the names of steps and branches: `internal_name` is what tells them apart, with `.` and `%` inside of a segment
escaped, and `shown_name` is what people see, and type on the command line.
"""

from __future__ import annotations

from datetime import datetime

import msgspec


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
        shown_name: what the step is called where people read.
        late: what became of it after the run had ended: a status, or `UNKNOWN`; empty where it had ended before.
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
    shown_name: str
    late: str


class AttemptRow(msgspec.Struct, frozen=True, kw_only=True, gc=False):
    """One try of a step.

    Attributes:
        run_id: the run.
        internal_name: the dot path of the step.
        attempt_number: counts from 1.
        status: `SUCCESS`, `FAIL` or `PROCESSING`; `LOST` if it did not end, and another one counts.
        start_time: when it began.
        end_time: when it ended; none while it goes on.
        seconds: from start to end.
        message: for a failure, the traceback.
        shown_name: what the step is called where people read.
        host: where it ran; empty if nobody recorded that.
        pid: its process there.
        start: which start of its branch, or of a process that records the run, it is part of.
        counts: whether it is the one that counts.
    """

    run_id: str
    internal_name: str
    attempt_number: int | None
    status: str
    start_time: datetime | None
    end_time: datetime | None
    seconds: float | None
    message: str
    shown_name: str
    host: str
    pid: int | None
    start: str
    counts: bool


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
        shown_name: what the step is called where people read.
    """

    run_id: str
    internal_name: str
    name: str
    step: float | None
    value: str
    number: float | None
    time: datetime | None
    shown_name: str


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
        shown_name: what the branch or step is called where people read; empty for the run.
    """

    run_id: str
    scope: str
    internal_name: str
    attempt_number: int | None
    name: str
    value: str
    number: float | None
    shown_name: str


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
        shown_name: what the step is called where people read.
    """

    run_id: str
    internal_name: str
    name: str
    stage: str
    data_hash: str
    catalog_relative_path: str
    catalog_handler_location: str
    shown_name: str
