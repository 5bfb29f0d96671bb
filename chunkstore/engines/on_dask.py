"""Branches on a Dask cluster."""

from __future__ import annotations

from collections.abc import Callable
from concurrent.futures import Executor, Future
from typing import Any

import distributed

from chunkstore.engines.base import Engine
from chunkstore.errors import StoreUsageError


class DaskEngine(Engine):
    """Submits to a client of a Dask cluster.

    Args:
        client: the client; None for the one that is in use here.
        options: for `Client.submit`.
    """

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
        self._options = {"pure": False, **options}
        self._executor: Executor = client.get_executor()

    def __reduce__(self) -> tuple[Any, ...]:
        return DaskEngine, (None, self._options)

    def submit(self, function: Callable[..., Any], /, *arguments: Any, **keywords: Any) -> Future[Any]:
        """Start a function on a worker."""
        return self._executor.submit(function, *arguments, **keywords, **self._options)

    def capacity(self) -> int | None:
        """Return how many threads the workers have, all together."""
        return int(sum(self._client.nthreads().values()))
