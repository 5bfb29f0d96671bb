"""The metric series of a step: their points wait, so that a step that logs a thousand a second writes once."""

from __future__ import annotations

import logging
import threading
import time
from _thread import start_new_thread
from collections import deque
from collections.abc import Mapping

from chunkstore.forks import in_forked_children
from chunkstore.interrupts import guarded, passable
from chunkstore.recording.scope import Scope
from chunkstore.records.fields import MetricPoint

logger = logging.getLogger("chunkstore")

#: Points are written at most so often, in seconds.
_FLUSH_INTERVAL = 1.0


class MetricSeries:
    """Points of one step that wait to be written: until the next one comes, or a second has gone by.

    Args:
        scope: where the step is recorded.
        internal_name: the step.
        mutex: held by whoever writes anything of the step.
    """

    def __init__(self, scope: Scope, internal_name: str, mutex: threading.RLock) -> None:
        self._scope = scope
        self._internal_name = internal_name
        self._mutex = mutex
        # In the order in which they came, each with its attempt: what one logged is never taken for what the next did.
        self._waiting: deque[tuple[int, str, MetricPoint]] = deque()
        self._flushed = -_FLUSH_INTERVAL
        self._is_flushing = False
        # This object, as long as `_late_flushes` is to have its points written.
        self._late: list[MetricSeries] = []

    def add(self, points: Mapping[str, MetricPoint], *, attempt: int, may_wait: bool) -> None:
        """Add a point to each of some series; the caller holds the mutex.

        Args:
            points: by the metric's name.
            attempt: which attempt of the step logs them; 0 if there is no other one.
            may_wait: whether they need not be written at once.
        """
        self._waiting.extend([(attempt, name, point) for name, point in points.items()])
        if not may_wait or time.monotonic() - self._flushed >= _FLUSH_INTERVAL:
            self.flush()
        else:
            self._have_flushed()

    def add_late(self, points: Mapping[str, MetricPoint], *, attempt: int) -> None:
        """Add points, and let another thread write them, in a while; whoever calls this does not wait for a mutex."""
        self._waiting.extend([(attempt, name, point) for name, point in points.items()])
        self._have_flushed()

    def _have_flushed(self) -> None:
        if not self._late:
            self._late = [self]
            _late_flushes.add(self._late)

    @guarded
    def flush(self) -> None:
        """Write the points that wait.

        In the middle of another flush of the same thread, that one does it, so that they keep their order.
        """
        with passable(self._mutex):
            if self._is_flushing:
                return
            self._late.clear()
            while self._waiting:
                try:
                    self._is_flushing = True
                    self._write()
                    self._is_flushing = False
                except BaseException:
                    self._is_flushing = False
                    raise

    def _write(self) -> None:
        batch: list[tuple[int, str, MetricPoint]] = []
        points: dict[str, list[MetricPoint]] = {}
        try:
            attempt = self._waiting[0][0]
            while self._waiting and self._waiting[0][0] == attempt:
                batch.append(self._waiting[0])
                self._waiting.popleft()
            for _, name, point in batch:
                points.setdefault(name, []).append(point)
            self._flushed = time.monotonic()
            told = {"attempt": attempt} if attempt else {}
            self._scope.tell_store(self._scope.store.append_metrics, self._internal_name, points, **told)
        except BaseException:
            if self._waiting and batch and self._waiting[0] is batch[-1]:
                batch.pop()
            self._waiting.extendleft(reversed(batch))
            raise

    def flush_late(self) -> None:
        """Write the points that have waited for long enough."""
        try:
            self.flush()
        except Exception:
            # Tried again with the next point, and when the step ends; an error there reaches the author.
            logger.exception("Cannot write metrics of step %s of run %s", self._internal_name, self._scope.run_id)


class _LateFlushes:
    """The series whose points wait, and one thread, while there are any, that has them written in time.

    Nobody waits for that thread to start, as `threading.Thread.start` does: a handler of a signal, or a finaliser, may
    have interrupted just that; and what is collected in the new thread may wait for whoever has started it.
    """

    def __init__(self) -> None:
        self.reset()

    def reset(self) -> None:
        """Forget all; in a forked child, which has no such thread, they are the parent's."""
        # When, and which; none, if its points have been written before that.
        self._due: deque[tuple[float, list[MetricSeries]]] = deque()
        self._is_running = False

    def add(self, series: list[MetricSeries]) -> None:
        """Have the points of a series written in a while, unless the list has been emptied by then."""
        self._due.append((time.monotonic() + _FLUSH_INTERVAL, series))
        self._start()

    def _start(self) -> None:
        if self._due and not self._is_running:
            self._is_running = True
            try:
                start_new_thread(self._run, ())
            except RuntimeError:  # no more threads are to be had, or the program is ending
                self._is_running = False
            except BaseException:  # an interrupt; perhaps it runs, and two do no harm
                self._is_running = False
                raise

    def _run(self) -> None:
        try:
            while self._due:
                due, series = self._due.popleft()
                time.sleep(max(due - time.monotonic(), 0))
                for late in list(series):
                    series.clear()
                    late.flush_late()
                    del late
        finally:
            self._is_running = False
        self._start()  # for what was added just now


_late_flushes = _LateFlushes()
in_forked_children(_late_flushes.reset)
