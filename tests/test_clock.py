"""Timestamps only ever grow, whatever the wall clock does."""

import pickle
import re
import time
from datetime import datetime, timedelta, timezone

import pytest
from hypothesis import given
from hypothesis import strategies as st

import chunkstore
from chunkstore.clock import MOST_AHEAD, HybridClock, clock, format_duration, format_time, parse_time, utc_now
from chunkstore.testing.suite_sharing import run_threads

EVENTS = st.lists(
    st.one_of(
        st.tuples(st.just("wall"), st.integers(0, 2 * 10**18)),
        st.tuples(st.just("observe"), st.integers(0, 2 * 10**18)),
        st.tuples(st.just("tick"), st.just(0)),
    ),
    max_size=30,
)


@given(events=EVENTS)
def test_every_timestamp_is_after_all_issued_and_observed_before(events):
    now = [10**18]
    local = HybridClock(lambda: now[0])
    latest = 0
    for event, value in events:
        if event == "wall":
            now[0] = value
        elif event == "observe":
            local.observe(value)
            if value <= now[0] + MOST_AHEAD:
                latest = max(latest, value)
        else:
            tick = local.tick()
            assert tick > latest
            assert tick == max(latest + 1, now[0])
            latest = tick
        assert local.latest == latest


def test_threads_never_get_the_same_timestamp():
    local = HybridClock(lambda: 5)
    results = run_threads([lambda: [local.tick() for _ in range(2_000)]] * 4)
    ticks = [tick for result in results for tick in result]
    assert sorted(ticks) == list(range(5, 8_005))
    assert all(result == sorted(result) for result in results)


def test_the_shared_clock_follows_the_wall_clock():
    before = clock.latest
    assert clock.tick() > before
    assert clock.tick() >= 1_700_000_000_000_000_000


def test_who_asks_in_the_middle_of_somebody_elses_question_gets_another_time():
    questions = iter(range(3))
    answers = []

    def wall_clock():
        if next(questions, None) is not None:
            answers.append(local.tick())
        return 100

    local = HybridClock(wall_clock)
    answers.append(local.tick())
    assert sorted(set(answers)) == [100, 101, 102, 103]
    assert local.latest == 103


def test_times_have_the_form_of_the_run_log():
    moment = datetime(2024, 2, 2, 6, 49, 41, 697142, tzinfo=timezone(timedelta(hours=1)))
    assert format_time(moment) == "2024-02-02 05:49:41.697142+00:00"
    assert format_time(moment.replace(microsecond=0)) == "2024-02-02 05:49:41.000000+00:00"
    assert re.fullmatch(r"\d{4}-\d\d-\d\d \d\d:\d\d:\d\d\.\d{6}\+00:00", utc_now())


@given(moment=st.datetimes(timezones=st.just(timezone.utc)))
def test_a_time_comes_back(moment):
    assert parse_time(format_time(moment)) == moment


@pytest.mark.parametrize(
    ("text", "moment"),
    [
        ("2024-02-02 05:49:41.697142", datetime(2024, 2, 2, 5, 49, 41, 697142, tzinfo=timezone.utc)),
        ("2024-02-02 05:49:41", datetime(2024, 2, 2, 5, 49, 41, tzinfo=timezone.utc)),
        ("2024-02-02T06:49:41+01:00", datetime(2024, 2, 2, 5, 49, 41, tzinfo=timezone.utc)),
        ("", None),
        ("yesterday", None),
        ("9999-12-31 23:59:59.999999-23:59", None),
        ("0001-01-01 00:00:00+23:59", None),
    ],
)
def test_older_and_foreign_times_are_understood(text, moment):
    assert parse_time(text) == moment


def test_durations_have_the_form_of_the_run_log():
    assert format_duration(0.005841) == "0:00:00.005841"
    assert format_duration(3_661) == "1:01:01"


def test_whoever_receives_a_store_goes_on_after_what_its_sender_has_seen(tmp_path, monkeypatch):
    store = chunkstore.open_store("chunked-fs", log_folder=tmp_path)
    clock.observe(clock.tick() + 3_600_000_000_000)
    seen, sent = clock.latest, pickle.dumps(store)
    monkeypatch.setattr(clock, "_latest", 0)  # as in the process that receives it
    pickle.loads(sent)
    assert clock.tick() > seen


# --- times that nobody believes --------------------------------------------------------------------------------------

RUN = "run"
#: Names of files with times beyond reason, and whether a file of that name is a sealed file or journal.
ABSURD = {
    "StepLog-x-8999999999999999999.json": False,
    "BranchLog-x.y-8999999999999999999.json": False,
    "StepUpdate-x-8999999999999999999.json": False,
    "Metric-x-8999999999999999999.jsonl": False,
    "Sealed-8999999999999999999.jsonl": True,
    "Sealed-9999999999999999999.jsonl": True,
    "Journal-1-8999999999999999999.jsonl": True,
}
READS = {
    "get run": lambda store: store.get_run_log(RUN),
    "iterate": lambda store: list(store.iter_records(RUN)),
    "get step": lambda store: store.get_step_log(RUN, "kept"),
    "has step": lambda store: store.has_step_log(RUN, "x"),
    "put": lambda store: store.put_step_log(RUN, step("put")),
    "update": lambda store: store.update_step_log(RUN, "kept", lambda found: setattr(found, "message", "m")),
    "follow": lambda store: next(store.follow(RUN)),
    "seal": lambda store: store.seal(RUN),
}


def step(name, **fields):
    return chunkstore.StepLog(name=name, internal_name=name, **fields)


@pytest.fixture
def at_the_present(monkeypatch):
    """The clock of this process as it was before the test."""
    monkeypatch.setattr(clock, "_latest", clock.latest)


@pytest.mark.usefixtures("at_the_present")
@pytest.mark.parametrize("read", READS)
@pytest.mark.parametrize("file", ABSURD)
def test_no_file_moves_the_clock_of_who_meets_it(tmp_path, file, read):
    store = chunkstore.open_store("chunked-fs", log_folder=tmp_path)
    store.create_run_log(RUN, status="SUCCESS")
    store.add_step_log(RUN, step("kept"))
    (tmp_path / RUN / file).write_bytes(b"")
    READS[read](store)
    assert clock.tick() <= clock.horizon()
    for run_id in (RUN, "another"):
        if run_id == "another":
            store.create_run_log(run_id)
        store.add_step_log(run_id, step("later"))
        assert chunkstore.open_store("chunked-fs", log_folder=tmp_path).get_run_log(run_id).steps["later"]


@pytest.mark.usefixtures("at_the_present")
@pytest.mark.parametrize("order", ["before", "after"])
def test_what_has_an_absurd_time_is_a_problem_and_hides_nothing(tmp_path, order):
    store = chunkstore.open_store("chunked-fs", log_folder=tmp_path)
    store.create_run_log(RUN, status="SUCCESS")
    late = tmp_path / RUN / "StepLog-x-8999999999999999999.json"
    if order == "before":
        late.write_text(step("x", message="absurd").to_json())
    store.add_step_log(RUN, step("x", message="acknowledged"))
    if order == "after":
        late.write_text(step("x", message="absurd").to_json())
    for log in (store.get_run_log(RUN, strict=True), chunkstore.open_store(log_folder=tmp_path).get_run_log(RUN)):
        assert log.steps["x"].message == store.get_step_log(RUN, "x").message == "acknowledged"
        assert [(problem.kind, problem.file) for problem in log.problems] == [("time", late.name)]
    late.write_text(step("y", message="alone").to_json())
    late.rename(tmp_path / RUN / "StepLog-y-8999999999999999999.json")
    assert store.get_run_log(RUN).steps["y"].message == "alone"  # it is read all the same


@pytest.mark.usefixtures("at_the_present")
@pytest.mark.parametrize("absurd", [8_999_999_999_999_999_999, 9_999_999_999_999_999_999])
def test_a_sealed_file_with_an_absurd_time_does_not_come_before_what_is_sealed_later(tmp_path, absurd):
    store = chunkstore.open_store("chunked-fs", log_folder=tmp_path)
    store.create_run_log(RUN, status="SUCCESS")
    store.add_step_log(RUN, step("x", message="old"))
    store.seal(RUN)
    (sealed,) = (tmp_path / RUN).glob("Sealed-*")
    copy = tmp_path / RUN / f"Sealed-{absurd}.jsonl"
    copied = sealed.read_bytes()
    copy.write_bytes(copied)
    store.add_step_log(RUN, step("x", message="new"))
    assert store.get_step_log(RUN, "x").message == "new"
    assert ("time", copy.name) in {(problem.kind, problem.file) for problem in store.get_run_log(RUN).problems}
    store.seal(RUN)
    for _ in range(2):
        assert chunkstore.open_store("chunked-fs", log_folder=tmp_path).get_run_log(RUN).steps["x"].message == "new"
        copy.write_bytes(copied)  # sealing may have removed it


@pytest.mark.usefixtures("at_the_present")
def test_who_was_moved_ahead_as_far_as_can_be_is_believed_by_those_whose_clocks_are_behind(tmp_path, monkeypatch):
    store = chunkstore.open_store("chunked-fs", log_folder=tmp_path)
    store.create_run_log(RUN)
    now = time.time_ns()
    (tmp_path / RUN / f"StepLog-x-{now + MOST_AHEAD - 10**9}.json").write_text(step("x", message="ahead").to_json())
    store.get_run_log(RUN)
    store.add_step_log(RUN, step("x", message="acknowledged"))
    for behind in (10, 3_600):
        monkeypatch.setattr(clock, "_wall_clock", lambda behind=behind: time.time_ns() - behind * 10**9)
        log = chunkstore.open_store("chunked-fs", log_folder=tmp_path).get_run_log(RUN, strict=True)
        assert (log.steps["x"].message, log.problems) == ("acknowledged", [])


@pytest.mark.parametrize("ahead", [0, 3_600 * 10**9, MOST_AHEAD - 60 * 10**9])
@pytest.mark.parametrize("seen_in", ["a chunk", "a sealed file", "a journal", "a followed run"])
def test_whoever_sees_what_another_host_has_recorded_writes_later_timestamps(tmp_path, monkeypatch, ahead, seen_in):
    container = "journal" if seen_in == "a journal" else "files"
    other = chunkstore.open_store("chunked-fs", log_folder=tmp_path, container=container)
    other.create_run_log(RUN)
    followed = chunkstore.open_store("chunked-fs", log_folder=tmp_path).follow(RUN)
    assert next(followed).steps == {}
    with monkeypatch.context() as patched:
        patched.setattr(clock, "_latest", time.time_ns() + ahead)
        other.add_step_log(RUN, step("x", message="of the other host"))
        if seen_in == "a sealed file":
            other.update_run_log(RUN, lambda log: setattr(log, "status", "SUCCESS"))
            other.seal(RUN)
        written = clock.latest
    monkeypatch.setattr(clock, "_latest", 0)
    store = chunkstore.open_store("chunked-fs", log_folder=tmp_path)
    if seen_in == "a followed run":
        assert next(followed).steps["x"].message == "of the other host"
    else:
        store.get_run_log(RUN)
    assert clock.latest >= written
    store.add_step_log(RUN, step("x", message="ours"))
    assert other.get_run_log(RUN).steps["x"].message == "ours"
