"""Writes that take long keep no other task of the event loop from going on, and take few threads."""

import asyncio
import itertools
import threading
import time
from pathlib import Path

import pytest

import chunkstore
from chunkstore.backends.disk.syscalls import SYSTEM
from chunkstore.recording.asynchronous import off_loop

#: All that may wait for a disk.
CALLS = [name for name in dir(SYSTEM) if not name.startswith("_") and callable(getattr(SYSTEM, name))]


class Slow:
    """System calls that take their time, and note the threads that make them."""

    def __init__(self, monkeypatch, seconds):
        self.seconds = seconds
        self.calls = {}
        self.at_once = self.most_at_once = 0
        for name in CALLS:
            monkeypatch.setattr(SYSTEM, name, self._slow(name, getattr(SYSTEM, name)))

    def _slow(self, name, original):
        def slow(*arguments, **options):
            self.calls.setdefault(threading.get_ident(), set()).add(name)
            self.at_once += 1
            self.most_at_once = max(self.most_at_once, self.at_once)
            time.sleep(self.seconds)
            self.at_once -= 1
            return original(*arguments, **options)

        return slow


async def work(item):
    step = chunkstore.current_step()
    print("item", item)
    step.log_metric("item", item)
    step.log_metric("series", item, step=1)
    step.log_params({"item": item})
    await asyncio.sleep(0)
    async with chunkstore.current_run().step("inner") as inner:
        print("inside", item)
        inner.log_metric("item", item)
    return item


async def work_with_data(item):
    await work(item)
    step = chunkstore.current_step()
    await step.aput_data("model.txt", "model")
    assert (await step.aget_data("model", "copy.txt")).read_text() == "weights"
    await step.run.aset_parameters({"item": item})


@pytest.mark.parametrize("durability", ["process", "step"])
def test_nothing_is_written_in_the_thread_of_the_loop(tmp_path, monkeypatch, durability):
    Path("model.txt").write_text("weights")
    store = chunkstore.open_store("chunked-fs", log_folder=str(tmp_path / "log"), durability=durability)

    async def main():
        run = store.start_run("run")
        slow = Slow(monkeypatch, 0)
        async with run:
            assert await run.amap("score", range(20), work, max_attempts=2) == list(range(20))
            await run.aparallel("both", {"a": lambda: work_with_data(1)})
            await run.astep("one", work_with_data, 2)
        assert slow.calls
        assert slow.calls.get(threading.get_ident(), set()) <= {"close"}  # of what is collected as garbage

    asyncio.run(main())
    log = store.get_run_log("run")
    assert (log.status, log.parameters) == ("SUCCESS", {"item": 2})
    assert store.get_parameters("run", "both.a") == {"item": 1}
    read = [(entry.name, entry.stage) for entry in log.steps["one"].data_catalog if entry.name == "model"]
    assert read == [("model", "put"), ("model", "get")]


@pytest.mark.thorough
def test_storage_that_takes_long_leaves_the_loop_to_others(store, monkeypatch):
    ticks = []

    async def tick():
        while True:
            ticks.append(time.perf_counter())
            await asyncio.sleep(0.001)

    async def main():
        run = store.start_run("run")
        slow = Slow(monkeypatch, 0.01)
        async with run:
            ticking = asyncio.create_task(tick())
            begun = time.perf_counter()
            await run.amap("score", range(30), work, max_in_flight=30)
            passed = time.perf_counter() - begun
            ticking.cancel()
        return slow, passed

    slow, passed = asyncio.run(main())
    assert 4 < slow.most_at_once <= off_loop.MOST_THREADS  # they wait together
    gaps = sorted(after - before for before, after in itertools.pairwise(ticks))
    assert gaps[len(gaps) // 2] < 0.01
    assert len(ticks) > passed / 0.02


def test_thousands_in_flight_take_few_threads(store):
    threads = []

    async def score(item):
        threads.append(threading.active_count())
        await asyncio.sleep(0.001)

    async def main():
        async with store.start_run("run") as run:
            await run.amap("score", range(1000), score, max_in_flight=1000)

    before = threading.active_count()
    asyncio.run(main())
    assert max(threads) <= before + off_loop.MOST_THREADS + 1  # one writes late points of series
    assert len(store.get_step_log("run", "score").branches) == 1000


def test_a_call_that_has_not_begun_is_never_made_after_a_cancellation():
    made, go_on = [], threading.Event()

    async def main():
        blocked = [asyncio.create_task(off_loop.do(go_on.wait, 30)) for _ in range(off_loop.MOST_THREADS)]
        await asyncio.sleep(0.5)
        dropped = asyncio.create_task(off_loop.do(made.append, "dropped"))
        sure = asyncio.create_task(off_loop.do_surely(made.append, "sure"))
        await asyncio.sleep(0)
        for task in (dropped, sure):
            task.cancel()
        await asyncio.wait([dropped])
        assert not sure.done()
        go_on.set()
        await asyncio.wait([sure, *blocked])
        assert dropped.cancelled()
        assert sure.cancelled()

    asyncio.run(main())
    assert made == ["sure"]


def test_errors_of_calls_are_raised_where_they_are_awaited():
    def broken():
        raise StopIteration

    async def main():
        with pytest.raises(ZeroDivisionError):
            await off_loop.do(divmod, 1, 0)
        with pytest.raises(RuntimeError, match="StopIteration"):
            await off_loop.do(broken)

    asyncio.run(main())


def test_a_store_that_is_full_ends_a_map_with_its_error(store, monkeypatch):
    async def score(item):
        monkeypatch.setattr(type(store), "add_step_log", full)
        monkeypatch.setattr(type(store), "add_branch_log", full)
        monkeypatch.setattr(type(store), "update_branch_log", full)
        await asyncio.sleep(0)

    def full(*_, **__):
        raise chunkstore.StoreFullError("full", path="log", operation="write")

    async def main():
        async with store.start_run("run") as run:
            await run.amap("score", range(3), score, max_in_flight=1)

    with pytest.raises(chunkstore.StoreFullError):
        asyncio.run(main())


def test_what_waits_to_be_written_is_written_when_the_run_ends(store):
    async def main():
        async with store.start_run("run") as run, run.step("many") as step:
            for number in range(500):
                step.log_metric("number", number)
                print(number)

    asyncio.run(main())
    step = store.get_step_log("run", "many")
    assert step.user_defined_metrics == {"number": 499}
    (entry,) = step.data_catalog
    assert entry.data_hash
