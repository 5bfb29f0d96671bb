"""A run that `runnable retry` goes on with is live while it is recorded, whatever became of it before."""

from contextlib import contextmanager

import pytest
from processes import Forked
from recording.work import wait_for

from chunkstore.maintenance.retention import Rule, collect, plan_retention

# runnable's own models warn of each other when they are written with the run's configuration.
pytestmark = pytest.mark.filterwarnings("ignore:Pydantic serializer warnings:UserWarning")


def state(workbench):
    """Return what is recorded of the run, whether it lives, and who records it."""
    store = workbench.chunkstore()
    liveness = store.liveness("run")
    return store.get_run_log("run", full=False).status, liveness.state, liveness.pid


def collected(workbench, *statuses):
    """Return which runs are deleted by their status."""
    store = workbench.chunkstore()
    plan = plan_retention(store, Rule(statuses=frozenset(statuses)))
    return [outcome.run.run_id for outcome in collect(store, plan) if outcome.deleted]


@contextmanager
def waiting(workbench, work):
    """Yield the process of a child that has come to where it waits to be killed, as it then is."""
    (workbench.folder / "waiting").unlink(missing_ok=True)
    with Forked(lambda _: work()) as child:
        wait_for((workbench.folder / "waiting").exists)
        yield child.pid


def test_a_retry_of_a_killed_run_is_live_and_lost_when_it_is_killed_itself(workbench):
    with waiting(workbench, lambda: workbench.run("waiting_task")):
        pass
    assert state(workbench)[:2] == ("PROCESSING", "LOST")
    for _ in range(2):
        with waiting(workbench, workbench.retry) as pid:
            assert state(workbench) == ("PROCESSING", "LIVE", pid)
            assert collected(workbench, "LOST") == []
        assert state(workbench)[:2] == ("PROCESSING", "LOST")
    assert collected(workbench, "LOST") == ["run"]


def test_a_retry_of_a_failed_run_goes_on_with_it_until_it_ends(workbench):
    parameters = {"items": ["a", "b"]}
    assert workbench.run("map_to_wait", parallel=False, parameters=parameters).status == "FAIL"
    assert "finished" in workbench.chunkstore().get_run_log("run", full=False).notes
    (workbench.folder / "may-wait").touch()
    with waiting(workbench, lambda: workbench.retry(parallel=False)) as pid:
        assert state(workbench) == ("PROCESSING", "LIVE", pid)
        assert "finished" not in workbench.chunkstore().get_run_log("run", full=False).notes
        assert collected(workbench, "FAIL", "LOST") == []
    assert state(workbench)[:2] == ("PROCESSING", "LOST")
    (workbench.folder / "may-end").touch()
    assert workbench.retry().status == "SUCCESS"
    log = workbench.chunkstore().get_run_log("run", full=False)
    assert log.status == "SUCCESS"
    assert "finished" in log.notes
    assert not list(workbench.log_folder.rglob("*.owner"))


def test_a_retry_that_is_refused_leaves_the_run_as_it_is(workbench):
    workbench.run("failing_task")
    before = workbench.chunkstore().get_run_log("run")
    workbench.chunkstore().update_run_log("run", lambda log: setattr(log, "dag_hash", "another"))
    with pytest.raises(Exception, match="DAG structure has changed"):
        workbench.retry()
    assert workbench.chunkstore().get_run_log("run").status == before.status
    assert not list(workbench.log_folder.rglob("*.owner"))
