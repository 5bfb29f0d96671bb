"""All steps and branches of a run, at any depth."""

from __future__ import annotations

from collections.abc import Iterable, Iterator

from chunkstore.records.models import BranchLog, StepLog


def all_steps(steps: Iterable[StepLog]) -> Iterator[StepLog]:
    """Yield steps and all steps inside them, in order."""
    waiting = list(steps)[::-1]
    while waiting:
        step = waiting.pop()
        yield step
        for branch in reversed(step.branches.values()):
            waiting.extend(reversed(branch.steps.values()))


def all_branches(steps: Iterable[StepLog]) -> Iterator[BranchLog]:
    """Yield all branches inside some steps."""
    for step in all_steps(steps):
        yield from step.branches.values()
