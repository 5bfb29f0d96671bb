"""Branches as jobs of a cluster, through submitit."""

from __future__ import annotations

import os
import threading
from collections.abc import Callable
from concurrent.futures import Future
from typing import Any

import submitit

from chunkstore.engines.base import Engine, settle

#: How often it is looked whether jobs have ended, in seconds.
_INTERVAL = 0.2


class SubmititEngine(Engine):
    """Runs each function as a job.

    Args:
        folder: where submitit keeps its files.
        cluster: of which kind; None to find out.
        parameters: for `update_parameters`.
    """

    def __init__(self, folder: str | os.PathLike[str], cluster: str | None, parameters: dict[str, Any]) -> None:
        self._folder = os.path.abspath(os.fspath(folder))
        self._cluster = cluster
        self._parameters = parameters
        self._executor = submitit.AutoExecutor(self._folder, cluster=cluster)
        self._executor.update_parameters(**parameters)
        self._jobs: dict[Future[Any], Any] = {}
        self._mutex = threading.Lock()
        self._watcher: threading.Thread | None = None

    def __reduce__(self) -> tuple[Any, ...]:
        return SubmititEngine, (self._folder, self._cluster, self._parameters)

    def submit(self, function: Callable[..., Any], /, *arguments: Any, **keywords: Any) -> Future[Any]:
        """Submit a job."""
        job = self._executor.submit(function, *arguments, **keywords)
        future: Future[Any] = Future()
        with self._mutex:
            self._jobs[future] = job
            if self._watcher is None:
                self._watcher = threading.Thread(target=self._watch, name="chunkstore-submitit", daemon=True)
                self._watcher.start()
        return future

    def _watch(self) -> None:
        pause = threading.Event()
        while True:
            with self._mutex:
                jobs = list(self._jobs.items())
                if not jobs:
                    self._watcher = None
                    return
            for future, job in jobs:
                if future.cancelled():
                    job.cancel(check=False)
                    settle(future, None, None)
                elif job.done():
                    try:
                        result, error = job.result(), None
                    except Exception as raised:  # noqa: BLE001 - whatever came of the job
                        result, error = None, raised
                    settle(future, result, error)
                else:
                    continue
                with self._mutex:
                    del self._jobs[future]
            del jobs
            pause.wait(_INTERVAL)

    def capacity(self) -> int | None:
        """Return how many jobs of an array may run at once; locally, how many processors there are."""
        if self._executor.cluster in {"local", "debug"}:
            return os.cpu_count()
        given = self._parameters.get("slurm_array_parallelism")
        return int(given) if given else None
