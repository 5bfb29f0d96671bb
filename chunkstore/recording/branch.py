"""What a worker does: run one branch and record it."""

from __future__ import annotations

import pickle
from collections.abc import Callable
from typing import TYPE_CHECKING, Any, NamedTuple

from chunkstore.models import FAIL, PROCESSING, SUCCESS, BranchLog, CodeIdentity, StepAttempt
from chunkstore.recording.context import recording_run, recording_step
from chunkstore.recording.previous import shown_item
from chunkstore.recording.step import Step, describe_error

if TYPE_CHECKING:  # for annotations alone: a run hands out the branches
    from chunkstore.recording.run import Run


class BranchTask(NamedTuple):
    """A branch that is to be run; it is sent to a worker.

    Attributes:
        run: the run, bound to the branch.
        function: what to run.
        arguments: for the function: an item, or nothing.
        step_name: what the step inside the branch is called.
        code: which code the function is.
        max_attempts: how often the function is tried.
        backoff: seconds before the second attempt.
        earlier_attempts: attempts whose worker died.
    """

    run: Run
    function: Callable[..., Any]
    arguments: tuple[Any, ...]
    step_name: str
    code: list[CodeIdentity]
    max_attempts: int
    backoff: float
    earlier_attempts: tuple[StepAttempt, ...] = ()


class Outcome(NamedTuple):
    """What came of a branch; it is sent back.

    Attributes:
        value: what the function returned; None if it raised.
        error: what it raised; None if it returned.
        failed: whether the branch counts as failed: the function raised, or a step inside failed.
    """

    value: Any
    error: BaseException | None
    failed: bool


def run_branch(task: BranchTask) -> Outcome:
    """Run a branch, record it, and say what came of it; raises only if it cannot be recorded."""
    run = task.run
    log = BranchLog(internal_name=run.branch, status=PROCESSING)
    if task.arguments:
        log.item = shown_item(task.arguments[0])
    run.store.add_branch_log(run.run_id, log)
    value, error = None, None
    with recording_run(run), recording_step(None):
        step = Step(
            run,
            task.step_name,
            run.new_name(task.step_name),
            max_attempts=task.max_attempts,
            backoff=task.backoff,
            earlier_attempts=list(task.earlier_attempts),
        )
        try:
            value = step.execute(task.function, task.arguments, {}, task.code)
        except BaseException as raised:  # noqa: BLE001 - a branch ends with whatever its function raises
            error = _sendable(raised)
    failed = error is not None or bool(run.failed_steps)
    log.status = FAIL if failed else SUCCESS
    run.store.add_branch_log(run.run_id, log)
    return Outcome(value, error, failed)


def _sendable(error: BaseException) -> BaseException:
    """Return an exception that the receiver can rebuild: one that cannot would break the whole pool there."""
    try:
        pickle.loads(pickle.dumps(error))  # noqa: S301 - what this very process has pickled
    except Exception:  # noqa: BLE001 - whatever an exception's pickling raises
        return RuntimeError(describe_error(error))
    return error
