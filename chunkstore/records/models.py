"""The records of a run log.

Field names and their order are those of the documents that `runnable` wrote in 2024; dumped with `indent=4`, such a
document gives the same bytes again. Fields that chunkstore added are left out where they are not set.
"""

from __future__ import annotations

from typing import Any, ClassVar

import msgspec
from msgspec import UNSET, UnsetType, field

from chunkstore.names import PinnedRunId, check_name, is_incarnation
from chunkstore.records.base import Record
from chunkstore.records.fields import MetricPoint

SUCCESS = "SUCCESS"
FAIL = "FAIL"
PROCESSING = "PROCESSING"
#: What readers give to an attempt that has not ended, where another one counts that has; nobody writes it.
LOST = "LOST"

#: Shorter names need no closer look; records are made by the ten thousand.
_USUAL_LENGTH = 1_000

#: The format of the files, in the notes. Runs of a newer format are read, never written.
FORMAT = 1
#: The format of a run whose chunks may lie in sealed files or journals.
PACKED_FORMAT = 2
#: Under this key of `run_config` stand the notes of chunkstore itself.
NOTES = "chunkstore"
#: The note that tells a run from every other that had its id before or gets it later.
INCARNATION = "incarnation"
#: The note of what the chunks of a run that has ended hold, summed up; and of who sums them up just now.
CONTENTS, AT_LEAST, SUMMING, SEALED = "contents", "contents_at_least", "summing", "sealed"
#: The note that tells the same of the run that this one resumes.
RESUMED = "resumed"

_LATE = (("late", str), ("began_late", bool))


class CodeIdentity(Record, kw_only=True):
    """Which code ran: a git commit, a function.

    Attributes:
        code_identifier: a commit's SHA, or a hash.
        code_identifier_type: `git`, `function`, `docker`…
        code_identifier_dependable: whether the identifier tells everything; for git, whether the work tree was clean.
        code_identifier_url: the remote repository, without credentials.
        code_identifier_message: what else is to say; for git, a hash of the changes that were not committed.
    """

    SCALARS = (
        ("code_identifier", str),
        ("code_identifier_type", str),
        ("code_identifier_dependable", bool),
        ("code_identifier_url", str),
        ("code_identifier_message", str),
    )
    NULLABLE = frozenset(name for name, _ in SCALARS)

    code_identifier: str | None = ""
    code_identifier_type: str | None = ""
    code_identifier_dependable: bool | None = False
    code_identifier_url: str | None = ""
    code_identifier_message: str | None = ""


class DataCatalog(Record, kw_only=True):
    """One data set that a step read or wrote.

    Attributes:
        name: what the step calls it.
        data_hash: SHA-256 of the content, in hexadecimal.
        catalog_relative_path: where the copy lies in the catalog.
        catalog_handler_location: the folder of the catalog.
        stage: `put` or `get`.
    """

    SCALARS = (
        ("name", str),
        ("data_hash", str),
        ("catalog_relative_path", str),
        ("catalog_handler_location", str),
        ("stage", str),
    )

    name: str
    data_hash: str = ""
    catalog_relative_path: str = ""
    catalog_handler_location: str = ""
    stage: str = ""


class StepAttempt(Record, kw_only=True):
    """One try of a step. The fields after `parameters` are those of `runnable` from 2025 on, unset elsewhere.

    Attributes:
        attempt_number: counts from 1.
        start_time: UTC, `2024-02-02 05:49:41.697142+00:00`; older documents leave the offset out.
        end_time: likewise; empty while the attempt goes on.
        duration: `0:00:00.005841`.
        status: `SUCCESS`, `FAIL` or `PROCESSING`.
        message: for a failure, the traceback.
        parameters: what the step was called with.
        input_parameters: what the step was called with, each value with its kind.
        output_parameters: what the step returned, likewise.
        user_defined_metrics: single values by name, likewise.
        retry_indicator: which retry of the run this attempt belongs to.
        code_identities: which code ran in this attempt.
        metrics: single values by name that this attempt recorded; as what follows, it is set where another attempt
            came after it, as what the step itself shows is that of the attempt that counts.
        metric_series: values with step numbers that it recorded.
        data_catalog: data that it read and wrote, and what it printed.
        result: what it kept as its result.
        host: the name of the host where it ran; as what follows, it is unset where nobody recorded it.
        pid: the process there.
        start: which start it belongs to, as its process calls itself while it does this work: what runs inside a start
            has its name and a further one after a slash.
        job: of which job of a batch system its process is part, as that system's commands take it: `Slurm 1234_7`, and
            `Slurm 1234_7, restart 1` once that was started again.
    """

    FREE = (
        "parameters",
        "input_parameters",
        "output_parameters",
        "user_defined_metrics",
        "metrics",
        "metric_series",
        "result",
    )
    OPTIONAL = (("retry_indicator", str), ("host", str), ("pid", int), ("start", str), ("job", str))
    NESTED: ClassVar[dict[str, type[Record]]] = {"code_identities": CodeIdentity, "data_catalog": DataCatalog}
    SCALARS = (
        ("attempt_number", int),
        ("start_time", str),
        ("end_time", str),
        ("duration", str),
        ("status", str),
        ("message", str),
    )

    attempt_number: int = 1
    start_time: str = ""
    end_time: str = ""
    duration: str = ""
    status: str = FAIL
    message: str = ""
    parameters: dict[str, Any] = field(default_factory=dict)
    input_parameters: dict[str, Any] | UnsetType = UNSET
    output_parameters: dict[str, Any] | UnsetType = UNSET
    user_defined_metrics: dict[str, Any] | UnsetType = UNSET
    retry_indicator: str | UnsetType = UNSET
    code_identities: list[CodeIdentity] | UnsetType = UNSET
    metrics: dict[str, Any] | UnsetType = UNSET
    metric_series: dict[str, list[MetricPoint]] | UnsetType = UNSET
    data_catalog: list[DataCatalog] | UnsetType = UNSET
    result: Any = UNSET
    host: str | UnsetType = UNSET
    pid: int | UnsetType = UNSET
    start: str | UnsetType = UNSET
    job: str | UnsetType = UNSET


class StepLog(Record, kw_only=True):
    """The record of one step.

    Attributes:
        name: what the author called the step.
        internal_name: the dot path that says where in the run it belongs.
        status: `SUCCESS`, `FAIL` or `PROCESSING`.
        step_type: `task`, `map`, `parallel`, `success`, `fail`…
        message: for a failure, its reason in a line.
        mock: whether the step was not really run (skipped, or taken from an earlier run).
        code_identities: which code ran.
        attempts: one entry per try.
        user_defined_metrics: single values by name.
        branches: by internal name, in order of execution; only composite steps have some.
        data_catalog: data read and written.
        metric_series: values with step numbers, by name; unset where there are none.
        result: what the step's function returned, if that is JSON; unset where it is not kept.
        input_hash: `v2:` and the SHA-256 of what the step's function was called with; unset where it is not known.
        cached_from: the run whose result was taken over; unset where the step ran itself.
        planned_branches: how many branches there will be; unset where nobody knew that at the start.
        inside: the internal name of the step that was at work around this one; unset where there was none.
        inside_attempt: in which attempt of that step; unset in the first.
        reused_at: when its result was taken over; unset where the step ran itself.
        argument_hashes: of what the step's function was called with, by name the beginning of the hash of each, or
            `unknown:` and why there is none; unset where there are no arguments.
        result_types: what JSON changes of `result`, so that the very value can be had again: `tuple`, the name of a
            type of numpy's, or an object with those of the parts of a list, tuple or dict; unset where that is nothing.
        counted_attempt: which attempt counts, counted from 1; unset where it is the last that succeeded, or the last.
        returned: of a composite step, by the last segment of the branch's internal name, the start whose result came
            back, by the last part of its name; empty where none did. Unset where no engine may start a branch again.
        late: what became of it after the run had ended: a status, or `UNKNOWN`; unset where it had ended before.
        began_late: whether it only began then; unset where it did not.
    """

    FREE = ("user_defined_metrics", "metric_series", "result", "argument_hashes", "result_types", "returned")
    SCALARS = (
        ("name", str),
        ("internal_name", str),
        ("status", str),
        ("step_type", str),
        ("message", str),
        ("mock", bool),
    )
    NESTED: ClassVar[dict[str, type[Record]]] = {
        "code_identities": CodeIdentity,
        "attempts": StepAttempt,
        "data_catalog": DataCatalog,
    }
    OPTIONAL = (
        ("input_hash", str),
        ("cached_from", str),
        ("planned_branches", int),
        ("inside", str),
        ("inside_attempt", int),
        ("reused_at", str),
        ("counted_attempt", int),
        *_LATE,
    )

    name: str
    internal_name: str
    status: str = FAIL
    step_type: str = "task"
    message: str = ""
    mock: bool = False
    code_identities: list[CodeIdentity] = field(default_factory=list)
    attempts: list[StepAttempt] = field(default_factory=list)
    user_defined_metrics: dict[str, Any] = field(default_factory=dict)
    branches: dict[str, BranchLog] = field(default_factory=dict)
    data_catalog: list[DataCatalog] = field(default_factory=list)
    metric_series: dict[str, list[MetricPoint]] | UnsetType = UNSET
    result: Any = UNSET
    input_hash: str | UnsetType = UNSET
    cached_from: str | UnsetType = UNSET
    planned_branches: int | UnsetType = UNSET
    inside: str | UnsetType = UNSET
    inside_attempt: int | UnsetType = UNSET
    reused_at: str | UnsetType = UNSET
    argument_hashes: dict[str, Any] | UnsetType = UNSET
    result_types: Any = UNSET
    counted_attempt: int | UnsetType = UNSET
    returned: dict[str, Any] | UnsetType = UNSET
    late: str | UnsetType = UNSET
    began_late: bool | UnsetType = UNSET

    def __post_init__(self) -> None:
        _check_record_name(self.internal_name)


class BranchLog(Record, kw_only=True):
    """The record of one arm of a composite step.

    Attributes:
        internal_name: the dot path `step.branch`.
        status: as for a step.
        steps: by internal name, in order of execution.
        parameters: those of this branch alone.
        item: of a map, what the branch was run over, if that is JSON; unset elsewhere.
        cached_from: the run whose result was taken over; unset where the branch ran itself.
        message: for a failure outside its steps, the reason; unset elsewhere.
        attempt: in which attempt of the composite step it ran; unset where that had only one.
        attempts: its starts, in the order in which they began; unset where nobody recorded them.
        counted_attempt: as for a step; `late` and `began_late` too.
    """

    FREE = ("parameters", "item")
    SCALARS = (("internal_name", str), ("status", str))
    OPTIONAL = (("cached_from", str), ("message", str), ("attempt", int), ("counted_attempt", int), *_LATE)
    NESTED: ClassVar[dict[str, type[Record]]] = {"steps": StepLog, "attempts": StepAttempt}

    internal_name: str
    status: str = FAIL
    steps: dict[str, StepLog] = field(default_factory=dict)
    parameters: dict[str, Any] = field(default_factory=dict)
    item: Any = UNSET
    cached_from: str | UnsetType = UNSET
    message: str | UnsetType = UNSET
    attempt: int | UnsetType = UNSET
    attempts: list[StepAttempt] | UnsetType = UNSET
    counted_attempt: int | UnsetType = UNSET
    late: str | UnsetType = UNSET
    began_late: bool | UnsetType = UNSET

    def __post_init__(self) -> None:
        _check_record_name(self.internal_name)


StepLog.NESTED["branches"] = BranchLog


class JobLog(Record, kw_only=True):
    """The record of a `runnable` job: a run of one task and no steps.

    Attributes:
        status: as for a step.
        message: for a failure, its reason.
        mock: whether the job was not really run.
        code_identities: which code ran.
        attempts: one entry per try.
        data_catalog: data read and written.
    """

    SCALARS = (("status", str), ("message", str), ("mock", bool))
    NESTED: ClassVar[dict[str, type[Record]]] = {
        "code_identities": CodeIdentity,
        "attempts": StepAttempt,
        "data_catalog": DataCatalog,
    }

    status: str = FAIL
    message: str = ""
    mock: bool = False
    code_identities: list[CodeIdentity] = field(default_factory=list)
    attempts: list[StepAttempt] = field(default_factory=list)
    data_catalog: list[DataCatalog] = field(default_factory=list)


class Problem(msgspec.Struct, frozen=True):
    """Something in a run that could not be read, or has no place in it.

    Attributes:
        kind: `corrupt`, `unreadable`, `orphan`, `missing`, `time`, or `changed`: not what was there at the run's end.
        file: the file's name, or the internal name of an orphan.
        message: what is wrong.
    """

    kind: str
    file: str
    message: str


class Orphans(Record, kw_only=True):
    """Records whose step, branch or run record is missing: kept and shown, but without a place in the tree.

    Attributes:
        steps: by internal name.
        branches: by internal name.
        parameters: by the internal name of the branch that has no record.
    """

    FREE = ("parameters",)
    NESTED: ClassVar[dict[str, type[Record]]] = {"steps": StepLog, "branches": BranchLog}

    steps: dict[str, StepLog] = field(default_factory=dict)
    branches: dict[str, BranchLog] = field(default_factory=dict)
    parameters: dict[str, dict[str, Any]] = field(default_factory=dict)

    def __bool__(self) -> bool:
        return bool(self.steps or self.branches or self.parameters)


class RunLog(Record, kw_only=True):
    """The record of one run.

    Attributes:
        run_id: the run's unique name.
        dag_hash: a hash of the pipeline's definition, if its engine gives one.
        use_cached: whether results of `original_run_id` may be taken over.
        tag: any text that groups runs.
        original_run_id: the run that this one resumes.
        status: `SUCCESS`, `FAIL` or `PROCESSING`.
        steps: by internal name, in order of execution.
        parameters: those of the run; branches have their own.
        run_config: how the run was configured; chunkstore's own notes are under `chunkstore`.
        job: what a `runnable` job did; unset where the run is a pipeline.
        problems: what could not be read, or has no place in the run.
        orphans: records whose place in the tree is missing.
    """

    FREE = ("parameters", "run_config")
    SCALARS = (
        ("run_id", str),
        ("dag_hash", str),
        ("use_cached", bool),
        ("tag", str),
        ("original_run_id", str),
        ("status", str),
    )
    NULLABLE = frozenset({"dag_hash", "tag", "original_run_id"})
    NESTED: ClassVar[dict[str, type[Record]]] = {"steps": StepLog}
    SINGLE: ClassVar[dict[str, type[Record]]] = {"job": JobLog, "found_orphans": Orphans}

    run_id: str
    dag_hash: str | None = ""
    use_cached: bool = False
    tag: str | None = ""
    original_run_id: str | None = ""
    status: str = FAIL
    steps: dict[str, StepLog] = field(default_factory=dict)
    parameters: dict[str, Any] = field(default_factory=dict)
    run_config: dict[str, Any] = field(default_factory=dict)
    job: JobLog | UnsetType | None = UNSET
    # Left out of the JSON where there are none; the properties below give something to iterate over either way.
    found_orphans: Orphans | UnsetType = field(default=UNSET, name="orphans")
    found_problems: list[Problem] | UnsetType = field(default=UNSET, name="problems")

    @property
    def notes(self) -> dict[str, Any]:
        """The notes of chunkstore itself on the run, such as its format and times; empty if another tool wrote it."""
        notes = self.run_config.get(NOTES)
        return notes if isinstance(notes, dict) else {}

    @property
    def incarnation(self) -> str:
        """What tells this run from every other that had its id before or gets it later; empty if nobody noted that."""
        noted = self.notes.get(INCARNATION)
        return noted if is_incarnation(noted) else ""

    @property
    def resumed(self) -> PinnedRunId | None:
        """The run that this one resumes; None if it resumes none."""
        if not self.use_cached or not self.original_run_id:
            return None
        noted = self.notes.get(RESUMED)
        return PinnedRunId(self.original_run_id, noted if is_incarnation(noted) else "")

    @property
    def is_packed(self) -> bool:
        """Whether chunks of the run may lie in sealed files or journals."""
        number = self.notes.get("format", FORMAT)
        return not is_format(number) or number >= PACKED_FORMAT

    @property
    def problems(self) -> list[Problem]:
        """What could not be read, or has no place in the run."""
        return [] if self.found_problems is UNSET else self.found_problems

    @property
    def orphans(self) -> Orphans:
        """Records whose place in the tree is missing."""
        return Orphans() if self.found_orphans is UNSET else self.found_orphans


def is_format(number: Any) -> bool:
    """Tell whether a note can be the number of a format: a boolean, for one, is none, though Python counts with it."""
    return type(number) is int and number > 0


def _check_record_name(name: Any) -> None:
    if type(name) is not str or not name.isascii() or not 0 < len(name) < _USUAL_LENGTH:
        # msgspec turns a ValueError here into an error of the document, so decoding stays safe too.
        check_name(name)
