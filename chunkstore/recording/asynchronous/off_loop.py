"""What may block, such as a write to a network's file system, done in a few threads that all tasks of a loop share.

However many tasks wait: one thread does what they ask for as long as that is quick, and tells the loop of many at once.
More begin to help, up to a bound, when it turns out to be slow.
"""

from __future__ import annotations

import asyncio
import contextvars
import logging
import threading
import time
import weakref
from collections import deque
from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor
from functools import partial
from typing import Any, TypeVar

from chunkstore.errors import StoreUsageError
from chunkstore.recording.asynchronous.reasons import told

logger = logging.getLogger("chunkstore")

_T = TypeVar("_T")

#: How often is looked whether more threads are needed, in seconds.
_INTERVAL = 0.005
#: So many threads there may be when a call takes so long, in seconds: a busy machine looks like slow storage, but there
#: more threads would only keep the loop, and each other, from running.
_THREADS = ((0.02, 32), (0.0025, 4), (0.0, 1))
MOST_THREADS = 32
#: The loop is told so often of what has been done, in seconds: each time costs as much as a short call.
_BATCH = 1e-3
_PAUSE = 1e-3


class _Job:
    """A call for which a task waits, or nobody."""

    __slots__ = ("call", "claim", "error", "is_done", "is_over", "result", "waiter")

    def __init__(self, call: Callable[[], Any]) -> None:
        self.call = call
        #: Whoever takes what is in it has the job: a thread to do it, or the task to have it not done.
        self.claim = [1]
        self.waiter: asyncio.Future[None] | None = None
        self.result: Any = None
        self.error: BaseException | None = None
        #: Whether the thread has done it, and whether the loop knows.
        self.is_over = False
        self.is_done = False

    def take(self) -> bool:
        """Take the job, unless it is taken."""
        try:
            self.claim.pop()
        except IndexError:
            return False
        return True

    def do(self) -> None:
        """Do it, in a thread."""
        try:
            self.result = self.call()
        except BaseException as error:  # noqa: BLE001 - whoever waits is told
            self.error = error
        self.is_over = True

    def settle(self) -> None:
        """Have it not done any more, or wait until it is."""
        while not (self.take() or self.is_over):
            time.sleep(_PAUSE)

    def tell(self) -> None:
        """Have the task go on, in the loop."""
        self.is_done = True
        if self.waiter is not None and not self.waiter.done():
            self.waiter.set_result(None)


class Threads:
    """The threads of one event loop."""

    def __init__(self) -> None:
        self._executor = ThreadPoolExecutor(MOST_THREADS, thread_name_prefix="chunkstore-asyncio")
        self._waiting: deque[_Job] = deque()
        #: What has been done, and None for each thread that has found nothing more to do.
        self._over: deque[_Job | None] = deque()
        self._is_told = False
        # The rest is the loop's alone.
        self._working = 0
        self._lately = 0
        self._last = time.perf_counter()
        # Nothing here holds the loop: the threads end with it.
        self._will_look = False

    def add(self, loop: asyncio.AbstractEventLoop, job: _Job) -> None:
        """Have a job done; in the loop."""
        self._waiting.append(job)
        self._begin(loop)

    def add_from_anywhere(self, loop: asyncio.AbstractEventLoop, call: Callable[[], None]) -> None:
        """Have something done that nobody waits for; from any thread, also in the handler of a signal."""
        self._waiting.append(_Job(call))
        loop.call_soon_threadsafe(self._begin, loop)

    def _begin(self, loop: asyncio.AbstractEventLoop) -> None:
        if self._waiting and not self._working:
            self._last, self._lately = time.perf_counter(), 0
            self._hire(loop)
        if self._working and not self._will_look:
            self._will_look = True
            loop.call_later(_INTERVAL, self._look, loop)

    def _hire(self, loop: asyncio.AbstractEventLoop) -> None:
        self._working += 1
        try:
            self._executor.submit(self._work, loop)
        except RuntimeError:  # no more threads are to be had, or the program is ending
            self._work(loop)

    def _look(self, loop: asyncio.AbstractEventLoop) -> None:
        """Look whether more threads could do more, and whether anything was done that nobody has told of."""
        self._will_look = False
        self._deliver(loop)
        now = time.perf_counter()
        pace = (now - self._last) * self._working / max(self._lately, 1)
        most = next(threads for seconds, threads in _THREADS if pace >= seconds)
        for _ in range(min(self._working, most - self._working, len(self._waiting))):
            self._hire(loop)
        if self._lately:
            self._last, self._lately = now, 0
        self._begin(loop)

    def _work(self, loop: asyncio.AbstractEventLoop) -> None:
        """Do what there is to do; in a thread."""
        told = time.perf_counter()
        try:
            while True:
                try:
                    job = self._waiting.popleft()
                except IndexError:
                    return
                if job.take():
                    job.do()
                    self._over.append(job)
                    if (now := time.perf_counter()) - told > _BATCH:
                        told = now
                        self._tell(loop)
        finally:
            self._over.append(None)
            self._tell(loop)

    def _tell(self, loop: asyncio.AbstractEventLoop) -> None:
        if not self._is_told:
            self._is_told = True
            try:
                loop.call_soon_threadsafe(self._deliver, loop)
            except RuntimeError:
                pass  # the loop is closed: nobody waits any more

    def _deliver(self, loop: asyncio.AbstractEventLoop) -> None:
        self._is_told = False
        while self._over:
            job = self._over[0]
            if job is None:
                self._working -= 1
            else:
                self._lately += 1
                job.tell()
            self._over.popleft()
        self._begin(loop)  # for what came as the last thread was about to leave


_of_loops: weakref.WeakKeyDictionary[asyncio.AbstractEventLoop, Threads] = weakref.WeakKeyDictionary()


def threads_of(loop: asyncio.AbstractEventLoop) -> Threads:
    """Return the threads of an event loop."""
    threads = _of_loops.get(loop)
    if threads is None:
        threads = _of_loops[loop] = Threads()
    return threads


def loop_here() -> asyncio.AbstractEventLoop:
    """Return the event loop that runs the task at work here.

    Raises:
        StoreUsageError: this is no task of asyncio.
    """
    try:
        loop = asyncio.get_running_loop()
        task = asyncio.current_task()
    except RuntimeError:
        task = None
    if task is None:
        raise StoreUsageError(
            "Cannot record here with `await` or `async with`: this is no task of asyncio. Under trio, record with the "
            "methods that are not awaited, in `trio.to_thread.run_sync`; with anyio, choose its asyncio back end."
        )
    return loop


async def do(function: Callable[..., _T], *arguments: Any) -> _T:
    """Call a function that may block, in a thread; as in any await, the task may be cancelled meanwhile.

    A cancellation is raised when the call has returned, or at once if it had not begun: then it never does.
    """
    return await _do(partial(function, *arguments), may_drop=True)


async def do_surely(function: Callable[..., _T], *arguments: Any) -> _T:
    """Call a function that may block, in a thread, also if the task is cancelled: that is raised after the call."""
    return await _do(partial(function, *arguments), may_drop=False)


async def do_at_end(function: Callable[..., _T], error: BaseException | None, *arguments: Any) -> _T:
    """Call a function surely that records what an error has ended; at once, where nothing can be awaited any more."""
    if isinstance(error, GeneratorExit):  # the coroutine is closed, or an async generator
        return function(error, *arguments)
    task = asyncio.current_task()
    return await do_surely(lambda: function(told(error, task), *arguments))


async def _do(call: Callable[[], _T], *, may_drop: bool) -> _T:
    loop = loop_here()
    job = _Job(partial(contextvars.copy_context().run, call))
    threads_of(loop).add(loop, job)
    cancelled: BaseException | None = None
    while not job.is_done:
        job.waiter = loop.create_future()
        try:
            await job.waiter
        except asyncio.CancelledError as error:
            if may_drop and job.take():
                raise
            cancelled = cancelled or error
        except BaseException:  # the coroutine is closed, and may await no more
            job.settle()
            raise
    try:
        if cancelled is not None:
            raise cancelled
        if job.error is not None:
            raise job.error
        result: _T = job.result
    finally:
        del job, cancelled  # they hold each other, through the frames of the error
    return result


pause = asyncio.sleep


def closed() -> BaseException:
    """Return what ends the work of a coroutine that is closed: as if it were cancelled, but it cannot await."""
    return asyncio.CancelledError("its coroutine was closed before it had ended")


class Line:
    """Small deeds of one step, done one after the other; nobody waits for them before the step ends.

    Args:
        loop: the event loop in which the step was begun.
    """

    def __init__(self, loop: asyncio.AbstractEventLoop) -> None:
        self._loop = loop
        self._thread = threading.get_ident()
        self._threads = threads_of(loop)
        self._deeds: deque[Callable[[], None]] = deque()
        self._is_due = False
        self._mutex = threading.RLock()

    def is_here(self) -> bool:
        """Tell whether this thread is the loop's, which must not wait."""
        return threading.get_ident() == self._thread

    def add(self, deed: Callable[[], None]) -> None:
        """Have something done soon."""
        self._deeds.append(deed)
        if not self._is_due:
            self._is_due = True
            try:
                self._threads.add_from_anywhere(self._loop, self.finish)
            except RuntimeError:  # the loop is closed
                self.finish()

    def finish(self) -> None:
        """Do all that is to be done; in a thread that may wait."""
        with self._mutex:
            self._is_due = False
            while self._deeds:
                try:
                    self._deeds.popleft()()
                except Exception:
                    # What could not be written is written with the end of the step, which says so if it cannot be.
                    logger.debug("Cannot write what a step has recorded", exc_info=True)
