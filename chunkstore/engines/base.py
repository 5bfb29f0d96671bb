"""What an engine of ours tells and does besides running functions."""

from __future__ import annotations

from concurrent.futures import Executor, Future
from typing import Any


class Engine(Executor):
    """An executor that knows how many branches it can run at once."""

    def capacity(self) -> int | None:
        """Return how many branches can run at once, as it is now; None if that is not known."""
        raise NotImplementedError

    def shutdown(self, wait: bool = True, *, cancel_futures: bool = False) -> None:
        """Do nothing: the cluster belongs to whoever started it."""


def settle(future: Future[Any], result: Any, error: BaseException | None) -> None:
    """Give a future what came of it, unless it has been cancelled."""
    if not future.set_running_or_notify_cancel():
        return
    if error is None:
        future.set_result(result)
    else:
        future.set_exception(error)
