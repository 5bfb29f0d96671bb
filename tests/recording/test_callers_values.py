"""What the caller holds is the caller's: the log has what was there at the moment of the call."""

import enum
import sys
import threading
from collections import OrderedDict, namedtuple
from concurrent.futures import ThreadPoolExecutor
from datetime import date
from functools import partial

import numpy as np
import pytest
from msgspec import UNSET

import chunkstore
from chunkstore.recording.results import result_of
from chunkstore.records.models import StepLog
from recording import work


class Colour(enum.Enum):
    RED = "red"


class TextColour(str, enum.Enum):
    RED = "red"


class NumberColour(enum.IntEnum):
    RED = 1


class Text(str):
    __slots__ = ()


Point = namedtuple("Point", "x y")  # noqa: PYI024 - of the plain kind, as users have them


def test_a_function_that_changes_its_item_changes_no_record_and_no_outcome(any_store):
    def change(item):
        item["model"] = object()
        item["layers"].append(item)
        return "fitted"

    items = [{"depth": 3, "layers": [1, {"size": 2}]} for _ in range(3)]
    with any_store.start_run("run") as run, ThreadPoolExecutor(1) as executor:
        assert run.map("fit", items, change, executor=executor, name_of=lambda _: "x") == ["fitted"] * 3
    branches = any_store.get_run_log("run").steps["fit"].branches.values()
    assert [branch.item for branch in branches] == [{"depth": 3, "layers": [1, {"size": 2}]}] * 3
    assert {branch.status for branch in branches} == {"SUCCESS"}


def change(value):
    """Change a value deep inside, so that it cannot be recorded any more."""
    value["a"]["b"].append(object())


def test_what_is_changed_after_a_call_is_recorded_as_it_was(any_store):
    given = [{"a": {"b": [1]}} for _ in range(7)]
    parameters, config, more, result, params, metric, point = given
    with any_store.start_run("run", parameters=parameters, run_config=config) as run:
        run.set_parameters({"more": more})
        with run.step("load") as step:
            step.set_result(result)
            step.log_params(params)
            step.log_metric("metric", metric)
            step.log_metric("series", point, step=1)
            for value in given:
                change(value)
            step.log_metric("late", 1)
    log = any_store.get_run_log("run")
    load = log.steps["load"]
    assert (log.status, load.status) == ("SUCCESS", "SUCCESS")
    as_it_was = {"a": {"b": [1]}}
    assert log.parameters == {**as_it_was, "more": as_it_was}
    assert log.run_config["a"] == {"b": [1]}
    assert (load.result, load.attempts[0].parameters) == (as_it_was, as_it_was)
    assert load.user_defined_metrics == {"metric": as_it_was, "late": 1}
    assert load.metric_series["series"][0].value == as_it_was


def test_what_a_function_returned_and_changes_later_is_recorded_as_it_was(store):
    kept = []

    def load():
        kept.append({"a": {"b": [1]}})
        return kept[0]

    with store.start_run("run") as run:
        returned = run.step("load", load)
        assert returned is kept[0]
        change(returned)
        run.step("next", work.two)
    assert store.get_step_log("run", "load").result == {"a": {"b": [1]}}


def test_a_result_that_was_taken_over_can_be_changed(store):
    def load():
        return {"a": {"b": [1]}}

    def record(run):
        with run.step("block") as step:
            result = step.reuse() if step.cached else load()
            step.set_result(result) if not step._reused else None
            change(result)
            step.log_metric("late", 1)
        change(run.step("function", load))
        with ThreadPoolExecutor(1) as executor:
            change(run.map("score", [1], lambda _: load(), executor=executor)[0])

    with store.start_run("first") as run:
        record(run)
    with store.start_run("second", resume="first") as run:
        record(run)
    log = store.get_run_log("second")
    assert log.status == "SUCCESS"
    assert log.steps["block"].result == log.steps["function"].result == {"a": {"b": [1]}}
    assert {log.steps[name].cached_from for name in ("block", "function")} == {"first"}


@pytest.fixture
def _switching():
    """Have threads take turns very often."""
    before = sys.getswitchinterval()
    sys.setswitchinterval(1e-6)
    yield
    sys.setswitchinterval(before)


@pytest.mark.usefixtures("_switching")
def test_what_another_thread_changes_meanwhile_fails_nothing(store):
    shared = {str(number): {"value": number} for number in range(100)}
    deep = {"deep": [shared]}
    over = threading.Event()

    def go_on():
        number = 0
        while not over.is_set():
            number += 1
            shared[f"more {number % 50}"] = {"value": number}
            shared.pop(f"more {(number - 20) % 50}", None)

    thread = threading.Thread(target=go_on)
    thread.start()
    try:
        with store.start_run("run") as run, ThreadPoolExecutor(2) as executor:
            items = [shared, deep] * 10
            assert run.map("score", items, lambda _: 1, executor=executor, name_of=lambda _: "x") == [1] * 20
            with run.step("load") as step:
                for _ in range(10):
                    step.log_params(deep)
                    step.log_metrics(shared)
                    step.set_result(deep)
                    run.set_parameters(deep)
                    run.step("function", work.same, deep)
    finally:
        over.set()
        thread.join()
    assert store.get_run_log("run").status == "SUCCESS"


def test_items_and_functions_that_a_branch_takes_away_run_all_the_same(store):
    items, functions = [1, 2, 3, 4, 5], {}

    def take_away(item):
        items.clear()
        return item

    functions.update(a=functions.clear, b=work.two, c=work.one)
    with store.start_run("run") as run, ThreadPoolExecutor(1) as executor:
        assert run.map("score", items, take_away, executor=executor) == [1, 2, 3, 4, 5]
        assert run.parallel("train", functions, executor=executor) == {"a": None, "b": 2, "c": 1}
    assert len(store.get_run_log("run").steps["score"].branches) == 5


def test_a_large_array_is_not_copied_for_the_record():
    from chunkstore.recording.items import shown_item

    class Array(np.ndarray):
        def tolist(self):
            raise AssertionError("it is copied")

    shown_item(np.zeros(10_000).view(Array))
    assert shown_item(list(range(10_000))) is shown_item("x" * 10_000)  # both left out


KEPT = [None, True, 1, 1.5, -0.0, float("inf"), "x", [], {}, [1, {"a": [None, True]}], {"$float": "NaN"}, 10**30]
KEPT += [np.float64(1.5), np.int8(3), np.bool_(True), np.str_("x"), {"a": np.float32(0.1)}, np.longlong(7)]
KEPT += [(), (1, "a"), [(1, 2), (3, 4)], ((1, (2,)), [3], ()), {"$float": (1, 2), "*": [(np.int64(1),), 2]}]
KEPT += [[1, (2,), {"a": ()}, []], [[(1, 2)], [(3, 4)]], (np.float64(0.1), np.float64(0.2)), (None, {"list": (1,)})]
OTHER = [
    *(Colour.RED, TextColour.RED, NumberColour.RED, Text("x"), Point(1, 2), OrderedDict(a=1), date(2024, 1, 1)),
    *({"a": TextColour.RED}, [Text("x")], {TextColour.RED: 1}, {Text("x"): 1}, {1: 2}, (1, Colour.RED), b"x", {1}),
    *(np.datetime64("2024-01-01"), np.array([1, 2]), 1j),
]


@pytest.mark.parametrize("value", [*KEPT, *OTHER], ids=repr)
def test_the_very_result_comes_back_or_the_function_runs_again(store, calls, value):
    function = partial(returned, calls, value)
    with store.start_run("first") as run:
        run.step("load", function)
    with store.start_run("second", resume="first") as run:
        result = run.step("load", function)
    is_reused = work.noted(calls) == {"call": 1}
    assert is_reused == any(value is known for known in KEPT)
    if is_reused:
        assert shape_of(result) == shape_of(value)
    else:
        assert result is value


def shape_of(value):
    """Return a value with the type of each part of it."""
    if isinstance(value, dict):
        return {key: shape_of(part) for key, part in value.items()}
    parts = [shape_of(part) for part in value] if isinstance(value, (list, tuple)) else repr(value)
    return type(value), parts


def test_tuples_nested_deeper_than_a_record_may_be_make_no_record_unreadable(store, calls):
    value = (1,)
    for _ in range(100):
        value = (value, [])
    function = partial(returned, calls, value)
    for name, earlier in (("first", None), ("second", "first")):
        with store.start_run(name, resume=earlier) as run:
            assert run.step("load", function) == value
        assert store.get_run_log(name).problems == []


def test_a_step_that_is_given_the_tuple_of_one_that_was_taken_over_does_not_run_again(store, calls):
    def score(item):
        work.note(calls, "call")
        return item

    for name, earlier in (("first", None), ("second", "first")):
        with store.start_run(name, resume=earlier) as run, ThreadPoolExecutor(1) as executor:
            pair = run.step("load", returned, calls, (1, np.float64(0.5)))
            run.step("train", second_of, calls, pair)
            run.map("score", [pair, pair[1]], score, executor=executor)
    assert work.noted(calls) == {"call": 4}


@pytest.mark.parametrize(
    "types",
    [
        *("list", "numpy.void", "numpy.array", "os.system", "numpy", 1, [], {}, {"tuple": 1}),
        *({"dict": {"a": "tuple"}}, {"set": {"*": "tuple"}}, {"list": {"x": "tuple"}}, {"tuple": {}, "list": {}}),
        {"list": {"9": "tuple"}},
    ],
    ids=repr,
)
def test_a_result_whose_types_are_not_known_is_not_taken_over(types):
    step = StepLog(name="load", internal_name="load", result=[1, 2], result_types=types)
    assert result_of(step) is UNSET


def returned(calls, value):
    work.note(calls, "call")
    return value


def second_of(calls, pair):
    work.note(calls, "call")
    return pair[1]


def test_what_is_changed_in_the_record_of_the_earlier_run_changes_nothing_that_is_taken_over(store):
    for name, earlier in (("first", None), ("second", "first")):
        with store.start_run(name, resume=earlier) as run, run.step("load") as step:
            if earlier is None:
                step.set_result({"a": {"b": [1]}})
                step.log_metric("loss", 1)
            else:
                change(step.previous.result)
                step.previous.user_defined_metrics.clear()
                assert step.reuse() == {"a": {"b": [1]}}
    assert store.get_step_log("second", "load").user_defined_metrics == {"loss": 1}


@pytest.mark.parametrize("value", [TextColour.RED, {"a": Text("x")}, Point(1, 2)], ids=repr)
def test_a_result_that_would_not_come_back_is_refused_where_it_is_set(store, value):
    with store.start_run() as run, run.step("load") as step, pytest.raises(chunkstore.InvalidValueError):
        step.set_result(value)
