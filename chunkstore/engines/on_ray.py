"""Branches as tasks of Ray."""

from __future__ import annotations

import queue
import threading
from collections.abc import Callable
from concurrent.futures import CancelledError, Future
from typing import Any

import ray

from chunkstore.engines.base import Ended, Engine, settle

#: How long a task that waits for others is blocked in Ray before it looks whether something else has come, in seconds.
_LONGEST_LOOK = 0.5


class RayEngine(Engine):
    """Runs functions as tasks of Ray.

    Args:
        options: for `ray.remote`.
    """

    may_grow = True

    def __init__(self, options: dict[str, Any]) -> None:
        self._options = options
        self._remote = ray.remote(**options)(_call) if options else ray.remote(_call)
        #: What has not ended. Ray makes a lost result anew as long as somebody refers to it.
        self._references: dict[Future[Any], Any] = {}
        #: Whether Ray was shut down while something ran; it would start anew, elsewhere, by itself.
        self._is_lost = False

    def __reduce__(self) -> tuple[Any, ...]:
        return RayEngine, (self._options,)

    def submit(self, function: Callable[..., Any], /, *arguments: Any, **keywords: Any) -> Future[Any]:
        """Start a function as a task."""
        if (self._is_lost or self._references) and not ray.is_initialized():
            raise RuntimeError("Ray was shut down")
        self._is_lost = False
        reference = self._remote.remote(function, *arguments, **keywords)
        future: Future[Any] = Future()
        self._references[future] = reference
        future.add_done_callback(self._ended)

        def finished(source: Future[Any]) -> None:
            error = source.exception()
            settle(future, None if error else source.result(), getattr(error, "cause", None) or error)

        reference.future().add_done_callback(finished)
        return future

    def _ended(self, future: Future[Any]) -> None:
        reference = self._references.pop(future, None)
        if future.cancelled() and reference is not None and ray.is_initialized():
            ray.cancel(reference)

    def look(self) -> None:
        """Take for cancelled what Ray, which was shut down, will never tell of."""
        if not ray.is_initialized():
            for future in list(self._references):
                self._is_lost = True
                settle(future, None, CancelledError("Ray was shut down"))

    def capacity(self) -> int | None:
        """Return how many tasks fit into the cluster: what it has over what a task asks for, the scarcest first."""
        if not ray.is_initialized():
            if self._references or self._is_lost:
                return None
            ray.init()  # as the first task would
        asked = {"CPU": self._options.get("num_cpus", 1), "GPU": self._options.get("num_gpus", 0)}
        asked |= self._options.get("resources") or {}
        there = ray.cluster_resources()
        return min((int(there.get(name, 0) / each) for name, each in asked.items() if each), default=None)

    def new_queue(self) -> Ended:
        """Return a queue; in the middle of a task, one whose reader gives the task's processors back meanwhile."""
        is_in_task = ray.is_initialized() and ray.get_runtime_context().worker.mode == ray.WORKER_MODE
        if is_in_task and threading.current_thread() is threading.main_thread():
            return _QueueInTask(self._references)
        return queue.SimpleQueue()


def _call(function: Callable[..., Any], *arguments: Any, **keywords: Any) -> Any:
    return function(*arguments, **keywords)


_call.__module__ = "__main__"  # sent by value: its workers need not be able to import this module
_call.__name__ = _call.__qualname__ = "run_branch"  # as Ray shows it


class _QueueInTask(queue.SimpleQueue):  # type: ignore[type-arg]  # of futures
    """Blocks in Ray, which lets other tasks have the processors of one that waits for its own there, and only there."""

    def __init__(self, references: dict[Future[Any], Any]) -> None:
        self._references = references

    def get(self, block: bool = True, timeout: float | None = None) -> Any:
        """Return what was put, as a queue does."""
        left = float("inf") if timeout is None else timeout
        while block and self.empty() and left > 0:
            look = min(_LONGEST_LOOK, left)
            left -= look
            waited_for = list(self._references.values())
            if waited_for:
                ray.wait(waited_for, num_returns=1, timeout=look, fetch_local=False)
            try:
                return super().get(timeout=0.01 if waited_for else look)
            except queue.Empty:
                continue
        return super().get(block=False)
