"""Points of a series that say which attempt logged them are that attempt's, wherever they lie."""

import json
import time

import pytest

import chunkstore
from chunkstore.records.fields import MetricPoint
from chunkstore.records.models import FAIL, PROCESSING, SUCCESS, StepAttempt, StepLog


@pytest.fixture(params=["files", "journal", "file-system", "buffered"])
def store(request, tmp_path):
    if request.param == "buffered":
        return chunkstore.open_store("buffered")
    if request.param == "file-system":
        return chunkstore.open_store("file-system", log_folder=str(tmp_path / "log"))
    return chunkstore.open_store("chunked-fs", log_folder=str(tmp_path / "log"), container=request.param)


def step(*statuses):
    attempts = [StepAttempt(attempt_number=number, status=status) for number, status in enumerate(statuses, 1)]
    return StepLog(name="s", internal_name="s", status=statuses[-1] if statuses else PROCESSING, attempts=attempts)


def loss(record):
    return (
        []
        if record.metric_series is chunkstore.StepAttempt().metric_series
        else [p.value for p in record.metric_series["loss"]]
    )


def expect(found, own, *of_attempts):
    assert loss(found) == own
    assert [loss(attempt) for attempt in found.attempts] == list(of_attempts)


def add(store, value, attempt=None):
    store.append_metrics("run", "s", {"loss": [MetricPoint(value, value)]}, **({"attempt": attempt} if attempt else {}))


def test_points_are_the_attempts_and_those_of_the_one_that_counts_are_the_steps(store):
    store.create_run_log("run")
    followed = store.follow("run")
    next(followed)
    store.add_step_log("run", step(PROCESSING))
    add(store, 1, attempt=1)
    expect(store.get_step_log("run", "s"), [1], [])
    store.add_step_log("run", step(FAIL, PROCESSING))
    expect(store.get_step_log("run", "s"), [], [1], [])
    add(store, 2, attempt=2)
    add(store, 3)
    expect(store.get_step_log("run", "s"), [2, 3], [1], [])
    store.add_step_log("run", step(FAIL, SUCCESS, PROCESSING))  # started once more: what succeeded counts
    add(store, 4, attempt=3)
    expect(store.get_step_log("run", "s"), [2, 3], [1], [], [4])
    store.add_step_log("run", step(FAIL, SUCCESS, FAIL))
    deadline = time.monotonic() + 20
    while loss(next(followed).steps["s"].attempts[2]) != [4]:
        assert time.monotonic() < deadline
    store.update_run_log("run", lambda log: setattr(log, "status", SUCCESS))
    for sealed in (False, True):
        if sealed and type(store).__name__.startswith("Chunked"):
            store.seal("run")
        log = store.get_run_log("run", strict=True)
        expect(log.steps["s"], [2, 3], [1], [], [4])
        assert json.loads(store.get_run_json("run")) == json.loads(log.to_json())


def test_an_attempt_that_the_step_has_not_is_the_steps(store):
    store.create_run_log("run")
    store.add_step_log("run", step())
    add(store, 1, attempt=7)
    expect(store.get_step_log("run", "s"), [1])


def test_points_that_were_read_and_written_again_are_not_doubled(store):
    store.create_run_log("run")
    store.add_step_log("run", step(FAIL, PROCESSING))
    for value, attempt in ((1, 1), (5, 1), (2, 2), (5, 2)):
        add(store, value, attempt)
    for _ in range(2):
        store.add_step_log("run", store.get_step_log("run", "s"))
        expect(store.get_step_log("run", "s"), [2, 5], [1, 5], [])


def test_reading_many_points_beside_many_takes_no_longer_than_their_number(store):
    many = [MetricPoint(number, number / 7) for number in range(20_000)]
    store.create_run_log("run")
    store.add_step_log("run", StepLog(name="s", internal_name="s", metric_series={"loss": many}))
    store.append_metrics("run", "s", {"loss": [*many, *(MetricPoint(point.step + 1e6, 0) for point in many)]})
    assert len(loss(store.get_step_log("run", "s"))) == 40_000  # compared one by one, it would take a minute
