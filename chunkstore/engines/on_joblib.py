"""Branches on a backend of joblib."""

from __future__ import annotations

import multiprocessing
import threading
from collections.abc import Callable
from concurrent.futures import BrokenExecutor, Future
from typing import Any

import joblib
from joblib._parallel_backends import FallbackToBackend, MultiprocessingBackend
from joblib.parallel import BatchedCalls

from chunkstore.engines.base import Engine, settle

#: How often it is looked whether processes of a pool have died that does not tell, in seconds.
_INTERVAL = 0.25


class JoblibEngine(Engine):
    """Runs functions on a backend, as `joblib.Parallel` does: through what backends offer to it.

    Args:
        backend: its name, or the backend.
        n_jobs: how many run at once.
        parameters: for `joblib.parallel_config`.
    """

    def __init__(self, backend: Any, n_jobs: int, parameters: dict[str, Any]) -> None:
        self._given = (backend, n_jobs, parameters)
        self._backend: Any = None
        self._count = 0
        self._pending: dict[Future[Any], None] = {}
        self._watcher: threading.Thread | None = None
        self._begin()

    def __reduce__(self) -> tuple[Any, ...]:
        return JoblibEngine, self._given

    def _begin(self) -> None:
        backend, n_jobs, parameters = self._given
        with joblib.parallel_config(backend, n_jobs=n_jobs, **parameters):
            parallel = joblib.Parallel(batch_size=1)
        settings = parallel._backend_kwargs  # noqa: SLF001 - there is no other way to it
        self._backend = parallel._backend  # noqa: SLF001 - likewise
        self.takes_back = getattr(self._backend, "uses_threads", False)
        self.is_elsewhere = not self.takes_back
        self.forks = isinstance(self._backend, MultiprocessingBackend) and _start_method(settings) == "fork"
        try:
            self._count = self._backend.configure(n_jobs=parallel.n_jobs, parallel=parallel, **settings)
        except FallbackToBackend:
            self._backend, self._count = None, 1  # one after the other, in the thread that asks
            self.is_elsewhere = False
        else:
            self._backend.start_call()

    def submit(self, function: Callable[..., Any], /, *arguments: Any, **keywords: Any) -> Future[Any]:
        """Hand a function to the backend."""
        if not self._count:
            self._begin()
        future: Future[Any] = Future()
        backend = self._backend
        if backend is None or self.takes_back:
            function = _Here(future, function)
        if backend is None:
            function(*arguments, **keywords)
            return future

        def ended(out: Any) -> None:
            self._pending.pop(future, None)
            try:
                (result,) = backend.retrieve_result_callback(out)
            except BaseException as error:  # noqa: BLE001 - whatever came of it
                settle(future, None, error)
            else:
                settle(future, result, None)

        def failed(job: Future[Any]) -> None:
            if not job.cancelled() and (error := job.exception()) is not None:
                self._pending.pop(future, None)
                settle(future, None, error)

        self._pending[future] = None
        batch = BatchedCalls([(function, arguments, keywords)], backend.get_nested_backend())
        job = backend.submit(batch, callback=ended)
        if isinstance(job, Future):
            job.add_done_callback(failed)  # Dask's backend calls back for results alone
        elif self.is_elsewhere and self._watcher is None:
            self._watcher = threading.Thread(target=self._watch, args=(backend,), daemon=True)
            self._watcher.start()
        return future

    def _watch(self, backend: Any) -> None:
        """Notice that a process of a `multiprocessing.Pool` has died, which forgets that it had something to do."""
        pause = threading.Event()
        known: set[Any] = set()
        while self._backend is backend:
            known |= set(getattr(backend._pool, "_pool", ()))  # noqa: SLF001 - there is no other way to it
            dead = [process for process in known if getattr(process, "exitcode", None)]
            if dead:
                self._backend, self._count, self._watcher = None, 0, None
                threading.Thread(target=backend.terminate, daemon=True).start()
                broken = BrokenExecutor(
                    f"process {dead[0].pid} of joblib's pool died with exit code {dead[0].exitcode}"
                )
                for future in list(self._pending):
                    settle(future, None, broken)
                self._pending.clear()
                return
            pause.wait(_INTERVAL)

    def capacity(self) -> int | None:
        """Return how many run at once."""
        return self._count or None

    def alike(self, workers: int | None) -> Engine | None:
        """Return another on a backend of the same kind; never one that would run functions in this process."""
        backend, n_jobs, parameters = self._given
        if workers is not None:
            n_jobs = max(2, workers)  # a single one would be this process
        return None if self.takes_back else JoblibEngine(backend, n_jobs, parameters)

    def kill(self) -> bool:
        """End the workers at once."""
        if self._backend is None or self.takes_back:
            return False
        self._backend.abort_everything(ensure_ready=False)
        self._backend, self._count = None, 0
        return True

    def shutdown(self, wait: bool = True, *, cancel_futures: bool = False) -> None:  # noqa: ARG002 - as executors have it
        """End the workers."""
        if (backend := self._backend) is not None:
            self._backend, self._count = None, 0
            backend.stop_call()
            backend.terminate()
            for future in list(self._pending):
                future.cancel()  # a pool that is terminated forgets what it had not begun


def _start_method(settings: dict[str, Any]) -> str:
    context = settings.get("context") or multiprocessing
    return str(context.get_start_method())


class _Here:
    """A function that runs in this process, whose future says when it has begun."""

    def __init__(self, future: Future[Any], function: Callable[..., Any]) -> None:
        self._future = future
        self._function = function

    def __call__(self, *arguments: Any, **keywords: Any) -> Any:
        if not self._future.set_running_or_notify_cancel():
            return
        try:
            result = self._function(*arguments, **keywords)
        except BaseException as error:  # noqa: BLE001 - as in every executor
            self._future.set_exception(error)
        else:
            self._future.set_result(result)
