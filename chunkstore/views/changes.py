"""What has changed between two states of a run that is followed."""

from __future__ import annotations

from collections.abc import Iterator

from chunkstore.records.models import PROCESSING, BranchLog, RunLog, StepLog


def changed_steps(before: RunLog | None, after: RunLog) -> Iterator[StepLog]:
    """Yield the steps whose status is new, at any depth: those that go on before what is inside them, others after.

    Args:
        before: an earlier state; None if nothing is known. What has not changed since may be the same object.
        after: a later state.
    """
    yield from _changed(before.steps if before else {}, after.steps)


def _changed(before: dict[str, StepLog], after: dict[str, StepLog]) -> Iterator[StepLog]:
    for name, step in after.items():
        earlier = before.get(name)
        if earlier is step:
            continue
        is_new = earlier is None or (earlier.status, len(earlier.attempts)) != (step.status, len(step.attempts))
        if is_new and step.status == PROCESSING:
            yield step  # it has begun before what is inside it
        for branch_name, branch in step.branches.items():
            known: BranchLog | None = earlier.branches.get(branch_name) if earlier is not None else None
            if known is not branch:
                yield from _changed(known.steps if known is not None else {}, branch.steps)
        if is_new and step.status != PROCESSING:
            yield step
