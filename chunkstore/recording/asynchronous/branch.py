"""One branch as a task of asyncio: its function is awaited, and what comes of it recorded off the loop."""

from __future__ import annotations

import os
from collections.abc import Callable
from typing import Any

from chunkstore.recording.answers import Outcome, without_locals
from chunkstore.recording.asynchronous.step import AwaitableStep
from chunkstore.recording.branch import (
    BranchTask,
    is_all_there_was,
    log_of,
    of_this_start,
    record_begin,
    record_end,
    refusal_of,
    step_of,
)
from chunkstore.recording.failures import is_failure
from chunkstore.recording.scope import CURRENT_RUN, CURRENT_STEP, actor
from chunkstore.recording.terminations import Terminated


async def run_branch(task: BranchTask, function: Callable[..., Any], arguments: tuple[Any, ...]) -> Outcome:
    """Run a branch, record it, and say what came of it.

    Args:
        task: the branch.
        function: what it awaits.
        arguments: for the function.

    Raises:
        asyncio.CancelledError: it was cancelled before it began, and nothing is recorded.
        KeyboardInterrupt: the program is to end; as for `Terminated`.
        Exception: it cannot be recorded.
    """
    run = of_this_start(task.run)
    log = log_of(run, task.attempt)
    me = actor()
    has_begun = False
    too_late: BaseException | None = None
    failed: bool | None = None

    def before() -> bool:
        nonlocal has_begun, too_late
        if (too_late := refusal_of(run)) is not None:
            raise too_late
        has_begun = True
        record_begin(run, log, arguments)
        return is_all_there_was(run)

    def after(error: BaseException | None) -> None:
        nonlocal failed
        if has_begun:
            if error is not None:
                run.end_open_steps(error, me)
            failed = record_end(run, log, error if is_failure(error) else None)

    error: BaseException | None = None
    value = None
    with CURRENT_RUN.being(run), CURRENT_STEP.being(None):
        step = step_of(task, run)
        assert isinstance(step, AwaitableStep)
        try:
            value = await step.aexecute(
                function, arguments, {}, task.code, inputs=task.inputs, before=before, after=after
            )
        except BaseException as raised:
            if raised is too_late:
                return Outcome(None, raised, failed=True)
            if failed is None or isinstance(raised, (KeyboardInterrupt, Terminated, GeneratorExit)):
                raise
            error = raised if is_failure(raised) else None
    run.let_go_of_function_step()
    if error is not None:
        without_locals(error)
    return Outcome(value, error, bool(failed), run.start_in(os.getpid()))
