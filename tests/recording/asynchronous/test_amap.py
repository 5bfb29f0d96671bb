"""`amap` and `aparallel` record branches as `map` and `parallel` do; items come from wherever they come."""

import asyncio
import weakref
from concurrent.futures import ThreadPoolExecutor

import pytest

import chunkstore
from chunkstore import BranchFailedError
from recording import work


async def double(item):
    print("item", item)
    await asyncio.sleep(0)
    chunkstore.current_step().log_metric("item", item)
    if item < 0:
        raise ValueError(item)
    return item * 2


def double_at_once(item):
    print("item", item)
    chunkstore.current_step().log_metric("item", item)
    if item < 0:
        raise ValueError(item)
    return item * 2


double_at_once.__name__ = double_at_once.__qualname__ = "double"  # the name of the step inside a branch


async def numbers(count):
    for number in range(count):
        await asyncio.sleep(0)
        yield number


class Counted:
    """An async iterable of our own, without `aclose`."""

    def __init__(self, count):
        self._left = count

    def __aiter__(self):
        return self

    async def __anext__(self):
        if not self._left:
            raise StopAsyncIteration
        self._left -= 1
        return self._left


def plain(record):
    """Return what a record says, without times, names of processes, code, and where it is."""
    if isinstance(record, dict):
        left_out = {"code_identities", "start_time", "end_time", "duration", "time", "host", "pid", "start", "message"}
        return {key: plain(value) for key, value in record.items() if key not in left_out}
    if isinstance(record, list):
        return [plain(item) for item in record]
    return record


def run_of(store, run_id="run", **options):
    """Return a decorator that runs an async function in a run; what it returns is there as its value."""

    def decorate(function):
        async def main():
            async with store.start_run(run_id, **options) as run:
                return await function(run)

        return asyncio.run(main())

    return decorate


@pytest.mark.parametrize("items", [[0, 1, -1, 2, 2], ["a", "b.c", ""], [{"x": 1}, [2], None]])
def test_branches_are_recorded_as_those_of_map(store, items):
    async def kind(item):
        await asyncio.sleep(0)
        return double_at_once(item) if isinstance(item, int) else str(item)

    def kind_at_once(item):
        return double_at_once(item) if isinstance(item, int) else str(item)

    kind_at_once.__name__ = kind_at_once.__qualname__ = "kind"

    @run_of(store, "run")
    async def results(run):
        options = {"on_error": "continue", "max_attempts": 2, "backoff": 0}
        return await run.amap("score", items, kind, max_in_flight=1, **options)  # in a row, as on one thread

    with store.start_run("map") as run, ThreadPoolExecutor(1) as threads:
        options = {"executor": threads, "on_error": "continue", "max_attempts": 2, "backoff": 0}
        assert run.map("score", items, kind_at_once, **options) == results
    found, expected = (store.get_run_log(run_id, strict=True).steps["score"] for run_id in ("run", "map"))
    found_text, expected_text = (plain(step.to_dict()) for step in (found, expected))
    assert str(found_text).replace("run/score", "map/score") == str(expected_text)
    assert list(found.branches) == list(expected.branches)


@pytest.mark.parametrize("max_in_flight", [1, 3, 100, None])
@pytest.mark.parametrize("make", [list, range, iter, numbers, Counted], ids=lambda make: make.__name__)
def test_results_come_in_the_order_of_the_items(store, make, max_in_flight):
    items = make(range(9)) if make in {list, iter} else make(9)
    running, most = set(), []

    async def later(item):
        running.add(item)
        most.append(len(running))
        for _ in range(10 - item):  # the last ones end first
            await asyncio.sleep(0)
        running.discard(item)
        return item

    @run_of(store)
    async def results(run):
        return await run.amap("score", items, later, max_in_flight=max_in_flight)

    assert results == (list(reversed(range(9))) if make is Counted else list(range(9)))
    assert max(most) <= (max_in_flight or 100)
    step = store.get_step_log("run", "score")
    assert len(step.branches) == 9
    assert step.planned_branches == (9 if make in {list, range} else step.planned_branches)


def test_aparallel_gives_results_by_name(store):
    @run_of(store)
    async def results(run):
        return await run.aparallel("train", {"a.b": lambda: double(1), "c": lambda: double(2)})

    assert list(results.items()) == [("a.b", 2), ("c", 4)]
    step = store.get_step_log("run", "train")
    assert (step.step_type, set(step.branches)) == ("parallel", {"train.a%2Eb", "train.c"})


def test_branches_that_fail_stop_no_others_and_are_told_at_the_end(store):
    async def main():
        async with store.start_run("run") as run:
            await run.amap("score", [1, -1, 2, -2], double)

    with pytest.raises(BranchFailedError, match=r"2 of 4 branches of score failed: -\d, -\d") as caught:
        asyncio.run(main())
    assert caught.value.results == [2, None, 4, None]
    assert set(caught.value.failures) == {"score.-1", "score.-2"}
    assert store.get_run_log("run").status == "FAIL"


def test_branches_are_named_by_name_of_and_equal_names_get_numbers(store):
    @run_of(store)
    async def _(run):
        await run.amap("score", [1, 2], double, name_of=lambda _: "same")
        with pytest.raises(chunkstore.StoreUsageError, match="name_of"):
            await run.amap("score", [1], double, name_of="item")

    assert set(store.get_step_log("run", "score").branches) == {"score.same", "score.same#2"}


def test_a_resumed_run_takes_over_what_succeeded_and_runs_the_rest(store, calls):
    async def score(item):
        had = work.noted(calls)
        work.note(calls, item)
        await asyncio.sleep(0)
        if item == 3 and not had.get("3"):
            raise ValueError(item)
        return item, 1

    async def main(run_id, **options):
        async with store.start_run(run_id, **options) as run:
            return await run.amap("score", numbers(5), score)

    with pytest.raises(BranchFailedError):
        asyncio.run(main("run"))
    assert asyncio.run(main("again", resume="run")) == [(item, 1) for item in range(5)]
    assert work.noted(calls) == {"0": 1, "1": 1, "2": 1, "3": 2, "4": 1}
    branches = store.get_step_log("again", "score").branches
    assert [branches[f"score.{item}"].status for item in range(5)] == ["SUCCESS"] * 5
    assert branches["score.0"].steps["score.0.score"].cached_from == "run"


def test_steps_and_maps_in_branches_belong_to_them(store):
    async def inner(item):
        async with chunkstore.current_run().step("load") as step:
            await asyncio.sleep(0)
            step.log_metric("item", item)
        with chunkstore.current_run().step("at once"):
            pass
        return item

    async def outer(item):
        return await chunkstore.current_run().amap("inner", [item, item + 1], inner)

    @run_of(store)
    async def results(run):
        return await run.amap("outer", [0, 10], outer)

    assert results == [[0, 1], [10, 11]]
    branch = store.get_step_log("run", "outer").branches["outer.10"]
    steps = branch.steps["outer.10.inner"].branches["outer.10.inner.11"].steps
    assert set(steps) == {f"outer.10.inner.11.{name}" for name in ("inner", "load", "at once")}
    assert steps["outer.10.inner.11.load"].user_defined_metrics == {"item": 11}
    assert steps["outer.10.inner.11.load"].inside == "outer.10.inner.11.inner"


def test_a_map_on_threads_in_a_branch_belongs_to_it(store):
    def in_thread(item):
        with ThreadPoolExecutor(2) as threads:
            return chunkstore.current_run().map("threads", [item], work.double, executor=threads)

    async def outer(item):
        return await asyncio.to_thread(in_thread, item)

    @run_of(store)
    async def results(run):
        return await run.amap("outer", [1, 2, 3], outer)

    assert results == [[2], [4], [6]]
    branch = store.get_step_log("run", "outer").branches["outer.3"]
    assert "outer.3.threads.3" in branch.steps["outer.3.threads"].branches


def test_a_step_that_fails_inside_fails_its_branch(store):
    async def outer(item):
        async with chunkstore.current_run().step("part", on_error="continue"):
            raise ValueError(item)
        return item

    @run_of(store)
    async def results(run):
        return await run.amap("outer", [1], outer, on_error="continue")

    assert results == [1]
    assert store.get_step_log("run", "outer").branches["outer.1"].status == "FAIL"


def test_items_of_a_generator_are_asked_for_when_there_is_room(store):
    running, taken = [], []

    def items():
        for item in range(20):
            taken.append(item)
            assert len(running) < 3
            yield item

    async def score(item):
        running.append(item)
        await asyncio.sleep(0.001)
        running.remove(item)

    @run_of(store)
    async def _(run):
        await run.amap("score", items(), score, max_in_flight=3)

    assert taken == list(range(20))


def test_items_and_tasks_of_branches_that_ended_are_not_held(store):
    class Item:
        pass

    living, most = weakref.WeakSet(), []

    async def items():
        for _ in range(200):
            item = Item()
            living.add(item)
            yield item
            most.append(len(living))

    async def score(item):
        await asyncio.sleep(0)

    @run_of(store)
    async def _(run):
        await run.amap("score", items(), score, max_in_flight=5)

    assert max(most) < 50


def test_max_in_flight_is_a_number_of_one_or_more(store):
    @run_of(store)
    async def _(run):
        for most in (0, -1, 1.5, True, "many"):
            with pytest.raises(chunkstore.StoreUsageError, match="max_in_flight"):
                await run.amap("score", [1], double, max_in_flight=most)

    assert not store.get_run_log("run").steps


@pytest.mark.parametrize("items", [3, None, double])
def test_what_gives_no_items_is_refused(store, items):
    @run_of(store)
    async def _(run):
        with pytest.raises(chunkstore.StoreUsageError, match="give a list or another iterable"):
            await run.amap("score", items, double)
        with pytest.raises(chunkstore.StoreUsageError, match="give a dict of functions"):
            await run.aparallel("score", items)
        assert await run.amap("score", [1], double) == [2]

    assert set(store.get_run_log("run").steps) == {"score"}
