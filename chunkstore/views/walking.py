"""All steps and branches of a run, at any depth."""

from __future__ import annotations

from collections.abc import Iterable, Iterator

from chunkstore.records.models import BranchLog, StepLog


def all_records(steps: Iterable[StepLog]) -> Iterator[StepLog | BranchLog]:
    """Yield steps and all steps and branches inside them, in order."""
    waiting: list[StepLog | BranchLog] = [*steps]
    waiting.reverse()
    while waiting:
        record = waiting.pop()
        yield record
        waiting.extend(reversed((record.branches if isinstance(record, StepLog) else record.steps).values()))


def all_steps(steps: Iterable[StepLog]) -> Iterator[StepLog]:
    """Yield steps and all steps inside them, in order."""
    return (record for record in all_records(steps) if isinstance(record, StepLog))


def all_branches(steps: Iterable[StepLog]) -> Iterator[BranchLog]:
    """Yield all branches inside some steps."""
    for step in all_steps(steps):
        yield from step.branches.values()
