"""Branches on a Dask cluster."""

from __future__ import annotations

import weakref
from collections.abc import Callable
from concurrent.futures import CancelledError, Executor, Future
from contextlib import AbstractContextManager, nullcontext
from typing import Any

import distributed

from chunkstore.engines.base import Engine, settle
from chunkstore.errors import StoreUsageError

#: How long the scheduler has to say how many threads there are, in seconds.
_LONGEST_ANSWER = 5


class DaskEngine(Engine):
    """Submits to a client of a Dask cluster.

    Args:
        client: the client; None for the one that is in use here.
        options: for `Client.submit`.
    """

    may_grow = True

    def __init__(self, client: Any, options: dict[str, Any]) -> None:
        if client is None:
            try:
                client = distributed.get_client()
            except ValueError as error:
                raise StoreUsageError(
                    "Cannot run branches on Dask: there is no client here. Make one first, "
                    "client = distributed.Client(address), and pass engines.dask(client)."
                ) from error
        self._client = client
        self._options = options
        self._executor: Executor = client.get_executor()
        self._pending: weakref.WeakSet[Future[Any]] = weakref.WeakSet()

    def __reduce__(self) -> tuple[Any, ...]:
        return DaskEngine, (None, self._options)

    def submit(self, function: Callable[..., Any], /, *arguments: Any, **keywords: Any) -> Future[Any]:
        """Start a function on a worker.

        Never as a pure one: what equal calls return would be taken from one that has run, and nothing be recorded.
        """
        future = self._executor.submit(function, *arguments, **keywords, **{**self._options, "pure": False})
        self._pending.add(future)
        return future

    def look(self) -> None:
        """Take for cancelled what a client that has been closed, or has lost its scheduler, will never tell of."""
        if self._client.status == "closed":
            for future in list(self._pending):
                settle(future, None, CancelledError("the client of Dask was closed, or has lost its scheduler"))

    def capacity(self) -> int | None:
        """Return how many threads the workers have, all together."""
        return sum(self._threads())

    def _threads(self) -> list[int]:
        workers = self._client.nthreads(self._options.get("workers"), callback_timeout=_LONGEST_ANSWER)
        return list(workers.values())

    @property
    def shares_processes(self) -> bool:  # type: ignore[override]  # a worker may have one thread, or more
        """Whether a worker has several threads; those that have died are not there to be asked."""
        return any(count != 1 for count in self._threads() or [0])

    def waiting(self) -> AbstractContextManager[Any]:
        """Let another task run on this thread's worker, if it is one's."""
        try:
            distributed.get_worker()
        except ValueError:
            return nullcontext()
        client: AbstractContextManager[Any] = distributed.worker_client()
        return client


def adapted(given: Any) -> DaskEngine:
    """Return the engine for a client, or for what its `get_executor` returned."""
    if isinstance(given, distributed.Client):
        return DaskEngine(given, {})
    return DaskEngine(given._client, given._kwargs)  # noqa: SLF001 - no public way
