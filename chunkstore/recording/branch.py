"""What a worker does: run one branch and record it."""

from __future__ import annotations

import os
from collections.abc import Callable
from typing import Any, NamedTuple

from msgspec import UNSET

from chunkstore.errors import ChunkstoreError, RunLogNotFoundError, StoreUsageError
from chunkstore.recording.answers import Outcome, Packed, packed, sent, this_process, unpacked
from chunkstore.recording.failures import describe_error, is_failure
from chunkstore.recording.identity import InputHash
from chunkstore.recording.items import shown_item
from chunkstore.recording.scope import CURRENT_RUN, CURRENT_STEP, Scope
from chunkstore.recording.sharing import NotSeen, data_put_by, process_here
from chunkstore.recording.starting import end_attempt, new_attempt
from chunkstore.recording.step import BaseStep
from chunkstore.recording.waiting import running_on
from chunkstore.records.models import FAIL, PROCESSING, SUCCESS, BranchLog, CodeIdentity, StepAttempt


class BranchTask(NamedTuple):
    """A branch that is to be run; it is sent to a worker.

    Attributes:
        run: the run, bound to the branch.
        step_class: what its steps are.
        function: what to run; packed for processes, as what cannot be rebuilt there would break the whole pool.
        arguments: for the function: an item, or nothing; likewise.
        step_name: what the step inside the branch is called.
        code: which code the function is.
        max_attempts: how often the function is tried.
        backoff: seconds before the second attempt.
        earlier_attempts: attempts before a worker died.
        origin: the process that waits for what comes of it.
        by_value: whether its engine sends code by value, so that its workers may do so too.
        pool: of threads whose pool is not known, what notes them; see `running_on`.
        inputs: the hash of what the function is called with; None if it is not known yet.
        attempt: in which attempt of the composite step it runs; 0 if that has only one.
    """

    run: Scope
    step_class: type[BaseStep[Any]]
    function: Callable[..., Any] | Packed
    arguments: tuple[Any, ...] | Packed
    step_name: str
    code: list[CodeIdentity]
    max_attempts: int
    backoff: float
    earlier_attempts: tuple[StepAttempt, ...]
    origin: tuple[int, str]
    by_value: bool = False
    pool: int = 0
    inputs: InputHash | None = None
    attempt: int = 0


def run_branch(task: BranchTask) -> Outcome | NotSeen:
    """Run a branch, record it, and say what came of it; raises only if it cannot be recorded.

    That its run is seen here is found out by recording that it begins: nothing is made where the run is not.
    """
    if task.origin == this_process():
        with running_on(task.pool):
            return _run(task)
    task.run.sends_by_value = task.by_value
    try:
        outcome = _run(task)
    except RunLogNotFoundError as missing:
        return NotSeen.here(task.run, missing, by_value=task.by_value)
    except ChunkstoreError as refused:
        refused.message += f" That was in {process_here()}."
        raise
    error = outcome.error
    return outcome._replace(error=sent(error, by_value=task.by_value)) if isinstance(error, BaseException) else outcome


def _run(task: BranchTask) -> Outcome:
    run = of_this_start(task.run)
    if (too_late := refusal_of(run)) is not None:
        return Outcome(None, too_late, failed=True)
    log = log_of(run, task.attempt)
    start = run.start_in(os.getpid())
    what = "function"
    try:
        function = unpacked(task.function)
        what = "item"
        arguments = unpacked(task.arguments)
    except Exception as broken:  # noqa: BLE001 - whatever their unpickling raises
        log.message = f"its {what} could not be rebuilt in the worker: {describe_error(broken)}"
        return Outcome(None, broken, record_end(run, log, broken), start)
    record_begin(run, log, arguments)
    value: Any = None
    error: BaseException | None = None
    with CURRENT_RUN.being(run), CURRENT_STEP.being(None):
        step = step_of(task, run)
        try:
            value = step.execute(
                function, arguments, {}, task.code, inputs=task.inputs, may_reuse=is_all_there_was(run)
            )
        except BaseException as raised:  # noqa: BLE001 - a branch ends with whatever its function raises
            run.end_open_steps(raised)
            if is_failure(raised):
                error = raised
    if value is not None and task.origin != this_process():
        try:
            value = packed(value, by_value=task.by_value)
        except Exception as broken:  # noqa: BLE001 - whatever a result's pickling raises
            log.message = f"its result could not be sent back: {describe_error(broken)}"
            value, error = None, broken
    run.let_go_of_function_step()
    return Outcome(value, error, record_end(run, log, error), start, data_put_by(step))


def of_this_start(run: Scope) -> Scope:
    """Return what a start records its branch through, which shall not take what another one has recorded for its own.

    An engine may start a branch again in the same process, even at once, with the very object that was sent for the
    first start.
    """
    if run.claim() and not run.store.has_recorded(run.identity, run.branch):
        return run
    again = run.bound_to(run.branch)
    again.store = run.store.anew()
    return again


def refusal_of(run: Scope) -> StoreUsageError | None:
    """Return why a branch is not to begin, if its run has ended and nobody waits for it; None if it may."""
    if not run.tell_store(run.store.is_left, run.branch):
        return None
    return StoreUsageError(f"The branch {run.branch!r} was not run: run {run.run_id!r} had ended before it began.")


def log_of(run: Scope, attempt: int) -> BranchLog:
    """Return the record of a branch that starts now, in this process, and in an attempt of its composite step."""
    process = os.getpid()
    attempts = [new_attempt(1, process, run.start_in(process))]
    return BranchLog(internal_name=run.branch, status=PROCESSING, attempt=attempt or UNSET, attempts=attempts)


def record_begin(run: Scope, log: BranchLog, arguments: tuple[Any, ...]) -> None:
    """Record that a branch begins, with its item as it is before the function can change it."""
    if arguments:
        log.item = shown_item(arguments[0])
    run.tell_store(run.store.add_branch_log, log)
    run.is_under_way = True


def step_of(task: BranchTask, run: Scope) -> BaseStep[Any]:
    """Return the step that runs the function of a branch."""
    run.function_step = step = task.step_class(
        run,
        task.step_name,
        run.new_name(task.step_name),
        max_attempts=task.max_attempts,
        backoff=task.backoff,
        earlier_attempts=list(task.earlier_attempts),
    )
    return step


def record_end(run: Scope, log: BranchLog, error: BaseException | None) -> bool:
    """Record how a branch ended; tell whether it failed."""
    failed = error is not None or bool(run.failed_steps)
    log.status = FAIL if failed else SUCCESS
    for start in log.attempts or ():
        end_attempt(start, log.status)
    run.tell_store(run.store.add_branch_log, log)
    return failed


def is_all_there_was(run: Scope) -> bool:
    """Tell whether the step of a branch was all that an earlier run did in it.

    Steps that its function recorded, one of which may have failed, are only there again if the function runs; each of
    them may be taken over then.
    """
    earlier = run.previous.branch(run.branch) if run.previous else None
    return earlier is None or len(earlier.log.steps) <= 1
