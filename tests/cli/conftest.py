"""Stores for commands to look at."""

import signal
from contextlib import contextmanager

import pytest
from processes import Forked

import chunkstore
from chunkstore import StepLog


@pytest.fixture(autouse=True)
def _no_terminal(monkeypatch):
    for name in ("COLUMNS", "LINES", "NO_COLOR", "FORCE_COLOR"):
        monkeypatch.delenv(name, raising=False)


@pytest.fixture(params=["chunked-fs", "file-system"])
def store(request, tmp_path):
    """A store in `logs`, whose type the command line has to find out."""
    return chunkstore.open_store(request.param, log_folder=str(tmp_path / "logs"))


@pytest.fixture
def logs(tmp_path):
    return str(tmp_path / "logs")


@pytest.fixture
def pipeline():
    """Returns a function that records a run with a map, a failure, metrics, data and printed text."""
    return record_pipeline


def record_pipeline(
    store, run_id="one", *, tag="nightly", items=("a.csv", "b.csv", "c.csv"), bad=("b.csv",), **parameters
):
    from concurrent.futures import ThreadPoolExecutor

    def work(item):
        if item in bad:
            raise ValueError(f"{item} is bad")
        chunkstore.current_step().log_metric("rows", len(item))

    with store.start_run(run_id, tag=tag, parameters={"seed": 7, **parameters}) as run:
        with run.step("load") as step:
            print("loading")
            step.log_metric("loss", 0.25)
            step.put_data(__file__, "in.py")
        run.map("work", items, work, executor=ThreadPoolExecutor(2), on_error="continue")
        with run.step("end") as step:
            for epoch in range(3):
                step.log_metric("accuracy", epoch / 4, step=epoch)
    return run_id


@contextmanager
def being_recorded(store):
    """Have another process record the run `mine`, whose step `a` goes on, until it is killed or the block ends."""

    def record(say):
        with store.start_run("mine") as run, run.step("a"):
            say("recorded")
            signal.pause()

    with Forked(record) as owner:
        owner.wait_for_line()
        yield owner


def step(name, **fields):
    return StepLog(name=name, internal_name=name, status="SUCCESS", **fields)
