"""What is measured: scenarios, their sides, and rounds in which the sides take turns."""

from __future__ import annotations

import os
import statistics
from array import array
from collections.abc import Callable, Iterable, Sequence
from dataclasses import dataclass, field
from importlib.util import find_spec
from pathlib import Path
from typing import Literal

from benchmarks.environment import scratch
from benchmarks.workers import Timed, WorkerError, message_of

#: Whether a side is chunkstore, the bare system calls, or another place for the same records.
Role = Literal["ours", "floor", "peer"]

#: What costs are counted in.
Unit = Literal["seconds", "bytes"]

NANOSECONDS = 1_000_000_000

#: The name of an extra number: seconds of processor time per operation, of all processes that measured.
PROCESSOR = "processor"


@dataclass(frozen=True, kw_only=True)
class Task:
    """What a side is asked to do.

    Attributes:
        folder: new and empty.
        count: how many records.
        limit: seconds after which the timed part is to begin nothing new; only peers have one.
    """

    folder: Path
    count: int
    limit: float


@dataclass(kw_only=True)
class Sample:
    """What one side gave in one round.

    Attributes:
        cost: per operation, in the scenario's unit; ratios are those of costs.
        operations: how many were acknowledged.
        latencies: nanoseconds, one for each operation.
        expected: records that were acknowledged.
        found: those of them that were there afterwards.
        failed: how many operations failed.
        error: what the first of them said.
        extra: further numbers by name.
    """

    cost: float = float("nan")
    operations: int = 0
    latencies: array[int] = field(default_factory=lambda: array("q"))
    expected: int = 0
    found: int = 0
    failed: int = 0
    error: str = ""
    extra: dict[str, float] = field(default_factory=dict)

    @property
    def correct(self) -> bool:
        """Whether nothing failed and nothing is missing."""
        return not self.error and self.found == self.expected


def sample_of(parts: Sequence[Timed], *, expected: int, found: int = 0) -> Sample:
    """Return the sample that processes measured together: its cost is the time that passed, per operation."""
    latencies = array("q")
    for part in parts:
        latencies.extend(part.latencies)
    nanoseconds = max(part.ended for part in parts) - min(part.started for part in parts)
    return Sample(
        cost=nanoseconds / NANOSECONDS / len(latencies) if latencies else float("nan"),
        operations=len(latencies),
        latencies=latencies,
        expected=expected,
        found=found,
        failed=sum(len(part.failed) for part in parts),
        error=next((part.error for part in parts if part.error), ""),
        extra={PROCESSOR: sum(part.processor for part in parts) / len(latencies)} if latencies else {},
    )


@dataclass(frozen=True, kw_only=True)
class Side:
    """One of those that do the work of a scenario.

    Attributes:
        name: unique in the scenario.
        role: see `Role`.
        measure: does the work.
        floor: the side that does the same with bare system calls; empty for none.
        why_skipped: says why it cannot be measured here; empty if it can.
        load: imports what it needs; called once, before anything is measured.
        slow: whether it is left out where there is little time.
    """

    name: str
    role: Role
    measure: Callable[[Task], Sample]
    floor: str = ""
    why_skipped: Callable[[], str] = lambda: ""
    load: Callable[[], None] = lambda: None
    slow: bool = False


def needs(**distributions: str) -> Callable[[], str]:
    """Return what says which distributions are missing, if any.

    Args:
        distributions: by the module that shows that they are there.
    """

    def why_skipped() -> str:
        missing = [name for module, name in distributions.items() if find_spec(module) is None]
        return f"skipped: {' and '.join(missing)} {'are' if missing[1:] else 'is'} not installed" if missing else ""

    return why_skipped


@dataclass(frozen=True, kw_only=True)
class Target:
    """What one of our own sides has to reach, on ext4 with two cores.

    Attributes:
        side: which one.
        measure: `cost`, `median`, `p99`, or the name of an extra number of its samples.
        against: the other side; empty if the number itself is meant.
        how: `ratio` (ours divided by theirs), `gain` (theirs divided by ours), `difference` or `value`.
        limit: a gain must be at least that; anything else at most that.
        unit: what differences and values are counted in.
        text: says so in words.
    """

    side: str
    limit: float
    text: str
    against: str = ""
    measure: str = "cost"
    how: Literal["ratio", "gain", "difference", "value"] = "ratio"
    unit: Unit | Literal[""] = ""


def at_most(limit: float, against: str, *, side: str = "chunkstore", measure: str = "cost") -> Target:
    """Return the target that one side takes at most `limit` times as much as another."""
    what = f"{measure} of {side}" if measure != "cost" else side
    return Target(side=side, limit=limit, against=against, measure=measure, text=f"{what} ≤ {limit:g} x {against}")


def throughput_at_least(limit: float, against: str, *, side: str = "chunkstore") -> Target:
    """Return the target that one side does at least `limit` times as many operations in the same time."""
    text = f"throughput of {side} ≥ {limit:g} x {against}"
    return Target(side=side, limit=limit, against=against, how="gain", text=text)


@dataclass(frozen=True, kw_only=True)
class Scenario:
    """One kind of work, done by several sides.

    Attributes:
        name: what `--only` calls it.
        case: tells apart those of the same name.
        work: what is done, in a line.
        costs: what costs are, the title of their column.
        count: how much there is of what is recorded or read, before scaling.
        counted: what that is.
        sides: in the order of the table.
        targets: what is to be reached.
        unit: what costs are counted in.
        rounds: how often each side does it, unless somebody asks for another number.
    """

    name: str
    work: str
    costs: str
    count: int
    sides: tuple[Side, ...]
    targets: tuple[Target, ...] = ()
    case: str = ""
    counted: str = "steps"
    unit: Unit = "seconds"
    rounds: int = 3

    @property
    def title(self) -> str:
        """The name, and the case if there is one."""
        return f"{self.name}, {self.case}" if self.case else self.name


@dataclass(frozen=True, kw_only=True)
class Settings:
    """How much is measured.

    Attributes:
        folder: chooses the file system.
        rounds: how often each side does its work; None for what each scenario says.
        most_rounds: what a scenario says counts up to this number.
        scale: what numbers of records are multiplied by.
        limit: seconds after which the timed part of a peer begins nothing new.
        slow_too: whether slow sides are measured as well.
    """

    folder: Path
    rounds: int | None = None
    most_rounds: int = 5
    scale: float = 1.0
    limit: float = 2.0
    slow_too: bool = True

    def rounds_of(self, scenario: Scenario) -> int:
        """Return how often each side of a scenario does its work."""
        return self.rounds or min(scenario.rounds, self.most_rounds)


@dataclass(kw_only=True)
class SideResult:
    """What one side gave in all rounds.

    Attributes:
        side: which one.
        skipped: why it was not measured; empty if it was.
        samples: one for each round.
    """

    side: Side
    skipped: str = ""
    samples: list[Sample] = field(default_factory=list)

    @property
    def correct(self) -> bool:
        """Whether no round lost anything."""
        return all(sample.correct for sample in self.samples)

    def number(self, measure: str) -> float | None:
        """Return a cost or an extra number, the median over the rounds, or a percentile of all latencies in seconds.

        None if it was not measured.
        """
        if measure in PERCENTILES:
            return self.percentile(PERCENTILES[measure])
        numbers = [number for sample in self.samples if (number := _number(sample, measure)) is not None]
        return statistics.median(numbers) if numbers else None

    def percentile(self, share: float) -> float | None:
        """Return the seconds that this share of all operations in all rounds took at most."""
        latencies = sorted(latency for sample in self.samples for latency in sample.latencies)
        if not latencies:
            return None
        return latencies[min(len(latencies) - 1, int(share * len(latencies)))] / NANOSECONDS


#: Percentiles by the name that targets and reports give them.
PERCENTILES = {"median": 0.5, "p95": 0.95, "p99": 0.99, "p99.9": 0.999, "max": 1.0}


def _number(sample: Sample, measure: str) -> float | None:
    number = sample.cost if measure == "cost" else sample.extra.get(measure, float("nan"))
    return number if number == number else None  # noqa: PLR0124 - not a number differs from itself


@dataclass(kw_only=True)
class ScenarioResult:
    """What all sides gave."""

    scenario: Scenario
    count: int
    sides: dict[str, SideResult]

    def ratio(self, name: str, to: str, measure: str = "cost") -> float | None:
        """Return how many times as much one side takes as another; None if one of them was not measured.

        Costs are compared within each round, and the median of that counts: what slows down the whole machine for a
        while then slows down both.
        """
        ours, theirs = self.sides.get(name), self.sides.get(to)
        if ours is None or theirs is None:
            return None
        if measure in PERCENTILES:
            numbers = ours.number(measure), theirs.number(measure)
            return numbers[0] / numbers[1] if numbers[0] and numbers[1] else None
        pairs = [
            (_number(one, measure), _number(other, measure))
            for one, other in zip(ours.samples, theirs.samples, strict=False)
        ]
        ratios = [one / other for one, other in pairs if one and other]
        return statistics.median(ratios) if ratios else None

    def reached(self, target: Target) -> tuple[float | None, bool | None]:
        """Return the number that a target is about, and whether that reaches it; None if it was not measured."""
        number = self._target_number(target)
        if number is None:
            return None, None
        return number, number >= target.limit if target.how == "gain" else number <= target.limit

    def _target_number(self, target: Target) -> float | None:
        if target.how == "ratio":
            return self.ratio(target.side, target.against, target.measure)
        if target.how == "gain":
            return self.ratio(target.against, target.side, target.measure)
        ours = self.sides[target.side].number(target.measure)
        if ours is None or target.how == "value":
            return ours
        theirs = self.sides[target.against].number(target.measure)
        return None if theirs is None else ours - theirs

    @property
    def correct(self) -> bool:
        """Whether our own sides lost nothing."""
        return all(result.correct for result in self.sides.values() if result.side.role == "ours")


def measure(
    scenario: Scenario, settings: Settings, report: Callable[[str], None] = lambda _text: None
) -> ScenarioResult:
    """Let all sides of a scenario do their work in turns, each round in another order, and return what they gave.

    Args:
        scenario: what is done.
        settings: how much of it.
        report: is told what is being done.
    """
    count = max(1, round(scenario.count * settings.scale))
    results = {side.name: SideResult(side=side, skipped=_why_skipped(side, settings)) for side in scenario.sides}
    measured = [result for result in results.values() if not result.skipped]
    rounds = settings.rounds_of(scenario)
    for number in range(rounds):
        for result in _rotated(measured, number):
            report(f"{scenario.title}: {result.side.name}, round {number + 1} of {rounds}")
            result.samples.append(_measure_side(result.side, count, settings))
    return ScenarioResult(scenario=scenario, count=count, sides=results)


def _why_skipped(side: Side, settings: Settings) -> str:
    """Load what a side needs; return why it cannot be measured, or is not to be."""
    if reason := side.why_skipped():
        return reason
    if side.slow and not settings.slow_too:
        return "skipped: too slow for --quick"
    try:
        side.load()
    except Exception as error:  # noqa: BLE001 - the other sides are measured all the same
        return f"skipped: {message_of(error)}"
    return ""


def _rotated(results: list[SideResult], by: int) -> Iterable[SideResult]:
    start = by % max(1, len(results))
    return results[start:] + results[:start]


def _measure_side(side: Side, count: int, settings: Settings) -> Sample:
    os.sync()  # so that no side has to wait for what another one wrote
    with scratch(settings.folder) as folder:
        limit = settings.limit if side.role == "peer" else float("inf")
        try:
            return side.measure(Task(folder=folder, count=count, limit=limit))
        except WorkerError as error:
            return Sample(error=str(error))
        except Exception as error:  # noqa: BLE001 - the other sides are measured all the same
            return Sample(error=message_of(error))
