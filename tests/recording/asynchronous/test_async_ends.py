"""However asyncio ends what is recorded, the records say so: nothing goes on for ever, and no cancellation is lost."""

import asyncio
import gc
import json
import signal
import subprocess
import sys
import time

import anyio
import pytest
from hypothesis import given
from hypothesis import strategies as st

import chunkstore

CANCELLED = "CancelledError: cancelled"


def step_of(store, name="wait"):
    return store.get_step_log("run", name)


def branches_of(store, name="score"):
    """Return the status, the step's status and its message of each branch that was recorded."""
    step = store.get_step_log("run", name)
    found = {}
    for internal_name, branch in step.branches.items():
        inner = [(each.status, each.message) for each in branch.steps.values()]
        found[internal_name.removeprefix(f"{name}.")] = (branch.status, *inner)
    return found


async def forever(item=None):
    await asyncio.Event().wait()


async def until(condition):
    """Wait until something is so."""
    deadline = time.monotonic() + 30
    while not condition():
        assert time.monotonic() < deadline
        await asyncio.sleep(0.001)


def begins(store, name):
    """Return what tells whether a step is recorded."""
    return lambda: store.has_step_log("run", name)


def test_a_cancelled_task_ends_its_step_and_stays_cancelled(store):
    async def main():
        async with store.start_run("run") as run:
            task = asyncio.create_task(run.astep("wait", forever))
            await until(begins(store, "wait"))
            task.cancel()
            with pytest.raises(asyncio.CancelledError):
                await task
            assert task.cancelled()

    asyncio.run(main())
    assert (step_of(store).status, step_of(store).message) == ("FAIL", CANCELLED)
    assert step_of(store).attempts[0].status == "FAIL"
    assert store.get_run_log("run").status == "FAIL"


def test_a_reason_for_cancelling_is_recorded(store):
    async def main():
        async with store.start_run("run") as run, run.step("wait"):
            task = asyncio.current_task()
            asyncio.get_running_loop().call_soon(task.cancel, "the budget is spent")
            await forever()

    with pytest.raises(asyncio.CancelledError):
        asyncio.run(main())
    assert step_of(store).message == "CancelledError: the budget is spent"


def test_a_cancelled_map_cancels_its_branches_and_begins_no_more(store, tmp_path):
    given_out = []

    async def items():
        try:
            for item in range(100):
                given_out.append(item)
                yield item
        finally:
            given_out.append("closed")

    async def main():
        async with store.start_run("run") as run:
            task = asyncio.create_task(run.amap("score", items(), forever, max_in_flight=3))
            await until(lambda: all(store.has_step_log("run", f"score.{item}.forever") for item in range(3)))
            task.cancel()
            task.cancel()
            with pytest.raises(asyncio.CancelledError):
                await task
            assert given_out == [0, 1, 2, "closed"]

    asyncio.run(main())
    assert branches_of(store) == {str(item): ("FAIL", ("FAIL", CANCELLED)) for item in range(3)}
    files = [json.loads(path.read_text()) for path in tmp_path.rglob("BranchLog-*.json")]
    assert [file["status"] for file in files] == ["FAIL"] * 3
    assert (step_of(store, "score").status, step_of(store, "score").message) == ("FAIL", CANCELLED)


def test_a_map_that_nobody_awaits_begins_no_branch_after_the_end_of_its_run(store):
    begun = []

    async def main():
        ended = asyncio.Event()

        async def score(item):
            begun.append(item)
            await ended.wait()
            return item

        async with store.start_run("run") as run:
            task = asyncio.create_task(run.amap("score", range(4), score, max_in_flight=2))
            await until(lambda: len(begun) == 2)
        ended.set()
        with pytest.raises(chunkstore.BranchFailedError) as caught:
            await task
        assert caught.value.results == [0, 1, None, None]
        assert {str(error).partition(":")[2] for error in caught.value.failures.values()} == {
            " run 'run' had ended before it began."
        }

    asyncio.run(main())
    assert begun == [0, 1]
    branches = step_of(store, "score").branches
    assert {name: branch.late for name, branch in branches.items()} == {"score.0": "SUCCESS", "score.1": "SUCCESS"}


def test_a_branch_that_cancels_itself_fails_alone(store):
    async def score(item):
        if item == 1:
            asyncio.current_task().cancel()
        await asyncio.sleep(0)
        return item

    async def main():
        async with store.start_run("run") as run:
            return await run.amap("score", range(3), score, on_error="continue")

    assert asyncio.run(main()) == [0, None, 2]
    assert branches_of(store)["1"] == ("FAIL", ("FAIL", CANCELLED))


def test_a_timeout_around_a_map_ends_it_and_is_told(store):
    async def main():
        async with store.start_run("run") as run:
            await asyncio.wait_for(run.amap("score", range(3), forever), 0.5)

    with pytest.raises((TimeoutError, asyncio.TimeoutError)):
        asyncio.run(main())
    ended = {("FAIL", ("FAIL", message)) for message in (CANCELLED, "CancelledError: timed out")}  # from Python 3.12 on
    assert set(branches_of(store).values()) < ended
    assert store.get_run_log("run").notes["message"] == "TimeoutError: timed out"


def test_a_timeout_inside_a_function_is_its_error(store):
    async def impatient(item):
        await asyncio.wait_for(forever(), 0.001)

    async def main():
        async with store.start_run("run") as run:
            await run.amap("score", [1], impatient, max_attempts=2, backoff=0, on_error="continue")

    asyncio.run(main())
    assert branches_of(store)["1"] == ("FAIL", ("FAIL", "TimeoutError: timed out"))
    (step,) = step_of(store, "score").branches["score.1"].steps.values()
    assert len(step.attempts) == 2


def test_a_group_of_tasks_that_fails_ends_the_steps_of_all(store):
    async def broken():
        await until(begins(store, "wait"))
        raise ValueError("broken")

    async def main():
        async with store.start_run("run") as run, anyio.create_task_group() as group:
            group.start_soon(run.astep, "wait", forever)
            group.start_soon(run.astep, "broken", broken)

    with pytest.raises(Exception, match=r"unhandled errors"):
        asyncio.run(main())
    assert (step_of(store).status, step_of(store).message.split(":")[0]) == ("FAIL", "CancelledError")
    assert step_of(store, "broken").message == "ValueError: broken"


if sys.version_info >= (3, 11):

    def test_a_group_of_asyncio_and_a_timeout_are_told_as_well(store):
        async def broken():
            await until(begins(store, "wait"))
            raise ValueError("broken")

        async def main():
            async with store.start_run("run") as run:
                with pytest.raises(TimeoutError):
                    async with asyncio.timeout(0.3), run.step("late"):
                        await forever()
                async with asyncio.TaskGroup() as group:
                    group.create_task(run.astep("wait", forever))
                    group.create_task(run.astep("broken", broken))

        with pytest.raises(ExceptionGroup):  # noqa: F821 - it came with Python 3.11
            asyncio.run(main())
        assert [step_of(store, name).message for name in ("late", "wait")] == ["CancelledError: timed out", CANCELLED]

    def test_a_timeout_around_a_map_is_told_of_its_branches_as_well(store):
        async def main():
            async with store.start_run("run") as run:
                with pytest.raises(TimeoutError):
                    async with asyncio.timeout(0.5):
                        await run.amap("score", range(2), forever)

        asyncio.run(main())
        assert set(branches_of(store).values()) == {("FAIL", ("FAIL", "CancelledError: timed out"))}
        assert step_of(store, "score").message == "CancelledError: timed out"


@pytest.mark.parametrize("kind", ["generator", "async generator"])
def test_a_generator_of_items_that_fails_lets_what_runs_end(store, kind):
    async def later():
        yield 1
        yield 2
        raise ValueError("no more")

    def now():
        yield 1
        yield 2
        raise ValueError("no more")

    async def score(item):
        await asyncio.sleep(0.01)
        return item

    async def main():
        async with store.start_run("run") as run:
            await run.amap("score", now() if kind == "generator" else later(), score)

    with pytest.raises(ValueError, match="no more"):
        asyncio.run(main())
    assert branches_of(store) == {"1": ("SUCCESS", ("SUCCESS", "")), "2": ("SUCCESS", ("SUCCESS", ""))}
    assert step_of(store, "score").message == "ValueError: no more"


def test_a_cancellation_between_attempts_ends_the_step(store):
    async def broken():
        raise ValueError("broken")

    async def main():
        async with store.start_run("run") as run:
            task = asyncio.create_task(run.astep("wait", broken, max_attempts=2, backoff=60))
            await until(lambda: begins(store, "wait")() and step_of(store).attempts[-1].status == "FAIL")
            await asyncio.sleep(0.01)
            task.cancel()
            await asyncio.wait([task])
            assert task.cancelled()

    asyncio.run(main())
    assert step_of(store).status == "FAIL"


def test_a_coroutine_that_is_closed_has_ended(store):
    async def main():
        async with store.start_run("run") as run:
            coroutine = run.astep("wait", forever)
            # Whoever drives coroutines by hand may also drop them.
            task = asyncio.create_task(drive(coroutine))
            await until(begins(store, "wait"))
            await asyncio.sleep(0.05)
            task.cancel()
            await asyncio.wait([task])

    async def drive(coroutine):
        class Await:
            def __await__(self):
                iterator = coroutine.__await__()
                try:
                    while True:
                        yield next(iterator)
                except asyncio.CancelledError:
                    iterator.close()

        await Await()

    asyncio.run(main())
    assert (step_of(store).status, "closed" in step_of(store).message) == ("FAIL", True)


SCRIPT = """
import asyncio, sys
import chunkstore

store = chunkstore.open_store("chunked-fs", log_folder=sys.argv[1])

async def score(item):
    print("begun", flush=True)
    await asyncio.Event().wait()

async def main():
    async with store.start_run("run") as run:
        await run.amap("score", range(1000), score, max_in_flight=3)

asyncio.run(main())
"""


def test_ctrl_c_ends_all_that_is_recorded(store, tmp_path):
    script = tmp_path / "script.py"
    script.write_text(SCRIPT)
    command = [sys.executable, str(script), str(tmp_path / "log")]
    with subprocess.Popen(command, stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True) as process:
        for _ in range(3):
            assert process.stdout.readline() == "begun\n"
        process.send_signal(signal.SIGINT)
        _, errors = process.communicate(timeout=60)
    assert process.returncode == -signal.SIGINT
    assert "KeyboardInterrupt" in errors
    assert "never retrieved" not in errors
    assert "destroyed" not in errors
    log = store.get_run_log("run")
    assert (log.status, len(log.steps["score"].branches)) == ("FAIL", 3)
    assert {status for status, *_ in branches_of(store).values()} == {"FAIL"}
    if sys.version_info >= (3, 11):  # whose `asyncio.run` has a handler for the signal
        assert log.notes["message"] == "CancelledError: interrupted by SIGINT"
        assert {step[1] for _, step in branches_of(store).values()} == {log.notes["message"]}


KINDS = ["ends", "waits", "fails", "cancels itself", "cleans up"]
GOOD = {"ends", "cleans up"}


def score_of(kinds, begun):
    """Return a function of which it is known what becomes of it for each item, unless it is cancelled."""

    async def score(item):
        begun.append(item)
        if kinds[item] == "waits":
            await forever()
        await asyncio.sleep(0.0005 * (item % 3))
        if kinds[item] == "fails":
            raise ValueError(item)
        if kinds[item] == "cancels itself":
            raise asyncio.CancelledError
        if kinds[item] == "cleans up":
            try:
                await asyncio.sleep(0.002)
            finally:
                await asyncio.sleep(0)
        return item

    return score


async def cancelled_at(moments, coroutine, *, surely):
    """Cancel a task at some moments, or at last; return its result, None if it was cancelled."""
    task = asyncio.create_task(coroutine)
    for moment in sorted(moments):
        for _ in range(moment):
            await asyncio.sleep(0)
        task.cancel()
    if surely:
        await asyncio.sleep(0.02)
        task.cancel()
    await asyncio.wait([task])
    return None if task.cancelled() else task.result()


def check_branches(step, kinds, begun):
    """Check that whatever began is recorded, and that all that is recorded has ended, as it did."""
    recorded = {int(name.removeprefix("score.")): branch for name, branch in step.branches.items()}
    assert set(begun) <= set(recorded)
    for item, branch in recorded.items():
        assert branch.status in {"SUCCESS", "FAIL"}
        assert branch.status == "FAIL" or kinds[item] in GOOD
        for inner in branch.steps.values():
            assert inner.status == branch.status
            assert all(attempt.status in {"SUCCESS", "FAIL"} for attempt in inner.attempts)


@given(
    kinds=st.lists(st.sampled_from(KINDS), min_size=1, max_size=8),
    moments=st.lists(st.integers(0, 30), max_size=3),
    max_in_flight=st.integers(1, 9),
    attempts=st.integers(1, 2),
)
def test_whenever_a_map_is_cancelled_every_branch_that_began_has_ended(kinds, moments, max_in_flight, attempts):
    store = chunkstore.open_store("buffered")
    begun, problems = [], []
    options = {"max_in_flight": max_in_flight, "max_attempts": attempts, "backoff": 0, "on_error": "continue"}

    async def main():
        asyncio.get_running_loop().set_exception_handler(lambda _, context: problems.append(context))
        async with store.start_run("run") as run:
            mapped = run.amap("score", range(len(kinds)), score_of(kinds, begun), **options)
            return await cancelled_at(moments, mapped, surely="waits" in kinds)

    results = asyncio.run(main())
    gc.collect()
    assert not problems
    steps = store.get_run_log("run").steps
    if "score" not in steps:  # it was cancelled before it began
        assert (results, begun) == (None, [])
        return
    is_good = results is not None and set(kinds) <= GOOD
    assert steps["score"].status == ("SUCCESS" if is_good else "FAIL")
    check_branches(steps["score"], kinds, begun)
    if results is not None:
        assert results == [item if kind in GOOD else None for item, kind in enumerate(kinds)]
        assert len(steps["score"].branches) == len(kinds)
