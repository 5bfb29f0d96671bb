"""A pool that breaks is renewed as it was, as long as anything comes of it: nothing is lost that could have run."""

import errno
import itertools
import multiprocessing
import os
import signal
import sys
import threading
import time
from concurrent.futures import Executor, Future, ProcessPoolExecutor, ThreadPoolExecutor
from functools import partial

import loky
import numpy as np
import pytest

from chunkstore import StoreUsageError
from chunkstore.recording import workers as workers_module
from chunkstore.recording.branch_records import Branch, outcome_of
from recording import work
from recording.test_answers import Handing


class Counting(ProcessPoolExecutor):
    """A pool whose constructor nobody else can call."""

    def __init__(self, *, label):
        super().__init__(1, multiprocessing.get_context("fork"), work.set_label, (label,))
        self.mutex = threading.Lock()
        self.handed_out = []

    def submit(self, function, /, *arguments):
        with self.mutex:
            self.handed_out.append(type(self))
        return super().submit(function, *arguments)


class Wrapping(Executor):
    """An executor that has another one inside."""

    def __init__(self, inner):
        self.inner = inner
        self.handed_out = []

    def submit(self, function, /, *arguments):
        self.handed_out.append(function)
        return self.inner.submit(function, *arguments)


class Slotted(Executor):
    """The same without a `__dict__` for its own."""

    __slots__ = ("inner",)

    def __init__(self, inner):
        self.inner = inner

    def submit(self, function, /, *arguments):
        return self.inner.submit(function, *arguments)


def idle_worker_killed_before(calls, *numbers, count=8):
    """Yield items, and kill the worker that ran the last one before some of them, when it is idle."""
    for number in range(count):
        if number in numbers:
            work.wait_for(lambda so_far=number: len(work.noted(calls)) == so_far)
            last = max(work.noted_ids(calls).items())[1]
            time.sleep(0.1)  # its answer is on its way
            os.kill(last, signal.SIGKILL)
            time.sleep(0.1)  # the pool notices
        yield number


def labelled(label):
    return partial(ProcessPoolExecutor, 1, initializer=work.set_label, initargs=(label,))


@pytest.mark.sampled
@pytest.mark.parametrize(
    ("made", "label"),
    [
        (labelled("standard"), "standard"),
        (partial(Counting, label="counting"), "counting"),
        (lambda: Handing(ProcessPoolExecutor(1)), None),
        (lambda: Wrapping(labelled("wrapped")()), "wrapped"),
        (lambda: Wrapping(Slotted(labelled("twice")())), "twice"),
        (lambda: Wrapping(loky.ProcessPoolExecutor(1, initializer=work.set_label, initargs=("in",))), "in"),
        (partial(loky.ProcessPoolExecutor, 1, initializer=work.set_label, initargs=("loky",)), "loky"),
    ],
)
def test_idle_workers_killed_again_and_again_cost_nothing(store, calls, made, label):
    executor = made()
    with store.start_run("run") as run:
        items = idle_worker_killed_before(calls, 2, 4, 6)
        assert run.map("score", items, partial(work.labelled, calls), executor=executor) == [
            [number, label] for number in range(8)
        ]
    assert work.noted(calls) == {str(number): 1 for number in range(8)}
    if isinstance(executor, (Counting, Wrapping)):
        assert len(executor.handed_out) >= 8  # the same list, in the pools that took its place


@pytest.mark.thorough
def test_a_renewed_pool_keeps_its_context_and_how_often_a_worker_is_used(store, calls):
    context = multiprocessing.get_context("spawn")
    settings = {"mp_context": context, "initializer": work.set_label, "initargs": ("kept",)}
    if sys.version_info >= (3, 11):
        settings["max_tasks_per_child"] = 2
    with store.start_run("run") as run:
        items = idle_worker_killed_before(calls, 1, count=6)
        function = partial(work.labelled, calls)
        results = run.map("score", items, function, executor=ProcessPoolExecutor(1, **settings))
    assert results == [[number, "kept"] for number in range(6)]
    used = list(work.noted_ids(calls).values())[1:]
    if "max_tasks_per_child" in settings:
        assert max(map(used.count, used)) == 2


@pytest.mark.parametrize("made", [partial(ProcessPoolExecutor, 1), partial(ProcessPoolExecutor, 2)])
def test_an_item_that_kills_whoever_rebuilds_it_fails_alone(store, made):
    items = [1, work.Killing(), 3, 4, 5, 6, 7]
    with store.start_run("run") as run:
        results = run.map("score", items, work.kind_of, executor=made(), on_error="continue", name_of=str_or_killing)
    assert results == ["int", None, "int", "int", "int", "int", "int"]
    assert "had not started" in store.get_branch_log("run", "score.killing").message


def test_items_that_kill_whoever_rebuilds_them_cost_no_other(store):
    items = [*(work.Killing() for _ in range(5)), 1, 2]
    with store.start_run("run") as run:
        results = run.map(
            "score", items, work.kind_of, executor=ProcessPoolExecutor(1), on_error="continue", name_of=str_or_killing
        )
    assert results == [None] * 5 + ["int"] * 2


def test_workers_that_often_die_as_they_begin_cost_no_branch(store, calls, tmp_path):
    executor = ProcessPoolExecutor(1, initializer=work.die_as_often, initargs=(tmp_path, 6))
    with store.start_run() as run:
        assert run.map("score", range(3), partial(work.noted_double, calls), executor=executor) == [0, 2, 4]
    assert work.noted(calls) == {"0": 1, "1": 1, "2": 1}


@pytest.mark.parametrize("made", [lambda: None, partial(ProcessPoolExecutor, 2)])
def test_an_interrupt_while_branches_of_a_broken_pool_run_alone_leaves_none_at_work(store, calls, made):
    def interrupted():
        with store.start_run("run") as run:
            run.map("score", range(2), partial(work.die_then_interrupt, calls), executor=made(), max_attempts=2)

    with pytest.raises(KeyboardInterrupt):
        interrupted()
    (step,) = store.get_run_log("run").steps.values()
    inner = [inner for branch in step.branches.values() for inner in branch.steps.values()]
    assert {record.status for record in (*step.branches.values(), *inner)} == {"FAIL"}
    assert {attempt.status for record in inner for attempt in record.attempts} == {"FAIL"}
    messages = [branch.message for branch in step.branches.values()]
    assert not [message for message in messages if "may have ended later" in message], "they have died"


def str_or_killing(item):
    return str(item) if isinstance(item, int) else "killing"


@pytest.mark.sampled
@pytest.mark.parametrize("number", range(len(work.RESULTS)))
def test_a_result_that_was_on_its_way_when_the_pool_broke_is_the_one_that_was_returned(store, calls, number):
    with store.start_run() as run:
        functions = {
            "slow": partial(work.slow_to_send, calls, number),
            "dies": partial(work.die_when_other_has_ended, calls),
        }
        results = run.parallel("all", functions, executor=ProcessPoolExecutor(2))
    expected = work.RESULTS[number]
    assert (type(results["slow"]), repr(results["slow"])) == (type(expected), repr(expected))


@pytest.mark.parametrize(
    "value",
    [
        *(None, True, 1, 1.0, -0.0, float("nan"), "x", [], {}, {"a": [1, {"b": [None, False, 2.5]}]}, 10**30),
        *((1, 2), [1, (2,)], {"a": ()}, np.float64(1.5), {"a": np.int8(1)}),
    ],
)
def test_what_the_log_has_of_a_result_counts(store, value):
    found = recorded(store, value)
    assert found is not None
    assert (type(found.value), repr(found.value)) == (type(value), repr(value))
    assert (found.error, found.failed) == (None, False)


@pytest.mark.parametrize("value", [{1}, b"x", 1j, {1: 2}])
def test_a_result_that_the_log_has_not_kept_is_not_taken_from_it(store, value):
    assert recorded(store, value) is None


def test_a_failure_that_was_on_its_way_is_told_with_its_traceback(store):
    found = recorded(store, work.fail_always)
    assert "ValueError: always" in str(found.error)
    assert "fail_always" in str(found.error.__cause__)


def recorded(store, value):
    """Return what came of a branch as its record has it."""
    function = value if callable(value) else lambda: value
    with store.start_run("run") as run, ThreadPoolExecutor(1) as executor:
        run.parallel("all", {"one": function}, executor=executor, on_error="continue")
        branch = Branch(0, "all.one", function, (), [])
        return outcome_of(branch, store.get_branch_log("run", "all.one"))


@pytest.mark.parametrize("cancel", [False, True])
@pytest.mark.parametrize("made", [ThreadPoolExecutor, ProcessPoolExecutor])
def test_an_executor_that_is_shut_down_meanwhile_ends_the_map_and_nothing_is_said_to_have_failed(store, made, cancel):
    executor = made(1)

    def items():
        for number in range(20):
            if number == 5:
                executor.shutdown(wait=False, cancel_futures=cancel)
            yield number

    with store.start_run("run") as run, pytest.raises(StoreUsageError, match="resume"):
        run.map("score", items(), work.double, executor=executor, on_error="continue")
    step = store.get_run_log("run").steps["score"]
    assert step.status == "FAIL"
    assert {branch.status for branch in step.branches.values()} == {"SUCCESS"}
    with store.start_run("again", resume="run") as run, ThreadPoolExecutor(1) as another:
        assert run.map("score", range(20), work.double, executor=another) == [number * 2 for number in range(20)]


def test_futures_that_were_cancelled_before_they_began_are_handed_out_again(store):
    class Cancelling(Executor):
        def __init__(self):
            self.inner = ThreadPoolExecutor(1)
            self.asked = 0

        def submit(self, function, /, *arguments):
            self.asked += 1
            if self.asked % 3 == 0:
                future = self.inner.submit(time.sleep, 0.01)
                late = self.inner.submit(function, *arguments)
                assert late.cancel()
                future.result()
                return late
            return self.inner.submit(function, *arguments)

    with store.start_run() as run:
        assert run.map("score", range(8), work.double, executor=Cancelling()) == [number * 2 for number in range(8)]


class CancellingOnce(Executor):
    """Takes back the first thing that it was given, as it runs: a cluster that is restarted does."""

    _max_workers = 1

    def __init__(self):
        self.inner = ThreadPoolExecutor(2)
        self.begun = threading.Event()

    def submit(self, function, /, *arguments):
        if self.begun.is_set():
            return self.inner.submit(function, *arguments)
        self.inner.submit(function, *arguments)
        assert self.begun.wait(20)
        shown = Future()
        shown.cancel()
        return shown


@pytest.mark.parametrize("attempts", [1, 2])
def test_a_branch_that_its_engine_has_cancelled_as_it_ran_runs_again_while_it_has_attempts(store, attempts):
    executor = CancellingOnce()
    may_end = threading.Event()

    def function(item):
        if executor.begun.is_set():
            return item
        executor.begun.set()
        assert may_end.wait(20)
        return "late"

    with store.start_run("run") as run:
        results = run.map("score", [1, 2], function, executor=executor, max_attempts=attempts, on_error="continue")
        may_end.set()
        executor.inner.shutdown()
    assert results == [None if attempts == 1 else 1, 2]
    branch = store.get_branch_log("run", "score.1")
    assert branch.status == ("FAIL" if attempts == 1 else "SUCCESS")
    assert attempts > 1 or "its engine cancelled it" in branch.message
    (step,) = branch.steps.values()
    assert len(step.attempts) == attempts


@pytest.mark.filterwarnings("ignore::pytest.PytestUnhandledThreadExceptionWarning")
def test_threads_that_cannot_begin_are_told_of_as_what_they_are(store):
    with store.start_run("run") as run:
        executor = ThreadPoolExecutor(1, initializer=work.refuse)
        assert run.map("score", range(5), work.double, executor=executor, on_error="continue") == [None] * 5
    messages = {branch.message for branch in store.get_run_log("run").steps["score"].branches.values()}
    assert len(messages) == 1
    assert all("had not started" in message and "BrokenThreadPool" in message for message in messages)


def test_a_pool_in_a_daemonic_worker_is_refused_with_a_way_out(store):
    context = multiprocessing.get_context("fork")
    for executor in (None, ProcessPoolExecutor(1), loky.ProcessPoolExecutor(1), Handing(ProcessPoolExecutor(1))):
        queue = context.SimpleQueue()
        process = context.Process(target=work.map_in_daemon, args=(store, executor, queue), daemon=True)
        process.start()
        # What an executor of its own kind does is known when it has done it.
        assert queue.get() == ("StoreUsageError", True, ["score"] if isinstance(executor, Handing) else [])
        process.join()


def test_pools_in_several_threads_start_their_workers_one_after_the_other(store, monkeypatch):
    fork, inside, most = os.fork, [], []
    together = threading.Barrier(3)

    def forked():
        inside.append(None)
        most.append(len(inside))
        time.sleep(0.01)
        pid = fork()
        inside.pop()
        return pid

    def score(name):
        together.wait(20)
        return run.map(name, [1, 2], work.double)

    monkeypatch.setattr(os, "fork", forked)
    with store.start_run("run") as run, ThreadPoolExecutor(3) as threads:
        assert list(threads.map(score, "abc")) == [[2, 4]] * 3
    assert max(most) == 1


def with_two_processors(monkeypatch):
    for name in ("cpu_count", "process_cpu_count"):
        monkeypatch.setattr(os, name, lambda: 2, raising=False)


@pytest.mark.parametrize("error", [RuntimeError("another thread forks"), BlockingIOError(errno.EAGAIN, "too many")])
@pytest.mark.parametrize("refused", [1, 2])
def test_a_pool_that_cannot_start_all_its_workers_is_made_anew_and_leaves_none_behind(
    store, monkeypatch, refused, error
):
    fork, count = os.fork, itertools.count(1)

    def forked():
        if next(count) == refused:
            raise error
        return fork()

    with_two_processors(monkeypatch)
    before = set(multiprocessing.active_children())
    monkeypatch.setattr(os, "fork", forked)
    with store.start_run("run") as run:
        assert run.map("score", [1, 2, 3], work.double) == [2, 4, 6]
    assert next(count) == refused + 3
    assert set(multiprocessing.active_children()) <= before


def test_a_pool_that_can_start_no_workers_ends_the_map_and_nothing_waits_for_them(store, monkeypatch):
    fork, pids = os.fork, []

    def forked():
        if len(pids) % 2:
            pids.append(0)
            raise BlockingIOError(errno.EAGAIN, "too many")
        pids.append(fork())
        return pids[-1]

    monkeypatch.setattr(workers_module, "_PAUSES_TO_START", (0.01,))
    with_two_processors(monkeypatch)
    before = set(multiprocessing.active_children())
    monkeypatch.setattr(os, "fork", forked)
    with store.start_run("run") as run, pytest.raises(StoreUsageError, match="too many"):
        run.map("score", [1, 2, 3], work.double)
    assert set(multiprocessing.active_children()) <= before
