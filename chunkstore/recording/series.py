"""The metric series of a step: their points wait, so that a step that logs a thousand a second writes once."""

from __future__ import annotations

import logging
import threading
import time
from collections.abc import Mapping

from chunkstore.recording.scope import Scope
from chunkstore.records.fields import MetricPoint

logger = logging.getLogger("chunkstore")

#: Points are written at most so often, in seconds.
_FLUSH_INTERVAL = 1.0


class MetricSeries:
    """Points of one step that wait to be written: until the next one comes, or a timer goes off.

    Args:
        scope: where the step is recorded.
        internal_name: the step.
        mutex: held by whoever writes anything of the step.
    """

    def __init__(self, scope: Scope, internal_name: str, mutex: threading.RLock) -> None:
        self._scope = scope
        self._internal_name = internal_name
        self._mutex = mutex
        #: By attempt: what one logged is never taken for what the next one did.
        self._waiting: dict[int, dict[str, list[MetricPoint]]] = {}
        self._flushed = -_FLUSH_INTERVAL
        self._timer: threading.Timer | None = None

    def add(self, points: Mapping[str, MetricPoint], *, attempt: int, may_wait: bool) -> None:
        """Add a point to each of some series; the caller holds the mutex.

        Args:
            points: by the metric's name.
            attempt: which attempt of the step logs them; 0 if there is no other one.
            may_wait: whether they need not be written at once.
        """
        waiting = self._waiting.setdefault(attempt, {})
        for name, point in points.items():
            waiting.setdefault(name, []).append(point)
        if not may_wait or time.monotonic() - self._flushed >= _FLUSH_INTERVAL:
            self.flush()
        elif self._timer is None:
            self._timer = threading.Timer(_FLUSH_INTERVAL, self._flush_late)
            self._timer.daemon = True
            self._timer.start()

    def flush(self) -> None:
        """Write the points that wait."""
        with self._mutex:
            if self._timer is not None:
                self._timer.cancel()
                self._timer = None
            while self._waiting:
                attempt = next(iter(self._waiting))
                points = self._waiting.pop(attempt)
                self._flushed = time.monotonic()
                try:
                    told = {"attempt": attempt} if attempt else {}
                    self._scope.store.append_metrics(self._scope.identity, self._internal_name, points, **told)
                except BaseException:
                    later = self._waiting.pop(attempt, {})
                    for name, new in later.items():
                        points.setdefault(name, []).extend(new)
                    self._waiting = {attempt: points, **self._waiting}
                    raise

    def _flush_late(self) -> None:
        try:
            with self._mutex:
                self._timer = None
                self.flush()
        except Exception:
            # Tried again with the next point, and when the step ends; an error there reaches the author.
            logger.exception("Cannot write metrics of step %s of run %s", self._internal_name, self._scope.run_id)
