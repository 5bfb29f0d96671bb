"""A host whose clock is behind records after what it has seen of a run, whichever way it came to see that."""

import pickle
import time

import pytest

import chunkstore
from chunkstore import StepLog
from chunkstore.clock import clock
from chunkstore.maintenance.checking import verify
from chunkstore.recording.branch import Outcome
from chunkstore.records.models import StepAttempt
from chunkstore.views.durations import attempt_duration, run_duration, step_duration
from chunkstore.views.timeline.from_log import timeline_of

RUN = "run"
_BEHIND = 30 * 10**9
CONTAINERS = ["files", "journal", "sealed"]


def open_store(logs, container="files"):
    options = {"container": "journal"} if container == "journal" else {}
    return chunkstore.open_store("chunked-fs", log_folder=str(logs), **options)


@pytest.fixture
def behind(monkeypatch):
    """Make this process another host, whose clock is behind and which has seen nothing yet."""

    def begin():
        monkeypatch.setattr(clock, "_wall_clock", lambda: time.time_ns() - _BEHIND)
        monkeypatch.setattr(clock, "_latest", 0)

    return begin


@pytest.fixture(params=CONTAINERS)
def logs(request, tmp_path):
    """A run in which another host has recorded that the step `x` failed, and then others."""
    store = open_store(tmp_path / "logs", request.param)
    with store.start_run(RUN, capture_output=False) as run:
        with run.step("y"):
            pass
        with run.step("x", on_error="continue"):
            raise ValueError("it failed there")
    if request.param == "sealed":
        store.seal(RUN)
    return tmp_path / "logs"


def record(store):
    store.add_step_log(RUN, StepLog(name="x", internal_name="x", status="SUCCESS"))


def join(store):
    store.join_run(RUN)
    record(store)


def update(store):
    store.update_step_log(RUN, "y", lambda log: setattr(log, "message", "seen"))
    record(store)


def put(store):
    store.put_step_log(RUN, StepLog(name="y", internal_name="y"))
    record(store)


def follow(store):
    list(store.follow(RUN))
    record(store)


def read(store):
    store.get_run_log(RUN)
    record(store)


def stream(store):
    list(store.iter_records(RUN))
    record(store)


def resume(store):
    store.start_run("next", resume=RUN, capture_output=False)
    record(store)


def look_for_a_step(store):
    store.has_step_log(RUN, "y")
    record(store)


WAYS = [join, update, put, follow, read, stream, resume, look_for_a_step]


@pytest.mark.parametrize("way", WAYS)
def test_what_was_recorded_last_counts_though_the_clock_is_behind(logs, behind, way):
    behind()
    store = open_store(logs)
    way(store)
    assert store.get_run_log(RUN).steps["x"].status == "SUCCESS"


def test_a_run_that_is_joined_ends_as_its_last_records_say(logs, behind):
    behind()
    run = open_store(logs).join_run(RUN, capture_output=False)
    with run.step("x"):
        pass
    assert run.finish().status == "SUCCESS"


def test_a_result_brings_along_what_its_worker_has_seen(behind):
    ahead = clock.tick() + 60 * 10**9
    clock.observe(ahead)
    sent = pickle.dumps(Outcome(1, None, failed=False))
    behind()
    assert pickle.loads(sent) == Outcome(1, None, failed=False)
    assert clock.tick() > ahead


def test_a_run_that_was_sent_brings_along_what_its_sender_has_seen(logs, behind):
    sent = pickle.dumps(open_store(logs).join_run(RUN, capture_output=False))
    behind()
    with pickle.loads(sent).step("x"):
        pass
    assert open_store(logs).get_run_log(RUN).steps["x"].status == "SUCCESS"


# --- durations -------------------------------------------------------------------------------------------------------


def test_no_duration_is_negative_where_the_clock_was_set_back(tmp_path, monkeypatch):
    store = open_store(tmp_path / "logs")
    run = store.start_run(RUN, capture_output=False)
    with run.step("x"):
        pass
    run.finish()

    def set_back(log):
        log.attempts[0].end_time = "2020-01-01 00:00:00.000000+00:00"

    def end_before(log):
        log.run_config["chunkstore"] = {**log.notes, "finished": "2020-01-01 00:00:00.000000+00:00"}

    store.update_step_log(RUN, "x", set_back)
    store.update_run_log(RUN, end_before)
    log = store.get_run_log(RUN)
    assert run_duration(log).total_seconds() == 0
    assert step_duration(log.steps["x"]).total_seconds() > 0
    assert all(span.seconds >= 0 for span in timeline_of(log).spans)
    assert {one.kind for one in verify(store)} == {"time"}


@pytest.mark.parametrize(
    ("duration", "seconds"),
    [("0:00:07", 7), ("0:00:00.250000", 0.25), ("1 day, 1:00:01", 90_001), ("", 0), ("x", 0), ("9" * 30 + ":00:00", 0)],
)
def test_what_was_measured_counts_more_than_two_times(duration, seconds):
    attempt = StepAttempt(
        start_time="2024-02-02 05:49:41+00:00", end_time="2024-02-02 05:49:31+00:00", duration=duration
    )
    assert attempt_duration(attempt).total_seconds() == seconds
    step = StepLog(name="x", internal_name="x", attempts=[attempt])
    assert step_duration(step).total_seconds() == seconds
    (span,) = timeline_of(chunkstore.RunLog(run_id="r", steps={"x": step})).spans
    assert span.seconds == seconds
