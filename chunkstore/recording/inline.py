"""Runs branches in the thread that asks for them."""

from __future__ import annotations

from collections.abc import Callable
from concurrent.futures import Executor, Future
from typing import Any


class InlineExecutor(Executor):
    """Runs everything at once in the thread that asks.

    For the handler of a signal, or a finaliser, in the middle of a recording: the workers of any pool could wait for
    what the interrupted call holds, and so never end.
    """

    _max_workers = 1

    def submit(self, function: Callable[..., Any], /, *arguments: Any, **keywords: Any) -> Future[Any]:
        """Run a function; return what came of it."""
        future: Future[Any] = Future()
        try:
            future.set_result(function(*arguments, **keywords))
        except Exception as error:  # noqa: BLE001 - as in every executor
            future.set_exception(error)
        return future
