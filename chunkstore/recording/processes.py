"""The processes of a pool of our own: how they begin, that none is forgotten, and how they end."""

from __future__ import annotations

import multiprocessing
import os
import threading
import time
import weakref
from collections.abc import Callable, Iterable
from contextlib import suppress
from typing import Any

#: How long a worker has for its own end after it was told to, in seconds.
_LONGEST_FAREWELL = 2.0
#: How often a worker looks whether its parent lives, in seconds.
_PARENT_INTERVAL = 0.5


class Remembering:
    """A context of `multiprocessing` that remembers the processes it makes.

    A pool in which the handler of a signal raises an exception just as it starts a worker does not know of that one:
    the worker would never be told to end, and the interpreter wait for it for ever.

    Args:
        context: the context; None for the default one.
    """

    def __init__(self, context: Any) -> None:
        given = context.inner if isinstance(context, Remembering) else context
        self.inner: Any = given or multiprocessing.get_context()
        self.made: weakref.WeakSet[Any] = weakref.WeakSet()

    def __getattr__(self, name: str) -> Any:
        return getattr(self.inner, name)

    def Process(self, *arguments: Any, **keywords: Any) -> Any:  # noqa: N802 - as contexts call it
        """Make a process."""
        process = self.inner.Process(*arguments, **keywords)
        self.made.add(process)
        return process


def made_by(pool: Any) -> list[Any]:
    """Return the processes that a pool of our own has made and somebody still refers to; they may not have begun."""
    context = getattr(pool, "_mp_context", None)
    return list(context.made) if isinstance(context, Remembering) else []


def end_all(processes: Iterable[Any]) -> None:
    """End processes, by force if they do not end soon."""
    processes = [process for process in processes if getattr(process, "_popen", None) is not None]
    try:
        for process in processes:
            with suppress(ValueError, OSError):  # it has ended and was given back already
                process.terminate()
        deadline = time.monotonic() + _LONGEST_FAREWELL
        for process in processes:
            exit_code(process, deadline)
    finally:  # also where somebody is too impatient for a farewell
        for process in processes:
            with suppress(ValueError, OSError):
                process.kill()


def exit_code(process: Any, deadline: float) -> int | None:
    """Return how a process ended; the pool may be about to ask for the same, so the answer can take a moment."""
    while True:
        try:
            process.join(0.01)
            code: int | None = process.exitcode
        except (AssertionError, ValueError, AttributeError):
            return None
        if code is not None or time.monotonic() > deadline:
            return code
        time.sleep(0.01)


def begin_worker(initializer: Callable[..., Any] | None, arguments: tuple[Any, ...]) -> None:
    """Begin the life of a worker of our own: it shall not outlive its parent and go on writing into the run."""
    # The parent may be a server that forks for the main process, and ends with it.
    threading.Thread(target=_end_with_parent, args=(os.getppid(),), daemon=True).start()
    if initializer is not None:
        initializer(*arguments)


def _end_with_parent(parent: int) -> None:
    while os.getppid() == parent:
        time.sleep(_PARENT_INTERVAL)
    os._exit(1)
