"""Coroutine functions are steps: `astep`, `async with run.step`, decorators; each task has its own current step."""

import asyncio
import contextlib
import functools
from pathlib import Path

import pytest

import chunkstore


def recorded(store, name="load", run_id="run"):
    return store.get_step_log(run_id, name)


def printed(store, step):
    """Return what a step has printed, as the catalog has it."""
    (entry,) = [entry for entry in step.data_catalog if entry.name.endswith(".execution.log")]
    return Path(store.catalog_folder, entry.catalog_relative_path).read_text()


async def load(path, rows=3):
    print("loading", path)
    await asyncio.sleep(0)
    chunkstore.current_step().log_metric("rows", rows)
    chunkstore.current_step().log_metric("loss", 0.5, step=1)
    chunkstore.current_step().log_params({"path": path})
    print("loaded", path)
    return [path, rows]


def test_an_async_function_is_a_step_like_any_other(store):
    async def main():
        async with store.start_run("run") as run:
            assert await run.astep("load", load, "in.csv", rows=4, step_type="task") == ["in.csv", 4]

    asyncio.run(main())
    step = recorded(store)
    assert (step.status, step.result, step.user_defined_metrics) == ("SUCCESS", ["in.csv", 4], {"rows": 4})
    assert [point.value for point in step.metric_series["loss"]] == [0.5]
    assert step.attempts[0].parameters == {"path": "in.csv"}
    assert set(step.argument_hashes) == {"path", "rows"}
    assert "function" in {code.code_identifier_type for code in step.code_identities}
    assert printed(store, step) == "loading in.csv\nloaded in.csv\n"
    assert store.get_run_log("run").status == "SUCCESS"


def test_a_block_can_be_entered_with_async_with(store):
    async def main():
        async with store.start_run("run") as run, run.step("load") as step:
            assert chunkstore.current_step() is step
            step.log_metric("rows", 3)
            print("in the block")
            step.set_result({"rows": 3})
        with pytest.raises(chunkstore.StoreUsageError, match="enter step 'load' twice"):
            await step.__aenter__()

    asyncio.run(main())
    step = recorded(store)
    assert (step.status, step.user_defined_metrics, step.result) == ("SUCCESS", {"rows": 3}, {"rows": 3})
    assert printed(store, step) == "in the block\n"


@pytest.mark.parametrize("on_error", ["raise", "continue"])
def test_a_block_that_raises_has_failed(store, on_error):
    async def main():
        async with store.start_run("run") as run, run.step("load", on_error=on_error):
            raise ValueError("no rows")

    with pytest.raises(ValueError, match="no rows") if on_error == "raise" else contextlib.nullcontext():
        asyncio.run(main())
    assert (recorded(store).status, recorded(store).message) == ("FAIL", "ValueError: no rows")
    assert store.get_run_log("run").status == "FAIL"


def test_a_decorated_async_function_is_a_step_at_each_call(store):
    async def main():
        async with store.start_run("run") as run:

            @run.step("load")
            async def decorated(path):
                return path.upper()

            assert asyncio.iscoroutinefunction(decorated)
            assert [await decorated("a"), await decorated("b")] == ["A", "B"]
            assert await run.amap("each", ["c"], decorated) == ["C"]

    asyncio.run(main())
    assert [recorded(store, name).result for name in ("load", "load#2", "load#3")] == ["A", "B", "C"]


def test_what_fails_is_tried_again_after_a_pause_in_which_others_go_on(store):
    tries, others = [], []

    async def flaky():
        tries.append(len(others))
        print("try", len(tries))
        chunkstore.current_step().log_metric("try", len(tries))
        if len(tries) < 3:
            raise ValueError(len(tries))
        return len(tries)

    async def other():
        while True:
            await asyncio.sleep(0.001)
            others.append(1)

    async def main():
        async with store.start_run("run") as run:
            task = asyncio.create_task(other())
            assert await run.astep("load", flaky, max_attempts=3, backoff=0.05) == 3
            task.cancel()

    asyncio.run(main())
    step = recorded(store)
    assert [attempt.status for attempt in step.attempts] == ["FAIL", "FAIL", "SUCCESS"]
    assert (step.status, step.user_defined_metrics) == ("SUCCESS", {"try": 3})
    assert tries[0] < tries[1] < tries[2]  # the pauses blocked nobody


def test_after_the_last_attempt_a_step_has_failed_or_is_passed_over(store):
    async def broken():
        raise ValueError("broken")

    async def main():
        async with store.start_run("run") as run:
            assert await run.astep("load", broken, max_attempts=2, backoff=0, on_error="continue") is None
            with pytest.raises(ValueError, match="broken"):
                await run.astep("load", broken, max_attempts=2, backoff=0)

    asyncio.run(main())
    for name in ("load", "load#2"):
        assert [attempt.status for attempt in recorded(store, name).attempts] == ["FAIL", "FAIL"]


def test_what_tasks_print_goes_to_their_own_step(store):
    async def talk(number):
        for line in range(5):
            print(number, line)
            await asyncio.sleep(0)

    async def main():
        async with store.start_run("run") as run:
            await asyncio.gather(*(run.astep(f"talk-{number}", talk, number) for number in range(8)))

    asyncio.run(main())
    for number in range(8):
        lines = printed(store, recorded(store, f"talk-{number}")).splitlines()
        assert lines == [f"{number} {line}" for line in range(5)]


def test_a_sync_step_and_a_thread_belong_to_the_step_that_awaits_them(store):
    def in_thread():
        print("from a thread")
        chunkstore.current_step().log_metric("thread", 1)
        with chunkstore.current_run().step("inner"):
            print("inside")

    async def work():
        print("first")
        chunkstore.current_step().log_metric("thread", 0)
        await asyncio.to_thread(in_thread)
        print("last")

    async def main():
        async with store.start_run("run") as run:
            await run.astep("outer", work)

    asyncio.run(main())
    outer, inner = recorded(store, "outer"), recorded(store, "inner")
    assert printed(store, outer) == "first\nfrom a thread\nlast\n"
    assert printed(store, inner) == "inside\n"
    assert (outer.user_defined_metrics, inner.inside) == ({"thread": 1}, "outer")


def test_a_step_is_taken_over_when_its_run_is_resumed(store):
    calls = []

    async def work(number):
        calls.append(number)
        await asyncio.sleep(0)
        if number == 2 and len(calls) == 2:
            raise ValueError("once")
        return number

    async def main(run_id, **options):
        async with store.start_run(run_id, **options) as run:
            return [await run.astep("first", work, 1), await run.astep("second", work, 2)]

    with pytest.raises(ValueError, match="once"):
        asyncio.run(main("run"))
    assert asyncio.run(main("again", resume="run")) == [1, 2]
    assert calls == [1, 2, 2]
    assert recorded(store, "first", "again").cached_from == "run"


def test_a_block_can_ask_whether_it_is_there_already(store):
    async def main(run_id, **options):
        async with store.start_run(run_id, **options) as run, run.step("load") as step:
            if step.cached:
                return await asyncio.to_thread(step.reuse)
            step.set_result("rows")
            return "new"

    assert asyncio.run(main("run")) == "new"
    assert asyncio.run(main("again", resume="run")) == "rows"
    assert recorded(store, run_id="again").cached_from == "run"


async def never_awaited():
    """An async function, which is to be awaited."""


def double(number):
    return number * 2


@pytest.mark.parametrize(
    ("call", "instead"),
    [
        (lambda run: run.step("s", never_awaited), "run.astep"),
        (lambda run: run.step("s", functools.partial(never_awaited)), "run.astep"),
        (lambda run: run.map("s", [1], never_awaited), "run.amap"),
        (lambda run: run.parallel("s", {"a": never_awaited}), "run.aparallel"),
    ],
)
def test_async_functions_that_are_not_awaited_are_refused_with_what_to_use(store, call, instead):
    with store.start_run("run") as run:
        with pytest.raises(chunkstore.StoreUsageError, match=instead):
            call(run)
        assert run.step("s", double, 1) == 2  # the name is free
    assert set(store.get_run_log("run").steps) == {"s"}


def test_functions_that_cannot_be_awaited_are_refused_with_what_to_use(store):
    async def main():
        async with store.start_run("run") as run:
            with pytest.raises(chunkstore.StoreUsageError, match=r"run\.step"):
                await run.astep("load", double, 1)
            with pytest.raises(chunkstore.StoreUsageError, match="is no function"):
                await run.astep("load", never_awaited())  # it is awaited by nobody, and so refused

    with pytest.warns(RuntimeWarning, match="never awaited"):
        asyncio.run(main())


def test_outside_of_asyncio_nothing_is_recorded_and_the_error_says_so(store):
    with store.start_run("run") as run:
        for coroutine in (run.astep("s", never_awaited), run.amap("s", [1], double), run.step("s").__aenter__()):
            with pytest.raises(chunkstore.StoreUsageError, match="no task of asyncio"):
                coroutine.send(None)
    assert not store.get_run_log("run").steps


def test_values_that_cannot_be_recorded_are_refused_at_once(store):
    async def main():
        async with store.start_run("run") as run, run.step("load") as step:
            with pytest.raises(chunkstore.InvalidValueError):
                step.log_metric("rows", object())

    asyncio.run(main())
    assert recorded(store).status == "SUCCESS"
