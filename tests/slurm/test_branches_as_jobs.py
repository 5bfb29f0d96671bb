"""Branches as jobs of a real Slurm: where they ran, and what becomes of those that Slurm ends or starts again."""

import subprocess
from concurrent.futures import ThreadPoolExecutor

import pytest

import chunkstore
from chunkstore import BranchFailedError, WorkerDiedError, engines
from slurm.branches import jobs_in, wait_once, where
from slurm.cluster import wait_until

pytestmark = pytest.mark.thorough


@pytest.fixture
def store(slurm, monkeypatch, tmp_path):
    """A store in the working folder; what is started here finds the cluster."""
    for name in ("SLURM_CONF", "PATH", "PYTHONPATH"):
        monkeypatch.setenv(name, slurm.environment[name])
    monkeypatch.chdir(tmp_path)
    return chunkstore.open_store("chunked-fs", log_folder="runs")


@pytest.fixture
def engine(store, monkeypatch):
    """Makes an engine whose jobs may take so many minutes; here, files are seen at once."""
    from chunkstore.engines import on_submitit

    monkeypatch.setattr(on_submitit, "_LONGEST_ARRIVAL", {"slurm": 1.0})
    monkeypatch.setattr(on_submitit, "_SLURM_INTERVAL", 0.5)
    return lambda minutes: engines.submitit("jobs", cluster="slurm", timeout_min=minutes)


@pytest.fixture
def mapping(store, engine):
    """Begins a map in another thread, as this one is to do something to its jobs."""
    with ThreadPoolExecutor(1) as beside:

        def mapped(items, minutes):
            with store.start_run("r") as run:
                return run.map("m", items, wait_once, executor=engine(minutes))

        yield lambda items, minutes: beside.submit(mapped, items, minutes)


def test_branches_are_jobs_of_one_array_and_say_which(store, engine):
    with store.start_run("r") as run:
        results = run.map("m", range(6), where, executor=engine(5))
    assert [item for item, _ in results] == list(range(6))
    jobs = {job for _, job in results}
    assert len(jobs) == 6
    assert len({job.partition("_")[0] for job in jobs}) == 1
    branches = list(store.get_run_log("r").steps["m"].branches.values())
    assert {branch.status for branch in branches} == {"SUCCESS"}
    named = {step.attempts[-1].job for branch in branches for step in branch.steps.values()}
    assert named == {f"Slurm {job}" for job in jobs}


def test_each_job_comes_to_its_own_end_and_each_start_is_an_attempt(store, slurm, mapping, tmp_path):
    names = [str(tmp_path / name) for name in ("cancelled", "requeued", "displaced")]
    cancelled, requeued, displaced = names
    mapped = mapping([*names, "0", "1"], minutes=60)
    wait_until(lambda: all(map(jobs_in, names)), "three jobs wait")
    slurm.run("scancel", *jobs_in(cancelled))
    slurm.run("scontrol", "requeue", *jobs_in(requeued))
    slurm.run("scancel", "--signal=USR2", *jobs_in(displaced))  # its place is needed: submitit requeues it
    with pytest.raises(BranchFailedError) as caught:
        mapped.result()
    assert caught.value.results == [None, requeued, displaced, "0", "1"]
    (failure,) = caught.value.failures.values()
    assert isinstance(failure, WorkerDiedError)
    assert f"job {jobs_in(cancelled)[0]} ended without a result (CANCELLED)" in str(failure)
    branches = {branch.item: branch for branch in store.get_run_log("r").steps["m"].branches.values()}
    statuses = {cancelled: "FAIL", requeued: "SUCCESS", displaced: "SUCCESS", "0": "SUCCESS", "1": "SUCCESS"}
    assert {item: branch.status for item, branch in branches.items()} == statuses
    for item in (requeued, displaced):
        first, second = jobs_in(item)
        assert first == second
        attempts = branches[item].attempts
        assert [attempt.job for attempt in attempts] == [f"Slurm {first}", f"Slurm {first}, restart 1"]
        assert attempts[-1].status == "SUCCESS"


def test_a_job_whose_time_is_almost_over_says_so(store, slurm, mapping, tmp_path):
    late = str(tmp_path / "late")
    mapped = mapping([late], minutes=5)
    wait_until(lambda: jobs_in(late), "the job waits")
    slurm.run("scancel", "--signal=USR2", *jobs_in(late))  # what submitit has Slurm send before the time is over
    with pytest.raises(BranchFailedError, match="timed-out and not checkpointable"):
        mapped.result()
    (branch,) = store.get_run_log("r").steps["m"].branches.values()
    assert branch.status == "FAIL"


def test_workers_at_slurm_are_asked_whether_they_can_record(store, engine, tmp_path):
    for kind in (["srun", "-n3"], engine(5)):
        report = chunkstore.check_engine(store, kind, workers=3, timeout=60)
        assert report.holds, report
        assert len(report.workers) == 3
        assert all(worker.job.startswith("Slurm ") for worker in report.workers)
    done = subprocess.run(
        ["chunkstore", "doctor", "runs", "--with", "slurm"], capture_output=True, text=True, check=False
    )
    assert done.returncode == 0, done
    assert "(Slurm " in done.stdout
