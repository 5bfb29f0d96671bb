"""A run log as a tree of text: one line per step and branch, with status and duration."""

from __future__ import annotations

from collections.abc import Iterator
from datetime import datetime, timedelta
from typing import NamedTuple

from msgspec import UNSET

from chunkstore.clock import parse_time
from chunkstore.models import SUCCESS, BranchLog, Problem, RunLog, StepLog
from chunkstore.names import unescape_segment
from chunkstore.views.formats import format_seconds, mark_of

#: Composite steps with more branches show those that did not succeed, and count the others.
MOST_BRANCHES = 12


class _Node(NamedTuple):
    label: str
    children: list[_Node]


def render_tree(log: RunLog, *, width: int | None = None, most_branches: int = MOST_BRANCHES) -> str:
    """Return a run log as a tree.

    Args:
        log: a whole run log.
        width: longest line, in characters; longer ones are cut. None for no limit.
        most_branches: composite steps with more branches are folded: only those that did not succeed are shown.

    Returns:
        Lines of text, the last one without a line break.
    """
    steps = [_step_node(step, "", most_branches) for step in log.steps.values()]
    lost = [_Node(f"! {_problem(problem)}", []) for problem in log.problems]
    lines = [_run_label(log), *_lines([*steps, *lost], "")]
    return "\n".join(line if width is None or len(line) <= width else f"{line[: width - 1]}…" for line in lines)


def _problem(problem: Problem) -> str:
    # The message about an orphan names it; a file's name stands before what is wrong with it.
    return problem.message if problem.kind == "orphan" else f"{problem.file}: {problem.message}"


def _run_label(log: RunLog) -> str:
    notes = log.notes
    duration = _between(str(notes.get("created", "")), str(notes.get("finished", "")))
    parts = [log.run_id, log.status, format_seconds(duration), f"tag {log.tag}" if log.tag else ""]
    message = str(notes.get("message", ""))
    return "  ".join(part for part in parts if part) + (f"  {message}" if message else "")


def _step_node(step: StepLog, parent: str, most_branches: int) -> _Node:
    children = [_branch_node(branch, step, most_branches) for branch in _shown(step, most_branches)]
    hidden = len(step.branches) - len(children)
    if hidden:
        children.append(_Node(f"{hidden:,} {'more ' if children else ''}branches succeeded", []))
    branches = "1 branch" if len(step.branches) == 1 else f"{len(step.branches):,} branches"
    kind = f" ({step.step_type}, {branches})" if step.branches else ""
    return _Node(_label(step.status, f"{_last_segment(step.internal_name, parent)}{kind}", step), children)


def _shown(step: StepLog, most_branches: int) -> list[BranchLog]:
    branches = list(step.branches.values())
    if len(branches) <= most_branches:
        return branches
    return [branch for branch in branches if branch.status != SUCCESS]


def _branch_node(branch: BranchLog, parent: StepLog, most_branches: int) -> _Node:
    name = _last_segment(branch.internal_name, parent.internal_name)
    steps = list(branch.steps.values())
    if len(steps) == 1 and not steps[0].branches:
        # The usual branch runs one function: one line says it all.
        return _Node(_label(branch.status, name, steps[0]), [])
    message = "" if branch.message is UNSET else branch.message
    label = "  ".join(part for part in (f"{mark_of(branch.status)} {name}", _short(message)) if part)
    return _Node(label, [_step_node(step, branch.internal_name, most_branches) for step in steps])


def _label(status: str, name: str, step: StepLog) -> str:
    attempts = f"{len(step.attempts)} attempts" if len(step.attempts) > 1 else ""
    cached = "" if step.cached_from is UNSET else f"taken over from {step.cached_from}"
    parts = (f"{mark_of(status)} {name}", format_seconds(step_duration(step)), attempts, cached, _short(step.message))
    return "  ".join(part for part in parts if part)


def _short(message: str) -> str:
    return message.strip().splitlines()[0] if message.strip() else ""


def _last_segment(internal_name: str, parent: str) -> str:
    inner = internal_name.removeprefix(f"{parent}.") if parent else internal_name
    return unescape_segment(inner)


def step_duration(step: StepLog) -> timedelta | None:
    """Return how long a step took, from the start of its first attempt to the end of its last; None if unknown."""
    starts = [attempt.start_time for attempt in step.attempts if attempt.start_time]
    return _between(starts[0], step.attempts[-1].end_time) if starts else None


def _between(start: str, end: str) -> timedelta | None:
    first: datetime | None = parse_time(start)
    last = parse_time(end)
    return last - first if first and last else None


def _lines(nodes: list[_Node], prefix: str) -> Iterator[str]:
    for node in nodes:
        last = node is nodes[-1]
        yield f"{prefix}{'└── ' if last else '├── '}{node.label}"
        yield from _lines(node.children, f"{prefix}{'    ' if last else '│   '}")
