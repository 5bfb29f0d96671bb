"""Records to a run log and back: who belongs where. Pure: no I/O."""

from __future__ import annotations

from collections.abc import Iterable, Iterator
from typing import Any, TypeVar

import msgspec
from msgspec import UNSET

from chunkstore.names import escape_segment, readable_name
from chunkstore.records.models import BranchLog, Orphans, Problem, RunLog, StepLog

_R = TypeVar("_R", bound=StepLog | BranchLog)


def assemble(
    metadata: RunLog,
    records: Iterable[StepLog | BranchLog],
    parameters: dict[str, dict[str, Any]],
    problems: Iterable[Problem] = (),
) -> RunLog:
    """Nest records into a run log.

    A step belongs to the branch that its internal name without its last segment names. A branch belongs to the longest
    step name that its internal name starts with, so names with dots from other tools nest right too.

    Args:
        metadata: the run's own record; its steps are replaced.
        records: steps and branches in order of execution, at most one per kind and internal name. Their `branches`,
            `steps` and `parameters` are filled in.
        parameters: by the internal name of the branch; "" for the run itself.
        problems: what could not be read.

    Returns:
        `metadata`, now with everything in its place, or in `orphans` if it has none.
    """
    steps: dict[str, StepLog] = {}
    branches: dict[str, BranchLog] = {}
    for record in records:
        if isinstance(record, StepLog):
            record.branches = {}
            steps[record.internal_name] = record
        else:
            record.steps = {}
            record.parameters = {}
            branches[record.internal_name] = record

    orphans = Orphans()
    metadata.steps = {}
    for name, step in steps.items():
        branch = branch_of_step(step, branches)
        if branch is None:
            orphans.steps[name] = step
        else:
            (branches[branch].steps if branch else metadata.steps)[name] = step
    for name, branch_log in branches.items():
        parent = step_of_branch(name, steps)
        if parent is None:
            orphans.branches[name] = branch_log
        else:
            steps[parent].branches[name] = branch_log
    metadata.parameters = {}
    for scope, values in parameters.items():
        if not scope:
            metadata.parameters = values
        elif scope in branches:
            branches[scope].parameters = values
        elif values:
            orphans.parameters[scope] = values

    found = [*problems, *_orphan_problems(orphans)]
    metadata.found_orphans = orphans or UNSET
    metadata.found_problems = found or UNSET
    return metadata


def branch_of_step(step: StepLog, branches: dict[str, BranchLog]) -> str | None:
    """Return the internal name of the branch that `step` belongs to, "" for the run itself, None for an orphan."""
    internal_name = step.internal_name
    parent, _, last = internal_name.rpartition(".")
    if not parent or (last == step.name and parent in branches):
        return parent
    candidates = []
    for last_segment in (step.name, _escaped(step.name)):
        if internal_name == last_segment:
            candidates.append("")
        elif last_segment and internal_name.endswith(f".{last_segment}"):
            candidates.append(internal_name[: -len(last_segment) - 1])
    # Last, as the record's own name is the better witness where a tool leaves dots in names.
    candidates.append(parent)
    for candidate in candidates:
        if candidate and candidate in branches:
            return candidate
    return "" if "" in candidates else None


def _escaped(name: str) -> str:
    return escape_segment(name) if name else ""


def step_of_branch(branch: str, steps: dict[str, StepLog]) -> str | None:
    """Return the longest name in `steps` that `branch` starts with, or None."""
    end = branch.rfind(".")
    while end > 0:
        if branch[:end] in steps:
            return branch[:end]
        end = branch.rfind(".", 0, end)
    return None


def _orphan_problems(orphans: Orphans) -> Iterator[Problem]:
    for name in orphans.steps:
        yield Problem("orphan", name, f"the step {readable_name(name)} belongs to a branch that has no record")
    for name in orphans.branches:
        yield Problem("orphan", name, f"the branch {readable_name(name)} belongs to a step that has no record")
    for name in orphans.parameters:
        yield Problem("orphan", name, f"there are parameters for the branch {readable_name(name)}, which has no record")


def flatten(log: RunLog) -> tuple[list[StepLog | BranchLog], dict[str, dict[str, Any]]]:
    """Return the records and the parameters that `assemble` would make `log` from, outer records before inner ones."""
    parameters = {"": log.parameters}
    records = list(flatten_steps(log.steps, parameters))
    orphans = log.orphans
    records.extend(flatten_steps(orphans.steps, parameters))
    records.extend(flatten_branches(orphans.branches, parameters))
    parameters.update(orphans.parameters)
    return records, parameters


def flatten_inside(record: StepLog | BranchLog, parameters: dict[str, dict[str, Any]]) -> Iterator[StepLog | BranchLog]:
    """Yield all that is inside a record; parameters of branches, also its own, go to `parameters`."""
    if isinstance(record, StepLog):
        yield from flatten_branches(record.branches, parameters)
        return
    if record.parameters:
        parameters[record.internal_name] = record.parameters
    yield from flatten_steps(record.steps, parameters)


def flatten_steps(steps: dict[str, StepLog], parameters: dict[str, dict[str, Any]]) -> Iterator[StepLog | BranchLog]:
    """Yield the steps and all that is inside them; parameters of branches go to `parameters`."""
    for step in steps.values():
        yield bare(step)
        yield from flatten_branches(step.branches, parameters)


def flatten_branches(
    branches: dict[str, BranchLog], parameters: dict[str, dict[str, Any]]
) -> Iterator[StepLog | BranchLog]:
    """Yield the branches and all that is inside them; their parameters go to `parameters`."""
    for branch in branches.values():
        if branch.parameters:
            parameters[branch.internal_name] = branch.parameters
        yield bare(branch)
        yield from flatten_steps(branch.steps, parameters)


def bare(record: _R) -> _R:
    """Return a record without what is inside it and has records of its own; it is what the record's chunk holds."""
    if isinstance(record, StepLog):
        return msgspec.structs.replace(record, branches={}) if record.branches else record
    return msgspec.structs.replace(record, steps={}, parameters={}) if record.steps or record.parameters else record
