"""Maps inside maps come to an end, whichever pools they run on."""

import multiprocessing
import os
import sys
import threading
import time
from concurrent.futures import ProcessPoolExecutor, ThreadPoolExecutor
from functools import partial

import pytest

import chunkstore
from chunkstore.recording import waiting
from recording import work
from recording.test_answers import Handing

pytestmark = pytest.mark.usefixtures("_nobody_waits")

_LONGEST = 20.0


@pytest.fixture
def _nobody_waits():
    yield
    assert not waiting._waiting
    assert not waiting._pools


class Threads(ThreadPoolExecutor):
    """A pool of a class of its own."""


class Wrapping(Handing):
    """An executor that has another as one of its attributes."""

    def __init__(self, wrapped):
        super().__init__(wrapped)
        self.wrapped = wrapped


def mapped(name, items, function, executor):
    return chunkstore.current_run().map(name, items, function, executor=executor)


def in_turn(*executors):
    """Return a function that maps over the first executor, in whose branches the next is mapped over, and so on."""
    if not executors:
        return lambda item: item
    return lambda item: sum(mapped("inner", [1, 2, 3], in_turn(*executors[1:]), executors[0]))


def ended(function):
    """Return what a function returns, in a thread that is waited for as long as it may take at most."""
    results = []
    thread = threading.Thread(target=lambda: results.append(function()), daemon=True)
    thread.start()
    thread.join(_LONGEST)
    assert results, "it has not come to its end"
    return results[0]


def pools_in_turn():
    one, two, three = ThreadPoolExecutor(1), ThreadPoolExecutor(1), ThreadPoolExecutor(2)
    wrapped = Wrapping(one)
    hidden = Handing(one)
    yield "one in itself", [one, one, one]
    yield "two in turn", [one, two, one, two]
    yield "three in turn", [one, two, three, one]
    yield "of several threads", [three, one, three]
    yield "of a class of its own", [threads := Threads(1), two, threads]
    yield "wrapped", [wrapped, two, wrapped]
    yield "wrapped twice, and itself", [Wrapping(wrapped), one, wrapped]
    yield "of which nobody knows", [hidden, hidden]
    yield "of which nobody knows, in turn", [hidden, two, hidden]


@pytest.mark.parametrize(("_what", "executors"), [pytest.param(*case, id=case[0]) for case in pools_in_turn()])
def test_pools_of_threads_that_take_turns_come_to_an_end(store, _what, executors):
    with store.start_run("run") as run:
        results = ended(lambda: run.map("outer", [1, 2], in_turn(*executors[1:]), executor=executors[0]))
    assert results == [6 * 3 ** (len(executors) - 2)] * 2
    log = store.get_run_log("run")
    assert log.status == "SUCCESS"
    assert set(log.steps["outer"].branches) == {"outer.1", "outer.2"}


def test_two_maps_on_two_pools_that_each_need_the_other_come_to_an_end(store):
    one, two = ThreadPoolExecutor(1), ThreadPoolExecutor(1)
    both = threading.Barrier(2)

    def then_on(executor):
        def function(_item):
            both.wait(_LONGEST)  # both pools have all their threads at work
            return sum(mapped("inner", [1, 2, 3], work.same, executor))

        return function

    with store.start_run() as run, ThreadPoolExecutor(2) as users:
        first = users.submit(run.map, "first", [1], then_on(two), executor=one)
        second = users.submit(run.map, "second", [1], then_on(one), executor=two)
        assert (first.result(_LONGEST), second.result(_LONGEST)) == ([6], [6])


@pytest.mark.parametrize("workers", [1, 2])
def test_a_map_on_the_pool_whose_threads_call_it_comes_to_an_end(store, workers):
    executor = ThreadPoolExecutor(workers)
    with store.start_run() as run:
        calls = [executor.submit(run.map, f"map {n}", range(5), work.double, executor=executor) for n in range(6)]
        assert [call.result(_LONGEST) for call in calls] == [[0, 2, 4, 6, 8]] * 6


def test_maps_that_threads_of_two_pools_call_on_each_other_come_to_an_end(store):
    one, two = ThreadPoolExecutor(1), ThreadPoolExecutor(1)
    both = threading.Barrier(2)

    def call(name, executor):
        both.wait(_LONGEST)
        return run.map(name, [1, 2], work.double, executor=executor)

    with store.start_run() as run:
        calls = [one.submit(call, "on two", two), two.submit(call, "on one", one)]
        assert [made.result(_LONGEST) for made in calls] == [[2, 4]] * 2


def test_branches_of_a_pool_of_one_thread_run_one_after_the_other_whoever_runs_them(store):
    limited, wide = ThreadPoolExecutor(1), ThreadPoolExecutor(6)
    mutex, now, most = threading.Lock(), [0], [0]

    def leaf(item):
        with mutex:
            now[0] += 1
            most[0] = max(most[0], now[0])
        time.sleep(0.002)
        with mutex:
            now[0] -= 1
        return item

    def middle(_item):
        return mapped("inner", range(4), leaf, limited)

    with store.start_run() as run:
        ended(lambda: run.map("outer", range(2), lambda _: mapped("middle", range(4), middle, wide), executor=limited))
    assert most == [1]


def test_who_only_waits_runs_no_branch(store):
    executor, blocked = ThreadPoolExecutor(1), ThreadPoolExecutor(1)
    where = []

    def leaf(item):
        where.append(threading.current_thread())
        return item

    def outer(_item):
        return mapped("inner", [1, 2], leaf, blocked)

    with store.start_run() as run:
        run.map("outer", [1, 2], outer, executor=executor)
    assert threading.main_thread() not in where


def test_branches_that_run_in_the_place_of_others_are_recorded_like_them(store):
    executor = ThreadPoolExecutor(1)
    with store.start_run("run") as run:
        run.map("outer", [0], lambda _: mapped("inner", range(4), work.log_all, executor), executor=executor)
    inner = store.get_run_log("run").steps["outer"].branches["outer.0"].steps["outer.0.inner"]
    assert list(inner.branches) == [f"outer.0.inner.{number}" for number in range(4)]
    for number, branch in enumerate(inner.branches.values()):
        (step,) = branch.steps.values()
        assert step.user_defined_metrics == {"size": number}
        assert {entry.name for entry in step.data_catalog} == {"out.txt", f"{step.internal_name}.execution.log"}


def test_failures_of_branches_that_run_in_the_place_of_others_are_like_all(store):
    executor = ThreadPoolExecutor(1)

    def outer(_item):
        return chunkstore.current_run().map(
            "inner", range(4), work.fail_for_odd, executor=executor, on_error="continue"
        )

    with store.start_run() as run:
        assert run.map("outer", [0], outer, executor=executor) == [[0, None, 2, None]]


POOLS = {}


def on_inherited(name, _item):
    return mapped("inner", [1, 2, 3], work.double, POOLS[name])


def through_processes(_item):
    return mapped("middle", [1, 2], partial(on_inherited, "threads"), POOLS["processes"])


@pytest.mark.skipif(sys.platform == "win32", reason="there is no fork")
@pytest.mark.parametrize("name", ["threads", "processes", "wrapped"])
def test_a_pool_that_a_forked_worker_inherited_is_made_anew(store, name):
    POOLS["threads"] = ThreadPoolExecutor(2)
    POOLS["wrapped"] = Wrapping(POOLS["threads"])
    POOLS["threads"].submit(work.two).result()  # it has a thread, which the child will not have
    POOLS["processes"] = executor = ProcessPoolExecutor(2, multiprocessing.get_context("fork"))
    with executor, store.start_run() as run:
        assert run.map("outer", [1, 2], partial(on_inherited, name), executor=executor) == [[2, 4, 6]] * 2


@pytest.mark.skipif(sys.platform == "win32", reason="there is no fork")
@pytest.mark.parametrize("made", [lambda: None, partial(ProcessPoolExecutor, 1, multiprocessing.get_context("fork"))])
def test_a_map_in_a_forked_worker_has_workers_of_its_own(store, made):
    with store.start_run() as run:
        (ids,) = run.map("outer", [1], ids_of_inner_workers, executor=made())
    assert ids[0] not in ids[1:]


def ids_of_inner_workers(_item):
    return [os.getpid(), *chunkstore.current_run().map("inner", [1, 2], work.process_id)]


def test_processes_between_threads_come_to_an_end(store):
    POOLS["threads"] = ThreadPoolExecutor(1)
    POOLS["processes"] = ProcessPoolExecutor(1, multiprocessing.get_context("fork"))
    with POOLS["processes"], store.start_run() as run:
        results = ended(lambda: run.map("outer", [1, 2], through_processes, executor=POOLS["threads"]))
    assert results == [[[2, 4, 6], [2, 4, 6]]] * 2
