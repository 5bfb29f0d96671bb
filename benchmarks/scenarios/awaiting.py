"""Coroutines that wait, many at once, next to a bare `asyncio.gather` with a semaphore."""

from __future__ import annotations

import asyncio
import time
from collections.abc import Awaitable, Callable
from functools import partial

from benchmarks.example import RUN
from benchmarks.measure import Sample, Scenario, Side, Target, Task
from benchmarks.ours import open_store
from benchmarks.workers import alone

_STEP = "waits"
#: For how long each waits, as if for a network, in seconds.
_WAIT = 0.01


async def waits(item: int) -> int:
    """Do what a branch does here."""
    await asyncio.sleep(_WAIT)
    return item


def _measured(task: Task, work: Callable[[], Awaitable[list[int | None]]]) -> Sample:
    """Measure the processor's time of `work`, in all threads."""

    async def timed() -> tuple[float, int]:
        before = time.process_time()
        found = await work()
        return time.process_time() - before, len(found)

    seconds, found = alone(lambda: asyncio.run(timed()))
    return Sample(cost=seconds / task.count, operations=task.count, expected=task.count, found=found)


def _gather(task: Task, in_flight: int) -> Sample:
    async def work() -> list[int | None]:
        room = asyncio.Semaphore(in_flight)

        async def one(item: int) -> int:
            async with room:
                return await waits(item)

        return list(await asyncio.gather(*(one(item) for item in range(task.count))))

    return _measured(task, work)


def _amap(task: Task, in_flight: int, container: str) -> Sample:
    async def work() -> list[int | None]:
        async with open_store(task.folder, container=container).start_run(RUN) as run:
            return await run.amap(_STEP, range(task.count), waits, max_in_flight=in_flight)

    sample = _measured(task, work)
    log = alone(lambda: open_store(task.folder).get_run_log(RUN))
    sample.found = sum(branch.status == "SUCCESS" for branch in log.steps[_STEP].branches.values())
    return sample


def _scenario(in_flight: int) -> Scenario:
    return Scenario(
        name="asyncio",
        case=f"{in_flight:,} in flight",
        work="the processor's time for coroutines that wait 10 ms",
        costs="CPU time / item",
        count=10_000,
        counted="items",
        sides=(
            Side(name="gather", role="floor", measure=partial(_gather, in_flight=in_flight)),
            Side(
                name="chunkstore",
                role="ours",
                floor="gather",
                measure=partial(_amap, in_flight=in_flight, container="files"),
            ),
            Side(
                name="journal",
                role="ours",
                floor="gather",
                measure=partial(_amap, in_flight=in_flight, container="journal"),
            ),
        ),
        targets=tuple(
            Target(
                side=side,
                against="gather",
                how="difference",
                limit=5e-4,
                unit="seconds",
                text=f"{side} - gather ≤ 0.5 ms",
            )
            for side in ("chunkstore", "journal")
        ),
    )


SCENARIOS: tuple[Scenario, ...] = (_scenario(50), _scenario(10_000))
