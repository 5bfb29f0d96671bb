"""The executor that branches run on: how many workers it has, how they died, and how to go on after that."""

from __future__ import annotations

import os
import pickle
import signal
import sys
import threading
import time
from collections.abc import Callable
from concurrent.futures import Executor, Future, ProcessPoolExecutor
from contextlib import suppress
from typing import Any

from chunkstore.errors import ChunkstoreError, StoreUsageError
from chunkstore.recording.scope import Scope

#: How long the processes of a broken pool are waited for, in seconds.
_LONGEST_DEATH = 10.0
#: How long a worker has for its own end after it was told to, in seconds.
_LONGEST_FAREWELL = 2.0
#: How often a worker looks whether its parent lives, in seconds.
_PARENT_INTERVAL = 0.5


class Workers:
    """An executor given by the user, or a pool of processes of our own, made when it is first needed.

    A pool of processes is broken for good when one of its workers dies, and takes the others with it. Where the kind of
    pool is known, a new one like it takes its place.

    Args:
        executor: the user's; None for our own.
    """

    def __init__(self, executor: Executor | None) -> None:
        self._executor = executor
        self._own = executor is None
        self._processes: list[Any] = []

    @property
    def count(self) -> int:
        """How many branches can run at once."""
        return int(getattr(self._executor, "_max_workers", None) or os.cpu_count() or 1)

    @property
    def are_standard_processes(self) -> bool:
        """Whether the workers are processes of the standard library's pool, ours or the user's."""
        return self._executor is None or type(self._executor) is ProcessPoolExecutor

    def check_sendable(self, run: Scope, function: Any) -> None:
        """Raise `StoreUsageError` if a run or function cannot be sent to processes, before anything is recorded."""
        if _is_loky(self._executor):
            function = None  # loky has a pickler of its own, for functions; the run's store must pickle all the same
        elif self._executor is not None and type(self._executor) is not ProcessPoolExecutor:
            return  # threads need no pickling, and of other pools nothing is known
        try:
            pickle.dumps((run.bound_to(run.branch), function))
        except ChunkstoreError:
            raise
        except Exception as error:
            raise StoreUsageError(
                f"Cannot send the function to a pool of processes: {error}. Define it at the top of a module, or pass "
                "executor=concurrent.futures.ThreadPoolExecutor(), or a loky executor, which sends any function."
            ) from error

    def submit(self, function: Callable[..., Any], *arguments: Any) -> Future[Any]:
        """Start a function on a worker.

        Raises:
            BrokenExecutor: the pool is broken.
        """
        if self._executor is None:
            self._executor = ProcessPoolExecutor(initializer=_begin_worker, initargs=(None, ()))
        future = self._executor.submit(function, *arguments)
        processes = getattr(self._executor, "_processes", None) or {}
        if len(processes) > len(self._processes):
            self._processes = list(processes.values())
        return future

    def renew(self) -> bool:
        """Put a new pool in the place of a broken one; return whether that was possible."""
        new = self._alike()
        if self._own and self._executor is not None:
            self._executor.shutdown(wait=False)
        if new is None:
            return False
        self._executor, self._own, self._processes = new, True, []
        return True

    def alone(self) -> Workers | None:
        """Return a pool like this one with a single worker, or None if its kind is not known."""
        single = self._alike(max_workers=1)
        if single is None:
            return None
        workers = Workers(single)
        workers._own = True
        return workers

    def _alike(self, max_workers: int | None = None) -> Executor | None:
        pool = self._executor
        workers = max_workers or self.count
        if pool is None or type(pool) is ProcessPoolExecutor:
            return ProcessPoolExecutor(
                workers,
                mp_context=getattr(pool, "_mp_context", None),
                initializer=_begin_worker,
                initargs=_initializer_of(pool),
            )
        if _is_loky(pool):
            new: Executor = sys.modules["loky"].ProcessPoolExecutor(
                workers,
                context=getattr(pool, "_context", None),
                initializer=getattr(pool, "_initializer", None),
                initargs=getattr(pool, "_initargs", ()),
            )
            return new
        return None

    def how_they_died(self) -> str:
        """Wait until the workers of a broken pool are gone; say how one of them ended, as far as that is known."""
        deadline = time.monotonic() + _LONGEST_DEATH
        codes = [_exit_code(process, deadline) for process in self._processes]
        for code in codes:
            if code is None or code in {0, -signal.SIGTERM}:
                continue  # unknown, or ended by the pool itself
            if code > 0:
                return f"exit code {code}"
            name = signal.Signals(-code).name if -code in set(signal.Signals) else "unknown"
            hint = "; the system does so when it runs out of memory" if -code == signal.SIGKILL else ""
            return f"killed by signal {-code} ({name}){hint}"
        return "killed by the system, or ended by itself"

    def close(self) -> None:
        """Wait for a pool of our own to end what it runs, and give it back; the user's stays open."""
        if self._own and self._executor is not None:
            self._executor.shutdown(wait=True)

    def kill(self) -> bool:
        """End the workers of a pool of our own at once; return False for the user's, which is not ours to end."""
        if not self._own or self._executor is None:
            return False
        if _is_loky(self._executor):
            self._executor.shutdown(wait=False, kill_workers=True)  # type: ignore[call-arg]  # loky's own argument
            return True
        self._executor.shutdown(wait=False)
        for process in self._processes:
            with suppress(ValueError, OSError):  # it has ended and was given back already
                process.terminate()
        deadline = time.monotonic() + _LONGEST_FAREWELL
        for process in self._processes:
            if _exit_code(process, deadline) is None:
                with suppress(ValueError, OSError):
                    process.kill()
        return True


def _is_loky(executor: Executor | None) -> bool:
    loky = sys.modules.get("loky")
    return loky is not None and isinstance(executor, loky.ProcessPoolExecutor)


def _initializer_of(pool: Executor | None) -> tuple[Callable[..., Any] | None, tuple[Any, ...]]:
    """Return the user's initializer of a pool and its arguments."""
    initializer = getattr(pool, "_initializer", None)
    arguments: tuple[Any, ...] = getattr(pool, "_initargs", ())
    if initializer is _begin_worker:
        initializer, arguments = arguments
    return initializer, arguments


def _begin_worker(initializer: Callable[..., Any] | None, arguments: tuple[Any, ...]) -> None:
    """Begin the life of a worker of our own: it shall not outlive its parent and go on writing into the run."""
    # The parent may be a server that forks for the main process, and ends with it.
    threading.Thread(target=_end_with_parent, args=(os.getppid(),), daemon=True).start()
    if initializer is not None:
        initializer(*arguments)


def _end_with_parent(parent: int) -> None:
    while os.getppid() == parent:
        time.sleep(_PARENT_INTERVAL)
    os._exit(1)


class InlineExecutor(Executor):
    """Runs everything at once in the thread that asks: for branches of a branch on the very same threads.

    A thread that waited there for a free one among them could wait for ever, as it holds one itself.
    """

    def submit(self, function: Callable[..., Any], /, *arguments: Any, **keywords: Any) -> Future[Any]:
        """Run a function; return what came of it."""
        future: Future[Any] = Future()
        try:
            future.set_result(function(*arguments, **keywords))
        except Exception as error:  # noqa: BLE001 - as in every executor
            future.set_exception(error)
        return future


def _exit_code(process: Any, deadline: float) -> int | None:
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
