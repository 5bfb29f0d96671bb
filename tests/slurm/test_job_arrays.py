"""A job array records one run, whatever Slurm does to its tasks, and the log says what that was."""

import json
import os
import shutil
from collections import Counter
from pathlib import Path

import pytest
from pages import DOCS, blocks_of

import chunkstore
from slurm.array import CANCELLED, DEAF, KILLED, OUT_OF_TIME, REQUEUED, TASKS

pytestmark = pytest.mark.thorough

#: So often the program of a task is started.
STARTS = {REQUEUED: 2, KILLED: 2}


@pytest.fixture(scope="module")
def states(begun_array):
    """How the tasks of the array have ended."""
    return begun_array.wait_for_end()


@pytest.fixture(scope="module")
def array(begun_array, states):
    """The array, which is over."""
    return begun_array


@pytest.fixture(scope="module")
def log(array):
    return chunkstore.open_store("chunked-fs", log_folder=array.folder / "runs").get_run_log(f"array-{array.job}")


def test_slurm_did_to_the_tasks_what_is_to_be_told(states):
    assert Counter(states.values()) == {"COMPLETED": TASKS - 3, "CANCELLED": 2, "TIMEOUT": 1}
    assert states[str(OUT_OF_TIME)] == "TIMEOUT"


def test_every_task_is_a_step_and_every_start_an_attempt(array, log):
    assert set(log.steps) == {f"task-{task}" for task in range(TASKS)}
    assert log.problems == []
    for task in range(TASKS):
        attempts = log.steps[f"task-{task}"].attempts
        assert len(attempts) == len(array.pids(task)) == STARTS.get(task, 1), task
        assert [attempt.pid for attempt in attempts] == array.pids(task)
        assert {attempt.host for attempt in attempts} == {os.uname().nodename}
        jobs = [f"Slurm {array.job}_{task}", f"Slurm {array.job}_{task}, restart 1"][: len(attempts)]
        assert [attempt.job for attempt in attempts] == jobs


def test_what_became_of_each_task_is_its_status(log):
    statuses = {task: log.steps[f"task-{task}"].status for task in range(TASKS)}
    assert statuses.pop(CANCELLED) == statuses.pop(OUT_OF_TIME) == "FAIL"
    assert statuses.pop(DEAF) == "PROCESSING"
    assert set(statuses.values()) == {"SUCCESS"}


@pytest.mark.parametrize("task", [CANCELLED, OUT_OF_TIME])
def test_a_task_that_slurm_ends_says_that_it_was_told_to(array, log, task):
    step = log.steps[f"task-{task}"]
    assert step.message.startswith(f"Terminated: SIGTERM: Slurm {array.job}_{task} was told to end")
    assert step.user_defined_metrics == {"index": task}


@pytest.mark.parametrize(("task", "first"), [(REQUEUED, "FAIL"), (KILLED, "LOST")])
def test_the_start_that_came_to_nothing_hides_not_the_one_that_succeeded(log, task, first):
    step = log.steps[f"task-{task}"]
    assert [attempt.status for attempt in step.attempts] == [first, "SUCCESS"]
    assert ("SIGTERM" in step.attempts[0].message) == (first == "FAIL")
    assert step.user_defined_metrics == {"index": task}


def test_the_user_is_told_of_it_by_the_commands(array, slurm):
    def chunkstore_(*arguments):
        return slurm.run("python", "-m", "chunkstore", *arguments, "--store", "runs", check=False, cwd=array.folder)

    page = chunkstore_("show")
    assert f"array-{array.job}" in page
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


def test_the_run_ends_with_what_failed_and_what_did_not_end(array, tmp_path):
    shutil.copytree(array.folder / "runs", tmp_path / "runs")  # others look at the run as it is
    finished = chunkstore.open_store("chunked-fs", log_folder=tmp_path / "runs").join_run(f"array-{array.job}").finish()
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
