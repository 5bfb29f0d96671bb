"""Importing the library in a fresh interpreter."""

from __future__ import annotations

import statistics
import time

from benchmarks.fresh import run_python
from benchmarks.measure import NANOSECONDS, Sample, Scenario, Side, Target, at_most, needs

#: Modules for command lines and configuration files, which a library that records has no use for.
_HEAVY = ("typer", "click", "rich", "yaml", "argparse")
_DEPENDENCIES = "its dependencies"


def _import(modules: str, times: int) -> Sample:
    """Start interpreters that import modules, and count what they have loaded that is heavy."""
    code = f"import sys, {modules}; print(len(set({_HEAVY}) & set(sys.modules)))"
    run_python("-c", code)  # compiles what has not been
    sample = Sample(operations=times)
    heavy = 0
    for _ in range(times):
        before = time.perf_counter_ns()
        heavy = int(run_python("-c", code).split()[-1])
        sample.latencies.append(time.perf_counter_ns() - before)
    sample.cost = statistics.median(sample.latencies) / NANOSECONDS
    sample.extra["heavy"] = heavy
    return sample


def _peer(name: str, module: str, distribution: str) -> Side:
    return Side(
        name=name,
        role="peer",
        measure=lambda _: _import(module, 1),
        why_skipped=needs(**{module: distribution}),
        slow=True,
    )


SCENARIOS: tuple[Scenario, ...] = (
    Scenario(
        name="import",
        work="start an interpreter that imports the library",
        costs="time / start",
        count=5,
        counted="starts",
        rounds=5,
        sides=(
            Side(
                name=_DEPENDENCIES, role="floor", measure=lambda task: _import("filelock, msgspec, orjson", task.count)
            ),
            Side(
                name="chunkstore",
                role="ours",
                floor=_DEPENDENCIES,
                measure=lambda task: _import("chunkstore", task.count),
            ),
            _peer("diskcache", "diskcache", "diskcache"),
            _peer("Optuna", "optuna", "optuna"),
            _peer("MLflow", "mlflow", "mlflow-skinny"),
            _peer("runnable", "runnable", "runnable"),
        ),
        targets=(
            at_most(1.3, _DEPENDENCIES),
            Target(
                side="chunkstore",
                measure="heavy",
                how="value",
                limit=0,
                text=f"modules loaded of {', '.join(_HEAVY)}: none",
            ),
        ),
    ),
)
