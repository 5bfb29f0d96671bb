"""Workers that do not see the folder of a run record nothing anywhere, and `map` says who sees what, and where."""

import os
import pickle
import re
import shutil
from concurrent.futures import ProcessPoolExecutor

import pytest
from elsewhere import Elsewhere

import chunkstore
from chunkstore import BranchFailedError, StoreAccessError, StoreNotSharedError
from chunkstore.recording import branch


def note(item):
    (item / str(os.getpid())).touch()


@pytest.fixture
def called(tmp_path):
    path = tmp_path / "called"
    path.mkdir()
    return path


@pytest.fixture
def store(tmp_path):
    return chunkstore.open_store("chunked-fs", log_folder=tmp_path / "log-1")


def files_below(path):
    return sorted(
        os.path.relpath(os.path.join(folder, name), path) for folder, _, names in os.walk(path) for name in names
    )


def may_not_write():
    def refused(*_):
        raise StoreAccessError("Cannot work here: Permission denied.")

    branch.record_begin = refused


def test_a_worker_that_cannot_record_is_named(store, called):
    with (
        ProcessPoolExecutor(1, initializer=may_not_write) as executor,
        pytest.raises(BranchFailedError) as caught,
        store.start_run("r") as run,
    ):
        run.map("m", [called], note, executor=executor)
    (failure,) = caught.value.failures.values()
    assert isinstance(failure, StoreAccessError)
    assert re.search(rf"Permission denied\. That was in process \d+ on {os.uname().nodename}\.$", str(failure))
    assert files_below(called) == []


@pytest.mark.parametrize("there", ["nothing", "an empty folder", "another run of that id"])
def test_a_worker_that_sees_another_folder_is_told_of_with_both_sides(tmp_path, store, called, there):
    other = tmp_path / "log-2"
    if there != "nothing":
        other.mkdir()
    if there == "another run of that id":
        chunkstore.open_store("chunked-fs", log_folder=other).create_run_log("r")
    before = files_below(tmp_path / "log-2")
    with (
        Elsewhere(tmp_path / "log-1", other) as executor,
        pytest.raises(StoreNotSharedError) as caught,
        store.start_run("r") as run,
    ):
        run.map("m", [called] * 5, note, executor=executor)
    error = caught.value
    host = os.uname().nodename
    assert error.driver == f"process {os.getpid()} on {host}"
    assert error.worker.endswith(f" on {host}")
    assert error.worker != error.driver
    for part in (error.driver, error.worker, str(tmp_path / "log-1"), str(other), "not the same folder"):
        assert part in str(error)
    assert os.listdir(called) == []  # the function was called nowhere
    assert other.exists() == (there != "nothing")
    assert files_below(other) == before
    log = store.get_run_log("r")
    assert (log.status, log.steps["m"].status, log.steps["m"].branches) == ("FAIL", "FAIL", {})
    assert "does not see run 'r'" in log.steps["m"].message
    assert isinstance(pickle.loads(pickle.dumps(error)), StoreNotSharedError)


def test_one_worker_that_does_not_see_the_folder_ends_the_map_and_what_others_did_stays(tmp_path, store, called):
    with (
        Elsewhere(tmp_path / "log-1", tmp_path / "log-2", wrong=lambda count: count == 2) as executor,
        pytest.raises(StoreNotSharedError),
        store.start_run("r") as run,
    ):
        run.map("m", [called] * 2, note, executor=executor)
    branches = store.get_run_log("r").steps["m"].branches
    assert {branch.status for branch in branches.values()} == {"SUCCESS"}
    assert len(branches) == 1


def test_a_run_that_was_deleted_meanwhile_is_not_taken_for_a_folder_that_is_not_shared(tmp_path, store):
    def items():
        yield 1
        shutil.rmtree(tmp_path / "log-1" / "r")
        yield 2

    run = store.start_run("r")
    with ProcessPoolExecutor(1) as executor, pytest.raises((BranchFailedError, chunkstore.RunLogNotFoundError)):
        run.map("m", items(), str, executor=executor)


def say(item):
    print(item)


@pytest.mark.parametrize(("there", "warned"), [("data-2", 1), ("data-1", 0)])
def test_data_that_is_put_elsewhere_is_warned_of_once_and_fails_nothing(tmp_path, caplog, there, warned):
    store = chunkstore.open_store("chunked-fs", log_folder=tmp_path / "log-1", catalog_folder=tmp_path / "data-1")
    with Elsewhere(tmp_path / "data-1", tmp_path / there) as executor, store.start_run("r") as run:
        run.map("m", range(3), say, executor=executor)
    warnings = [record.message for record in caplog.records if "not seen here" in record.message]
    assert len(warnings) == warned
    assert all(str(tmp_path / there) in text and f"process {os.getpid()} on" in text for text in warnings)
    assert store.get_run_log("r").status == "SUCCESS"
