"""What cannot be meant is refused by the call itself, once, before anything is recorded or sent to a worker."""

import multiprocessing.pool
import threading
from concurrent.futures import ThreadPoolExecutor

import numpy as np
import pytest

import chunkstore
from recording import work

NAN, INFINITY = float("nan"), float("inf")
OPTIONS = [
    *({"backoff": value} for value in (-1, NAN, INFINITY, -INFINITY, "1", None, True)),
    *({"max_attempts": value} for value in (0, -1, 1.5, "2", None, True)),
    *({"on_error": value} for value in ("stop", None, ["raise"], np.array(["raise", "stop"]))),
]
EXECUTORS = [5, "threads", object(), ThreadPoolExecutor, multiprocessing.pool.ThreadPool(1)]
NAMES = ["", 5, None, b"x", "\ud800", "x" * 100_000]


@pytest.fixture
def run(store):
    with store.start_run("run") as run:
        yield run
    assert store.get_run_log("run").steps == {}


@pytest.fixture
def executor():
    """Threads that nobody may ask for anything."""

    class Asked(ThreadPoolExecutor):
        def submit(self, *_):
            raise AssertionError("something was sent to a worker")

    return Asked(1)


def refused(call, *arguments, **options):
    with pytest.raises((chunkstore.StoreUsageError, chunkstore.InvalidNameError)):
        call(*arguments, **options)


@pytest.mark.parametrize("options", OPTIONS, ids=repr)
def test_options_that_make_no_sense_are_refused(run, executor, options):
    refused(run.map, "x", [1], work.double, executor=executor, **options)
    refused(run.parallel, "x", {"a": work.two}, executor=executor, **options)
    refused(run.step, "x", work.two, **options)
    refused(run.step, "x", **options)


@pytest.mark.parametrize("value", EXECUTORS, ids=lambda value: type(value).__name__)
def test_what_is_no_executor_is_refused(run, value):
    refused(run.map, "x", [1], work.double, executor=value)
    refused(run.parallel, "x", {"a": work.two}, executor=value)


@pytest.mark.parametrize("name", NAMES, ids=lambda name: repr(name)[:10])
def test_names_that_cannot_be_are_refused(run, executor, name):
    refused(run.map, name, [1], work.double, executor=executor)
    refused(run.parallel, name, {"a": work.two}, executor=executor)
    refused(run.step, name, work.two)
    refused(run.step, name)
    if isinstance(name, str):
        refused(run.parallel, "x", {"good": work.two, name: work.two}, executor=executor)


def test_what_is_no_function_and_no_items_is_refused(run, executor):
    for value in (None, 5, "x", [work.two]):
        refused(run.map, "x", [1], value, executor=executor)
        refused(run.parallel, "x", {"a": value}, executor=executor)
        refused(run.parallel, "x", value, executor=executor)
        refused(run.step("x"), value)
        if value is not None:
            refused(run.step, "x", value)
            refused(run.map, "x", [1], work.double, executor=executor, name_of=value)
    for value in (None, 5, work.double):
        refused(run.map, "x", value, work.double, executor=executor)


def test_a_call_that_was_refused_takes_no_name(store):
    with store.start_run("run") as run, ThreadPoolExecutor(1) as executor:
        refused(run.map, "score", [1], work.double, executor=executor, backoff=-1)
        refused(run.map, "score", 5, work.double, executor=executor)
        refused(run.parallel, "score", {"": work.two}, executor=executor)
        refused(run.step, "score", work.two, max_attempts=0)
        assert run.map("score", [1], work.double, executor=executor, max_attempts=np.int64(2), backoff=0) == [2]
    assert list(store.get_run_log("run").steps) == ["score"]


def test_each_call_of_a_decorated_function_is_a_step_with_a_name_of_its_own(store):
    with store.start_run("run") as run:
        load = run.step("load")
        one, two = load(work.one), load(work.two)
        assert [one(), two(), one(), two()] == [1, 2, 1, 2]

        @run.step("count")
        def count(number):
            return 1 + count(number - 1) if number else 0

        assert count(2) == 2
        both = threading.Barrier(4)
        meet = run.step("meet")(lambda: both.wait(20))
        threads = [threading.Thread(target=meet) for _ in range(4)]
        for thread in threads:
            thread.start()
        for thread in threads:
            thread.join()
    steps = store.get_run_log("run").steps
    assert {name: step.result for name, step in steps.items() if step.name == "load"} == {
        "load": 1,
        "load#2": 2,
        "load#3": 1,
        "load#4": 2,
    }
    assert {name for name, step in steps.items() if step.name == "count"} == {"count", "count#2", "count#3"}
    assert {name for name, step in steps.items() if step.name == "meet"} == {"meet", "meet#2", "meet#3", "meet#4"}


def test_a_step_is_a_block_or_a_decorator_and_overwrites_nothing_as_both(store):
    with store.start_run("run") as run:
        with run.step("load") as step:
            step.log_metric("of the block", 1)
        step(work.two)()
        decorator = run.step("score")
        score = decorator(work.two)
        with pytest.raises(chunkstore.StoreUsageError), decorator:
            pass
        score()
    steps = store.get_run_log("run").steps
    assert list(steps) == ["load", "load#2", "score"]
    assert steps["load"].user_defined_metrics == {"of the block": 1}
