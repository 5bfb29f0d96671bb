"""Which attempt of a step counts, and what the others have left. Pure: no I/O.

Of the attempts of a step, the last that succeeded counts; if none did, the last; or the one that the record says, as
where an engine has started a branch several times. What another one recorded is in that attempt, and the steps that ran
inside it are no part of what the run came to.
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterable, Iterator, Mapping

import msgspec
from msgspec import UNSET

from chunkstore.records.models import SUCCESS, BranchLog, DataCatalog, JobLog, StepAttempt, StepLog


def counted_attempt(record: StepLog | BranchLog) -> int:
    """Return which attempt of a step or branch counts, by its place, counted from 1; 1 if it has none.

    Of a branch, 0 says that none of its starts counts, but what was recorded by who waited for it.
    """
    attempts, noted = record.attempts, record.counted_attempt
    if attempts is UNSET:
        return 1
    if noted is not UNSET and 0 <= noted <= len(attempts) and (noted or isinstance(record, BranchLog)):
        return noted
    if len(attempts) > 1 and attempts[-1].status != SUCCESS:
        for place in range(len(attempts) - 1, 0, -1):
            if attempts[place - 1].status == SUCCESS:
                return place
    return len(attempts) or 1


def counting_attempt(record: StepLog | BranchLog | JobLog) -> StepAttempt | None:
    """Return the attempt of a step, branch or job that counts; None if none does."""
    attempts = record.attempts
    if attempts is UNSET or not attempts:
        return None
    place = len(attempts) if isinstance(record, JobLog) else counted_attempt(record)
    return attempts[place - 1] if place else None


def attempt_around(step: StepLog) -> tuple[str, int] | None:
    """Return inside which step, and which attempt of that, a step ran; None if inside none."""
    if step.inside is UNSET:
        return None
    return step.inside, 1 if step.inside_attempt is UNSET else step.inside_attempt


def left_behind(steps: Mapping[str, StepLog]) -> set[str]:
    """Return which of some steps of one run or branch ran inside an attempt that does not count."""
    around = {name: found for name, step in steps.items() if (found := attempt_around(step)) is not None}
    return _left_behind(
        around, {outer: counted_attempt(steps[outer]) for outer, _ in around.values() if outer in steps}
    )


def _left_behind(around: Mapping[str, tuple[str, int]], counted: Mapping[str, int]) -> set[str]:
    found: set[str] = set()
    for name in around:
        way: list[str] = []
        inner = name
        while inner in around and inner not in way:
            way.append(inner)
            outer, attempt = around[inner]
            if inner in found or counted.get(outer, attempt) != attempt:
                found.add(name)
                break
            inner = outer
    return found


def counting(steps: Mapping[str, StepLog]) -> Iterator[StepLog]:
    """Yield those of some steps of one run or branch that count."""
    left = left_behind(steps)
    for name, step in steps.items():
        if name not in left and step.began_late is UNSET:
            yield step


def counting_branches(step: StepLog) -> dict[str, BranchLog]:
    """Return those branches of a step that ran in its attempt that counts."""
    counted = counted_attempt(step)
    return {
        name: branch
        for name, branch in step.branches.items()
        if branch.attempt in (UNSET, counted) and branch.began_late is UNSET
    }


def has_succeeded(step: StepLog) -> bool:
    """Tell whether a step succeeded with all in its branches."""
    return step.status == SUCCESS and all(map(has_branch_succeeded, counting_branches(step).values()))


def has_branch_succeeded(branch: BranchLog) -> bool:
    """Tell whether a branch succeeded with all inside it."""
    return branch.status == SUCCESS and all(map(has_succeeded, counting(branch.steps)))


def steps_inside(steps: Iterable[StepLog]) -> dict[str, list[StepLog]]:
    """Return the steps inside each of some steps of one run or branch, to any depth."""
    steps = list(steps)
    outer = {step.internal_name: around[0] for step in steps if (around := attempt_around(step)) is not None}
    found: dict[str, list[StepLog]] = {}
    for step in steps:
        seen = {step.internal_name}
        name = outer.get(step.internal_name)
        while name is not None and name not in seen:
            seen.add(name)
            found.setdefault(name, []).append(step)
            name = outer.get(name)
    return found


def step_counts(records: Iterable[StepLog | BranchLog]) -> dict[str, int]:
    """Return how many of the steps among some records of a run have which status, left-behind ones not counted."""
    statuses: list[tuple[str, str]] = []
    around: dict[str, tuple[str, int]] = {}
    counted: dict[str, int] = {}
    branches: dict[str, int] = {}
    for record in records:
        if record.began_late is not UNSET:
            continue
        if isinstance(record, BranchLog):
            if record.attempt is not UNSET:
                branches[record.internal_name] = record.attempt
            continue
        statuses.append((record.internal_name, record.status))
        if (found := attempt_around(record)) is not None:
            around[record.internal_name] = found
        if len(record.attempts) > 1:
            counted[record.internal_name] = counted_attempt(record)
    outer = {name for name, _ in around.values()}
    known = {name for name, _ in statuses if name in outer}
    left = _left_behind(around, {name: counted.get(name, 1) for name in known})
    left |= {name for name, attempt in branches.items() if counted.get(name.rpartition(".")[0], 1) != attempt}
    if not left:
        return dict(Counter(status for _, status in statuses))
    beginnings = tuple(f"{name}." for name in left)  # what is inside them, in branches
    return dict(Counter(status for name, status in statuses if name not in left and not name.startswith(beginnings)))


def data_of(step: StepLog) -> Iterator[DataCatalog]:
    """Yield all data that a step read and wrote, that of attempts that do not count before the others."""
    for attempt in step.attempts:
        if attempt.data_catalog is not UNSET:
            yield from attempt.data_catalog
    yield from step.data_catalog


def left_by(step: StepLog) -> list[StepAttempt]:
    """Return the attempts of a step that does not count, each with all that it has recorded."""
    copy = msgspec.structs.replace(step, attempts=list(map(msgspec.structs.replace, step.attempts)))
    if copy.attempts:
        set_aside(copy)
    return copy.attempts


def set_aside(step: StepLog) -> None:
    """Give what a step has recorded to its attempt that counts, as another one begins."""
    last: StepAttempt = step.attempts[(step.counted_attempt or 0) - 1]  # as its writer goes on with the last
    if step.user_defined_metrics:
        last.metrics, step.user_defined_metrics = step.user_defined_metrics, {}
    if step.data_catalog:
        last.data_catalog, step.data_catalog = step.data_catalog, []
    if step.metric_series is not UNSET:
        last.metric_series, step.metric_series = step.metric_series, UNSET
    if step.result is not UNSET:
        last.result, step.result = step.result, UNSET
        step.result_types = UNSET
