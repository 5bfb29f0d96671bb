"""A run log as a tree: one line per step and branch, with status, duration, attempts, metrics, data and failures."""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterable, Iterator, Sequence
from datetime import datetime, timedelta
from typing import NamedTuple

import msgspec
from msgspec import UNSET

from chunkstore.clock import parse_time
from chunkstore.names import readable_name, unescape_segment
from chunkstore.records.attempts import counting_branches, left_behind
from chunkstore.records.late import UNKNOWN as NO_END
from chunkstore.records.models import FAIL, PROCESSING, SUCCESS, BranchLog, Problem, RunLog, StepLog
from chunkstore.views.durations import run_duration, step_duration
from chunkstore.views.formats import format_seconds, mark_of
from chunkstore.views.recorded_values import failure_of, is_output, metrics_of, number_text, short_hash
from chunkstore.views.texts import counted, cut, printable, shown_message

#: Composite steps with more branches show those that did not succeed, and count the others.
MOST_BRANCHES = 12
#: Of more steps in a row, those that succeeded in the middle are counted.
MOST_STEPS = 60
#: Of more branches or steps that did not succeed, the rest is counted too.
MOST_FAILED = 50
#: Metrics and data of a step that are shown in its line; more are counted.
_MOST_VALUES = 4

#: What parts of a line are, so that colours can tell them apart. The part with the mark of a status has that status for
#: its role.
DRAWING, NAME, DETAIL, MESSAGE, METRIC, DATA = "drawing", "name", "detail", "message", "metric", "data"
_GAP = "  "
#: What is nested deeper is left out.
_DEEPEST = 100
_BAR_WIDTH = 16
_EIGHTHS = ("", "▏", "▎", "▍", "▌", "▋", "▊", "▉")


class Part(NamedTuple):
    """A piece of a line, and what it is."""

    text: str
    role: str


Line = list[Part]


class Folding(msgspec.Struct, frozen=True, kw_only=True):
    """What a tree leaves out.

    Attributes:
        most_branches: composite steps with more branches show those that did not succeed, and count the others.
        most_steps: of more steps in a row, those that succeeded in the middle are counted.
        most_failed: of more that did not succeed, the rest is counted too.
        unended: what the status PROCESSING stands for: that of the run, if nobody records it any more.
        now: what time it is, to tell how long steps have gone on; None to leave that out.
    """

    most_branches: int = MOST_BRANCHES
    most_steps: int = MOST_STEPS
    most_failed: int = MOST_FAILED
    unended: str = PROCESSING
    now: datetime | None = None


class _Node(NamedTuple):
    line: Line
    children: Iterable[_Node]


def render_tree(log: RunLog, *, width: int | None = None, most_branches: int = MOST_BRANCHES) -> str:
    """Return a run log as a tree.

    Args:
        log: a whole run log.
        width: longest line, in characters; longer ones are cut. None for no limit.
        most_branches: composite steps with more branches are folded: only those that did not succeed are shown.

    Returns:
        Lines of text, the last one without a line break.
    """
    folding = Folding(most_branches=most_branches, most_steps=max(most_branches, MOST_STEPS))
    lines = ("".join(printable(part.text) for part in line) for line in [_run_line(log), *tree_lines(log, folding)])
    return "\n".join(line if width is None else cut(line, width) for line in lines)


def tree_lines(log: RunLog, folding: Folding) -> Iterator[Line]:
    """Yield the lines of a tree below that of the run itself: its steps, and what could not be read."""
    nodes = [*_step_nodes(log.steps, "", folding), *(_Node(_problem_line(problem), ()) for problem in log.problems)]
    yield from _drawn(nodes, "")


def subtree_lines(step: StepLog, folding: Folding) -> Iterator[Line]:
    """Yield the lines of the branches in a step."""
    yield from _drawn(list(_branch_nodes(step, folding)), "")


def branch_lines(branch: BranchLog, folding: Folding) -> Iterator[Line]:
    """Yield the line of a branch, and those of the steps in it."""
    yield _branch_line(branch, readable_name(branch.internal_name), folding)
    yield from _drawn(list(_step_nodes(branch.steps, branch.internal_name, folding)), "")


def _drawn(nodes: Sequence[_Node], prefix: str) -> Iterator[Line]:
    for node in nodes:
        last = node is nodes[-1]
        yield [Part(f"{prefix}{'└── ' if last else '├── '}", DRAWING), *node.line]
        inner = f"{prefix}{'    ' if last else '│   '}"
        if len(inner) <= _DEEPEST * 4:
            yield from _drawn(list(node.children), inner)
        elif any(True for _ in node.children):
            yield [Part(f"{inner}└── ", DRAWING), Part("… deeper than can be shown", DETAIL)]


def _problem_line(problem: Problem) -> Line:
    # The message about an orphan names it; a file's name stands before what is wrong with it.
    text = problem.message if problem.kind == "orphan" else f"{problem.file}: {problem.message}"
    return [Part(f"! {text}", MESSAGE)]


def _run_line(log: RunLog) -> Line:
    parts = [
        Part(log.run_id, NAME),
        Part(log.status, log.status),
        Part(format_seconds(run_duration(log)), DETAIL),
        Part(f"tag {log.tag}" if log.tag else "", DETAIL),
        Part(shown_message(str(log.notes.get("message", ""))), MESSAGE),
    ]
    return spaced(parts)


def spaced(parts: Iterable[Part]) -> Line:
    """Return the parts that are not empty, with gaps between them."""
    line: Line = []
    for part in parts:
        if part.text:
            line += [Part(_GAP, DETAIL), part] if line else [part]
    return line


# --- steps and branches ----------------------------------------------------------------------------------------------


def _step_nodes(steps: dict[str, StepLog], parent: str, folding: Folding) -> Iterator[_Node]:
    """Yield nodes for steps in a row; where they are many, those that succeeded in the middle become a line."""
    behind = left_behind(steps)
    ends = folding.most_steps // 4
    shown = set(steps) if len(steps) <= folding.most_steps else {*list(steps)[:ends], *list(steps)[-ends:]}
    hidden: Counter[str] = Counter()
    left = folding.most_failed
    for name, step in steps.items():
        if name not in shown and (step.status == SUCCESS or left <= 0):
            hidden[step.status] += 1
            continue
        left -= name not in shown
        yield from _hidden_nodes(hidden, "step")
        hidden.clear()
        yield _step_node(step, parent, folding, _BEHIND if name in behind else "")
    yield from _hidden_nodes(hidden, "step")


def _step_node(step: StepLog, parent: str, folding: Folding, note: str) -> _Node:
    name = last_segment(step.internal_name, parent)
    return _Node(_line(step.status, f"{name}{_kind(step)}", step, folding, note), _branch_nodes(step, folding))


def _kind(step: StepLog) -> str:
    """Return what kind of composite a step is, and how its branches went."""
    if not step.branches and not _is_under_way(step):
        return ""
    counts = Counter(branch.status for branch in counting_branches(step).values())
    branches = counted(counts.total(), "branch")
    if _is_under_way(step):
        ended = counts[SUCCESS] + counts[FAIL]
        running = f", {counts[PROCESSING]:,} under way" if counts[PROCESSING] else ""
        failed = f", {counts[FAIL]:,} failed" if counts[FAIL] else ""
        return f" ({step.step_type}, {bar(ended, _planned(step))} {ended:,} of {_planned(step):,}{running}{failed})"
    if len(counts) > 1:
        branches = f"{branches}: {counts_text(counts)}"
    return f" ({step.step_type}, {branches})"


def _is_under_way(step: StepLog) -> bool:
    return step.status == PROCESSING and _planned(step) > 0


def _planned(step: StepLog) -> int:
    return 0 if step.planned_branches is UNSET else step.planned_branches


def bar(done: int, total: int) -> str:
    """Return a bar that shows which part is done."""
    eighths = min(done, total) * 8 * _BAR_WIDTH // max(total, 1)
    full, rest = divmod(eighths, 8)
    return ("█" * full + _EIGHTHS[rest] + "░" * _BAR_WIDTH)[:_BAR_WIDTH]


def counts_text(counts: dict[str, int]) -> str:
    """Return how many have which status: `1,997 succeeded, 3 failed`."""
    ordered = sorted(counts.items(), key=lambda item: _ORDER.index(item[0]) if item[0] in _ORDER else len(_ORDER))
    return ", ".join(f"{count:,} {_VERBS.get(status, status)}" for status, count in ordered if count)


#: What is said of a step or branch that is left behind.
_BEHIND = "in an attempt that was tried again"
_VERBS = {SUCCESS: "succeeded", FAIL: "failed", PROCESSING: "not ended"}
_ORDER = tuple(_VERBS)


def _branch_nodes(step: StepLog, folding: Folding) -> Iterator[_Node]:
    branches = step.branches.values()
    counting = counting_branches(step)
    is_wide = len(branches) > folding.most_branches
    hidden: Counter[str] = Counter()
    left = folding.most_failed
    for branch in branches:
        if is_wide and (branch.status == SUCCESS or left <= 0):
            hidden[branch.status] += 1
        else:
            left -= is_wide
            note = "" if branch.internal_name in counting else _BEHIND
            yield _branch_node(branch, step, folding, note)
    more = "more " if len(branches) > hidden.total() else ""
    yield from _hidden_nodes(hidden, f"{more}branch")


def _hidden_nodes(hidden: Counter[str], what: str) -> Iterator[_Node]:
    """Yield a line that counts what is not shown."""
    for status, count in hidden.items():
        yield _Node([Part(f"{counted(count, what)} {_VERBS.get(status, status)}", DETAIL)], ())


def _branch_node(branch: BranchLog, parent: StepLog, folding: Folding, note: str) -> _Node:
    name = last_segment(branch.internal_name, parent.internal_name)
    steps = list(branch.steps.values())
    if len(steps) == 1 and not steps[0].branches:
        # The usual branch runs one function: one line says it all.
        told = _starts(branch) if len(branch.attempts or ()) != len(steps[0].attempts) else ""
        return _Node(_line(branch.status, name, steps[0], folding, ", ".join(filter(None, [told, note]))), ())
    line = _branch_line(branch, name, folding, note)
    return _Node(line, _step_nodes(branch.steps, branch.internal_name, folding))


def _starts(branch: BranchLog) -> str:
    """Return how often a branch was started, if that is more than once."""
    return f"started {len(branch.attempts)} times" if branch.attempts and len(branch.attempts) > 1 else ""


def _branch_line(branch: BranchLog, name: str, folding: Folding, note: str = "") -> Line:
    return spaced(
        [
            *_head(branch.status, name, folding),
            Part(_starts(branch), DETAIL),
            Part(note, DETAIL),
            Part(_late(branch), DETAIL),
            Part(shown_message(failure_of(branch)), MESSAGE),
        ]
    )


def _late(record: StepLog | BranchLog) -> str:
    return "" if record.late in (UNSET, NO_END) else "late"


def _head(status: str, name: str, folding: Folding) -> Line:
    shown = folding.unended if status == PROCESSING else status
    return [Part(f"{mark_of(shown)} {name}", shown)]


def _line(status: str, name: str, step: StepLog, folding: Folding, note: str = "") -> Line:
    attempts = f"{len(step.attempts)} attempts" if len(step.attempts) > 1 else ""
    cached = "" if step.cached_from is UNSET else f"taken over from {step.cached_from}"
    return spaced(
        [
            *_head(status, name, folding),
            Part(format_seconds(step_duration(step) or _elapsed(step, folding)), DETAIL),
            Part(attempts, DETAIL),
            Part(cached, DETAIL),
            Part(note, DETAIL),
            Part(_late(step), DETAIL),
            Part(shown_message(failure_of(step)), MESSAGE),
            Part(_metrics_text(step), METRIC),
            Part(_data_text(step), DATA),
        ]
    )


def _elapsed(step: StepLog, folding: Folding) -> timedelta | None:
    if folding.now is None or folding.unended != PROCESSING or step.status != PROCESSING or not step.attempts:
        return None
    start = parse_time(step.attempts[0].start_time)
    return max(folding.now - start, timedelta()) if start else None


def _metrics_text(step: StepLog) -> str:
    texts = [f"{name}={number_text(value)}" for name, value in metrics_of(step).items()]
    if step.metric_series is not UNSET:
        series = ((name, points) for name, points in step.metric_series.items() if points)
        texts += [
            f"{name}={number_text(points[-1].value)} ({counted(len(points), 'point')})" for name, points in series
        ]
    return _enumerated(texts)


def _data_text(step: StepLog) -> str:
    arrows = {"get": "←", "put": "→"}
    data = [entry for entry in step.data_catalog if not is_output(entry)]
    return _enumerated(
        [
            f"{arrows.get(entry.stage, entry.stage)} {entry.name} {short_hash(entry.data_hash)[:8]}".rstrip()
            for entry in data
        ]
    )


def _enumerated(texts: list[str]) -> str:
    more = f", {len(texts) - _MOST_VALUES} more" if len(texts) > _MOST_VALUES else ""
    return ", ".join(texts[:_MOST_VALUES]) + more


def last_segment(internal_name: str, parent: str) -> str:
    """Return what a step or branch is called inside another one."""
    inner = internal_name.removeprefix(f"{parent}.") if parent else internal_name
    return unescape_segment(inner)
