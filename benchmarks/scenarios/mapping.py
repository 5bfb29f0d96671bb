"""A map over many items, next to the bare executor."""

from __future__ import annotations

import os
from collections.abc import Callable
from concurrent.futures import ProcessPoolExecutor

from benchmarks.example import RUN
from benchmarks.measure import Sample, Scenario, Side, Target, Task
from benchmarks.ours import open_store
from benchmarks.workers import FORK, alone

_PROCESSES = 2
_STEP = "nothing"


def nothing(item: int) -> None:
    """Do what a branch does here."""


def _measured(task: Task, work: Callable[[ProcessPoolExecutor], int]) -> Sample:
    """Measure the processor's time that `work` takes, here and in the processes of the pool."""

    def measured() -> tuple[float, int]:
        before = os.times()
        with ProcessPoolExecutor(_PROCESSES, mp_context=FORK) as pool:
            found = work(pool)
        after = os.times()  # the processes of the pool have ended, so they count
        return sum(after[:4]) - sum(before[:4]), found

    seconds, found = alone(measured)
    return Sample(cost=seconds / task.count, operations=task.count, expected=task.count, found=found)


def _map(task: Task) -> Sample:
    def work(pool: ProcessPoolExecutor) -> int:
        with open_store(task.folder).start_run(RUN) as run:
            return len(run.map(_STEP, range(task.count), nothing, executor=pool))

    sample = _measured(task, work)
    log = alone(lambda: open_store(task.folder).get_run_log(RUN))
    sample.found = sum(branch.status == "SUCCESS" for branch in log.steps[_STEP].branches.values())
    return sample


def _bare(task: Task) -> Sample:
    def work(pool: ProcessPoolExecutor) -> int:
        futures = [pool.submit(nothing, item) for item in range(task.count)]
        return sum(future.result() is None for future in futures)

    return _measured(task, work)


SCENARIOS: tuple[Scenario, ...] = (
    Scenario(
        name="map",
        work="the processor's time for a map of a function that does nothing, in two processes",
        costs="CPU time / item",
        count=10_000,
        counted="items",
        sides=(
            Side(name="executor", role="floor", measure=_bare),
            Side(name="chunkstore", role="ours", floor="executor", measure=_map),
        ),
        targets=(
            Target(
                side="chunkstore",
                against="executor",
                how="difference",
                limit=1e-3,
                unit="seconds",
                text="chunkstore - executor ≤ 1 ms",
            ),
        ),
    ),
)
