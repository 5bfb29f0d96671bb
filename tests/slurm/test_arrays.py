"""A job array records one run, whatever Slurm does to its tasks, and the log says what that was."""

import json
import os
import signal
from collections import Counter
from pathlib import Path

import pytest
from pages import DOCS, blocks_of

import chunkstore
from slurm.cluster import wait_until

pytestmark = pytest.mark.thorough

CANCELLED, REQUEUED, OUT_OF_TIME, KILLED, DEAF = 3, 5, 7, 9, 11
HELD = (CANCELLED, REQUEUED, OUT_OF_TIME, KILLED, DEAF)
TASKS = 20
#: So often the program of a task is started.
STARTS = {REQUEUED: 2, KILLED: 2}

PROGRAM = f"""
import os, signal, sys, time
import chunkstore

job, task = os.environ["SLURM_ARRAY_JOB_ID"], int(os.environ["SLURM_ARRAY_TASK_ID"])
if task == {DEAF}:
    signal.signal(signal.SIGTERM, signal.SIG_IGN)
store = chunkstore.open_store("chunked-fs", log_folder="runs")
with store.join_run(f"array-{{job}}", create=True, tag="sweep") as run:
    with run.step(f"task-{{task}}") as step:
        with open(f"starts-{{task}}", "a") as starts:
            starts.write(f"{{os.getpid()}}\\n")
        step.log_metric("index", task)
        if task in {HELD} and "SLURM_RESTART_COUNT" not in os.environ:
            time.sleep(600)
"""


def pids(folder, task):
    path = folder / f"starts-{task}"
    return [int(line) for line in path.read_text().split()] if path.exists() else []


@pytest.fixture(scope="module")
def array(slurm, tmp_path_factory):
    """An array that has been through all of it; its folder, its id, and how its jobs ended."""
    folder = tmp_path_factory.mktemp("array")
    (folder / "work.py").write_text(PROGRAM)
    (folder / "array.sh").write_text("#!/bin/sh\n#SBATCH --requeue\nexec python work.py\n")
    job = slurm.submit("array.sh", f"--array=0-{TASKS - 1}", folder=folder)
    wait_until(lambda: all(pids(folder, task) for task in range(TASKS)), "every task has begun")
    slurm.let_time_run_out(f"{job}_{OUT_OF_TIME}")
    slurm.run("scancel", f"{job}_{CANCELLED}", f"{job}_{DEAF}")
    slurm.run("scontrol", "requeue", f"{job}_{REQUEUED}")
    os.kill(pids(folder, KILLED)[0], signal.SIGKILL)
    wait_until(lambda: slurm.states(job)[str(KILLED)] == "FAILED", "the task that was killed is over")
    slurm.run("scontrol", "requeue", f"{job}_{KILLED}")
    wait_until(lambda: len(pids(folder, KILLED)) == len(pids(folder, REQUEUED)) == 2, "two tasks have begun again")
    return folder, job, slurm.wait_for_end(job)


@pytest.fixture(scope="module")
def log(array):
    folder, job, _ = array
    return chunkstore.open_store("chunked-fs", log_folder=folder / "runs").get_run_log(f"array-{job}")


def test_slurm_did_to_the_tasks_what_is_to_be_told(array):
    _, _, states = array
    assert Counter(states.values()) == {"COMPLETED": TASKS - 3, "CANCELLED": 2, "TIMEOUT": 1}
    assert states[str(OUT_OF_TIME)] == "TIMEOUT"


def test_every_task_is_a_step_and_every_start_an_attempt(array, log):
    folder, job, _ = array
    assert set(log.steps) == {f"task-{task}" for task in range(TASKS)}
    assert log.problems == []
    for task in range(TASKS):
        attempts = log.steps[f"task-{task}"].attempts
        assert len(attempts) == len(pids(folder, task)) == STARTS.get(task, 1), task
        assert [attempt.pid for attempt in attempts] == pids(folder, task)
        assert {attempt.host for attempt in attempts} == {os.uname().nodename}
        jobs = [f"Slurm {job}_{task}", f"Slurm {job}_{task}, restart 1"][: len(attempts)]
        assert [attempt.job for attempt in attempts] == jobs


def test_what_became_of_each_task_is_its_status(log):
    statuses = {task: log.steps[f"task-{task}"].status for task in range(TASKS)}
    assert statuses.pop(CANCELLED) == statuses.pop(OUT_OF_TIME) == "FAIL"
    assert statuses.pop(DEAF) == "PROCESSING"
    assert set(statuses.values()) == {"SUCCESS"}


@pytest.mark.parametrize("task", [CANCELLED, OUT_OF_TIME])
def test_a_task_that_slurm_ends_says_that_it_was_told_to(array, log, task):
    _, job, _ = array
    step = log.steps[f"task-{task}"]
    assert step.message.startswith(f"Terminated: SIGTERM: Slurm {job}_{task} was told to end")
    assert step.user_defined_metrics == {"index": task}


@pytest.mark.parametrize(("task", "first"), [(REQUEUED, "FAIL"), (KILLED, "LOST")])
def test_the_start_that_came_to_nothing_hides_not_the_one_that_succeeded(log, task, first):
    step = log.steps[f"task-{task}"]
    assert [attempt.status for attempt in step.attempts] == [first, "SUCCESS"]
    assert ("SIGTERM" in step.attempts[0].message) == (first == "FAIL")
    assert step.user_defined_metrics == {"index": task}


def test_the_user_is_told_of_it_by_the_commands(array, slurm):
    folder, job, _ = array

    def chunkstore_(*arguments):
        return slurm.run("python", "-m", "chunkstore", *arguments, "--store", "runs", check=False, cwd=folder)

    page = chunkstore_("show")
    assert f"array-{job}" in page
    assert "SIGTERM" in page
    assert f"task-{DEAF}" in page
    assert "2 attempts" in page
    told = json.loads(chunkstore_("show", "--json"))
    assert told["liveness"]["state"] == "LOST"
    (row,) = json.loads(chunkstore_("ls", "--json"))
    assert row["status"] == "LOST"
    assert row["steps"] == {"done": TASKS - 3, "failed": 2, "total": TASKS}
    step = json.loads(chunkstore_("show", "--step", f"task-{REQUEUED}", "--json"))
    assert len(step["attempts"]) == 2


def test_the_run_ends_with_what_failed_and_what_did_not_end(array):
    folder, job, _ = array
    finished = chunkstore.open_store("chunked-fs", log_folder=folder / "runs").join_run(f"array-{job}").finish()
    assert finished.status == "FAIL"
    assert "2 steps failed" in finished.notes["message"]
    assert f"1 step did not end: task-{DEAF}" in finished.notes["message"]


def test_the_array_of_the_documentation_runs_as_it_stands_there(slurm, tmp_path):
    for block in blocks_of(DOCS / "how-to" / "slurm.md"):
        if block.file:
            Path(tmp_path / block.file).write_text(block.text)
    job = slurm.run("sh", "submit.sh", cwd=tmp_path).split()[-1]
    assert slurm.wait_for_end(job) == {"": "COMPLETED"}
    (run,) = chunkstore.open_store("chunked-fs", log_folder=tmp_path / "runs").list_runs()
    assert (run.status, run.steps) == ("SUCCESS", {"SUCCESS": 4})
