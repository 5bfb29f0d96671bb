"""A step records its attempts, its failure and what it was called with."""

from types import SimpleNamespace

import pytest
from msgspec import UNSET

import chunkstore
from chunkstore.recording import retries
from recording import work


@pytest.fixture
def run(any_store):
    """A run in each of the stores."""
    with any_store.start_run("run") as started:
        yield started


@pytest.fixture
def pauses(monkeypatch):
    """The seconds that steps wait between attempts, without the waiting."""
    seconds = []
    sleep_with(monkeypatch, seconds.append)
    return seconds


def sleep_with(monkeypatch, sleep):
    """Have steps wait between attempts with another function; other parts and threads go on with their own."""
    monkeypatch.setattr(retries, "time", SimpleNamespace(sleep=sleep))


def recorded(run, name="load"):
    return run.store.get_step_log(run.run_id, name)


def test_a_block_is_a_step(run):
    with run.step("load", step_type="data") as step:
        during = recorded(run)
        step.set_result({"rows": 3})
    after = recorded(run)
    assert (during.status, during.attempts[0].status, during.attempts[0].end_time) == ("PROCESSING", "PROCESSING", "")
    assert (after.name, after.internal_name, after.status, after.step_type) == ("load", "load", "SUCCESS", "data")
    assert after.result == {"rows": 3}
    (attempt,) = after.attempts
    assert (attempt.attempt_number, attempt.status, attempt.message) == (1, "SUCCESS", "")
    assert attempt.start_time < attempt.end_time
    assert attempt.duration.startswith("0:00:0")


def test_a_function_is_a_step_and_gives_its_result(run):
    assert run.step("load", pow, 2, 5) == 32
    assert run.step("power", lambda base, *, exponent: base**exponent, 2, exponent=3) == 8
    assert recorded(run).result == 32
    assert recorded(run, "power").status == "SUCCESS"


def test_every_call_of_a_decorated_function_is_a_step(run):
    @run.step("load")
    def load(path, *, limit=1):
        """Load a file."""
        return f"{path}:{limit}"

    assert load.__name__ == "load"
    assert load("a.csv") == "a.csv:1"
    assert load("b.csv", limit=2) == "b.csv:2"
    steps = run.store.get_run_log("run").steps
    assert [(name, step.result) for name, step in steps.items()] == [("load", "a.csv:1"), ("load#2", "b.csv:2")]


def test_a_decorated_function_keeps_the_type_of_its_steps(run):
    load = run.step("load", step_type="data")(work.two)
    load()
    assert recorded(run).step_type == "data"


def test_a_second_step_of_a_name_gets_a_number(run):
    for _ in range(3):
        with run.step("load"):
            pass
    with run.step("load#2"):
        pass
    assert list(run.store.get_run_log("run").steps) == ["load", "load#2", "load#3", "load#2#2"]
    assert recorded(run, "load#3").name == "load"


@pytest.mark.parametrize(
    "name", ["a.csv", "data/a.csv", "../x", "s[1]", "n" * 300, "größe/测试", "%2E", " ", "simple-two"]
)
def test_any_text_names_a_step(run, name):
    with run.step("simple"), run.step(name):
        pass
    names = {step.name for step in run.store.get_run_log("run", strict=True).steps.values()}
    assert names == {"simple", name}


@pytest.mark.parametrize("name", ["", "\ud800", None])
def test_what_is_no_text_names_no_step(run, name):
    with pytest.raises(chunkstore.InvalidNameError):
        run.step(name)
    assert run.store.get_run_log("run").steps == {}


def test_a_block_that_raises_is_a_failed_step_with_message_and_traceback(run):
    with pytest.raises(ValueError, match="bad row"), run.step("load"):
        raise ValueError("bad row\nin line 3")
    step = recorded(run)
    assert (step.status, step.message) == ("FAIL", "ValueError: bad row")
    assert step.attempts[0].status == "FAIL"
    assert "Traceback" in step.attempts[0].message
    assert "in line 3" in step.attempts[0].message
    assert "test_steps.py" in step.attempts[0].message


def test_a_function_that_raises_is_a_failed_step(run):
    with pytest.raises(ValueError, match="always"):
        run.step("load", work.fail_always)
    assert recorded(run).status == "FAIL"
    assert "fail_always" in recorded(run).attempts[0].message


def test_an_error_with_half_a_surrogate_pair_is_recorded(run):
    with pytest.raises(ValueError, match="path"), run.step("load"):
        raise ValueError("path \udcff is no text")
    assert recorded(run).status == "FAIL"
    assert "path" in recorded(run).message


def test_an_error_that_has_no_text_is_recorded(run):
    class BrokenError(Exception):
        def __str__(self):
            raise TypeError

    with pytest.raises(BrokenError), run.step("load"):
        raise BrokenError
    assert recorded(run).status == "FAIL"
    assert recorded(run).message.startswith("BrokenError")


def test_on_error_continue_goes_on_after_a_failure(run):
    assert run.step("load", work.fail_always, on_error="continue") is None
    with run.step("second", on_error="continue"):
        raise ValueError("passed over")
    assert [step.status for step in run.store.get_run_log("run").steps.values()] == ["FAIL", "FAIL"]


@pytest.mark.parametrize("error", [KeyboardInterrupt, SystemExit(1)])
def test_on_error_continue_does_not_swallow_what_ends_the_program(run, error):
    with pytest.raises(BaseException) as caught, run.step("load", on_error="continue", max_attempts=1):
        raise error
    assert isinstance(caught.value, (KeyboardInterrupt, SystemExit))
    assert recorded(run).status == "FAIL"


def test_failed_attempts_are_repeated_with_pauses_that_double(run, calls, pauses):
    assert run.step("load", work.fail_times, calls, 4, 1, max_attempts=5, backoff=0.5) == 2
    step = recorded(run)
    assert [attempt.status for attempt in step.attempts] == ["FAIL"] * 4 + ["SUCCESS"]
    assert [attempt.attempt_number for attempt in step.attempts] == [1, 2, 3, 4, 5]
    assert "try 2" in step.attempts[1].message
    assert (step.status, step.message, step.result) == ("SUCCESS", "", 2)
    assert pauses == [0.5, 1, 2, 4]


def test_pauses_do_not_grow_beyond_a_minute(run, pauses):
    run.step("load", work.fail_always, max_attempts=4, backoff=25, on_error="continue")
    assert pauses == [25, 50, 60]


def test_after_the_last_attempt_the_step_has_failed(run, calls, pauses):
    with pytest.raises(ValueError, match="try 3"):
        run.step("load", work.fail_times, calls, 9, 1, max_attempts=3)
    step = recorded(run)
    assert [attempt.status for attempt in step.attempts] == ["FAIL"] * 3
    assert step.status == "FAIL"
    assert len(pauses) == 2


def test_between_attempts_the_step_is_still_going_on(run, monkeypatch, calls):
    seen = []
    sleep_with(monkeypatch, lambda _: seen.append(recorded(run).status))
    run.step("load", work.fail_times, calls, 1, 1, max_attempts=2)
    assert seen == ["PROCESSING"]


def test_an_interrupt_is_not_tried_again(run, pauses):
    def interrupted():
        raise KeyboardInterrupt

    with pytest.raises(KeyboardInterrupt):
        run.step("load", interrupted, max_attempts=3)
    assert len(recorded(run).attempts) == 1


def test_each_attempt_keeps_its_own_parameters(run, calls, pauses):
    def load():
        count = work.noted(calls).get("x", 0)
        work.note(calls, "x")
        chunkstore.current_step().log_params({"try": count})
        if not count:
            raise ValueError("again")

    run.step("load", load, max_attempts=2)
    assert [attempt.parameters for attempt in recorded(run).attempts] == [{"try": 0}, {"try": 1}]


@pytest.mark.parametrize(
    ("options", "message"), [({"max_attempts": 0}, "max_attempts"), ({"on_error": "stop"}, "stop")]
)
def test_options_that_make_no_sense_are_refused(run, options, message):
    with pytest.raises(chunkstore.StoreUsageError, match=message):
        run.step("load", **options)
    assert run.store.get_run_log("run").steps == {}


def test_a_block_cannot_be_repeated(run):
    with pytest.raises(chunkstore.StoreUsageError, match="function"), run.step("load", max_attempts=2):
        pass


def test_a_step_cannot_be_entered_twice(run):
    with run.step("load") as step, pytest.raises(chunkstore.StoreUsageError, match="twice"):
        step.__enter__()
    with pytest.raises(chunkstore.StoreUsageError, match="twice"):
        step.__enter__()
    assert len(recorded(run).attempts) == 1


def test_a_result_that_is_no_json_is_given_but_not_kept(run):
    assert run.step("load", lambda: {1, 2}) == {1, 2}
    assert recorded(run).status == "SUCCESS"
    assert recorded(run).result is UNSET
    with run.step("second") as step, pytest.raises(chunkstore.InvalidValueError, match="result"):
        step.set_result(object())


def test_that_a_failure_cannot_be_recorded_does_not_hide_it(run, monkeypatch, caplog):
    def broken(*_):
        raise OSError("gone")

    def fail():
        patch.setattr(run.store, "add_step_log", broken)
        raise ValueError("mine")

    with monkeypatch.context() as patch, pytest.raises(ValueError, match="mine"):
        run.step("load", fail)
    assert "Cannot record the end of step load" in caplog.text
