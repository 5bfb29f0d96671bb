"""Branches on a Dask cluster."""

from __future__ import annotations

import logging
import math
import time
import weakref
from collections.abc import Callable
from concurrent.futures import CancelledError, Executor, Future
from contextlib import AbstractContextManager, nullcontext, suppress
from typing import Any

import distributed

from chunkstore.engines.base import Engine, settle
from chunkstore.errors import StoreUsageError

logger = logging.getLogger("chunkstore")

#: How long the scheduler has to say how many threads there are, in seconds.
_LONGEST_ANSWER = 5
#: How long a cluster may be without workers before that is told, in seconds.
_LONGEST_WITHOUT_WORKERS = 30.0


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
        if not isinstance(client, distributed.Client) or client.asynchronous:
            raise StoreUsageError(
                f"Cannot run branches on Dask with {client!r}: it is no client, or an asynchronous one, whose loop "
                "would stand still while branches are waited for. Pass distributed.Client(address)."
            )
        self._client = client
        self._options = options
        self._executor: Executor = client.get_executor()
        self._pending: weakref.WeakSet[Future[Any]] = weakref.WeakSet()
        #: Since when there have been no workers; None while there are, and infinity once that has been told.
        self._without_workers: float | None = None

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
        """Take for cancelled what a client that has been closed, or has lost its scheduler, will never tell of.

        Workers may come late, from a queue of jobs, so they are waited for; but after a while that is told.
        """
        if self._client.status == "closed":
            for future in list(self._pending):
                settle(future, None, CancelledError("the client of Dask was closed, or has lost its scheduler"))
        elif self._threads() != []:
            self._without_workers = None
        elif self._without_workers is None:
            self._without_workers = time.monotonic()
        elif time.monotonic() - self._without_workers > _LONGEST_WITHOUT_WORKERS:
            self._without_workers = math.inf
            logger.warning(
                "Branches wait for workers: the Dask cluster at %s%s has had none for %.0f s. They run when some come; "
                "start workers, or interrupt this program and resume the run.",
                self._client.scheduler.address,
                f", restricted to {self._options['workers']!r}," if self._options.get("workers") else "",
                _LONGEST_WITHOUT_WORKERS,
            )

    def capacity(self) -> int | None:
        """Return how many threads the workers have, all together."""
        return sum(self._threads() or [])

    def _threads(self) -> list[int] | None:
        """Return how many threads each worker has; None if the scheduler does not say."""
        with suppress(Exception):  # it may be gone, or busy
            workers = self._client.nthreads(self._options.get("workers"), callback_timeout=_LONGEST_ANSWER)
            return list(workers.values())
        return None

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
