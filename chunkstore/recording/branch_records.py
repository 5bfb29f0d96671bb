"""The records of branches, as the process that hands them out reads them, and writes them where no worker can."""

from __future__ import annotations

from collections.abc import Callable, Iterable
from contextlib import suppress
from typing import Any, NamedTuple

import msgspec
from msgspec import UNSET

from chunkstore.clock import utc_now
from chunkstore.errors import BranchLogNotFoundError, DataNotFoundError, StepLogNotFoundError
from chunkstore.names import join_name
from chunkstore.recording.answers import Outcome, RemoteTraceback
from chunkstore.recording.identity import InputHash, name_of
from chunkstore.recording.previous import is_same_work, taken_over_branch
from chunkstore.recording.results import result_of
from chunkstore.recording.scope import Scope
from chunkstore.records.attempts import counting_attempt, set_aside
from chunkstore.records.models import FAIL, PROCESSING, SUCCESS, BranchLog, CodeIdentity, StepAttempt, StepLog
from chunkstore.records.starts import start_of


class Branch(NamedTuple):
    """A branch before it runs.

    Attributes:
        place: which of the results is its own.
        internal_name: the branch.
        function: what it runs.
        arguments: for the function: an item, or nothing.
        code: which code the function is.
        inputs: the hash of what it is called with; None if it is not known yet.
        attempt: in which attempt of the composite step it runs; 0 if that has only one.
    """

    place: int
    internal_name: str
    function: Callable[..., Any]
    arguments: tuple[Any, ...]
    code: list[CodeIdentity]
    inputs: InputHash | None = None
    attempt: int = 0

    @property
    def step_name(self) -> str:
        """What the step inside is called."""
        return name_of(self.function)

    @property
    def step_internal_name(self) -> str:
        """The step inside."""
        return join_name(self.internal_name, self.step_name)


def recorded_branch(scope: Scope, branch: Branch) -> BranchLog | None:
    """Return the record of a branch; None if it has not started."""
    try:
        recorded = scope.store.get_branch_log(scope.identity, branch.internal_name)
    except BranchLogNotFoundError:
        return None
    is_of_another = branch.attempt and recorded.attempt != branch.attempt
    return None if is_of_another else recorded


def outcome_of(branch: Branch, recorded: BranchLog) -> Outcome | None:
    """Return what came of a branch as its record has it; None if it has not ended, or its result was not kept."""
    step = recorded.steps.get(branch.step_internal_name)
    if step is None or recorded.status == PROCESSING:
        return None
    counting = counting_attempt(recorded)
    start = counting.start or "" if counting else ""
    if step.status == SUCCESS and (result := result_of(step)) is not UNSET:
        return Outcome(result, None, failed=recorded.status == FAIL, start=start)
    if step.status == FAIL and recorded.status == FAIL:
        error = RuntimeError(step.message)
        error.__cause__ = RemoteTraceback(step.attempts[-1].message) if step.attempts else None
        return Outcome(None, error, failed=True, start=start)
    return None


def attempts_of(scope: Scope, branch: Branch, message: str, earlier: Iterable[StepAttempt] = ()) -> list[StepAttempt]:
    """Return the recorded attempts of a branch whose worker died; the open one ends with `message`.

    Args:
        scope: where the branch is recorded.
        branch: the branch.
        message: what has become of its worker.
        earlier: its attempts before it was handed out last. Starts that nobody here has asked for are none of them.
    """
    try:
        step = scope.store.get_step_log(scope.identity, branch.step_internal_name)
    except StepLogNotFoundError:
        step = None
    attempts = step.attempts if step else []
    if step is None or not attempts:
        return [StepAttempt(end_time=utc_now(), status=FAIL, message=message)]
    set_aside(step)
    if attempts[-1].status == PROCESSING:
        attempts[-1] = _failed(attempts[-1], message)
    starts = {attempts[-1].start, *(attempt.start for attempt in earlier)}
    return [attempt for attempt in attempts if attempt.start in starts]


def record_failure(scope: Scope, branch: Branch, message: str, *, has_died: bool = False) -> str:
    """Record the failure of a branch whose worker cannot do it.

    Args:
        scope: where the branch is recorded.
        branch: the branch.
        message: why it failed.
        has_died: whether its process has, so that the steps which were open in it do not end any more.

    Returns:
        Of which start it was recorded; empty if the branch had not started.
    """

    def fail(log: StepLog | BranchLog) -> None:
        log.status, log.message = FAIL, message
        if log.attempts and log.attempts[-1].status != FAIL:
            log.attempts[-1] = _failed(log.attempts[-1], message)

    store, run_id = scope.store, scope.identity
    recorded = recorded_branch(scope, branch)
    if recorded is None:
        attempt = branch.attempt or UNSET
        log = BranchLog(internal_name=branch.internal_name, status=FAIL, message=message, attempt=attempt, attempts=[])
        store.add_branch_log(run_id, log)
        return ""
    changed = store.update_branch_log(run_id, branch.internal_name, fail)
    failed = {branch.step_internal_name}
    if has_died:
        failed.update(name for name, step in recorded.steps.items() if step.status == PROCESSING)
    for name in failed:
        with suppress(StepLogNotFoundError):  # it died before its function began
            store.update_step_log(run_id, name, fail)
    return start_of(changed) or ""


def _failed(attempt: StepAttempt, message: str) -> StepAttempt:
    return msgspec.structs.replace(attempt, status=FAIL, message=message, end_time=utc_now())


def take_over(scope: Scope, branch: Branch) -> Any:
    """Record a branch that the resumed run finished, if it did the same as this one would.

    Args:
        scope: where the branch is recorded.
        branch: the branch.

    Returns:
        Its result; UNSET if it has to run.
    """
    previous = scope.previous
    earlier = previous.branch(branch.internal_name) if previous else None
    if earlier is None or not earlier.succeeded:
        return UNSET
    step = earlier.log.steps.get(branch.step_internal_name)
    if step is None or branch.inputs is None or not is_same_work(step, branch.code, branch.inputs.whole):
        return UNSET
    try:
        record = taken_over_branch(earlier.log, earlier.run_id, scope.catalog)
        record.attempt = branch.attempt or UNSET
    except DataNotFoundError:
        return UNSET  # what it put is gone: only the work itself can make it again
    scope.tell_store(scope.store.add_branch_log, record)
    return result_of(step)
