"""`current_run` and `current_step` tell where the code belongs that runs now."""

import asyncio
import functools
import gc
import os
import subprocess
import sys
import threading
import weakref
from concurrent.futures import ThreadPoolExecutor

import pytest

import chunkstore
from chunkstore import current_run, current_step


def test_outside_a_run_there_is_none():
    with pytest.raises(chunkstore.StoreUsageError, match="no current run"):
        current_run()
    with pytest.raises(chunkstore.StoreUsageError, match="no current step"):
        current_step()


def test_inside_a_block_the_innermost_counts(store):
    with store.start_run() as run:
        assert current_run() is run
        with pytest.raises(chunkstore.StoreUsageError, match="no current step"):
            current_step()
        with run.step("outer") as outer:
            with run.step("inner") as inner:
                assert current_step() is inner
            assert current_step() is outer
            run.step("function", lambda: current_step().log_metric("here", 1))
            assert current_step() is outer
    with pytest.raises(chunkstore.StoreUsageError):
        current_run()
    assert store.get_step_log(run.run_id, "function").user_defined_metrics == {"here": 1}


def test_after_a_failure_the_step_around_counts_again(store):
    with store.start_run() as run, run.step("outer") as outer:
        with run.step("inner", on_error="continue"):
            raise ValueError("gone")
        assert current_step() is outer


def test_threads_keep_apart(store):
    barrier = threading.Barrier(4)

    def record(number):
        with run.step(f"step-{number}"):
            barrier.wait(10)
            current_step().log_metric("number", number)
            barrier.wait(10)

    with store.start_run() as run, ThreadPoolExecutor(4) as threads:
        list(threads.map(record, range(4)))
    steps = store.get_run_log(run.run_id).steps
    assert {name: step.user_defined_metrics["number"] for name, step in steps.items()} == {
        f"step-{number}": number for number in range(4)
    }


def test_a_thread_of_the_users_own_has_no_step(store):
    def ask():
        with pytest.raises(chunkstore.StoreUsageError, match="thread"):
            current_step()
        return True

    with store.start_run() as run, run.step("outer"), ThreadPoolExecutor(1) as threads:
        assert threads.submit(ask).result()


def test_async_tasks_keep_apart(store):
    async def record(run, number, gate):
        with run.step(f"step-{number}"):
            gate[number].set()
            for event in gate:
                await event.wait()  # until every task is inside its step
            current_step().log_metric("number", number)
            await asyncio.sleep(0)
            current_step().log_params({"number": number})

    async def main(run):
        gate = [asyncio.Event() for _ in range(5)]
        await asyncio.gather(*(record(run, number, gate) for number in range(5)))

    with store.start_run() as run:
        asyncio.run(main(run))
    for number in range(5):
        step = store.get_step_log(run.run_id, f"step-{number}")
        assert step.user_defined_metrics == step.attempts[0].parameters == {"number": number}
        assert step.status == "SUCCESS"


def test_steps_of_one_name_from_many_threads_get_names_of_their_own(store):
    def record(number):
        with run.step("same") as step:
            step.log_metric("number", number)

    with store.start_run() as run, ThreadPoolExecutor(8) as threads:
        list(threads.map(record, range(40)))
    steps = store.get_run_log(run.run_id).steps.values()
    assert len(steps) == 40
    assert sorted(step.user_defined_metrics["number"] for step in steps) == list(range(40))


def test_many_threads_that_log_through_one_step_lose_nothing(store):
    with store.start_run() as run, run.step("train") as step, ThreadPoolExecutor(8) as threads:
        list(threads.map(lambda number: step.log_metric(f"m{number}", number), range(60)))
    found = store.get_step_log(run.run_id, "train")
    assert found.user_defined_metrics == {f"m{number}": number for number in range(60)}


def test_generators_that_take_turns_leave_no_step_that_has_ended_current(store):
    def source(run, name, count):
        with run.step(name):
            yield from range(count)

    with store.start_run("run") as run, run.step("around") as around:
        first, second = source(run, "a", 2), source(run, "b", 2)
        while (next(first, None), next(second, None)) != (None, None):
            pass
        assert current_step() is around
        print("after both")
        current_step().log_metric("here", 1)
    with pytest.raises(chunkstore.StoreUsageError, match="no current step"):
        current_step()
    steps = store.get_run_log("run").steps
    assert [name for name, step in steps.items() if step.user_defined_metrics] == ["around"]
    assert [name for name, step in steps.items() if step.data_catalog] == ["around"]


def test_runs_of_generators_that_take_turns_are_not_current_when_they_have_ended(store):
    def source(name):
        with store.start_run(name):
            yield

    with store.start_run("around") as around:
        first, second = source("a"), source("b")
        next(first), next(second)
        first.close()
        second.close()
        assert current_run() is around
    with pytest.raises(chunkstore.StoreUsageError, match="no current run"):
        current_run()
    assert [store.get_run_log(name).status for name in "ab"] == ["SUCCESS", "SUCCESS"]


def test_a_step_that_another_thread_leaves_is_current_nowhere(store):
    def source(run):
        with run.step("there"):
            yield

    with store.start_run("run") as run:
        steps = source(run)
        next(steps)
        thread = threading.Thread(target=steps.close)
        thread.start()
        thread.join()
        with pytest.raises(chunkstore.StoreUsageError, match="no current step"):
            current_step()
    assert store.get_step_log("run", "there").status == "SUCCESS"


def test_a_task_that_outlives_its_step_belongs_to_the_step_around(store):
    async def later(ended):
        await ended.wait()
        return current_step()

    async def work():
        ended = asyncio.Event()
        with run.step("inner"):
            task = asyncio.create_task(later(ended))
            await asyncio.sleep(0)
        ended.set()
        return await task

    with store.start_run() as run, run.step("outer") as outer:
        assert asyncio.run(work()) is outer


def test_a_generator_that_is_closed_early_has_not_failed(store):
    def rows(run):
        with run.step("read") as step:
            step.log_metric("rows", 2)
            yield 1
            yield 2

    with store.start_run("run") as run:
        for _ in rows(run):
            break
    log = store.get_run_log("run")
    assert (log.status, log.steps["read"].status) == ("SUCCESS", "SUCCESS")
    assert log.steps["read"].message == ""


def test_a_generator_that_nobody_goes_on_with_ends_with_the_program_in_silence(tmp_path):
    program = (
        "import chunkstore\n"
        "store = chunkstore.open_store('chunked-fs', log_folder='log')\n"
        "def rows():\n"
        "    with store.start_run('inner'), run.step('read'):\n"
        "        print('reading')\n"
        "        yield 1\n"
        "with store.start_run('run') as run:\n"
        "    suspended = rows()\n"
        "    next(suspended)\n"
    )
    environment = {**os.environ, "PYTHONPATH": os.path.dirname(os.path.dirname(chunkstore.__file__))}
    ended = subprocess.run(
        [sys.executable, "-c", program], capture_output=True, text=True, cwd=tmp_path, check=True, env=environment
    )
    assert (ended.stdout, ended.stderr) == ("reading\n", "")
    log = chunkstore.open_store("chunked-fs", log_folder=f"{tmp_path}/log").get_run_log("run")
    assert log.status == "FAIL"
    assert "did not end: read" in log.notes["message"]


def in_another(function):
    @functools.wraps(function)
    def wrapper(*arguments):
        return function(*arguments)

    return wrapper


def lazy():
    yield 1


async def promised():
    return 1


async def promised_rows():
    yield 1


class Lazy:
    def __call__(self):
        yield 1


@pytest.mark.filterwarnings("error")
@pytest.mark.parametrize(
    "function",
    [lazy, in_another(lazy), Lazy(), functools.partial(Lazy()), in_another(promised), in_another(promised_rows)],
    ids=["generator", "decorated", "object", "partial", "coroutine", "async generator"],
)
def test_a_function_whose_call_does_not_do_its_work_is_refused(store, function):
    with store.start_run("run") as run, pytest.raises(chunkstore.StoreUsageError, match="does not do its work"):
        run.step("load", function)
    assert "SUCCESS" not in [step.status for step in store.get_run_log("run").steps.values()]


def test_a_function_may_return_an_expression_that_is_a_generator(store):
    with store.start_run("run") as run:
        assert list(run.step("load", lambda: (number for number in range(3)))) == [0, 1, 2]


def test_a_branch_that_has_ended_leaves_no_garbage(store):
    seen = []

    def work(_item):
        seen.extend([weakref.ref(current_run()), weakref.ref(current_step())])

    async def work_later(item):
        work(item)

    async def main():
        await run.amap("tasks", range(3), work_later)

    gc.disable()
    try:
        with store.start_run() as run, ThreadPoolExecutor(1) as threads:
            run.map("threads", range(3), work, executor=threads)
            asyncio.run(main())
        assert [each() for each in seen] == [None] * 12
    finally:
        gc.enable()


def test_a_step_begun_after_its_branch_has_ended_is_still_inside_what_the_branch_ran(store):
    seen = []

    def work(_item):
        seen.append(current_run())

    with store.start_run("run") as run, ThreadPoolExecutor(1) as threads:
        run.map("each", ["one"], work, executor=threads)
        seen[0].step("late", int)
    assert store.get_step_log("run", "each.one.late").inside == "each.one.work"
