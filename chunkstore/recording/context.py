"""Which run and which step the code that runs now belongs to; threads and async tasks keep apart."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager
from contextvars import ContextVar
from typing import TYPE_CHECKING

from chunkstore.errors import StoreUsageError

if TYPE_CHECKING:  # for annotations alone: runs and steps set the context
    from chunkstore.recording.run import Run
    from chunkstore.recording.step import Step

_run: ContextVar[Run | None] = ContextVar("chunkstore_run", default=None)
_step: ContextVar[Step | None] = ContextVar("chunkstore_step", default=None)


def current_run() -> Run:
    """Return the run that is recorded here; inside a branch, the run bound to that branch.

    Raises:
        StoreUsageError: no run is recorded here.
    """
    run = _run.get()
    if run is None:
        raise StoreUsageError(
            "There is no current run. Call this inside `with store.start_run()`, or in a function that a step, map or "
            "parallel runs. A thread that you start yourself does not inherit the run: pass it the run."
        )
    return run


def current_step() -> Step:
    """Return the step that is running here.

    Raises:
        StoreUsageError: no step is running here.
    """
    step = _step.get()
    if step is None:
        raise StoreUsageError(
            "There is no current step. Call this inside `with run.step(name)`, or in a function that a step, map or "
            "parallel runs. A thread that you start yourself does not inherit the step: pass it the step."
        )
    return step


@contextmanager
def recording_run(run: Run | None) -> Iterator[None]:
    """Make `run` the current one."""
    token = _run.set(run)
    try:
        yield
    finally:
        _run.reset(token)


@contextmanager
def recording_step(step: Step | None) -> Iterator[None]:
    """Make `step` the current one."""
    token = _step.set(step)
    try:
        yield
    finally:
        _step.reset(token)
