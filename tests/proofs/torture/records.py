"""Records whose name and version say all that is in them, so that a reader can tell torn and old ones."""

from __future__ import annotations

import itertools
import zlib
from collections.abc import Callable, Iterator
from typing import Any

from chunkstore.records.fields import MetricPoint
from chunkstore.records.models import BranchLog, RunLog, StepLog

_COUNT, _BY = "count", "by-"
_SIZES = 31


def make_step(name: str, version: int) -> StepLog:
    """Return a version of a step; versions differ in length, so that no mix of two passes for one."""
    return StepLog(
        name=name,
        internal_name=name,
        status="SUCCESS" if version % 2 else "PROCESSING",
        message=f"{version} is {version}",
        user_defined_metrics=_content(name, version),
    )


def _content(name: str, version: int) -> dict[str, Any]:
    text = f"{name} {version};" * (1 + version % _SIZES)
    return {"version": version, "text": text, "crc": zlib.crc32(text.encode())}


def make_branch(name: str, version: int) -> BranchLog:
    """Return a version of a branch with a step and a parameter inside."""
    inner = f"{name}.inner"
    return BranchLog(
        internal_name=name,
        status="SUCCESS",
        item=_content(name, version),
        steps={inner: make_step(inner, version)},
        parameters={"own": make_value(version)},
    )


def make_value(version: int) -> list[int]:
    """Return a version of a parameter."""
    return [version] * (1 + version % _SIZES)


def make_points(numbers: range) -> list[MetricPoint]:
    """Return points of a metric series: the value of each is its number."""
    return [MetricPoint(number, number) for number in numbers]


def count_by(writer: int) -> Callable[[StepLog], None]:
    """Return a change that counts: in all, and for this writer; whoever sees a part of it sees that they differ."""

    def change(step: StepLog) -> None:
        metrics = step.user_defined_metrics
        for key in (_COUNT, f"{_BY}{writer}"):
            metrics[key] = metrics.get(key, 0) + 1

    return change


def counted_by(step: StepLog, writer: int) -> int:
    """Return how often a writer has changed a step."""
    return int(step.user_defined_metrics.get(f"{_BY}{writer}", 0))


def version_of(step: StepLog) -> int:
    """Return the version of a whole step."""
    return int(step.user_defined_metrics["version"])


def wrong_in_step(step: StepLog) -> str:
    """Say what is wrong with a step; nothing if it is one version of itself, whole."""
    metrics = step.user_defined_metrics
    version = metrics.get("version")
    if not isinstance(version, int):
        return f"step {step.internal_name} has no version"
    own, total, by_writer = {}, 0, 0
    for key, value in metrics.items():
        if key == _COUNT:
            total = value
        elif key.startswith(_BY):
            by_writer += value
        else:
            own[key] = value
    status = "SUCCESS" if version % 2 else "PROCESSING"
    if own != _content(step.internal_name, version):
        return f"step {step.internal_name} has other metrics than its version {version}"
    if (step.status, step.message) != (status, f"{version} is {version}"):
        return f"step {step.internal_name} has another status or message than its version {version}"
    if total != by_writer:
        return f"step {step.internal_name} was changed {total} times, and by its writers {by_writer} times"
    return wrong_in_series(step)


def wrong_in_series(step: StepLog) -> str:
    """Say what is wrong with the metric series of a step."""
    for name, points in (step.metric_series or {}).items():
        if [(point.step, point.value) for point in points] != [(number, number) for number in range(len(points))]:
            return f"step {step.internal_name} has gaps or doubles in its series {name}: {points}"
    return ""


def wrong_in_branch(branch: BranchLog) -> str:
    """Say what is wrong with a branch itself."""
    item = branch.item if isinstance(branch.item, dict) else {}
    if not item or item != _content(branch.internal_name, item.get("version", 0)):
        return f"branch {branch.internal_name} has another item than its version"
    return ""


def value_of(value: Any) -> int:
    """Return the version of a parameter; -1 if it is not whole."""
    return value[0] if isinstance(value, list) and value and value == make_value(value[0]) else -1


def all_steps(log: RunLog) -> Iterator[StepLog]:
    """Yield the steps of a run and those inside its branches, and those without a place too."""
    branches = [*log.orphans.branches.values()]
    for step in itertools.chain(log.steps.values(), log.orphans.steps.values()):
        yield step
        branches += step.branches.values()
    for branch in branches:
        yield from branch.steps.values()


def all_branches(log: RunLog) -> Iterator[BranchLog]:
    """Yield the branches of a run, and those without a place too."""
    for step in log.steps.values():
        yield from step.branches.values()
    yield from log.orphans.branches.values()
