"""What is measured, in the order in which it is shown."""

from __future__ import annotations

from benchmarks.measure import Scenario
from benchmarks.scenarios import awaiting, following, importing, mapping, reading, writing

ALL: tuple[Scenario, ...] = (
    *writing.SCENARIOS,
    *reading.SCENARIOS,
    *following.SCENARIOS,
    *mapping.SCENARIOS,
    *awaiting.SCENARIOS,
    *importing.SCENARIOS,
)
