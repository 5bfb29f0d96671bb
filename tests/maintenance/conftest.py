"""Fixtures for tests of maintenance."""

import pytest

import chunkstore
from chunkstore import BranchLog, StepLog
from chunkstore.clock import clock
from maintenance.verified_run import RUN, another


@pytest.fixture
def _brief(monkeypatch):
    """Nobody writes in most of these tests; and what is read here of the far future must not reach other tests."""
    monkeypatch.setattr("chunkstore.maintenance.checking.verification._PAUSE", 0.001)
    monkeypatch.setattr(clock, "_latest", clock.latest)


@pytest.fixture
def logs(tmp_path):
    return tmp_path / "logs"


@pytest.fixture
def store(logs):
    return chunkstore.open_store("chunked-fs", log_folder=str(logs))


@pytest.fixture
def run(store, logs):
    """The folder of a run with a step, metrics, parameters, a map and a change by somebody else."""
    with store.start_run(RUN, parameters={"seed": 7}) as recorded:
        with recorded.step("load") as step:
            step.log_metric("loss", 0.5, step=1)
            step.put_data(__file__, "test.py")
        step = StepLog(name="map", internal_name="map", status="SUCCESS", branches={})
        store.add_step_log(RUN, step)
        store.add_branch_log(RUN, BranchLog(internal_name="map.a", status="SUCCESS", parameters={"x": 1}))
        store.add_step_log(RUN, StepLog(name="fit", internal_name="map.a.fit", status="SUCCESS"))
    another(logs).update_step_log(RUN, "load", lambda step: setattr(step, "message", "looked at"))
    return logs / RUN


@pytest.fixture(params=["chunked-fs", "file-system"])
def any_store(request, logs):
    return chunkstore.open_store(request.param, log_folder=str(logs))
