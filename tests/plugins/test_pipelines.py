"""Pipelines with parallel workers leave the log that runnable's own store has of them, run one step at a time."""

import os
import subprocess
import sys
from collections import Counter

import pytest
from processes import Forked
from recording.work import wait_for

from plugins.workbench import OWN, branches_of, comparable, order_of_steps, tree_of

PARAMETERS = {"items": ["a", "b", "c"], "count": 0}

STATUS = {
    "python_tasks": "SUCCESS",
    "shell_tasks": "SUCCESS",
    "notebook_tasks": "SUCCESS",
    "on_failure": "SUCCESS",
    "failing_task": "FAIL",
    "conditional": "SUCCESS",
    "loop_until": "SUCCESS",
    "parallel_tasks": "SUCCESS",
    "failing_branch": "FAIL",
    "nested_parallel": "SUCCESS",
    "map_items": "SUCCESS",
    "map_reduced": "SUCCESS",
    "map_in_parallel": "SUCCESS",
    "map_odd_scores": "SUCCESS",
    "catalog_files": "SUCCESS",
    "good_job": "SUCCESS",
    "data_job": "SUCCESS",
    "bad_job": "FAIL",
}

# runnable's own models warn of each other when they are written with the run's configuration.
pytestmark = pytest.mark.filterwarnings("ignore:Pydantic serializer warnings:UserWarning")


@pytest.mark.sampled
@pytest.mark.parametrize(("pipeline", "status"), STATUS.items())
def test_the_log_is_that_of_runnables_own_store(workbench, pipeline, status):
    expected = workbench.run(pipeline, OWN, parallel=False, parameters=PARAMETERS)
    found = workbench.run(pipeline, parameters=PARAMETERS)
    assert found.status == status
    assert comparable(found) == comparable(expected)
    assert order_of_steps(found.steps) == order_of_steps(expected.steps)
    assert found.run_config.keys() == expected.run_config.keys()

    log = workbench.chunkstore().get_run_log("run", strict=True)
    assert log.problems == []
    assert order_of_steps(log.steps) == order_of_steps(found.steps)
    tree = tree_of(log)
    assert status in tree
    for branch in branches_of(found.steps):
        assert branch.rpartition(".")[2] in tree


def test_one_step_at_a_time_leaves_the_same_log_as_parallel_workers(workbench):
    sequential, parallel = (workbench.run("nested_parallel", parallel=each, run_id=str(each)) for each in (False, True))
    assert comparable(sequential) == comparable(parallel)


def test_a_run_is_live_while_its_pipeline_runs_and_lost_when_that_was_killed(workbench):
    with Forked(lambda _: workbench.run("waiting_task")) as pipeline:
        wait_for((workbench.folder / "waiting").exists)
        living = workbench.chunkstore().liveness("run")
        assert (living.state, living.pid) == ("LIVE", pipeline.pid)
        pipeline.kill()
    assert workbench.chunkstore().liveness("run").state == "LOST"


def test_a_run_that_has_ended_or_was_created_for_others_to_run_has_no_owner(workbench):
    workbench.run("python_tasks")
    workbench.store().create_run_log("for-others")
    assert not list(workbench.log_folder.rglob("*.owner"))
    assert workbench.chunkstore().liveness("for-others").state == "UNKNOWN"


def test_branches_run_in_processes_of_their_own(workbench):
    log = workbench.run("map_processes", parameters=PARAMETERS)
    assert os.getpid() not in log.parameters["process"].get_value()


def test_a_run_of_an_id_that_is_taken_leaves_the_earlier_one_as_it_is(workbench):
    first = workbench.run("parallel_tasks")
    with pytest.raises(Exception, match="exists"):
        workbench.run("failing_task")
    assert workbench.log() == first


def attempts_of(log):
    return {
        name: [(attempt.attempt_number, attempt.status) for attempt in step.attempts]
        for name, step in log.steps["each"].branches["each.b"].steps.items()
    }


def retried(workbench, retry, **options):
    """Run a pipeline that fails, let it succeed the second time; return both logs and how often each task ran."""
    calls, allowed = workbench.folder / "calls.txt", workbench.folder / "allowed"
    for path in (calls, allowed):
        path.unlink(missing_ok=True)
    failed = workbench.run("map_to_repeat", parameters=PARAMETERS, **options)
    allowed.touch()
    return failed, retry(), Counter(calls.read_text().split())


@pytest.mark.thorough
def test_a_retry_appends_attempts_and_skips_what_had_finished(workbench):
    expected = retried(
        workbench, lambda: workbench.retry(store_type=OWN, parallel=False), store_type=OWN, parallel=False
    )
    found = retried(workbench, workbench.retry)
    assert [log.status for log in found[:2]] == ["FAIL", "SUCCESS"]
    assert [comparable(log) for log in found[:2]] == [comparable(log) for log in expected[:2]]
    assert found[2] == expected[2] == {"start": 1, "a": 1, "b": 2, "c": 1}
    assert attempts_of(found[1])["each.b.attempt"] == [(1, "FAIL"), (2, "SUCCESS")]
    assert workbench.chunkstore().get_run_log("run", strict=True).problems == []


@pytest.mark.thorough
def test_a_retry_by_the_command_line_in_another_process_appends_attempts_too(workbench):
    def retry():
        command = [sys.executable, "-m", "runnable.cli", "retry", "run", "--config", workbench.configuration()]
        subprocess.run(command, check=True, capture_output=True)
        return workbench.log()

    failed, found, calls = retried(workbench, retry)
    assert (failed.status, found.status) == ("FAIL", "SUCCESS")
    assert calls == {"start": 1, "a": 1, "b": 2, "c": 1}
    assert attempts_of(found)["each.b.attempt"] == [(1, "FAIL"), (2, "SUCCESS")]
    assert list(found.steps) == ["start", "each", "fail", "end", "success"]
