"""Many workers at once: processes with threads, each thread with a store and connections of its own."""

from __future__ import annotations

import multiprocessing
import random
import time
from collections.abc import Callable
from concurrent.futures import ProcessPoolExecutor, ThreadPoolExecutor
from functools import partial

import msgspec

import chunkstore
from benchmarks.example import make_step, step_name
from benchmarks.scale.places import StorePlace
from benchmarks.workers import message_of

PROCESSES = 4


class Work(msgspec.Struct, frozen=True, kw_only=True):
    """What each worker does.

    Attributes:
        kind: `steps`, `parameters` or `record`.
        run_id: in which run.
        seconds: how long it goes on.
        pause: seconds that a step's own work takes, or that pass between two changes; on average.
    """

    kind: str
    run_id: str
    seconds: float
    pause: float


class Written(msgspec.Struct):
    """What came of it.

    Attributes:
        taken: seconds that recording took, for each step or change.
        names: of the steps, or of the parameters with how often each was set, that were acknowledged.
        failed: how many operations failed.
        error: what the first of these said.
        processor: seconds of processor time, of the whole process.
        seconds: how long it took, until the last of what was begun in time was done.
    """

    taken: list[float] = []
    names: dict[str, int] = {}
    failed: int = 0
    error: str = ""
    processor: float = 0.0
    seconds: float = 0.0


def all_written(place: StorePlace, work: Work, writers: int) -> Written:
    """Let workers do something at the same time; return what came of it altogether.

    Args:
        place: where the run is.
        work: what each does.
        writers: how many there are.
    """
    shares = [range(start, writers, PROCESSES) for start in range(PROCESSES)]
    context = multiprocessing.get_context("spawn")
    whole = Written()
    with ProcessPoolExecutor(PROCESSES, mp_context=context) as pool:
        ready = time.time() + 3.0  # when all have been started
        for part in pool.map(_write_share, [place] * PROCESSES, [work] * PROCESSES, shares, [ready] * PROCESSES):
            whole.taken += part.taken
            whole.names |= part.names
            whole.failed += part.failed
            whole.error = whole.error or part.error
            whole.processor += part.processor
            whole.seconds = max(whole.seconds, part.seconds)
    return whole


def _write_share(place: StorePlace, work: Work, numbers: range, ready: float) -> Written:
    whole = Written()
    doing = {"steps": _add_steps, "parameters": _set_parameters, "record": _change_record}[work.kind]
    with ThreadPoolExecutor(len(numbers)) as pool:
        stores = list(pool.map(lambda _: place.open(), numbers))
        time.sleep(max(0.0, ready - time.time()))
        before, start = time.process_time(), time.monotonic()
        end = start + work.seconds

        def write(number: int, store: chunkstore.Store) -> Written:
            time.sleep(random.random() * work.pause)  # they do not come at the same moment
            return doing(store, work, number, end)

        for part in pool.map(write, numbers, stores):
            whole.taken += part.taken
            whole.names |= part.names
            whole.failed += part.failed
            whole.error = whole.error or part.error
    whole.processor, whole.seconds = time.process_time() - before, time.monotonic() - start
    return whole


def _add_steps(store: chunkstore.Store, work: Work, number: int, end: float) -> Written:
    """Put a step when it starts, and again when it ends."""
    written = Written()
    count = 0
    while time.monotonic() < end:
        step = make_step(number * 1_000_000 + count)
        count += 1
        status, step.status = step.status, "PROCESSING"
        if not _timed(written, partial(store.add_step_log, work.run_id, step)):
            continue
        time.sleep(work.pause)
        step.status = status
        if _timed(written, partial(store.add_step_log, work.run_id, step)):
            written.names[step.internal_name] = 1
    return written


def _set_parameters(store: chunkstore.Store, work: Work, number: int, end: float) -> Written:
    """Set a parameter of one's own, among those of the run, again and again."""
    written = Written()
    while time.monotonic() < end:
        value = written.names.get(f"p{number}", 0) + 1
        if _timed(written, partial(store.set_parameters, work.run_id, {f"p{number}": value})):
            written.names[f"p{number}"] = value
        time.sleep(work.pause)
    return written


def _change_record(store: chunkstore.Store, work: Work, number: int, end: float) -> Written:
    """Change one step that everybody changes, which another process has recorded."""
    written = Written()

    def count(step: chunkstore.StepLog) -> None:
        counted = step.user_defined_metrics.get(f"p{number}", 0)
        step.user_defined_metrics[f"p{number}"] = counted + 1

    while time.monotonic() < end:
        if _timed(written, partial(store.update_step_log, work.run_id, step_name(0), count)):
            written.names[f"p{number}"] = written.names.get(f"p{number}", 0) + 1
        time.sleep(work.pause)
    return written


def _timed(written: Written, action: Callable[[], object]) -> bool:
    """Do something, note how long it took; return whether it was done."""
    start = time.perf_counter()
    try:
        action()
    except Exception as error:  # noqa: BLE001 - whatever it is, it is counted
        written.failed += 1
        written.error = written.error or message_of(error)
        return False
    written.taken.append(time.perf_counter() - start)
    return True
