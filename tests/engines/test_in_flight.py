"""What is in flight is what the engine can take."""

import gc
import os
import queue
import threading
import weakref
from concurrent.futures import Executor, Future, ProcessPoolExecutor, ThreadPoolExecutor

import loky
import pytest

import chunkstore
from chunkstore.engines.base import Engine, settle
from chunkstore.engines.capacity import capacity_of
from chunkstore.recording import dispatch, in_flight, workers

#: Longer than anything here takes.
_LONGEST = 20


class Unknown(Executor):
    """Has workers, and does not say how many."""

    def __init__(self, workers):
        self._submit = ThreadPoolExecutor(workers).submit

    def submit(self, function, /, *arguments, **keywords):
        return self._submit(function, *arguments, **keywords)


class Queue(queue.SimpleQueue):
    """Tells an engine that its futures are waited for."""

    def __init__(self, engine):
        self._engine = engine

    def get(self, block=True, timeout=None):
        self._engine.is_waited_for()
        return super().get(block, timeout)


class Kept(Engine):
    """Runs nothing until it is waited for, and so shows how much it is given; then it runs all, in order, at once."""

    is_elsewhere = False

    def __init__(self):
        self.given = []
        self.most = 0

    def submit(self, function, /, *arguments, **keywords):
        future = Future()
        self.given.append((future, function, arguments))
        self.most = max(self.most, len(self.given))
        return future

    def new_queue(self):
        return Queue(self)

    def is_waited_for(self):
        given, self.given = self.given, []
        for future, function, arguments in given:
            future.set_result(function(*arguments))


class Growing(Engine):
    """Has one worker, and four from when it is waited for."""

    is_elsewhere = False
    may_grow = True

    def __init__(self):
        self.workers = 1
        self.submit = ThreadPoolExecutor(8).submit

    def new_queue(self):
        return Queue(self)

    def is_waited_for(self):
        self.workers = 4

    def capacity(self):
        return self.workers


def meet(barrier):
    """Return a function that returns when as many as a barrier asks for are at work at once."""

    def function(item):
        barrier.wait(_LONGEST)
        return item

    return function


@pytest.mark.sampled
@pytest.mark.parametrize("count", [8 * (os.cpu_count() or 1), 300])
def test_an_engine_that_does_not_say_how_many_workers_it_has_is_not_starved(store, count):
    with store.start_run() as run:
        barrier = threading.Barrier(count)
        assert run.map("meet", range(count), meet(barrier), executor=Unknown(count)) == list(range(count))


def test_no_more_than_a_thousand_items_are_taken_for_an_engine_that_does_not_say(monkeypatch, store):
    monkeypatch.setattr(dispatch, "run_branch", lambda task: dispatch.Outcome(None, None, failed=False))
    engine = Kept()
    asked = []
    with store.start_run() as run:
        run.map("lazy", (asked.append(each) or each for each in range(1_500)), abs, executor=engine)
    assert engine.most == 1_000
    assert len(asked) == 1_500


@pytest.mark.parametrize("most", [1, 3])
def test_max_in_flight_overrides_what_an_engine_can_take(store, most):
    engine = Kept()
    with store.start_run() as run:
        assert run.map("few", range(7), str, executor=engine, max_in_flight=most) == [str(each) for each in range(7)]
    assert engine.most == most


def test_max_in_flight_can_be_more_than_there_are_workers(store):
    with store.start_run() as run, ThreadPoolExecutor(1) as pool:
        taken = []
        first = threading.Event()

        def function(item):
            assert first.wait(_LONGEST)
            return item

        def items():
            for each in range(20):
                taken.append(each)
                yield each
            first.set()  # not before all have been asked for

        assert len(run.map("many", items(), function, executor=pool, max_in_flight=50)) == 20


def test_max_in_flight_holds_for_parallel(store):
    engine = Kept()
    with store.start_run() as run:
        run.parallel("two", {"a": str, "b": str, "c": str, "d": str}, executor=engine, max_in_flight=2)
    assert engine.most == 2


@pytest.mark.parametrize("wrong", [0, -1, 2.0, "3", True])
def test_a_max_in_flight_that_makes_no_sense_is_refused_before_anything_is_recorded(store, wrong):
    with store.start_run("r") as run:
        with pytest.raises(chunkstore.StoreUsageError, match="max_in_flight must be a whole number"):
            run.map("m", [1], str, max_in_flight=wrong)
        with pytest.raises(chunkstore.StoreUsageError, match="max_in_flight must be a whole number"):
            run.parallel("m", {"a": str}, max_in_flight=wrong)
    assert not store.get_run_log("r").steps


def test_an_engine_that_grows_while_all_its_workers_are_busy_gets_more(monkeypatch, store):
    monkeypatch.setattr(dispatch, "LOOK_INTERVAL", 0.02)
    monkeypatch.setattr(workers, "_CAPACITY_HOLDS", 0.0)
    with store.start_run() as run:
        barrier = threading.Barrier(8)  # the first two branches end only when there are six more
        assert len(run.map("grow", range(8), meet(barrier), executor=Growing())) == 8


def test_a_settled_future_is_not_held_while_others_run(store):
    """An engine may keep a result, and make a lost one anew, as long as somebody refers to its future."""
    futures = []
    left = []

    class Noting(Kept):
        def submit(self, function, /, *arguments, **keywords):
            future = super().submit(function, *arguments, **keywords)
            futures.append(weakref.ref(future))
            return future

    def items():
        for each in range(6):
            gc.collect()
            left.append(sum(ref() is not None and ref().done() for ref in futures))
            yield each

    with store.start_run() as run:
        run.map("held", items(), str, executor=Noting(), max_in_flight=1)
    gc.collect()
    assert left == [0] * 6
    assert not any(ref() for ref in futures)


def test_a_future_that_failed_is_not_held_by_its_error(store):
    futures = []

    class Failing(Executor):
        def submit(self, function, /, *arguments, **keywords):
            future = Future()
            futures.append(weakref.ref(future))
            try:
                os.stat("no such worker")
            except OSError as error:  # its traceback has this frame, and so the future
                future.set_exception(error)
            return future

    with store.start_run() as run:
        results = run.map("m", range(3), str, executor=Failing(), on_error="continue")
    gc.collect()
    assert results == [None] * 3
    assert not any(ref() for ref in futures)


class Wrapping(Executor):
    def __init__(self, wrapped):
        self.wrapped = wrapped

    def submit(self, function, /, *arguments, **keywords):
        return self.wrapped.submit(function, *arguments, **keywords)


@pytest.mark.parametrize("make", [ThreadPoolExecutor, ProcessPoolExecutor, loky.ProcessPoolExecutor])
def test_a_pool_says_how_many_workers_it_has(make):
    with make(3) as pool:
        assert capacity_of(pool) == 3
        assert workers.Workers(Wrapping(Wrapping(pool))).count == 3


@pytest.mark.parametrize("said", [None, 0, -1, float("inf"), float("nan"), "many", True, OSError("gone")])
def test_what_is_no_number_of_workers_is_not_believed(said):
    class Odd(Executor):
        @property
        def max_workers(self):
            if isinstance(said, Exception):
                raise said
            return said

    assert capacity_of(Odd()) is None
    assert workers.Workers(Odd()).count == 500


@pytest.mark.thorough
@pytest.mark.filterwarnings("ignore::pydantic.warnings.PydanticDeprecatedSince20")  # of what it imports
def test_executorlib_is_asked_for_its_workers_or_its_processors():
    import executorlib

    for options, count in [({"max_workers": 3}, 3), ({"max_cores": 6, "resource_dict": {"cores": 2}}, 3)]:
        with executorlib.SingleNodeExecutor(**options) as executor:
            assert capacity_of(executor) == count


def test_a_map_whose_engine_takes_no_more_ends_though_it_was_never_told_of_what_ran(monkeypatch, store):
    """As a client that has lost its cluster: what it was given neither runs nor ends, until somebody looks."""
    monkeypatch.setattr(in_flight, "LOOK_INTERVAL", 0.02)

    class Lost(Growing):
        def __init__(self):
            self.workers = 1
            self.given = []

        def submit(self, function, /, *arguments, **keywords):
            if self.given:
                raise OSError("the connection is closed")
            self.given.append(Future())
            return self.given[0]

        def look(self):
            settle(self.given[0], None, OSError("the connection is closed"))

    with (
        pytest.raises(chunkstore.StoreUsageError, match="takes no more work"),
        store.start_run() as run,
    ):
        run.map("lost", range(3), str, executor=Lost())
