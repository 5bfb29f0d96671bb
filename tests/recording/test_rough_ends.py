"""Runs and steps that end in unusual ways still say the truth."""

import asyncio
import multiprocessing
import os
import signal
import subprocess
import sys
import time
from concurrent.futures import ProcessPoolExecutor, ThreadPoolExecutor
from types import SimpleNamespace

import pytest

import chunkstore
from chunkstore.recording import retries

SETTLED = 20.0


@pytest.fixture
def store(tmp_path):
    return chunkstore.open_store("chunked-fs", log_folder=tmp_path / "logs")


class Unloadable(Exception):  # noqa: N818 - what pickle makes of it cannot be rebuilt: __init__ wants two arguments
    def __init__(self, one, two):
        super().__init__(one)


def double(item):
    return item * 2 if isinstance(item, int) else "not a number"


def give_unloadable(item):
    return Unloadable(1, 2) if item == 1 else item


def fail_then_die(marks):
    calls = len(list(marks.iterdir()))
    (marks / str(calls)).touch()
    if calls == 1:
        os.kill(os.getpid(), signal.SIGKILL)
    raise ValueError(f"call {calls}")


def record_failing_step(run):
    with run.step("child", on_error="continue"):
        raise ValueError("in the child")


def log_points(step):
    for number in range(5):
        step.log_metric("loss", number, step=number)


def fan_out_again(executor):
    def inner(item):
        return chunkstore.current_run().map("nested", [item, item + 1], double, executor=executor)

    return inner


def test_a_status_that_the_author_gives_inside_the_block_stays(store):
    with store.start_run("run") as run:
        with run.step("s", on_error="continue"):
            raise ValueError
        run.finish(status="SUCCESS")
    assert store.get_run_log("run").status == "SUCCESS"


def test_a_run_is_not_a_success_if_a_process_it_was_sent_to_failed(store):
    with store.start_run("run") as run:
        child = multiprocessing.get_context("spawn").Process(target=record_failing_step, args=(run,))
        child.start()
        child.join()
    log = store.get_run_log("run")
    assert (log.status, log.steps["child"].status) == ("FAIL", "FAIL")
    assert log.notes["message"] == "1 step failed: child"


@pytest.mark.parametrize("joined", [True, False])
def test_a_run_is_not_a_success_while_a_step_has_not_ended(store, joined):
    run = store.start_run("run")
    with run.step("s"):
        (store.join_run("run") if joined else run).finish()
        log = store.get_run_log("run")
    assert (log.status, log.notes["message"]) == ("FAIL", "1 step did not end: s")


def test_an_item_or_result_that_cannot_be_rebuilt_costs_its_own_branch_alone(store):
    with ProcessPoolExecutor(2) as pool, store.start_run("run") as run:
        items = [0, 1, Unloadable(1, 2), 3, 4]
        assert run.map("items", items, double, executor=pool, on_error="continue") == [0, 2, None, 6, 8]
        assert run.map("results", [0, 1, 2], give_unloadable, executor=pool, on_error="continue") == [0, None, 2]
    steps = store.get_run_log("run").steps
    failed = [branch for step in steps.values() for branch in step.branches.values() if branch.status == "FAIL"]
    assert len(failed) == 2
    assert "could not be rebuilt" in failed[0].message
    assert "result could not be rebuilt" in failed[1].message


def test_attempts_before_and_after_a_killed_worker_are_all_recorded(store, tmp_path):
    marks = tmp_path / "marks"
    marks.mkdir()
    with store.start_run("run") as run:
        run.map("m", [marks], fail_then_die, max_attempts=3, backoff=0, on_error="continue", name_of=lambda _: "b")
    attempts = store.get_run_log("run").steps["m"].branches["m.b"].steps["m.b.fail_then_die"].attempts
    assert len(list(marks.iterdir())) == 3
    assert [attempt.attempt_number for attempt in attempts] == [1, 2, 3]
    assert [attempt.status for attempt in attempts] == ["FAIL"] * 3
    assert "call 0" in attempts[0].message
    assert "SIGKILL" in attempts[1].message
    assert "call 2" in attempts[2].message


async def later():
    raise ValueError


def begun():
    return later()


def one_by_one():
    yield 1


@pytest.mark.parametrize("function", [later, one_by_one, begun])
def test_a_function_whose_call_does_not_do_its_work_is_refused(store, function):
    with store.start_run("run") as run:
        with pytest.raises(chunkstore.StoreUsageError, match="await or iterate"):
            run.step("s", function)
        with pytest.raises((chunkstore.StoreUsageError, chunkstore.BranchFailedError), match="await or iterate"):
            run.parallel("p", {"b": function}, executor=ThreadPoolExecutor(1))


def test_async_work_inside_a_block_is_recorded(store):
    async def work(run, name):
        with run.step(name) as step:
            await asyncio.sleep(0)
            assert chunkstore.current_step() is step

    async def both(run):
        await asyncio.gather(work(run, "a"), work(run, "b"))

    with store.start_run("run") as run:
        asyncio.run(both(run))
    assert [step.status for step in store.get_run_log("run").steps.values()] == ["SUCCESS"] * 2


def test_points_that_another_process_logs_are_all_there_when_it_ends(store):
    with store.start_run("run") as run, run.step("s") as step:
        child = multiprocessing.get_context("spawn").Process(target=log_points, args=(step,))
        child.start()
        child.join()
    points = store.get_run_log("run").steps["s"].metric_series["loss"]
    assert [point.step for point in points] == [0, 1, 2, 3, 4]


def test_branches_of_branches_on_the_same_threads_do_not_wait_for_themselves(store):
    with ThreadPoolExecutor(2) as threads, store.start_run("run") as run:
        results = run.map("outer", [1, 2, 3], fan_out_again(threads), executor=threads)
    assert results == [[2, 4], [4, 6], [6, 8]]
    log = store.get_run_log("run")
    assert log.status == "SUCCESS"
    assert len(log.steps["outer"].branches["outer.2"].steps["outer.2.nested"].branches) == 2


def test_leaving_with_success_in_a_branch_is_success(store):
    with store.start_run("run") as run:
        run.parallel("p", {"b": lambda: sys.exit(0)}, executor=ThreadPoolExecutor(1))
    log = store.get_run_log("run")
    assert (log.status, log.steps["p"].branches["p.b"].status) == ("SUCCESS", "SUCCESS")


def test_an_interrupt_while_waiting_for_the_next_attempt_fails_the_step(store, monkeypatch):
    def interrupt(_):
        raise KeyboardInterrupt

    monkeypatch.setattr(retries, "time", SimpleNamespace(sleep=interrupt))
    with pytest.raises(KeyboardInterrupt), store.start_run("run") as run:
        run.step("s", int, "no number", max_attempts=2, backoff=0.25)
    log = store.get_run_log("run")
    assert (log.status, log.steps["s"].status) == ("FAIL", "FAIL")


class Untold(Exception):  # noqa: N818 - it is no error of anybody's
    def __str__(self):
        raise SystemExit(3)


@pytest.mark.parametrize("error", [Untold(), SyntaxError("x", ("f", 1, 1, 5))])
def test_an_exception_that_cannot_be_told_is_recorded_all_the_same(store, error):
    with pytest.raises(type(error)), store.start_run("run") as run, run.step("s"):
        raise error
    log = store.get_run_log("run")
    assert (log.status, log.steps["s"].status) == ("FAIL", "FAIL")
    assert type(error).__name__ in log.steps["s"].message


@pytest.mark.parametrize("backoff", [-1, float("nan"), float("inf")])
def test_a_back_off_that_is_no_time_is_refused(store, backoff):
    with store.start_run("run") as run, pytest.raises(chunkstore.StoreUsageError, match="backoff"):
        run.step("s", int, "1", backoff=backoff)


class Closed:
    def write(self, text):
        return len(text)

    def flush(self):
        pass


def test_a_standard_error_that_is_no_stream_does_not_matter(store, monkeypatch):
    monkeypatch.setattr(sys, "stderr", Closed())
    with store.start_run("run") as run:
        assert run.map("m", [1], double, executor=ThreadPoolExecutor(1)) == [2]


def test_resuming_a_run_that_died_early_takes_over_what_the_one_before_it_did(store):
    calls = []

    def work(item):
        calls.append(item)
        return item

    with store.start_run("first") as run:
        run.map("m", [1, 2], work, executor=ThreadPoolExecutor(1))
    store.start_run("second", resume="first")  # dies before it does anything
    with store.start_run("third", resume="second") as run:
        assert run.map("m", [1, 2], work, executor=ThreadPoolExecutor(1)) == [1, 2]
    assert calls == [1, 2]
    branches = store.get_run_log("third").steps["m"].branches
    assert {branch.cached_from for branch in branches.values()} == {"first"}


def test_data_that_was_replaced_meanwhile_is_taken_over_as_it_was_recorded(store, tmp_path):
    file = tmp_path / "m.txt"
    calls = []

    def put(text):
        calls.append(text)
        file.write_text(text)
        chunkstore.current_step().put_data(file, "m.txt")
        return text

    with store.start_run("first") as run:
        run.step("a", put, "one")
        run.step("b", put, "two")
    with store.start_run("second", resume="first") as run:
        run.step("a", put, "one")
        run.step("b", put, "two")
        with run.step("read") as step:
            assert step.get_data("m.txt", tmp_path / "copy").read_text() == "two"
            assert step.get_data("m.txt", tmp_path / "copy", step="a").read_text() == "one"
    assert calls == ["one", "two"]


def test_names_of_data_do_not_meet_those_of_branches_and_printed_output(store, tmp_path):
    file = tmp_path / "part.1"
    file.write_text("of the run")

    def put(_):
        chunkstore.current_step().put_data(file, "o")

    with store.start_run("run") as run:
        with run.step("s") as step:
            step.put_data(file, "part.1")
            for name in ("s.execution.log", ".branches/x"):
                with pytest.raises(chunkstore.InvalidNameError):
                    step.put_data(file, name)
        run.map("part", [1], put, executor=ThreadPoolExecutor(1))
    assert store.get_run_log("run").status == "SUCCESS"


def test_a_task_that_prints_after_its_step_leaves_the_steps_output_alone(store, tmp_path):
    async def pipeline(run):
        async def late():
            await asyncio.sleep(0.01)
            print("late")

        with run.step("a"):
            print("important")
            task = asyncio.create_task(late())
        with run.step("b"):
            await task

    with store.start_run("run") as run:
        asyncio.run(pipeline(run))
    assert (tmp_path / ".catalog" / "run" / "a.execution.log").read_text() == "important\n"


PIPELINE = """
import os, sys, time
import chunkstore

def work(item):
    os.write(1, f"worker {os.getpid()}\\n".encode())
    time.sleep(60)

if __name__ == "__main__":
    with chunkstore.open_store("chunked-fs", log_folder=sys.argv[1]).start_run("run") as run:
        run.map("m", [1, 2], work)
"""


def test_workers_of_our_own_do_not_outlive_a_killed_parent(tmp_path):
    script = tmp_path / "pipeline.py"
    script.write_text(PIPELINE)
    main = subprocess.Popen([sys.executable, str(script), str(tmp_path / "logs")], stdout=subprocess.PIPE, text=True)
    try:
        workers = [int(main.stdout.readline().split()[1]) for _ in range(2)]
    finally:
        main.kill()
        main.wait()
        main.stdout.close()
    deadline = time.monotonic() + SETTLED
    while any(_is_alive(worker) for worker in workers):
        assert time.monotonic() < deadline
        time.sleep(0.05)


def _is_alive(pid):
    try:
        os.kill(pid, 0)
    except ProcessLookupError:
        return False
    try:
        with open(f"/proc/{pid}/stat", encoding="ascii") as status:
            return status.read().rpartition(")")[2].split()[0] != "Z"
    except FileNotFoundError:
        return False
