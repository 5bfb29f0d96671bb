"""Timestamps only ever grow, whatever the wall clock does."""

import pickle
import re
from datetime import datetime, timedelta, timezone

import pytest
from hypothesis import given
from hypothesis import strategies as st

import chunkstore
from chunkstore.clock import HybridClock, clock, format_duration, format_time, parse_time, utc_now
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


def test_a_mutex_held_while_forking_does_not_stop_the_child():
    local = HybridClock()
    local._mutex.acquire()
    local.reset_after_fork()
    assert local.tick()


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
