"""Work that any recorder can do: adding steps, replacing one's own, changing those of others, reading a whole run."""

from __future__ import annotations

import os
import time
from collections.abc import Callable, Iterable
from pathlib import Path
from typing import NamedTuple

from benchmarks.example import make_step, step_name
from benchmarks.measure import Sample, Task, sample_of
from benchmarks.recorder import Contestant
from benchmarks.workers import Timed, WorkerError, alone, in_processes, timed

#: Reads of a whole run in one sample.
_READS = 3
#: Steps that all processes change.
_SHARED_STEPS = 10
#: For how long nobody has changed a run that is read.
_QUIET_SECONDS = 60


class _Operation(NamedTuple):
    """What a process does to one of its steps; `add` or `replace` names the method."""

    verb: str
    number: int
    version: int


def add_steps(contestant: Contestant, task: Task, *, processes: int = 1) -> Sample:
    """Let processes add steps of their own to one run."""
    return _record(contestant, task, processes, lambda number: [_Operation("add", number, 1)])


def add_and_replace_steps(contestant: Contestant, task: Task, *, processes: int) -> Sample:
    """Let processes add steps of their own to one run, and replace each right after."""
    return _record(
        contestant,
        task,
        processes,
        lambda number: [_Operation("add", number, 1), _Operation("replace", number, 2)],
    )


def replace_steps(contestant: Contestant, task: Task) -> Sample:
    """Let a process replace steps that it has added."""
    return _record(contestant, task, 1, lambda number: [_Operation("replace", number, 2)], fill=True)


def _record(
    contestant: Contestant,
    task: Task,
    processes: int,
    operations_on: Callable[[int], list[_Operation]],
    *,
    fill: bool = False,
) -> Sample:
    """Let processes do something to each of their own steps.

    Args:
        contestant: what they record into.
        task: how many steps, for all processes together.
        processes: how many.
        operations_on: what is done to the step of a number.
        fill: whether the steps are there before.
    """
    share = max(1, task.count // processes)

    def numbers(index: int) -> range:
        return range(index * share, (index + 1) * share)

    def operations(index: int) -> list[_Operation]:
        return [operation for number in numbers(index) for operation in operations_on(number)]

    def work(index: int, ready: Callable[[], None]) -> Timed:
        recorder = contestant.opens(task.folder)
        if fill:
            recorder.fill(make_step(number) for number in numbers(index))
        prepared = [
            (getattr(recorder, verb), recorder.prepare(make_step(number, version)))
            for verb, number, version in operations(index)
        ]
        ready()
        result = timed(prepared, task.limit)
        recorder.close()
        return result

    _create(contestant, task.folder)
    parts = in_processes(processes, work)
    expected: dict[str, int] = {}
    for index, part in enumerate(parts):
        if fill:
            expected.update({step_name(number): 1 for number in numbers(index)})
        for _, number, version in part.acknowledged(operations(index)):
            expected[step_name(number)] = version
    return _checked(
        sample_of(parts, expected=len(expected)),
        contestant,
        task.folder,
        lambda found: sum(found.get(name, 0) >= version for name, version in expected.items()),
    )


def count_up_steps(contestant: Contestant, task: Task, *, processes: int) -> Sample:
    """Let processes change the same few steps, none of which they own, and count the changes that are there."""

    def work(index: int, ready: Callable[[], None]) -> Timed:
        recorder = contestant.opens(task.folder)
        names = [step_name((index + number) % _SHARED_STEPS) for number in range(max(1, task.count // processes))]
        ready()
        result = timed([(recorder.count_up, name) for name in names], task.limit)
        recorder.close()
        return result

    _create(contestant, task.folder, range(_SHARED_STEPS))
    parts = in_processes(processes, work)
    return _checked(
        sample_of(parts, expected=sum(len(part.latencies) for part in parts)),
        contestant,
        task.folder,
        lambda found: sum(found.values()) - _SHARED_STEPS,
    )


def read_steps(contestant: Contestant, task: Task) -> Sample:
    """Let a new process read a whole run that nobody has changed for a while."""

    def work() -> tuple[Timed, int]:
        recorder = contestant.opens(task.folder)
        result = timed([(lambda _: recorder.read(), None)] * _READS, task.limit)
        found = recorder.versions()
        recorder.close()
        return result, len(found)

    _create(contestant, task.folder, range(task.count))
    let_rest(task.folder)
    part, found = alone(work)
    return sample_of([part], expected=task.count, found=found)


def _create(contestant: Contestant, folder: Path, numbers: Iterable[int] | None = None) -> None:
    """Make the run in a process of its own, with the steps of some numbers."""

    def create() -> None:
        recorder = contestant.opens(folder)
        recorder.create()
        if numbers is not None:
            recorder.fill(make_step(number) for number in numbers)
        recorder.close()

    alone(create)


def _checked(sample: Sample, contestant: Contestant, folder: Path, count: Callable[[dict[str, int]], int]) -> Sample:
    """Return a sample with how much was found, as a new process counts it in the versions of all steps."""

    def found() -> int:
        recorder = contestant.opens(folder)
        result = count(recorder.versions())
        recorder.close()
        return result

    try:
        sample.found = alone(found)
    except WorkerError as error:
        sample.error = sample.error or f"cannot be read any more: {error}"
    return sample


def let_rest(folder: Path) -> None:
    """Make all folders look as if nothing had changed in them for a while.

    chunkstore lists a folder again that has changed within the last second, as it may be changing still. A run that is
    read is mostly older.
    """
    then = time.time() - _QUIET_SECONDS
    for path, _, _ in os.walk(folder):
        os.utime(path, (then, then))
