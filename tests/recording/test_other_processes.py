"""Steps and runs that are handed to other processes, or inherited by them."""

import multiprocessing
import os
import pickle

import pytest

import chunkstore
from recording import work
from recording.pools import PROCESSES, pool


def in_fork(function):
    """Run a function in a forked child, and wait for its end."""
    pid = os.fork()
    if pid == 0:
        code = 1
        try:
            function()
            code = 0
        finally:
            os._exit(code)
    assert os.waitpid(pid, 0)[1] == 0


def files(store, run_id, kind):
    return [name for name in os.listdir(os.path.join(store.options.log_folder, run_id)) if name.startswith(kind)]


@pytest.mark.parametrize("kind", ["fork", "spawn", "loky"])
def test_what_another_process_logs_lies_beside_the_owners_record_and_survives_its_end(store, kind):
    with pool(kind, 1) as executor, store.start_run("run") as run, run.step("load") as step:
        step.log_metric("rows", 1)
        executor.submit(work.log_through, step, "theirs", 2).result()
        assert len(files(store, "run", "StepLog")) == len(files(store, "run", "StepUpdate")) == 1
        step.log_metric("columns", 3)
    found = store.get_step_log("run", "load")
    assert found.user_defined_metrics == {"rows": 1, "theirs": 2, "columns": 3}
    assert found.attempts[0].parameters == {"theirs": 2}
    assert found.status == found.attempts[0].status == "SUCCESS"
    assert len(files(store, "run", "StepLog")) == 1


def test_a_forked_child_that_logs_through_the_inherited_step_does_not_take_it_over(store):
    with store.start_run("run") as run, run.step("load") as step:
        in_fork(lambda: work.log_through(step, "theirs", 2))
        step.log_metric("mine", 1)
    found = store.get_step_log("run", "load")
    assert found.user_defined_metrics == {"mine": 1, "theirs": 2}
    assert found.status == "SUCCESS"
    assert len(files(store, "run", "StepLog")) == 1


def test_current_step_in_a_forked_child_is_the_inherited_one(store):
    with store.start_run("run") as run, run.step("load"):
        in_fork(lambda: chunkstore.current_step().log_metric("theirs", 2))
    assert store.get_step_log("run", "load").user_defined_metrics == {"theirs": 2}


def test_a_forked_child_that_leaves_the_block_ends_neither_step_nor_run(store):
    store_run = store.start_run("run")
    with store_run, store_run.step("load") as step:
        pid = os.fork()
        if pid == 0:
            try:
                step.__exit__(SystemExit, SystemExit(3), None)
                store_run.__exit__(SystemExit, SystemExit(3), None)
            finally:
                os._exit(0)
        os.waitpid(pid, 0)
        log = store.get_run_log("run")
        seen = [log.status, log.steps["load"].status]
    assert seen == ["PROCESSING", "PROCESSING"]
    log = store.get_run_log("run")
    assert (log.status, log.steps["load"].status) == ("SUCCESS", "SUCCESS")
    assert len(files(store, "run", "StepLog")) == 1


def test_points_that_wait_at_a_fork_are_written_once(store):
    with store.start_run("run") as run, run.step("train") as step:
        step.log_metric("loss", 1.0, step=0)  # written at once
        step.log_metric("loss", 0.5, step=1)  # waits

        def log_one_more():
            step.log_metric("loss", 0.1, step=2)
            step.flush()

        in_fork(log_one_more)
    points = store.get_step_log("run", "train").metric_series["loss"]
    assert sorted((point.step, point.value) for point in points) == [(0, 1.0), (1, 0.5), (2, 0.1)]


def test_a_fork_while_a_thread_logs_does_not_block_the_child(store):
    with store.start_run("run") as run, run.step("train") as step, step._mutex:
        # As if another thread were in the middle of it: the child has no such thread to wait for.
        context = multiprocessing.get_context("fork")
        child = context.Process(target=work.log_all_through, args=(run, step))
        child.start()
        child.join(20)
        alive = child.is_alive()
        child.kill()
        child.join()
    assert not alive
    assert store.get_step_log("run", "train").user_defined_metrics == {"theirs": 1}


def test_a_step_that_is_entered_by_the_process_that_received_it_belongs_to_that_process(store):
    with store.start_run("run") as run:
        copy = pickle.loads(pickle.dumps(run.step("load")))
        with copy as step:
            step.log_metric("rows", 1)
    assert store.get_step_log("run", "load").status == "SUCCESS"
    assert not files(store, "run", "StepUpdate")


def test_a_forked_child_that_leaves_a_steps_function_ends_neither_it_nor_its_attempts(store, calls):
    def work_and_fork():
        work.note(calls, "try")
        pid = os.fork()
        if pid == 0:
            raise ValueError("the child's own")
        os.waitpid(pid, 0)
        return store.get_step_log("run", "load").status

    parent = os.getpid()
    with store.start_run("run") as run:
        try:
            status = run.step("load", work_and_fork, max_attempts=2, backoff=0)
        finally:
            if os.getpid() != parent:
                os._exit(0)
    assert status == "PROCESSING"
    assert store.get_step_log("run", "load").status == "SUCCESS"
    assert work.noted(calls) == {"try": 1}


@pytest.mark.parametrize("kind", [kind for kind in PROCESSES if kind != "default"])
def test_a_run_that_was_sent_to_another_process_records_into_the_same_run(store, kind):
    with pool(kind, 1) as executor, store.start_run("run") as run:
        pid = executor.submit(work.step_through, run, "there").result()
        assert run.step("here", os.getpid) == os.getpid() != pid
    log = store.get_run_log("run")
    assert [(name, step.result) for name, step in log.steps.items()] == [("there", pid), ("here", os.getpid())]


def test_a_run_keeps_what_it_is_bound_to_when_it_is_pickled(store):
    with store.start_run("run", capture_output=False) as run:
        copy = pickle.loads(pickle.dumps(run.bound_to("map.a")))
    assert (copy.run_id, copy.branch, copy.capture_output) == ("run", "map.a", False)
    assert copy.catalog == run.catalog
    assert copy.store.options == store.options


def test_leaving_a_run_that_was_sent_does_not_finish_it(store):
    run = store.start_run("run")
    with pickle.loads(pickle.dumps(run)) as copy:
        copy.step("load", work.two)
    assert store.get_run_log("run").status == "PROCESSING"
    run.finish()
    assert store.get_run_log("run").status == "SUCCESS"


def test_a_buffered_store_refuses_to_be_sent(tmp_path):
    store = chunkstore.open_store("buffered", catalog_folder=str(tmp_path / ".catalog"))
    with store.start_run() as run, pytest.raises(chunkstore.StoreUsageError, match="another process"):
        pickle.dumps(run)


@pytest.mark.parametrize("kind", PROCESSES)
def test_a_buffered_store_refuses_branches_in_processes_and_records_none(tmp_path, kind):
    store = chunkstore.open_store("buffered", catalog_folder=str(tmp_path / ".catalog"))
    refused = pytest.raises(chunkstore.StoreUsageError, match="chunked-fs")
    with pool(kind, 1) as executor, store.start_run("run") as run, refused:
        run.map("score", [1], work.double, executor=executor)
    assert not any(step.branches for step in store.get_run_log("run").steps.values())


def test_a_buffered_store_serves_branches_in_threads(tmp_path):
    store = chunkstore.open_store("buffered", catalog_folder=str(tmp_path / ".catalog"))
    with pool("threads", 4) as executor, store.start_run("run") as run:
        assert run.map("score", range(40), work.double, executor=executor) == [item * 2 for item in range(40)]
    log = store.get_run_log("run")
    assert len(log.steps["score"].branches) == 40
    assert log.status == "SUCCESS"
