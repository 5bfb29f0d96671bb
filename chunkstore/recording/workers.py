"""The executor that branches run on: how many workers it has, how they died, and how to go on after that."""

from __future__ import annotations

import copy
import multiprocessing
import os
import pickle
import signal
import sys
import threading
import time
from collections.abc import Callable, Collection
from concurrent.futures import BrokenExecutor, Executor, Future, ProcessPoolExecutor, ThreadPoolExecutor
from concurrent.futures.process import BrokenProcessPool
from contextlib import AbstractContextManager
from numbers import Integral
from typing import Any

from chunkstore.engines import as_executor, is_of_dask
from chunkstore.engines.base import Ended, Engine
from chunkstore.engines.capacity import capacity_of, forks, is_elsewhere, may_cancel
from chunkstore.engines.futures import cancel
from chunkstore.engines.travel import CALL, dumped
from chunkstore.errors import ChunkstoreError, StoreUsageError
from chunkstore.recording.answers import Packed, packed
from chunkstore.recording.failures import describe_error
from chunkstore.recording.handing_over import hand_over
from chunkstore.recording.inline import InlineExecutor
from chunkstore.recording.processes import Remembering, begin_worker, end_all, exit_code, made_by
from chunkstore.recording.scope import Scope
from chunkstore.recording.waiting import executors_in, innermost, loky_of

#: How many branches an engine is taken to run at once that does not say.
_UNKNOWN_CAPACITY = 500
#: How long what an engine said of its capacity is believed, in seconds.
_CAPACITY_HOLDS = 1.0
#: How long the processes of a broken pool are waited for, in seconds.
_LONGEST_DEATH = 10.0
#: How long to wait before workers of a new pool are started again that could not be, in seconds.
_PAUSES_TO_START = (0.05, 0.2, 0.5)


def check_executor(executor: Any, max_in_flight: Any) -> None:
    """Raise `StoreUsageError` for what cannot run branches, or not so many at once, before anything is recorded."""
    is_number = isinstance(max_in_flight, Integral) and not isinstance(max_in_flight, bool)
    if max_in_flight is not None and (not is_number or max_in_flight < 1):
        raise StoreUsageError(
            f"Cannot have {max_in_flight!r} branches in flight: max_in_flight must be a whole number, 1 or more, or "
            "None for as many as the engine can take."
        )
    if executor is None or is_of_dask(executor):
        return
    if isinstance(executor, type) or not callable(getattr(executor, "submit", None)):
        raise StoreUsageError(
            f"Cannot run branches on {executor!r}: it is no executor. Pass one that has been made, such as "
            "concurrent.futures.ThreadPoolExecutor(), or None for a pool of processes."
        )


class Workers:
    """An executor given by the user, or a pool of processes of our own, made when it is first needed.

    A pool of processes is broken for good when one of its workers dies, and takes the others with it. A new one like it
    takes its place, with all its settings.

    Args:
        executor: the user's; None for our own.
        by_value: whether functions are sent to processes by value that they cannot import.
        may_fork: whether forked processes can use the store of the run.
    """

    def __init__(self, executor: Executor | None, *, by_value: bool = False, may_fork: bool = True) -> None:
        self._by_value = by_value
        self._may_fork = may_fork
        executor = as_executor(executor)
        self._use(executor, own=executor is None)
        self._broken_by: BaseException | None = None
        self._are_processes_here = executor is None or isinstance(self._pool, ProcessPoolExecutor)
        if self._pool is not None and _is_inherited(self._pool):
            self._use(self._new_pool(), own=True)

    def _use(self, executor: Executor | None, *, own: bool) -> None:
        self._executor: Executor | None = executor
        self._own = own
        self._engine = executor if isinstance(executor, Engine) else Engine()
        #: Whether what is sent to them must pickle, and cannot break a pool of ours.
        self._is_elsewhere = is_elsewhere(executor)
        self._capacity: int | None = None
        self._asked = -_CAPACITY_HOLDS
        #: The pool behind it, if that is known.
        self._pool: Executor | None = innermost(executor)
        self._processes: dict[int, Any] = {}

    @property
    def executor(self) -> Executor | None:
        """The user's executor, or the one in its place; None for a pool of our own that has not been made."""
        return self._executor

    @property
    def count(self) -> int:
        """How many branches can run at once."""
        return self._known_count or _UNKNOWN_CAPACITY

    @property
    def _known_count(self) -> int | None:
        if self._executor is None:
            return os.cpu_count() or 1
        if (now := time.monotonic()) - self._asked >= _CAPACITY_HOLDS:
            self._asked = now
            self._capacity = capacity_of(self._executor) or capacity_of(self._pool)
        return self._capacity

    @property
    def may_grow(self) -> bool:
        """Whether the engine may be able to take more in a moment."""
        return self._engine.may_grow

    @property
    def shares_processes(self) -> bool:
        """Whether a worker that died may have run several branches."""
        return self._engine.shares_processes

    @property
    def takes_back(self) -> bool:
        """Whether cancelling a future takes back what has not begun, and only that: some engines say yes to all."""
        if isinstance(self._executor, Engine):
            return self._executor.takes_back
        one = self._executor  # what wraps a pool may have futures of its own
        return one is None or isinstance(one, (ThreadPoolExecutor, ProcessPoolExecutor)) or bool(loky_of(one))

    @property
    def can_be_helped(self) -> bool:
        """Whether a thread that waits for branches may run some itself that have not begun."""
        return not isinstance(self._executor, Engine) or self._executor.takes_back

    def new_queue(self) -> Ended:
        """Return what the futures of branches that have ended are put into."""
        return self._engine.new_queue()

    def look(self) -> None:
        """See that what is waited for can still come."""
        self._engine.look()

    def waiting(self) -> AbstractContextManager[Any]:
        """Return what is entered by a thread that waits for branches."""
        return self._engine.waiting()

    @property
    def may_start_again(self) -> bool:
        """Whether the engine may start a branch again by itself; the pools of the standard library and loky do not."""
        pools = (ProcessPoolExecutor, ThreadPoolExecutor, InlineExecutor)
        return not (self.are_standard_processes or isinstance(self._executor, pools) or loky_of(self._executor))

    @property
    def are_standard_processes(self) -> bool:
        """Whether the workers are processes of the standard library's pool, ours or the user's."""
        return self._executor is None or isinstance(self._executor, ProcessPoolExecutor)

    def check_sendable(self, run: Scope, function: Any) -> None:
        """Raise `StoreUsageError` if a run or function cannot be sent to processes, before anything is recorded."""
        if not self._may_fork and (forks(self._executor) or forks(self._pool)):
            raise StoreUsageError(
                f"Cannot run branches on {self._executor!r}: its processes are forked from this one, and forked "
                f"processes cannot use {run.store.backend.location}. Pass "
                'ProcessPoolExecutor(mp_context=multiprocessing.get_context("forkserver")) or "spawn", or no executor '
                "at all for a pool of processes of that kind, or threads."
            )
        if self._is_elsewhere:
            try:
                dumped((run.bound_to(run.branch), function))
            except ChunkstoreError:
                raise
            except Exception as error:
                raise StoreUsageError(f"Cannot send the function to workers of {self._executor!r}: {error}") from error
            return
        if self._pool is None or isinstance(self._pool, ProcessPoolExecutor) or loky_of(self._pool):
            _check_may_have_children()
        if loky_of(self._executor):
            function = None  # loky has a pickler of its own, for functions; the run's store must pickle all the same
        elif not self.are_standard_processes:
            return  # threads need no pickling, and of other pools nothing is known
        try:
            (dumped if self._by_value else pickle.dumps)((run.bound_to(run.branch), function))
        except ChunkstoreError:
            raise
        except Exception as error:
            raise StoreUsageError(
                f"Cannot send the function to a pool of processes: {error}. Define it at the top of a module, or pass "
                "executor=concurrent.futures.ThreadPoolExecutor(), or a loky executor, which sends any function."
            ) from error

    def packed(self, value: Any) -> Any:
        """Return a function or arguments as they are sent to these workers.

        Raises:
            Exception: whatever their pickling raises.
        """
        if (loky := loky_of(self._executor)) is not None:
            reduction = sys.modules[loky.__name__.removesuffix("process_executor") + "backend.reduction"]
            return Packed(bytes(reduction.dumps(value)))
        if self._is_elsewhere or (self._by_value and self.are_standard_processes):
            return Packed(dumped(value))
        return packed(value, by_value=False) if self.are_standard_processes else value

    def submit(self, function: Callable[..., Any], *arguments: Any) -> Future[Any]:
        """Start a function on a worker.

        Raises:
            BrokenExecutor: the pool is broken.
            RuntimeError: the pool takes no more work.
        """
        if self._executor is None:
            self._use(self._new_pool(), own=True)
            assert self._executor is not None
        if self._is_elsewhere:
            function, arguments = CALL, (dumped((function, arguments)),)
        try:
            future = self._hand_over(function, *arguments)
        except AssertionError:
            _check_may_have_children()
            raise
        self._note_processes()
        return future

    def _hand_over(self, function: Callable[..., Any], *arguments: Any, tries: int = 1) -> Future[Any]:
        """Submit something; where a pool of our own cannot start all its workers, end the others, and try again."""
        assert self._executor is not None
        try:
            return hand_over(self._executor, self._pool, function, *arguments)
        except (RuntimeError, OSError) as error:
            has_begun = isinstance(error, BrokenExecutor) or self._processes
            if has_begun or not (self._own and isinstance(self._pool, ProcessPoolExecutor)):
                raise
            new = self._new_pool()
            self.kill()
            self._use(new, own=True)
            if tries > len(_PAUSES_TO_START):
                raise
        time.sleep(_PAUSES_TO_START[tries - 1])
        return self._hand_over(function, *arguments, tries=tries + 1)

    def begin(self) -> bool:
        """Start a worker of a new pool; return whether it begins at all."""
        try:
            self.submit(os.getpid).result()
        except BrokenExecutor as error:
            self.note_broken(error)
            return False
        return True

    def _note_processes(self) -> None:
        """Remember the processes of the pool: it forgets them when it breaks."""
        processes = getattr(self._pool, "_processes", None)
        if processes and isinstance(processes, dict) and processes.keys() != self._processes.keys():
            self._processes = processes.copy()

    def note_broken(self, error: BaseException) -> None:
        """Remember how an executor of an unknown kind broke: one of processes here can be replaced by another."""
        self._broken_by = error
        if isinstance(error, BrokenProcessPool):
            self._are_processes_here = True
            if isinstance(self._pool, ThreadPoolExecutor):
                self._pool = None  # its threads only help

    def renew(self) -> bool:
        """Put a new pool in the place of a broken one; return whether that was possible."""
        new = self._alike()
        if self._own and self._pool is not None:
            self._pool.shutdown(wait=False)
        if new is None:
            return False
        self._use(new, own=True)
        return True

    def alone(self) -> Workers | None:
        """Return a pool like this one with a single worker, or None if its kind is not known."""
        single = self._alike(max_workers=1)
        if single is None:
            return None
        workers = Workers(single, may_fork=self._may_fork)
        workers._own = True
        return workers

    def _alike(self, max_workers: int | None = None) -> Executor | None:
        """Return a new executor like this one, with what wraps its pool; None if its kind is not known."""
        if isinstance(self._executor, Engine):
            return self._executor.alike(max_workers)
        new = self._new_pool(max_workers)
        return None if new is None else _wrapped_like(self._executor, self._pool, new)

    def _new_pool(self, max_workers: int | None = None) -> Executor | None:
        pool = self._pool
        workers = max_workers or self._known_count or os.cpu_count() or 1
        if isinstance(pool, ThreadPoolExecutor):
            if not _is_inherited(pool):
                return None  # its threads do not die: what broke it would break the next one
            settings = {name: getattr(pool, f"_{name}", None) for name in ("thread_name_prefix", "initializer")}
            settings["initargs"] = getattr(pool, "_initargs", ())
            return _remade(pool, ThreadPoolExecutor, workers, settings)
        settings = {"initializer": getattr(pool, "_initializer", None), "initargs": getattr(pool, "_initargs", ())}
        if (loky := loky_of(pool)) is not None:
            settings |= {"context": getattr(pool, "_context", None), "timeout": getattr(pool, "_timeout", None)}
            settings["env"] = getattr(pool, "_env", None)
            return _remade(pool, loky.ProcessPoolExecutor, workers, settings)
        if not self._are_processes_here:
            return None
        if settings["initializer"] is not begin_worker:
            settings = {"initializer": begin_worker, "initargs": (settings["initializer"], settings["initargs"])}
        context = getattr(pool, "_mp_context", None)
        if not self._may_fork and (context or multiprocessing).get_start_method() == "fork":
            context = multiprocessing.get_context("forkserver")
        settings["mp_context"] = Remembering(context)
        if (most := getattr(pool, "_max_tasks_per_child", None)) is not None:  # from Python 3.11 on
            settings["max_tasks_per_child"] = most
        return _remade(pool, ProcessPoolExecutor, workers, settings)

    def how_they_died(self) -> str:
        """Wait until the workers of a broken pool are gone; say how one of them ended, as far as that is known."""
        deadline = time.monotonic() + _LONGEST_DEATH
        codes = [exit_code(process, deadline) for process in self._processes.values()]
        for code in codes:
            if code is None or code in {0, -signal.SIGTERM}:
                continue  # unknown, or ended by the pool itself
            if code > 0:
                return f"exit code {code}"
            name = signal.Signals(-code).name if -code in set(signal.Signals) else "unknown"
            hint = "; the system does so when it runs out of memory" if -code == signal.SIGKILL else ""
            return f"killed by signal {-code} ({name}){hint}"
        if self._broken_by is not None and (isinstance(self._executor, Engine) or not self._are_processes_here):
            return describe_error(self._broken_by)
        return "killed by the system, or ended by itself"

    def close(self) -> None:
        """Wait for a pool of our own to end what it runs, and give it back; the user's stays open."""
        if self._own and self._pool is not None:
            try:
                self._pool.shutdown(wait=True)
            except BaseException:
                self.kill()  # nobody waits any more
                raise

    def stop(self, futures: Collection[Future[Any]]) -> None:
        """Take back what has not begun, and stop what runs as far as the engine can, soon."""
        if may_cancel(self._executor):
            self._engine.stop(futures)

    def cancel(self, future: Future[Any]) -> bool:
        """Cancel a future, if that can be done; return whether it says that it is."""
        return may_cancel(self._executor) and cancel(future)

    def kill(self) -> bool:
        """End the workers of a pool of our own at once; return False for the user's, which is not ours to end."""
        if not self._own or self._pool is None or isinstance(self._pool, ThreadPoolExecutor):
            return False
        if isinstance(self._pool, Engine):
            return self._pool.kill()
        if loky_of(self._pool):
            self._pool.shutdown(wait=False, kill_workers=True)  # type: ignore[call-arg]  # loky's own argument
            return True
        self._note_processes()  # who was interrupted while it handed something over may not have
        self._pool.shutdown(wait=False)
        end_all({*self._processes.values(), *made_by(self._pool)})
        return True


def _check_may_have_children() -> None:
    if multiprocessing.current_process().daemon:
        raise StoreUsageError(
            "Cannot start a pool of processes here: this is a daemonic process, such as a worker of "
            "multiprocessing.Pool, which may not have children. Pass executor=concurrent.futures.ThreadPoolExecutor(), "
            "or start this process from a concurrent.futures.ProcessPoolExecutor, for example with run.map."
        )


def _remade(pool: Executor | None, kind: Any, workers: int, settings: dict[str, Any]) -> Executor:
    """Return a new pool of the class of another, with what its own class has given to it; else one of a known kind.

    What its `__init__` would ask for is not known: the new one gets all the attributes of the old one, and then those
    of a pool that has just been made.
    """
    if pool is not None and type(pool) is not kind and isinstance(pool, kind):
        try:
            new = copy.copy(pool)
            kind.__init__(new, workers, **settings)
        except Exception:  # noqa: BLE001, S110 - whatever a class of users raises: any pool is better than none
            pass
        else:
            return new
    made: Executor = kind(workers, **settings)
    return made


def _wrapped_like(executor: Executor | None, pool: Executor | None, new: Executor) -> Executor:
    """Return a copy of an executor that hands on to a broken pool, with a new one in its place; else the new one."""
    if executor is None or executor is pool:
        return new
    try:
        wrapped = _with_pool(executor, pool, new)
        wrapped.submit(os.getpid)  # raises if the broken one still gets it, by a way that is not known
    except Exception:  # noqa: BLE001 - whatever a class of users raises: any pool is better than none
        return new
    return wrapped


def _with_pool(executor: Executor, pool: Executor | None, new: Executor) -> Executor:
    if executor is pool:
        return new
    wrapped = copy.copy(executor)
    for name, inner in executors_in(executor).items():
        if innermost(inner) is pool:
            object.__setattr__(wrapped, name, _with_pool(inner, pool, new))
    return wrapped


def _is_inherited(executor: Executor) -> bool:
    """Tell whether this is a forked child, and a pool its parent's: the threads that serve it are there alone."""
    if not isinstance(executor, ThreadPoolExecutor):
        process_id: int = getattr(getattr(executor, "_call_queue", None), "_opid", os.getpid())
        return process_id != os.getpid()
    if getattr(executor, "_broken", False):
        return False  # its threads could not begin
    threads = list(getattr(executor, "_threads", ()))
    # The thread that forked, one of this pool perhaps, is the child's main thread.
    alive = [thread for thread in threads if thread.is_alive() and thread is not threading.main_thread()]
    return bool(threads) and not alive and not getattr(executor, "_shutdown", False)
