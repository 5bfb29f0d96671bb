"""Processes that join one run: one that was killed and comes back, two of one index; who lives, and what is lost."""

import os
import signal
import subprocess
import sys
import threading
from pathlib import Path

import pytest
from support.processes import Forked

import chunkstore
from chunkstore.stores.runs.liveness import LIVE, LOST, UNKNOWN

RUN = "array"


def joined(store, rank, *, say=None, hang=False):
    """Record the step of a rank, as a task of an array does."""
    with store.join_run(RUN, create=True, capture_output=False) as run, run.step(f"rank {rank}") as step:
        step.log_metric("pid", os.getpid())
        if say is not None:
            say("at work")
        if hang:
            signal.pause()


def anew(store):
    """Return the store as another process opens it."""
    return store.anew()


def in_process(store, rank):
    """Record a rank in a process of its own, which comes to its end."""

    def record(say):
        joined(anew(store), rank)
        say("done")

    with Forked(record) as process:
        pid = process.pid
        assert process.wait_for_line() == "done"
    return pid


def killed(store, rank):
    """Record a rank in a process that is killed in the middle of its step."""
    with Forked(lambda say: joined(anew(store), rank, say=say, hang=True)) as process:
        pid = process.pid
        assert process.wait_for_line() == "at work"
        process.kill()
    return pid


@pytest.fixture(params=["files", "journal", "document"])
def store(request, tmp_path):
    kind = "file-system" if request.param == "document" else "chunked-fs"
    options = {"container": "journal"} if request.param == "journal" else {}
    return chunkstore.open_store(kind, log_folder=tmp_path / "logs", catalog_folder=tmp_path / "catalog", **options)


def test_a_rank_that_comes_back_appends_its_attempt_and_the_one_that_died_is_told_as_lost(store):
    in_process(store, 0)
    dead = killed(store, 1)
    alone = store.liveness(RUN)
    assert (alone.state, alone.pid, alone.host) == (LOST, dead, os.uname().nodename)
    assert str(dead) in alone.why
    back = in_process(store, 1)
    assert store.liveness(RUN).state == LIVE
    step = store.get_run_log(RUN, strict=True).steps["rank 1"]
    assert (step.status, step.user_defined_metrics) == ("SUCCESS", {"pid": back})
    first, second = step.attempts
    assert (first.status, first.pid, first.host) == ("LOST", dead, os.uname().nodename)
    assert (second.status, second.pid, second.metrics) == ("SUCCESS", back, chunkstore.StepAttempt().metrics)
    assert str(dead) in first.message
    assert first.metrics == {"pid": dead}
    assert store.join_run(RUN).finish().status == "SUCCESS"
    assert not [*Path(store.backend.location).rglob("*.joined")]


def test_a_rank_that_died_is_told_of_while_others_record(store):
    with Forked(lambda say: joined(anew(store), 0, say=say, hang=True)) as living:
        assert living.wait_for_line() == "at work"
        dead = killed(store, 1)
        found = store.liveness(RUN)
        assert (found.state, found.pid) == (LIVE, living.pid)
        assert str(dead) in found.why
        in_process(store, 1)
        assert str(dead) not in store.liveness(RUN).why
        living.kill()
    assert store.liveness(RUN).state == LOST


def test_a_rank_that_died_between_its_steps_leaves_it_open_what_becomes_of_the_run(store):
    def record(say):
        run = anew(store).join_run(RUN, create=True, capture_output=False)
        with run.step("first"):
            pass
        say("between")
        signal.pause()

    with Forked(record) as process:
        assert process.wait_for_line() == "between"
        process.kill()
    assert store.liveness(RUN).state == UNKNOWN


def test_another_process_of_the_same_job_is_not_the_one_that_died_but_one_of_a_restart_is(tmp_path, monkeypatch):
    store = chunkstore.open_store("chunked-fs", log_folder=tmp_path)
    monkeypatch.setenv("SLURM_JOB_ID", "12")
    dead = killed(store, 1)
    in_process(store, 2)
    found = store.liveness(RUN)
    assert (found.state, found.pid) == (LOST, dead)
    monkeypatch.setenv("SLURM_RESTART_COUNT", "1")
    in_process(store, 2)
    assert store.liveness(RUN).state == LIVE


def test_a_process_that_ends_in_order_has_left_though_nobody_said_so(tmp_path):
    store = chunkstore.open_store("chunked-fs", log_folder=tmp_path)
    killed(store, 1)
    script = (
        "import chunkstore, sys\n"
        "run = chunkstore.open_store('chunked-fs', log_folder=sys.argv[1]).join_run('array', capture_output=False)\n"
        "run.step('rank 1', int, 1)\n"
    )
    subprocess.run([sys.executable, "-c", script, tmp_path], check=True)
    assert store.liveness(RUN).state == LIVE


def test_a_process_has_not_left_while_one_of_its_threads_is_at_work(store):
    begun, may_end = threading.Event(), threading.Event()

    def work(run):
        with run.step("in a thread"):
            begun.set()
            may_end.wait(30)

    with store.join_run(RUN, create=True, capture_output=False) as run:
        thread = threading.Thread(target=work, args=(run,))
        thread.start()
        assert begun.wait(30)
    try:
        assert anew(store).liveness(RUN).state == LIVE
    finally:
        may_end.set()
        thread.join()


def test_two_processes_of_one_index_at_once_are_two_attempts(store):
    with Forked(lambda say: joined(anew(store), 5, say=say, hang=True)) as one:
        assert one.wait_for_line() == "at work"
        other = in_process(store, 5)
        step = store.get_run_log(RUN, strict=True).steps["rank 5"]
        assert (step.status, step.user_defined_metrics) == ("SUCCESS", {"pid": other})
        assert [attempt.pid for attempt in step.attempts] == [one.pid, other]
        one.kill()


def test_who_joins_twice_in_one_process_hides_nothing(any_store):
    for number in (1, 2):
        with any_store.join_run(RUN, create=True, capture_output=False) as run, run.step("again") as step:
            step.log_metric("number", number)
    step = any_store.get_run_log(RUN, strict=True).steps["again"]
    assert [attempt.status for attempt in step.attempts] == ["SUCCESS", "SUCCESS"]
    assert (step.attempts[0].metrics, step.user_defined_metrics) == ({"number": 1}, {"number": 2})
