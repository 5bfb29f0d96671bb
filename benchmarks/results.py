"""What was measured, as a document of plain values: what the tables show, and every number behind it."""

from __future__ import annotations

import math
import statistics
from collections.abc import Sequence
from typing import Any

from benchmarks.measure import PERCENTILES, Sample, ScenarioResult, Settings, SideResult


def as_document(environment: dict[str, str], settings: Settings, results: Sequence[ScenarioResult]) -> dict[str, Any]:
    """Return all results; latencies are in nanoseconds, other times in seconds, memory in bytes."""
    return {
        "environment": environment,
        "settings": {"scale": settings.scale, "limit of peers": settings.limit, "slow sides too": settings.slow_too},
        "correct": all(result.correct for result in results),
        "scenarios": [_scenario(result) for result in results],
    }


def _scenario(result: ScenarioResult) -> dict[str, Any]:
    scenario = result.scenario
    return {
        "name": scenario.name,
        "case": scenario.case,
        "work": scenario.work,
        "costs": scenario.costs,
        "unit": scenario.unit,
        "count": result.count,
        "counted": scenario.counted,
        "correct": result.correct,
        "targets": [_target(result, number) for number in range(len(scenario.targets))],
        "sides": [_side(result, name) for name in result.sides],
    }


def _target(result: ScenarioResult, place: int) -> dict[str, Any]:
    target = result.scenario.targets[place]
    number, reached = result.reached(target)
    return {"text": target.text, "how": target.how, "limit": target.limit, "measured": number, "reached": reached}


def _side(result: ScenarioResult, name: str) -> dict[str, Any]:
    side = result.sides[name]
    numbers = {measure: side.number(measure) for measure in ("cost", *PERCENTILES)}
    return {
        "name": name,
        "role": side.side.role,
        "skipped": side.skipped,
        "operations": operations(side),
        **numbers,
        "ratios": {other: ratio for other in result.sides if (ratio := result.ratio(name, other)) is not None},
        "correct": side.correct,
        "records": outcome(side),
        "rounds": [_round(sample) for sample in side.samples],
    }


def _round(sample: Sample) -> dict[str, Any]:
    return {
        "cost": None if math.isnan(sample.cost) else sample.cost,
        "operations": sample.operations,
        "expected": sample.expected,
        "found": sample.found,
        "failed": sample.failed,
        "error": sample.error,
        "extra": sample.extra,
        "latencies": list(sample.latencies),
    }


def operations(side: SideResult) -> int:
    """Return how many operations were acknowledged in a round."""
    return round(statistics.median(sample.operations for sample in side.samples)) if side.samples else 0


def ratio_text(number: float | None) -> str:
    """Return a ratio as people read it."""
    if number is None:
        return ""
    return f"{number:.2f}" if number < 100 else f"{number:,.0f}"  # noqa: PLR2004 - more digits say nothing


def outcome(side: SideResult) -> str:
    """Return in words what became of the records of a side, in all rounds together."""
    if side.skipped:
        return side.skipped
    expected, found, failed = (
        sum(getattr(sample, name) for sample in side.samples) for name in ("expected", "found", "failed")
    )
    error = next((sample.error for sample in side.samples if sample.error), "")
    parts = []
    if found < expected:
        parts.append(f"lost {expected - found:,} of {expected:,}")
    elif found > expected and not error:
        parts.append(f"found {found:,} instead of {expected:,}")
    if failed:
        parts.append(f"{failed:,} failed")
    if error:
        parts.append(error)
    return "; ".join(parts) or (f"all of {expected:,}" if expected else "")
