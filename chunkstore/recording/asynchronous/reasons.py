"""Why a task was cancelled, which asyncio does not say: a timeout around it, Ctrl-C, SIGTERM in a job, or somebody."""

from __future__ import annotations

import asyncio
import gc
import signal
from collections.abc import Iterator
from typing import Any

from chunkstore.recording.terminations import told_to_end

CANCELLED, TIMED_OUT, INTERRUPTED = "cancelled", "timed out", "interrupted by SIGINT"


def told(error: BaseException | None, task: asyncio.Task[Any] | None) -> BaseException | None:
    """Return an error as it is to be recorded: a cancellation that gives no reason, with the one that was found.

    Args:
        error: what ended something.
        task: the task that it was raised in; it has to be suspended.
    """
    if not isinstance(error, asyncio.CancelledError) or error.args:
        return error
    return asyncio.CancelledError(reason_of(task)).with_traceback(error.__traceback__)


def reason_of(task: asyncio.Task[Any] | None) -> str:
    """Return why a task, which is suspended, was cancelled, as far as that can be found out."""
    try:
        if reason := told_to_end() or (INTERRUPTED if _is_interrupted() else ""):
            return reason
        return TIMED_OUT if task is not None and any(map(_has_expired, _held_by(task))) else CANCELLED
    except Exception:  # noqa: BLE001 - whatever the objects of others raise: it was cancelled in any case
        return CANCELLED


def _is_interrupted() -> bool:
    """Tell whether `asyncio.run` cancels its task because of Ctrl-C; its handler of the signal counts them."""
    handler: Any = signal.getsignal(signal.SIGINT)
    runner = getattr(getattr(handler, "func", None), "__self__", None)
    return isinstance(runner, getattr(asyncio, "Runner", ())) and bool(getattr(runner, "_interrupt_count", 0))


def _held_by(task: asyncio.Task[Any]) -> Iterator[Any]:
    """Yield what the coroutines of a task hold; of an `async with` block, that is its end."""
    coroutine: Any = task.get_coro()
    while coroutine is not None:
        yield from gc.get_referents(coroutine)
        coroutine = getattr(coroutine, "cr_await", None)


def _has_expired(held: Any) -> bool:
    """Tell whether something is the end of a block of `asyncio.timeout` whose time is over."""
    block = getattr(held, "__self__", None)
    kind = getattr(asyncio, "Timeout", ())
    return isinstance(block, kind) and block.expired()
