"""Metrics and parameters are kept as they were logged, at little cost."""

import math
import os
from types import SimpleNamespace

import numpy as np
import pytest

import chunkstore
from chunkstore.recording import series as series_module
from recording import work


@pytest.fixture
def run(any_store):
    with any_store.start_run("run") as started:
        yield started


@pytest.fixture
def appends(monkeypatch):
    """How many points each append to the store held."""
    sizes = []
    original = chunkstore.Store.append_metrics

    def counted(self, run_id, internal_name, series):
        sizes.append(sum(map(len, series.values())))
        original(self, run_id, internal_name, series)

    monkeypatch.setattr(chunkstore.Store, "append_metrics", counted)
    return sizes


@pytest.fixture
def clock(monkeypatch):
    """A clock that stands still until it is moved, and timers that never go off by themselves."""

    class Clock:
        def __init__(self):
            self.now = 1000.0
            self.timers = []

        def sleep(self, seconds):
            self.now += seconds

    fake = Clock()
    monkeypatch.setattr(series_module, "time", SimpleNamespace(monotonic=lambda: fake.now, sleep=fake.sleep))
    monkeypatch.setattr(series_module, "start_new_thread", lambda function, _: fake.timers.append(function))
    yield fake
    series_module._late_flushes.reset()


def recorded(run, name="train"):
    return run.store.get_step_log(run.run_id, name)


def series(run, metric="loss", name="train"):
    return [(point.step, point.value) for point in recorded(run, name).metric_series[metric]]


def test_a_metric_without_a_step_number_is_there_at_once_and_the_last_value_counts(run):
    with run.step("train") as step:
        step.log_metric("rows", 1)
        step.log_metric("rows", 2)
        step.log_metrics({"columns": 3, "names": ["a", "b"]})
        assert recorded(run).user_defined_metrics == {"rows": 2, "columns": 3, "names": ["a", "b"]}
    assert recorded(run).user_defined_metrics == {"rows": 2, "columns": 3, "names": ["a", "b"]}


def test_points_with_step_numbers_form_a_series_in_order(run):
    with run.step("train") as step:
        for number in range(5):
            step.log_metric("loss", 1 / (number + 1), step=number)
            step.log_metrics({"lr": 0.1, "norm": number}, step=number)
    assert series(run) == [(number, 1 / (number + 1)) for number in range(5)]
    assert series(run, "norm") == [(number, number) for number in range(5)]
    assert len(series(run, "lr")) == 5
    assert recorded(run).user_defined_metrics == {}
    assert all(point.time.endswith("+00:00") for point in recorded(run).metric_series["loss"])


def test_a_series_and_a_single_value_of_one_name_keep_apart(run):
    with run.step("train") as step:
        step.log_metric("loss", 9)
        step.log_metric("loss", 1, step=1)
    assert recorded(run).user_defined_metrics == {"loss": 9}
    assert series(run) == [(1, 1)]


def test_points_are_appended_at_most_once_a_second(run, appends, clock):
    with run.step("train") as step:
        for number in range(30):
            step.log_metric("loss", number, step=number)
            clock.now += 0.25
        assert appends == [1, 4, 4, 4, 4, 4, 4, 4]
    assert sum(appends) == 30
    assert series(run) == [(number, number) for number in range(30)]


def test_points_that_wait_are_written_when_the_step_ends(run, appends, clock):
    with run.step("train") as step:
        for number in range(5):
            step.log_metric("loss", number, step=number)
        assert appends == [1]
    assert appends == [1, 4]


def test_points_that_wait_are_written_when_the_step_fails(run, clock):
    def diverge():
        for number in range(5):
            chunkstore.current_step().log_metric("loss", number, step=number)
        raise ValueError("diverged")

    with pytest.raises(ValueError, match="diverged"):
        run.step("train", diverge)
    assert len(series(run)) == 5


def test_points_that_wait_are_written_after_a_second_also_if_no_more_come(run, appends, clock):
    with run.step("train") as step:
        for number in range(3):
            step.log_metric("loss", number, step=number)
        assert len(clock.timers) == 1
        clock.timers[0]()
        assert appends == [1, 2]
        assert len(series(run)) == 3


def test_the_timer_really_goes_off(store, monkeypatch):
    monkeypatch.setattr(series_module, "_FLUSH_INTERVAL", 0.05)
    with store.start_run("run") as run, run.step("train") as step:
        step.log_metric("loss", 0, step=0)
        step.log_metric("loss", 1, step=1)
        work.wait_for(lambda: len(series(run)) == 2)


def test_ten_thousand_points_are_a_few_appends_and_no_rewrite(store, appends):
    with store.start_run("run") as run, run.step("train") as step:
        folder = os.path.join(store.options.log_folder, "run")
        (chunk,) = (name for name in os.listdir(folder) if name.startswith("StepLog"))
        before = os.stat(os.path.join(folder, chunk))
        for number in range(10_000):
            step.log_metric("loss", number / 7, step=number)
        after = os.stat(os.path.join(folder, chunk))
        assert (before.st_ino, before.st_mtime_ns) == (after.st_ino, after.st_mtime_ns)
    assert len(appends) < 20
    assert series(run) == [(number, number / 7) for number in range(10_000)]


def test_flush_writes_what_waits(run, appends, clock):
    with run.step("train") as step:
        for number in range(3):
            step.log_metric("loss", number, step=number)
        step.flush()
        step.flush()
        assert appends == [1, 2]


def test_points_whose_append_fails_are_not_lost(run, monkeypatch, clock):
    with run.step("train") as step:
        step.log_metric("loss", 0, step=0)
        step.log_metric("loss", 1, step=1)
        with monkeypatch.context() as patch:

            def full(*_):
                raise OSError("full")

            patch.setattr(run.store, "append_metrics", full)
            with pytest.raises(OSError, match="full"):
                step.flush()
    assert series(run) == [(0, 0), (1, 1)]


def test_a_timer_that_fails_is_logged_and_tried_again(run, monkeypatch, clock, caplog):
    with run.step("train") as step:
        step.log_metric("loss", 0, step=0)
        step.log_metric("loss", 1, step=1)
        with monkeypatch.context() as patch:

            def full(*_):
                raise OSError("full")

            patch.setattr(run.store, "append_metrics", full)
            clock.timers[0]()
    assert "Cannot write metrics of step train" in caplog.text
    assert series(run) == [(0, 0), (1, 1)]


@pytest.mark.parametrize(
    ("value", "expected"),
    [
        (np.float64(0.5), 0.5),
        (np.int64(3), 3),
        (np.float32(0.25), 0.25),
        (np.bool_(True), True),
        (np.arange(3), [0, 1, 2]),
    ],
)
def test_values_of_numpy_are_recorded_as_the_numbers_they_are(run, value, expected):
    with run.step("train") as step:
        step.log_metric("single", value)
        step.log_metric("loss", value, step=np.int64(1))
        step.log_params({"value": value})
    found = recorded(run)
    assert found.user_defined_metrics == {"single": expected}
    assert series(run) == [(1, expected)]
    assert found.attempts[0].parameters == {"value": expected}


@pytest.mark.parametrize("value", [math.nan, math.inf, -math.inf, np.float64("nan")])
def test_floats_that_json_lacks_come_back_as_floats(run, value):
    with run.step("train") as step:
        step.log_metric("single", value)
        step.log_metric("loss", value, step=1)
    single = recorded(run).user_defined_metrics["single"]
    ((_, point),) = series(run)
    for found in (single, point):
        assert isinstance(found, float)
        assert found == value or (math.isnan(found) and math.isnan(value))


def test_fractions_of_an_epoch_are_step_numbers(run):
    with run.step("train") as step:
        step.log_metric("loss", 1, step=0.5)
        step.log_metric("loss", 2, step=np.float64(1.5))
    assert series(run) == [(0.5, 1), (1.5, 2)]


@pytest.mark.parametrize("number", ["one", True, object(), [1], math.nan])
def test_what_is_no_step_number_is_refused_and_spoils_nothing(run, number):
    with run.step("train") as step:
        step.log_metric("loss", 1, step=0)
        with pytest.raises(chunkstore.InvalidValueError, match="loss"):
            step.log_metric("loss", 2, step=number)
    assert series(run) == [(0, 1)]


@pytest.mark.parametrize("value", [object(), {"inner": object()}, "\ud800", [1, "\udfff"], 10**5000], ids=range(5))
def test_a_value_that_cannot_be_stored_is_named_and_the_others_are_recorded(run, value):
    with run.step("train") as step:
        step.log_metric("good", 1)
        step.log_params({"good": 1})
        for record in (
            lambda: step.log_metric("bad", value),
            lambda: step.log_metric("bad", value, step=1),
            lambda: step.log_metrics({"other": 2, "bad": value}),
            lambda: step.log_metrics({"other": 2, "bad": value}, step=1),
            lambda: step.log_params({"other": 2, "bad": value}),
        ):
            with pytest.raises(chunkstore.InvalidValueError, match="bad") as caught:
                record()
            assert caught.value.key.startswith("bad")
        step.log_metric("more", 2)
    found = recorded(run)
    assert found.status == "SUCCESS"
    assert found.user_defined_metrics == {"good": 1, "other": 2, "more": 2}
    assert series(run, "other") == [(1, 2)]
    assert found.attempts[0].parameters == {"good": 1, "other": 2}
    assert "bad" not in found.to_json()


def test_a_metric_that_is_called_a_number_is_called_by_its_text(run):
    with run.step("train") as step:
        step.log_metrics({7: 1})
        step.log_metric(8, 1, step=0)
        step.log_params({9: 1})
    assert recorded(run).user_defined_metrics == {"7": 1}
    assert series(run, "8") == [(0, 1)]
    assert recorded(run).attempts[0].parameters == {"9": 1}


@pytest.mark.parametrize("name", ["\ud800", object(), None], ids=range(3))
def test_a_metric_that_is_called_no_text_is_refused_and_changes_nothing(run, name):
    with run.step("train") as step:
        for record in (
            lambda: step.log_metric(name, 1),
            lambda: step.log_metric(name, 1, step=1),
            lambda: step.log_params({name: 1}),
        ):
            with pytest.raises(chunkstore.ChunkstoreError):
                record()
        step.log_metric("good", 1)
    assert recorded(run).user_defined_metrics == {"good": 1}


def test_a_mutable_value_is_recorded_as_it_was_when_it_was_logged(run):
    with run.step("train") as step:
        values = [1]
        step.log_metric("list", values)
        step.log_params({"list": values})
        values.append(2)
        step.log_metric("other", 1)
    assert recorded(run).user_defined_metrics["list"] == [1]
    assert recorded(run).attempts[0].parameters["list"] == [1]


def test_parameters_of_a_step_add_up(run):
    with run.step("train") as step:
        step.log_params({"depth": 3, "seed": 7})
        step.log_params({"depth": 4})
    assert recorded(run).attempts[0].parameters == {"depth": 4, "seed": 7}


def test_an_interrupt_while_the_thread_that_writes_in_time_begins_does_not_keep_others_from_beginning(
    store, monkeypatch
):
    def interrupted(*_):
        raise KeyboardInterrupt

    begun = []
    monkeypatch.setattr(series_module, "_late_flushes", series_module._LateFlushes())
    with store.start_run("run") as run, run.step("first") as first, run.step("second") as second:
        first.log_metric("loss", 1, step=1)
        second.log_metric("loss", 1, step=1)
        monkeypatch.setattr(series_module, "start_new_thread", interrupted)
        with pytest.raises(KeyboardInterrupt):
            first.log_metric("loss", 2, step=2)
        monkeypatch.setattr(series_module, "start_new_thread", lambda *_: begun.append(True))
        second.log_metric("loss", 2, step=2)
    assert begun
