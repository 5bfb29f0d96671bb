"""Handing work to executors. The first that a pool of processes gets has it fork its workers: one thread at a time.

From Python 3.12 on, filelock refuses a fork in the middle of one of another thread.
"""

from __future__ import annotations

import threading
from collections.abc import Callable
from concurrent.futures import Executor, Future, ProcessPoolExecutor
from typing import Any

from chunkstore.forks import in_forked_children
from chunkstore.interrupts import guarded, passable
from chunkstore.recording.inline import InlineExecutor

#: Held while a pool forks. Re-entrant, as a handler of a signal may map in the middle of that.
_forking = threading.RLock()


def hand_over(executor: Executor, pool: Executor | None, function: Callable[..., Any], *arguments: Any) -> Future[Any]:
    """Submit something to an executor.

    Args:
        executor: the executor.
        pool: the pool behind it, if that is known.
        function: what to run.
        arguments: for the function.
    """
    if isinstance(executor, InlineExecutor):
        return executor.submit(function, *arguments)
    if not isinstance(pool, ProcessPoolExecutor) or getattr(pool, "_processes", None):
        return _submit(executor, function, *arguments)
    with passable(_forking):
        return _submit(executor, function, *arguments)


@guarded
def _submit(executor: Executor, function: Callable[..., Any], *arguments: Any) -> Future[Any]:
    """Submit something; executors hold mutexes meanwhile that no other call of this thread can take."""
    return executor.submit(function, *arguments)


def _renew_mutex() -> None:
    """In a forked child: the thread that forked has it in the parent."""
    global _forking  # noqa: PLW0603 - one per process
    _forking = threading.RLock()


in_forked_children(_renew_mutex)
