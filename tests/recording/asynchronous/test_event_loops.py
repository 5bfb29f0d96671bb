"""Every event loop of asyncio will do; of others, an error says what to do."""

import asyncio
import gc
import sys
import threading
import time

import anyio
import pytest
import trio
import uvloop

import chunkstore


async def score(item):
    print("item", item)
    await asyncio.sleep(0.001)
    chunkstore.current_step().log_metric("item", item)
    return item


def check(store, count=5):
    log = store.get_run_log("run", strict=True)
    assert (log.status, len(log.steps["score"].branches)) == ("SUCCESS", count)
    for item in range(count):
        (step,) = log.steps["score"].branches[f"score.{item}"].steps.values()
        assert (step.user_defined_metrics, step.result) == ({"item": item}, item)


async def record(store):
    async with store.start_run("run") as run:
        assert await run.amap("score", range(5), score, max_in_flight=2) == list(range(5))


def test_a_loop_that_has_ended_leaves_no_thread(store):
    def names():
        return {thread.name for thread in threading.enumerate() if thread.name.startswith("chunkstore-asyncio")}

    before = names()
    with store.start_run("run") as run:
        for item in range(3):
            asyncio.run(run.astep("score", score, item))
    gc.collect()
    deadline = time.monotonic() + 30
    while not names() <= before:
        assert time.monotonic() < deadline
        time.sleep(0.01)


def test_uvloop_is_one(store):
    uvloop.run(record(store))
    check(store)


def test_anyio_on_asyncio_is_one_and_its_cancellations_are_recorded(store):
    async def main():
        await record(store)
        async with store.start_run("cancelled") as run:
            with anyio.move_on_after(0.2) as scope:
                await run.amap("score", range(3), lambda _: anyio.sleep_forever())
            assert scope.cancelled_caught
            await run.astep("after", score, 1)  # the task goes on

    anyio.run(main, backend="asyncio")
    check(store)
    log = store.get_run_log("cancelled")
    assert [branch.status for branch in log.steps["score"].branches.values()] == ["FAIL"] * 3
    assert log.steps["after"].status == "SUCCESS"


def test_trio_is_refused_with_what_to_do(store):
    async def main():
        run = store.start_run("run")
        with pytest.raises(chunkstore.StoreUsageError, match=r"trio\.to_thread\.run_sync"):
            await run.amap("score", range(5), score)
        assert await trio.to_thread.run_sync(lambda: run.step("one", int)) == 0
        run.finish()

    trio.run(main)
    assert set(store.get_run_log("run").steps) == {"one"}


if sys.version_info >= (3, 12):

    def test_tasks_may_begin_at_once(store):
        async def main():
            asyncio.get_running_loop().set_task_factory(asyncio.eager_task_factory)
            await record(store)

        asyncio.run(main())
        check(store)


def test_runs_in_two_loops_at_once_and_one_after_the_other_do_not_meet(store):
    import threading

    def in_loop(run_id):
        async def main():
            async with store.start_run(run_id) as run:
                return await run.amap("score", range(20), score)

        assert asyncio.run(main()) == list(range(20))

    threads = [threading.Thread(target=in_loop, args=(f"run-{number}",)) for number in range(3)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    in_loop("run-3")
    assert {store.get_run_log(f"run-{number}").status for number in range(4)} == {"SUCCESS"}


def test_asyncio_is_not_loaded_before_it_is_used(tmp_path):
    import subprocess

    code = (
        "import sys, chunkstore\n"
        f"store = chunkstore.open_store('chunked-fs', log_folder={str(tmp_path)!r})\n"
        "before = 'asyncio' in sys.modules\n"
        "with store.start_run() as run: run.step('s', int)\n"
        "assert before or 'asyncio' not in sys.modules\n"
    )
    subprocess.run([sys.executable, "-c", code], check=True, timeout=60)
