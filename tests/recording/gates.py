"""Branches that go on until they are told to end, on an engine that cannot stop any."""

import threading
from concurrent.futures import Executor, Future, ThreadPoolExecutor

import pytest

import chunkstore
from recording import work


class Unstoppable(Executor):
    """As Dask: it says yes to every `cancel`, and runs all that it was given."""

    _max_workers = 2

    def __init__(self):
        self._pool = ThreadPoolExecutor(2)
        self.futures = []

    def submit(self, function, /, *arguments, **keywords):
        shown = Future()

        def ended(future):
            if not shown.cancelled():
                shown.set_result(future.result())

        self.futures.append(self._pool.submit(function, *arguments, **keywords))
        self.futures[-1].add_done_callback(ended)
        return shown


class Gate:
    """Lets branches begin, and end when they are told to.

    Attributes:
        current: that of the test.
    """

    current = None

    def __init__(self):
        self.begun = threading.Semaphore(0)
        self.open = threading.Event()
        self.items = []

    def through(self, item):
        """Do what a branch does."""
        self.items.append(item)
        run = chunkstore.current_run()
        run.step("before", work.same, item)
        self.begun.release()
        assert self.open.wait(20)
        with run.step("after") as step:
            step.log_metric("item", item)
            run.step("inside", work.same, item)
        if item == "bad":
            raise ValueError(item)
        return item

    def interrupt_when(self, items, count):
        """Yield items, and do what Ctrl-C does when so many have begun."""
        yield from items
        for _ in range(count):
            assert self.begun.acquire(timeout=20)
        raise KeyboardInterrupt


def interrupted(store, gate, engine, items=("a", "bad", "c"), run_id="run"):
    """Interrupt a map of whose branches two have begun, and the others are queued in the engine."""
    with pytest.raises(KeyboardInterrupt), store.start_run(run_id) as run:
        run.map("score", gate.interrupt_when(items, 2), go_through, executor=engine)


def go_through(item):
    return Gate.current.through(item)
