"""What a worker does: run one branch and record it."""

from __future__ import annotations

import pickle
from collections.abc import Callable
from contextvars import ContextVar
from typing import Any, NamedTuple

from chunkstore.clock import clock
from chunkstore.recording.failures import describe_error, is_failure
from chunkstore.recording.identity import InputHash
from chunkstore.recording.items import shown_item
from chunkstore.recording.scope import CURRENT_RUN, CURRENT_STEP, Scope
from chunkstore.recording.step import BaseStep
from chunkstore.records.models import FAIL, PROCESSING, SUCCESS, BranchLog, CodeIdentity, StepAttempt


class BranchTask(NamedTuple):
    """A branch that is to be run; it is sent to a worker.

    Attributes:
        run: the run, bound to the branch.
        step_class: what its steps are.
        function: what to run.
        arguments: for the function: an item, or nothing; pickled if `packed`.
        step_name: what the step inside the branch is called.
        code: which code the function is.
        max_attempts: how often the function is tried.
        backoff: seconds before the second attempt.
        earlier_attempts: attempts before a worker died.
        packed: whether arguments and results travel as bytes: what cannot be rebuilt on the other side then costs one
            branch, and does not break the whole pool.
        executor_id: the identity of the threads that the branch runs on; 0 for processes.
        inputs: the hash of what the function is called with; None if it is not known yet.
    """

    run: Scope
    step_class: type[BaseStep[Any]]
    function: Callable[..., Any]
    arguments: tuple[Any, ...] | bytes
    step_name: str
    code: list[CodeIdentity]
    max_attempts: int
    backoff: float
    earlier_attempts: tuple[StepAttempt, ...] = ()
    packed: bool = False
    executor_id: int = 0
    inputs: InputHash | None = None


#: The executors whose threads are waiting in this very call, each for its branches.
executors_in_use: ContextVar[frozenset[int]] = ContextVar("chunkstore_executors", default=frozenset())


class Outcome(NamedTuple):
    """What came of a branch; it is sent back.

    Attributes:
        value: what the function returned, pickled if the task was packed; None if it raised.
        error: what it raised; None if it returned.
        failed: whether the branch counts as failed: the function raised, or a step inside failed.
    """

    value: Any
    error: BaseException | None
    failed: bool

    def __reduce__(self) -> tuple[Any, ...]:
        return _arrived, (tuple(self), clock.latest)


def _arrived(fields: tuple[Any, ...], latest: int) -> Outcome:
    clock.observe(latest)  # what is recorded from now on comes after what the worker has recorded
    return Outcome(*fields)


def run_branch(task: BranchTask) -> Outcome:
    """Run a branch, record it, and say what came of it; raises only if it cannot be recorded."""
    run = task.run
    log = BranchLog(internal_name=run.branch, status=PROCESSING)
    try:
        arguments = task.arguments
        if isinstance(arguments, bytes):
            arguments = pickle.loads(arguments)  # noqa: S301 - what the process that started this one has pickled
    except Exception as broken:  # noqa: BLE001 - whatever an item's unpickling raises
        log.status, log.message = FAIL, f"its item could not be rebuilt in the worker: {describe_error(broken)}"
        run.store.add_branch_log(run.identity, log)
        return Outcome(None, _sendable(broken), failed=True)
    if arguments:
        log.item = shown_item(arguments[0])
    run.store.add_branch_log(run.identity, log)
    value: Any = None
    error: BaseException | None = None
    token = executors_in_use.set(executors_in_use.get() | {task.executor_id})
    with CURRENT_RUN.being(run), CURRENT_STEP.being(None):
        step = task.step_class(
            run,
            task.step_name,
            run.new_name(task.step_name),
            max_attempts=task.max_attempts,
            backoff=task.backoff,
            earlier_attempts=list(task.earlier_attempts),
        )
        run.function_step = step
        try:
            value = step.execute(
                task.function, arguments, {}, task.code, inputs=task.inputs, may_reuse=_is_all_there_was(run)
            )
        except BaseException as raised:  # noqa: BLE001 - a branch ends with whatever its function raises
            run.end_open_steps(raised)
            if is_failure(raised):
                error = raised if task.executor_id else _sendable(raised)
    executors_in_use.reset(token)
    failed = error is not None or bool(run.failed_steps)
    log.status = FAIL if failed else SUCCESS
    run.store.add_branch_log(run.identity, log)
    return Outcome(pickle.dumps(value) if task.packed and value is not None else value, error, failed)


def _is_all_there_was(run: Scope) -> bool:
    """Tell whether the step of a branch was all that an earlier run did in it.

    Steps that its function recorded, one of which may have failed, are only there again if the function runs; each of
    them may be taken over then.
    """
    earlier = run.previous.branch(run.branch) if run.previous else None
    return earlier is None or len(earlier.log.steps) <= 1


def _sendable(error: BaseException) -> BaseException:
    """Return an exception that the receiver can rebuild: one that cannot would break the whole pool there."""
    try:
        pickle.loads(pickle.dumps(error))  # noqa: S301 - what this very process has pickled
    except Exception:  # noqa: BLE001 - whatever an exception's pickling raises
        return RuntimeError(describe_error(error))
    return error
