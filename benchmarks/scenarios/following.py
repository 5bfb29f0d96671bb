"""Following a run of many steps while another process records one after the other."""

from __future__ import annotations

import random
import signal
import time
from collections.abc import Callable, Iterator

import chunkstore
from benchmarks.example import RUN, make_step
from benchmarks.measure import NANOSECONDS, Sample, Scenario, Side, Target, Task, at_most
from benchmarks.ours import CHUNKSTORE, open_store
from benchmarks.workers import FORK, alone, in_processes

#: Steps that are recorded while the run is followed.
_NEW_STEPS = 20
_READS = 3
#: A new step comes at any time between two looks of the follower.
_LONGEST_PAUSE = 0.05
#: Seconds after which both processes are ended, should the follower see nothing.
_PATIENCE = 120


def _create(task: Task) -> None:
    recorder = CHUNKSTORE.opens(task.folder)
    recorder.create()
    recorder.fill(make_step(number) for number in range(task.count))
    recorder.close()


def _follow(task: Task, *, cpu: bool) -> Sample:
    """Let one process follow a run to which another one adds.

    Args:
        task: how many steps the run has before.
        cpu: whether the processor's time for a new log is what counts, or how long it takes until it is there.
    """
    receiver, sender = FORK.Pipe(duplex=False)
    go = FORK.Semaphore(0)

    def write(ready: Callable[[], None]) -> None:
        signal.alarm(_PATIENCE)
        store = open_store(task.folder)
        store.add_step_log(RUN, make_step(task.count))  # opens the folder
        ready()
        for number in range(1, _NEW_STEPS + 1):
            go.acquire()
            time.sleep(random.uniform(0, _LONGEST_PAUSE))
            store.add_step_log(RUN, make_step(task.count + number))
            sender.send(time.perf_counter_ns())

    def follow(ready: Callable[[], None]) -> Sample:
        signal.alarm(_PATIENCE)
        ready()
        logs = open_store(task.folder).follow(RUN)
        seen = _next_with(logs, task.count + 1)
        sample = Sample(expected=_NEW_STEPS)
        for number in range(1, _NEW_STEPS + 1):
            before = time.process_time_ns()
            go.release()
            seen = _next_with(logs, task.count + 1 + number)
            used, now = time.process_time_ns() - before, time.perf_counter_ns()
            acknowledged = receiver.recv()
            sample.latencies.append(used if cpu else max(0, now - acknowledged))
        sample.operations = len(sample.latencies)
        sample.cost = sum(sample.latencies) / sample.operations / NANOSECONDS
        sample.found = len(seen.steps) - task.count - 1
        return sample

    def work(index: int, ready: Callable[[], None]) -> Sample | None:
        if index:
            return follow(ready)
        write(ready)
        return None

    alone(lambda: _create(task))
    _, sample = in_processes(2, work)
    assert sample is not None
    return sample


def _next_with(logs: Iterator[chunkstore.RunLog], count: int) -> chunkstore.RunLog:
    """Return the next log that has so many steps."""
    return next(log for log in logs if len(log.steps) >= count)


def _read(task: Task) -> Sample:
    """Measure the processor's time for a full read of the same run."""

    def work() -> Sample:
        store = open_store(task.folder)
        sample = Sample(expected=task.count)
        for _ in range(_READS):
            before = time.process_time_ns()
            sample.found = len(store.get_run_log(RUN).steps)
            sample.latencies.append(time.process_time_ns() - before)
        sample.operations = _READS
        sample.cost = sum(sample.latencies) / _READS / NANOSECONDS
        return sample

    alone(lambda: _create(task))
    return alone(work)


_FULL_READ = "get_run_log"

SCENARIOS: tuple[Scenario, ...] = (
    Scenario(
        name="follow",
        case="CPU time",
        work="the processor's time for the next log when one step was added to a run that is followed",
        costs="CPU time / log",
        count=10_000,
        sides=(
            Side(name=_FULL_READ, role="floor", measure=_read),
            Side(
                name="chunkstore",
                role="ours",
                floor=_FULL_READ,
                measure=lambda task: _follow(task, cpu=True),
            ),
        ),
        targets=(at_most(0.05, _FULL_READ),),
    ),
    Scenario(
        name="follow",
        case="latency",
        work="from the moment when a step was acknowledged to that when a follower has a log with it",
        costs="time / log",
        count=10_000,
        sides=(
            Side(
                name="chunkstore",
                role="ours",
                measure=lambda task: _follow(task, cpu=False),
            ),
        ),
        targets=(
            Target(side="chunkstore", measure="median", how="value", limit=0.05, unit="seconds", text="median ≤ 50 ms"),
        ),
    ),
)
