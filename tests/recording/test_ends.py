"""However a step or run ends, it is recorded as what it was, and none is left as if it went on."""

import contextlib
import os
import subprocess
import sys
import threading
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

import pytest

import chunkstore
from chunkstore.recording import step as step_module
from chunkstore.recording.step import BaseStep


class Odd:
    def __eq__(self, other):
        raise RuntimeError("compared")

    __hash__ = None


@pytest.mark.parametrize(
    ("code", "status"),
    [
        *[(code, "SUCCESS") for code in (None, 0, False, ())],
        *[(code, "FAIL") for code in (1, -1, True, "", "text", 0.0, ["a"], {}, (1, 2), b"", Odd(), 10**400)],
    ],
    ids=lambda value: type(value).__name__,
)
@pytest.mark.parametrize("as_function", [True, False])
def test_an_exit_is_a_failure_if_python_takes_it_for_one(store, code, status, as_function):
    def leave():
        sys.exit(code)

    def record():
        with store.start_run("run") as run:
            if as_function:
                run.step("leave", leave)
            with run.step("leave"):
                leave()

    with pytest.raises(SystemExit):
        record()
    log = store.get_run_log("run")
    assert (log.steps["leave"].status, log.status) == (status, status)


@pytest.mark.parametrize("code", [["a"], 0, None])
def test_a_branch_that_exits_ends_too(store, code):
    with ThreadPoolExecutor(1) as threads, store.start_run("run") as run:
        run.map("m", [code], sys.exit, executor=threads, on_error="continue")
    status = "FAIL" if code else "SUCCESS"
    assert {step.status for step in (store.get_step_log("run", "m"), *_inside(store))} == {status}


def _inside(store):
    return [step for branch in store.get_step_log("run", "m").branches.values() for step in branch.steps.values()]


#: Where an interrupt comes: in the function of that name, as it begins and as it ends.
PLACES = ["_begin", "_begin_attempt", "_end", "_end_attempt", "_close", "_leave", "_write_end", "_record_end"]
PLACES += ["input_hash", "kept_result", "identities", "wait_after", "flush"]


@pytest.mark.parametrize("place", PLACES)
@pytest.mark.parametrize("late", [True, False])
@pytest.mark.parametrize("kind", ["function", "block", "retried", "map"])
def test_an_interrupt_leaves_no_step_as_if_it_went_on(store, monkeypatch, place, late, kind):
    owner = BaseStep if hasattr(BaseStep, place) else step_module
    original, came = getattr(owner, place), []

    def interrupted(*arguments, **keywords):
        result = original(*arguments, **keywords) if late else None
        if not came:
            came.append(1)
            raise KeyboardInterrupt
        return result if late else original(*arguments, **keywords)

    def fail_once(tries=[]):  # noqa: B006 - how often it was called
        tries.append(1)
        if len(tries) == 1:
            raise ValueError("again")

    monkeypatch.setattr(owner, place, interrupted)
    with contextlib.suppress(KeyboardInterrupt), store.start_run("run") as run:
        if kind == "block":
            with run.step("step"):
                pass
        elif kind == "map":
            with ThreadPoolExecutor(1) as threads:
                run.map("step", ["a"], str, executor=threads, on_error="continue")
        else:
            function, options = (fail_once, {"max_attempts": 2, "backoff": 0}) if kind == "retried" else (int, {})
            run.step("step", function, **options)
    log = store.get_run_log("run")
    records = [*log.steps.values()]
    for step in records:
        assert step.status in {"SUCCESS", "FAIL"}
        assert {attempt.status for attempt in step.attempts} <= {"SUCCESS", "FAIL"}
        for branch in step.branches.values():
            assert branch.status in {"SUCCESS", "FAIL"}
            records.extend(branch.steps.values())
    assert log.status in {"SUCCESS", "FAIL"}


@pytest.mark.parametrize("block", [True, False])
def test_an_interrupt_as_a_step_begins_ends_it_also_where_the_run_has_no_block(store, monkeypatch, block):
    original = BaseStep._begin

    def interrupted(step):
        original(step)
        raise KeyboardInterrupt

    run = store.start_run("run")
    monkeypatch.setattr(BaseStep, "_begin", interrupted)
    with pytest.raises(KeyboardInterrupt):
        run.step("step").__enter__() if block else run.step("step", int)
    assert store.get_step_log("run", "step").status == "FAIL"


def test_an_interrupt_as_a_block_is_left_ends_its_steps_with_the_run(store, monkeypatch):
    def interrupted(*_):
        raise KeyboardInterrupt

    def record():
        with store.start_run("run") as run, run.step("outer"):
            monkeypatch.setattr(BaseStep, "__exit__", interrupted)
            with run.step("inner"):
                pass

    with pytest.raises(KeyboardInterrupt):
        record()
    log = store.get_run_log("run")
    assert {step.status for step in log.steps.values()} == {"FAIL"}


# --- ended by hand, in the course of an error ------------------------------------------------------------------------

BY_HAND = {
    "a finally": "try: raise ValueError('lost')\nfinally: end()",
    "an except": "try: raise ValueError('lost')\nexcept ValueError: end(); raise",
    "atexit": "import atexit\natexit.register(end)\nraise ValueError('lost')",
    "a hook": "import sys\nsys.excepthook = lambda *_: end()\nraise ValueError('lost')",
    "a hook that is an object": (
        "import sys\nclass Hook:\n    def __call__(self, *_):\n        end()\n"
        "sys.excepthook = Hook()\nraise ValueError('lost')"
    ),
    "a hook around a hook": (
        "import sys, functools\nsys.excepthook = functools.partial(lambda _, *error: end(), 1)\n"
        "raise ValueError('lost')"
    ),
}
WELL = {
    "nothing": "end()",
    "a finally without an error": "try: pass\nfinally: end()",
    "after an error that was caught": "try: raise ValueError\nexcept ValueError: pass\nend()",
    "atexit": "import atexit\natexit.register(end)",
}
PROGRAM = """\
import chunkstore, contextlib
store = chunkstore.open_store("chunked-fs", log_folder="log", durability="process")
{before}run = store.start_run("run")
{before}stack = contextlib.ExitStack()
{before}if {with_step}: stack.enter_context(run.step("step"))
def end():
    stack.close()
    run.finish()
"""


def outcome(text, *, with_step, before=""):
    program = PROGRAM.format(with_step=with_step, before=before) + text
    environment = {**os.environ, "PYTHONPATH": str(Path(chunkstore.__file__).parents[1])}
    subprocess.run([sys.executable, "-c", program], env=environment, capture_output=True, check=False, timeout=60)
    log = chunkstore.open_store("chunked-fs", log_folder="log").get_run_log("run")
    return [log.status, *(step.status for step in log.steps.values())]


@pytest.mark.parametrize("with_step", [True, False])
@pytest.mark.parametrize("how", BY_HAND)
def test_what_is_ended_by_hand_in_the_course_of_an_error_has_failed(how, with_step):
    assert outcome(BY_HAND[how], with_step=with_step) == ["FAIL"] * (1 + with_step)


@pytest.mark.parametrize("how", WELL)
def test_what_is_ended_by_hand_when_all_is_well_has_succeeded(how):
    assert outcome(WELL[how], with_step=True) == ["SUCCESS"] * 2


def test_what_is_ended_as_the_program_dies_of_an_error_has_failed(store, monkeypatch):
    run = store.start_run("run")
    monkeypatch.setattr(sys, "last_value", ValueError("lost"), raising=False)  # as Python notes it
    assert run._errors.error() is None  # that may have been in a notebook, cells ago
    monkeypatch.setattr(threading.main_thread(), "is_alive", lambda: False)
    assert run.finish().status == "FAIL"


def test_an_error_that_was_there_before_is_none_of_the_runs(store):
    try:
        int("no number")
    except ValueError:
        run = store.start_run("run")
        with run.step("step"):
            pass
        run.finish()
    log = store.get_run_log("run")
    assert (log.status, log.steps["step"].status) == ("SUCCESS", "SUCCESS")


def test_a_generator_that_is_resumed_while_an_error_is_handled_has_not_failed(store):
    def recorded():
        with store.start_run("run") as run, run.step("step"):
            yield 1
        yield 2

    running = recorded()
    next(running)
    try:
        int("the consumer's own")
    except ValueError:
        next(running)
    log = store.get_run_log("run")
    assert (log.status, log.steps["step"].status) == ("SUCCESS", "SUCCESS")


def test_several_bad_values_are_all_named_and_the_others_recorded(any_store):
    bad = {"one": object(), "good": 1, "two": lambda: 0}
    with any_store.start_run("run") as run, run.step("step") as step:
        for record in (step.log_params, step.log_metrics, run.set_parameters):
            with pytest.raises(chunkstore.InvalidValueError, match=r"(?s)one.*two.*others") as caught:
                record(bad)
            assert caught.value.key == "one, two"
        with pytest.raises(chunkstore.InvalidValueError, match=r"(?s)one.*two"):
            step.log_metrics(bad, step=3)
    log = any_store.get_run_log("run")
    step = log.steps["step"]
    assert log.parameters == step.attempts[0].parameters == step.user_defined_metrics == {"good": 1}
    assert [point.value for point in step.metric_series["good"]] == [1]
