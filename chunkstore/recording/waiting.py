"""Threads that wait for branches and hold, meanwhile, the very threads that could run them.

A branch on a pool of threads that maps over that pool, or over another whose threads wait for the first one in turn,
would wait for ever. So whoever waits in a branch runs, itself, what nobody has begun: in the place of a thread of the
pool that waits as well, and one for each of those. Only when such a thread has what it waited for, while another still
works in its place, does one more run for a moment than the pool has threads.
"""

from __future__ import annotations

import queue
import sys
import threading
from collections.abc import Iterator
from concurrent.futures import Executor, Future, ProcessPoolExecutor, ThreadPoolExecutor
from concurrent.futures import thread as pool_threads
from contextlib import contextmanager
from typing import Any

from chunkstore.engines.base import Ended
from chunkstore.forks import in_forked_children

#: In which module loky, or a copy of it inside another package, has its pool.
_LOKY_MODULE = "loky.process_executor"
#: How often who would help looks, untold, whether it can: a pool notes its threads a little after they begin.
_INTERVAL = 0.5

# Re-entrant: a signal handler or a finaliser may run, and map, wherever it is held.
_mutex = threading.RLock()
#: The threads that wait for branches just now.
_waiting: set[threading.Thread] = set()
#: The pools that branches run on just now, by the identity of their executors.
_pools: dict[int, ThreadPool] = {}


class ThreadPool:
    """The threads behind an executor, if there are some in this process: which wait, and who works in their place.

    Args:
        executor: any; one that wraps a pool of threads is that pool, so that two of them are one.
    """

    def __init__(self, executor: Executor) -> None:
        self.executor = executor
        self.users = 0
        #: Threads that run a branch handed to this executor.
        self.running: list[threading.Thread] = []
        #: Threads of others that run one of its branches.
        self.helpers: list[threading.Thread] = []
        #: Those who would help: a queue each, into which None is put when they can.
        self.ready: list[Ended] = []

    def threads(self) -> set[threading.Thread]:
        """Return the threads that are known to be its own."""
        own = getattr(self.executor, "_threads", ()) if isinstance(self.executor, ThreadPoolExecutor) else ()
        return {*list(own), *self.running}

    def may_help(self) -> bool:
        """Tell whether one of its threads waits, and nobody works in its place."""
        own = self.threads()
        helpers = set(self.helpers) - own - _waiting
        return len(helpers) < len(own & _waiting)

    def next(self, ended: Ended, *, would_help: bool, timeout: float | None = None) -> Future[Any] | None:
        """Wait for a branch to end.

        Args:
            ended: where the futures of those that end are put.
            would_help: whether this thread could run a branch meanwhile.
            timeout: how long to wait at most, in seconds; None for as long as it takes.

        Returns:
            The future of one; None if this thread is to run a branch now, and to call `end_help` after that.

        Raises:
            queue.Empty: none has ended in that time.
        """
        thread = threading.current_thread()
        while True:
            with _mutex:
                has_waited = thread in _waiting
                _waiting.add(thread)
                if would_help:
                    self.ready.append(ended)
                _tell()
            try:
                future = _next_of(ended, _INTERVAL if would_help else timeout)
                with _mutex:
                    if future is None and would_help and self.may_help():
                        self.helpers.append(thread)
                        return None
            finally:
                with _mutex:
                    if not has_waited:
                        _waiting.discard(thread)
                    _remove(self.ready, ended)
            if future is not None:
                return future
            if timeout is not None:
                raise queue.Empty

    def end_help(self) -> None:
        """End what `next` has begun."""
        with _mutex:
            _remove(self.helpers, threading.current_thread())
            _tell()


def _tell() -> None:
    """Tell those who can help that they can; whoever begins to wait, or ends to help, has to call this."""
    for pool in list(_pools.values()):
        if pool.ready and pool.may_help():
            for ended in pool.ready:
                ended.put(None)


def _next_of(ended: Ended, timeout: float | None) -> Future[Any] | None:
    try:
        return ended.get(timeout=timeout)
    except queue.Empty:
        return None


def _remove(items: list[Any], item: Any) -> None:
    if item in items:  # a forked child has none
        items.remove(item)


def is_in_pool() -> bool:
    """Tell whether this thread is one of a standard pool, as far as that is noted yet."""
    return threading.current_thread() in getattr(pool_threads, "_threads_queues", ())


@contextmanager
def pool_of(executor: Executor | None) -> Iterator[ThreadPool | None]:
    """Give the threads that branches handed to an executor run on, as far as is known; None for our own processes."""
    if executor is None:
        yield None
        return
    inner: Any = innermost(executor)
    with _mutex:
        pool = _pools.setdefault(id(inner), ThreadPool(inner))
        pool.users += 1
    try:
        yield pool
    finally:
        with _mutex:
            pool.users -= 1
            if not pool.users:
                _pools.pop(id(inner), None)


def innermost(executor: Executor | None) -> Executor | None:
    """Return the pool, of a kind that is known, inside executors that hand on to it; or the executor itself."""
    waiting, seen = [executor], {id(executor)}
    while waiting:
        current = waiting.pop()
        if current is None or isinstance(current, (ThreadPoolExecutor, ProcessPoolExecutor)) or loky_of(current):
            return current
        for value in executors_in(current).values():
            if id(value) not in seen:
                seen.add(id(value))
                waiting.append(value)
    return executor


def executors_in(executor: Executor) -> dict[str, Executor]:
    """Return the executors among the attributes of another."""
    slots = [getattr(kind, "__slots__", ()) for kind in type(executor).__mro__]
    names = [name for given in slots for name in ([given] if isinstance(given, str) else given)]
    own = {**getattr(executor, "__dict__", {}), **{name: getattr(executor, name, None) for name in names}}
    return {name: value for name, value in own.items() if isinstance(value, Executor)}


def loky_of(executor: Executor | None) -> Any:
    """Return the module of loky, or of the copy in another package, that a pool comes from; None for other pools."""
    for kind in type(executor).__mro__:
        if f".{kind.__module__}".endswith(f".{_LOKY_MODULE}"):
            return sys.modules[kind.__module__]
    return None


@contextmanager
def running_on(key: int) -> Iterator[None]:
    """Note that this thread is one of a pool's, as long as it runs a branch; `key` is 0 where that does not matter."""
    pool = _pools.get(key) if key else None
    if pool is None:
        yield
        return
    thread = threading.current_thread()
    with _mutex:
        pool.running.append(thread)
    try:
        yield
    finally:
        with _mutex:
            _remove(pool.running, thread)


def _reset() -> None:
    """In a forked child: no thread but this one is there."""
    global _mutex  # noqa: PLW0603 - another thread of the parent may hold it
    _mutex = threading.RLock()
    _waiting.clear()
    for pool in _pools.values():
        pool.running, pool.helpers, pool.ready = [], [], []


in_forked_children(_reset)
