"""`current_run` and `current_step` tell where the code belongs that runs now."""

import asyncio
import threading
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
