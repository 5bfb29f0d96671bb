"""Run logs whose steps have given times, in seconds since a beginning."""

from datetime import datetime, timedelta, timezone

from chunkstore.clock import format_time
from chunkstore.records.models import BranchLog, RunLog, StepAttempt, StepLog

BEGINNING = datetime(2026, 5, 1, 12, 0, 0, tzinfo=timezone.utc)


def at(seconds):
    return format_time(BEGINNING + timedelta(seconds=seconds))


def attempt(start, end, status="SUCCESS", number=1, message=""):
    return StepAttempt(
        attempt_number=number,
        start_time=at(start),
        end_time="" if end is None else at(end),
        status=status,
        message=message,
    )


def step(internal_name, start, end, status="SUCCESS", branches=(), **fields):
    """Return a step; `branches` are branch logs."""
    return StepLog(
        name=fields.pop("name", internal_name.rpartition(".")[2]),
        internal_name=internal_name,
        status=status,
        step_type=fields.pop("step_type", "map" if branches else "task"),
        attempts=fields.pop("attempts", [attempt(start, end, status)]),
        branches={branch.internal_name: branch for branch in branches},
        **fields,
    )


def branch(internal_name, *steps, status="SUCCESS", **fields):
    return BranchLog(
        internal_name=internal_name,
        status=status,
        steps={inner.internal_name: inner for inner in steps},
        **fields,
    )


def run(*steps, status="SUCCESS", **fields):
    return RunLog(
        run_id=fields.pop("run_id", "calm-noether-1200"),
        status=status,
        steps={outer.internal_name: outer for outer in steps},
        **fields,
    )


def map_of(name, times, failed=(), **fields):
    """Return a map whose branches run one function each, at given times."""
    branches = []
    for number, (start, end) in enumerate(times):
        status = "FAIL" if number in failed else "SUCCESS"
        one = step(f"{name}.{number}.work", start, end, status, message="ValueError: bad" if number in failed else "")
        branches.append(branch(f"{name}.{number}", one, status=status, item=number))
    first, last = min(start for start, _ in times), max(end for _, end in times)
    return step(name, first, last, "FAIL" if failed else "SUCCESS", branches, **fields)


def pool_of(count, workers, seconds=1.0, begin=0.0):
    """Return the times of tasks that take turns on some workers, each a little longer than the one before."""
    free = [begin] * workers
    times = []
    for number in range(count):
        worker = free.index(min(free))
        start = free[worker]
        free[worker] = round(start + seconds * (1 + number % 7 / 7), 6)
        times.append((start, free[worker]))
    return times


def typical(count=40):
    """Return a run with everything in it: retries, a wide map, a failure, nested steps, waiting."""
    forest = branch("train.forest", step("train.forest.fit", 61, 70))
    boosted = branch(
        "train.boosted",
        step("train.boosted.fit", 62, 80),
        step("train.boosted.tune", 63, 70),
        step("train.boosted.final", 71, 79),
    )
    tries = [
        attempt(5, 6, "FAIL", 1, "Traceback\nOSError: not yet"),
        attempt(8, 9, "FAIL", 2),
        attempt(12, 15, number=3),
    ]
    scale = 40 / max(end for _, end in pool_of(count, 4))
    times = [(20 + start * scale, 20 + end * scale) for start, end in pool_of(count, 4)]
    return run(
        step("load", 0, 5, user_defined_metrics={"rows": 10_000, "nan": float("nan")}),
        step("fetch", 5, 15, attempts=tries),
        map_of("score", times, failed=[3]),
        step("train", 60, 80, branches=[forest, boosted], step_type="parallel"),
        step("report", 80.5, 83),
        status="FAIL",
        tag="nightly",
        run_config={"chunkstore": {"created": at(0), "finished": at(84), "message": "1 step failed: score"}},
    )
