"""Branches on a backend of joblib."""

from __future__ import annotations

from collections.abc import Callable
from concurrent.futures import Future
from typing import Any

import joblib
from joblib._parallel_backends import FallbackToBackend
from joblib.parallel import BatchedCalls

from chunkstore.engines.base import Engine, settle


class JoblibEngine(Engine):
    """Runs functions on a backend, as `joblib.Parallel` does.

    Args:
        backend: its name, or the backend.
        n_jobs: how many run at once.
        parameters: for `joblib.parallel_config`.
    """

    def __init__(self, backend: Any, n_jobs: int, parameters: dict[str, Any]) -> None:
        self._given = (backend, n_jobs, parameters)
        self._backend: Any = None
        self._count: int | None = None

    def __reduce__(self) -> tuple[Any, ...]:
        return JoblibEngine, self._given

    def _begin(self) -> None:
        if self._count is not None:
            return
        backend, n_jobs, parameters = self._given
        with joblib.parallel_config(backend, n_jobs=n_jobs, **parameters):
            parallel = joblib.Parallel(batch_size=1)
        self._backend = parallel._backend  # noqa: SLF001 - there is no other way to it
        try:
            self._count = self._backend.configure(
                n_jobs=parallel.n_jobs,
                parallel=parallel,
                **parallel._backend_kwargs,  # noqa: SLF001 - likewise
            )
        except FallbackToBackend:
            self._backend, self._count = None, 1  # one after the other, in this thread
        else:
            self._backend.start_call()

    def submit(self, function: Callable[..., Any], /, *arguments: Any, **keywords: Any) -> Future[Any]:
        """Hand a function to the backend."""
        self._begin()
        future: Future[Any] = Future()
        if self._backend is None:
            try:
                settle(future, function(*arguments, **keywords), None)
            except Exception as error:  # noqa: BLE001 - as in every executor
                settle(future, None, error)
            return future
        backend = self._backend
        batch = BatchedCalls([(function, arguments, keywords)], (backend.get_nested_backend()))

        def finished(out: Any) -> None:
            if future.done():
                return
            try:
                (result,) = backend.retrieve_result_callback(out)
            except BaseException as error:  # noqa: BLE001 - whatever came of it
                settle(future, None, error)
            else:
                settle(future, result, None)

        job = backend.submit(batch, callback=finished)
        if isinstance(job, Future):
            job.add_done_callback(lambda done: settle(future, None, done.exception()) if done.exception() else None)
        return future

    def capacity(self) -> int | None:
        """Return how many run at once."""
        self._begin()
        return self._count

    def shutdown(self, wait: bool = True, *, cancel_futures: bool = False) -> None:  # noqa: ARG002 - as executors have it
        """End the workers."""
        if self._backend is not None:
            self._backend.stop_call()
            self._backend.terminate()
        self._backend, self._count = None, None
