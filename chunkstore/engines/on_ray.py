"""Branches as tasks of Ray."""

from __future__ import annotations

from collections.abc import Callable
from concurrent.futures import Future
from typing import Any

import ray

from chunkstore.engines.base import Engine, settle


class RayEngine(Engine):
    """Runs functions as tasks of Ray.

    Args:
        options: for `ray.remote`.
    """

    def __init__(self, options: dict[str, Any]) -> None:
        self._options = options
        self._remote: dict[Callable[..., Any], Any] = {}

    def __reduce__(self) -> tuple[Any, ...]:
        return RayEngine, (self._options,)

    def submit(self, function: Callable[..., Any], /, *arguments: Any, **keywords: Any) -> Future[Any]:
        """Start a function as a task."""
        if not ray.is_initialized():
            ray.init()
        remote = self._remote.get(function)
        if remote is None:
            remote = ray.remote(**self._options)(function) if self._options else ray.remote(function)
            self._remote = {function: remote}
        reference = remote.remote(*arguments, **keywords)
        future: Future[Any] = Future()

        def finished(source: Future[Any]) -> None:
            error = source.exception()
            settle(future, None if error else source.result(), getattr(error, "cause", None) or error)

        reference.future().add_done_callback(finished)

        def cancelled(done: Future[Any]) -> None:
            if done.cancelled():
                ray.cancel(reference)

        future.add_done_callback(cancelled)
        return future

    def capacity(self) -> int | None:
        """Return how many tasks fit into the cluster: its processors over what a task asks for."""
        if not ray.is_initialized():
            ray.init()
        per_task = self._options.get("num_cpus", 1)
        return int(ray.cluster_resources().get("CPU", 0) // per_task) if per_task else None
