"""Work in processes of its own, which all begin at once, and the time that each operation takes in them."""

from __future__ import annotations

import gc
import multiprocessing
import time
from array import array
from collections.abc import Callable, Iterable, Sequence
from multiprocessing.connection import Connection
from multiprocessing.synchronize import Barrier
from typing import Any, NamedTuple, TypeVar

_T = TypeVar("_T")

#: Forked: what a side imports is loaded once and before, and many processes start in little time.
FORK = multiprocessing.get_context("fork")

#: Seconds to wait for the slowest process to be ready.
_START_TIMEOUT = 120
_NANOSECONDS = 1_000_000_000
_LONGEST = 1e6


class WorkerError(Exception):
    """Something failed in another process; the message says what."""


class Timed(NamedTuple):
    """What one process measured.

    Attributes:
        latencies: nanoseconds, one for each operation that returned.
        started: nanoseconds on a clock that all processes share.
        ended: likewise.
        failed: the places of the operations that failed.
        error: what the first of them said.
        processor: seconds of processor time that the process took.
    """

    latencies: array[int]
    started: int
    ended: int
    failed: list[int]
    error: str = ""
    processor: float = 0.0

    def acknowledged(self, operations: Sequence[_T]) -> list[_T]:
        """Return those of the operations that returned."""
        failed = set(self.failed)
        begun = len(self.latencies) + len(failed)
        return [operation for place, operation in enumerate(operations[:begun]) if place not in failed]


def timed(operations: Iterable[tuple[Callable[[Any], Any], Any]], limit: float) -> Timed:
    """Do operations one after the other.

    Args:
        operations: functions and what they get.
        limit: after so many seconds no further one is begun.
    """
    clock = time.perf_counter_ns
    latencies = array("q")
    note = latencies.append
    failed: list[int] = []
    error = ""
    processor = time.process_time()
    started = before = clock()
    last = started + int(min(limit, _LONGEST) * _NANOSECONDS)
    for place, (operate, argument) in enumerate(operations):
        try:
            operate(argument)
        except Exception as failure:  # noqa: BLE001 - a peer may raise anything: that is a result too
            failed.append(place)
            error = error or message_of(failure)
            before = clock()
        else:
            now = clock()
            note(now - before)
            before = now
        if before > last:
            break
    return Timed(latencies, started, clock(), failed, error, time.process_time() - processor)


def message_of(error: BaseException) -> str:
    """Return an error on one line."""
    return f"{type(error).__name__}: {' '.join(str(error).split())}"[:300]


def in_processes(count: int, work: Callable[[int, Callable[[], None]], _T]) -> list[_T]:
    """Call `work` in `count` processes; return the results in order.

    Args:
        count: how many processes.
        work: gets the number of its process, and a function to be called when it is ready: that returns when all are.

    Raises:
        WorkerError: a process failed.
    """
    barrier = FORK.Barrier(count)
    started = []
    try:
        for index in range(count):
            receiver, sender = FORK.Pipe(duplex=False)
            process = FORK.Process(target=_in_child, args=(work, index, barrier, sender))
            process.start()
            sender.close()
            started.append((process, receiver))
        outcomes = [_outcome(receiver) for _, receiver in started]
    except BaseException:
        for process, _ in started:
            process.terminate()
        raise
    finally:
        for process, receiver in started:
            receiver.close()
            process.join()
    failures = [error for error, _ in outcomes if error]
    if failures:
        # Those that only waited for the one that failed say less.
        raise WorkerError(min(failures, key=lambda text: "BrokenBarrierError" in text))
    return [result for _, result in outcomes]


def alone(work: Callable[[], _T]) -> _T:
    """Call `work` in a process of its own; return its result.

    Raises:
        WorkerError: it failed.
    """
    return in_processes(1, lambda _index, _ready: work())[0]


def _outcome(receiver: Connection) -> tuple[str, Any]:
    try:
        outcome: tuple[str, Any] = receiver.recv()
    except EOFError:
        return "the process died", None
    return outcome


def _in_child(work: Callable[[int, Callable[[], None]], Any], index: int, barrier: Barrier, sender: Connection) -> None:
    # What the parent has loaded is not looked at again by this process: all sides begin with an empty heap.
    gc.freeze()
    try:
        result = work(index, lambda: _wait(barrier))
    except KeyboardInterrupt:
        return
    except BaseException as error:  # noqa: BLE001 - it is raised in the parent
        barrier.abort()
        sender.send((message_of(error), None))
    else:
        sender.send(("", result))


def _wait(barrier: Barrier) -> None:
    barrier.wait(_START_TIMEOUT)
