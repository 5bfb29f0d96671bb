"""What the futures of engines say, each in its own way: that something was cancelled, that a worker died."""

from __future__ import annotations

from concurrent.futures import CancelledError, Future
from contextlib import suppress
from typing import Any

#: The names of their classes, by the package that they come from; none is imported for this.
_DEATHS = {
    "distributed": {"KilledWorker"},
    "ray": set("ActorDiedError LocalRayletDiedError NodeDiedError OutOfMemoryError WorkerCrashedError".split()),
    "parsl": {"ManagerLost", "WorkerLost"},
    "executorlib": {"ExecutorlibSocketError"},
    "chunkstore": {"WorkerDiedError"},  # of our own engines
}


def cancel(future: Future[Any]) -> bool:
    """Cancel a future; return whether it says that it is. Those of some engines cannot be cancelled."""
    with suppress(Exception):
        return future.cancel()
    return False


def error_of(future: Future[Any]) -> BaseException | None:
    """Return why a future that has ended has no result; None if it has one."""
    try:
        return future.exception()
    except CancelledError as cancelled:
        return cancelled


def means_cancelled(error: BaseException) -> bool:
    """Tell whether an error that an engine has in the place of a result means that it did not begin, or had to end."""
    return isinstance(error, CancelledError) or type(error).__name__ == "ShutdownExecutorError"  # loky's


def means_death(error: BaseException) -> bool:
    """Tell whether an error that an engine has in the place of a result means that a worker died."""
    return any(kind.__name__ in _DEATHS.get(kind.__module__.partition(".")[0], ()) for kind in type(error).__mro__)
