"""Measuring some scenarios one after the other: showing each, and writing all of them to a file."""

from __future__ import annotations

import sys
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import msgspec

from benchmarks.measure import Scenario, ScenarioResult, Settings, measure
from benchmarks.report import ProgressBar, environment_table, new_console, scenario_report, summary_table
from benchmarks.results import as_document


def measure_all(
    chosen: Sequence[Scenario],
    settings: Settings,
    found: dict[str, str],
    output: Path,
    *,
    as_json: bool,
    where: str = "on ext4 with two cores",
) -> tuple[dict[str, Any], list[ScenarioResult]]:
    """Measure and show scenarios; return the document that was written, and what it was made of.

    Args:
        chosen: the scenarios.
        settings: how much of each.
        found: the environment.
        output: where `results.json` is put.
        as_json: whether it is printed instead of tables.
        where: what the targets are for.
    """
    console = new_console()
    if not as_json:
        console.print(environment_table(found))
    results: list[ScenarioResult] = []
    total = sum(settings.rounds_of(scenario) * len(scenario.sides) for scenario in chosen)
    with ProgressBar(total) as progress:
        for scenario in chosen:
            results.append(measure(scenario, settings, progress.advance))
            if not as_json:
                with progress.paused():
                    console.print(scenario_report(results[-1]))
    document = as_document(found, settings, results)
    encoded = msgspec.json.encode(document)
    (output / "results.json").write_bytes(encoded)
    if as_json:
        sys.stdout.write(encoded.decode() + "\n")
    else:
        console.print()
        console.print(summary_table(results, where))
    return document, results
