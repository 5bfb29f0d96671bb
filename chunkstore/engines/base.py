"""What an engine of ours tells and does besides running functions."""

from __future__ import annotations

import queue
from collections.abc import Collection
from concurrent.futures import Executor, Future
from contextlib import AbstractContextManager, nullcontext
from typing import Any

from chunkstore.engines.futures import cancel

Ended = queue.SimpleQueue[Future[Any] | None]


class Engine(Executor):
    """An executor that knows how much it can take, and how to wait in the middle of what it runs.

    Attributes:
        is_elsewhere: whether functions run in other processes than this one, so that what they get must pickle.
        takes_back: whether `cancel` of a future takes back what has not begun, and only that.
        may_grow: whether it may be able to take more in a moment.
        shares_processes: whether several functions may run in one process, which dies with all of them.
        forks: whether its processes are forked from this one.
    """

    is_elsewhere = True
    takes_back = False
    may_grow = False
    shares_processes = False
    forks = False

    def capacity(self) -> int | None:
        """Return how many functions can run at once, as it is now; None if that is not known."""
        return None

    def waiting(self) -> AbstractContextManager[Any]:
        """Return what is entered by a thread that waits for functions it has submitted.

        Where the thread is a worker's, another function can run in its place.
        """
        return nullcontext()

    def new_queue(self) -> Ended:
        """Return what the futures of functions that have ended are put into, by any thread, and taken out of here."""
        return queue.SimpleQueue()

    def look(self) -> None:
        """See that what is waited for can still come; called about once a second, if the engine may grow."""

    def alike(self, workers: int | None) -> Engine | None:
        """Return a new engine like this one, which is broken; None if nothing better is to be had.

        Args:
            workers: how many functions are going to be submitted at once; None for as many as it can take.
        """
        del workers
        return None

    def stop(self, futures: Collection[Future[Any]]) -> None:
        """Take back what has not begun of some functions, and stop what runs as far as that can be done, soon.

        What cannot be stopped goes on.
        """
        for future in futures:
            cancel(future)

    def kill(self) -> bool:
        """End at once what still runs; return whether that was possible."""
        return False

    def shutdown(self, wait: bool = True, *, cancel_futures: bool = False) -> None:
        """Do nothing: the cluster belongs to whoever started it."""


def settle(future: Future[Any], result: Any, error: BaseException | None) -> None:
    """Give a future what came of it, unless it has been cancelled, or has ended already."""
    if future.done() or not (future.running() or future.set_running_or_notify_cancel()):
        return
    if error is None:
        future.set_result(result)
    else:
        future.set_exception(error)
