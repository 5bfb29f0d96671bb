"""How runnable gets the store: by its name, configured, copied, sent, and with files that cannot be read."""

import copy
import logging
import pickle

import pytest
import runnable.context
from processes import run_processes
from runnable import exceptions
from runnable.datastore import BaseRunLogStore, CodeIdentity, DataCatalog, JobLog

from chunkstore.errors import ConfigurationError
from chunkstore.plugins.runnable import ChunkstoreRunLogStore
from plugins.records import RUN, branch, fill, full, json_of, step


def by_name(store_type, **config):
    return runnable.context.get_service_by_name("run_log_store", {"type": store_type, "config": config}, None)


def test_new_records_are_made_as_runnables_own_store_makes_them(any_store):
    assert any_store.create_step_log("s", "p.a.s") == step("p.a.s", status="CREATED")
    assert any_store.create_branch_log("p.a") == branch("p.a", status="CREATED")
    with_parameters = any_store.create_branch_log("p.a", parameters={"a": json_of(1)})
    assert with_parameters == branch("p.a", status="CREATED", parameters={"a": json_of(1)})
    assert any_store.create_job_log() == JobLog(status="CREATED")
    assert any_store.create_data_catalog("x.csv") == DataCatalog(name="x.csv")
    assert any_store.create_code_identity() == CodeIdentity()


def test_runnable_finds_the_store_by_its_name(tmp_path):
    store = by_name("chunkstore", log_folder=str(tmp_path), durability="process", pretty=True, lock_timeout=5)
    assert isinstance(store, ChunkstoreRunLogStore)
    assert isinstance(store, BaseRunLogStore)
    assert (store.service_name, store.service_type) == ("chunked-fs", "run_log_store")
    assert store.supports_parallel_writes
    assert store.get_summary() == {"Type": "chunked-fs", "Location": str(tmp_path)}
    assert (store.durability, store.pretty, store.lock_timeout) == ("process", True, 5)
    store.create_run_log(RUN)
    assert b"\n    " in (tmp_path / RUN / "RunLog.json").read_bytes()


def test_the_default_folder_is_that_of_runnable():
    assert by_name("chunkstore").log_folder == by_name("file-system").log_folder


@pytest.mark.parametrize(
    ("config", "closest"),
    [
        ({"log_foldr": "x"}, "log_folder"),
        ({"durabilty": "run"}, "durability"),
        ({"lock_time": 1}, "lock_timeout"),
        ({"durability": "runn"}, "run"),
        ({"durability": "proces"}, "process"),
    ],
)
def test_what_cannot_be_configured_names_the_closest_right_one(tmp_path, config, closest):
    with pytest.raises(ConfigurationError, match=f"Did you mean '{closest}'"):
        ChunkstoreRunLogStore(**{"log_folder": str(tmp_path), **config})
    with pytest.raises(Exception, match="run_log_store") as caught:
        by_name("chunkstore", **config)
    assert isinstance(caught.value.__cause__, ConfigurationError)


@pytest.mark.parametrize("config", [{"pretty": "perhaps"}, {"lock_timeout": "long"}, {"log_folder": ""}, {"x": 1}])
def test_values_of_the_wrong_type_are_refused(config):
    with pytest.raises(ConfigurationError, match=next(iter(config))):
        ChunkstoreRunLogStore(**config)


def test_a_key_with_nothing_behind_it_keeps_its_default():
    assert ChunkstoreRunLogStore(log_folder=None, durability=None) == ChunkstoreRunLogStore()


def test_a_folder_that_is_changed_afterwards_holds_what_is_recorded_then(tmp_path):
    store = ChunkstoreRunLogStore(log_folder=str(tmp_path / "first"))
    store.create_run_log(RUN, tag="first")
    store.log_folder = str(tmp_path / "second")
    assert store.get_summary()["Location"] == str(tmp_path / "second")
    with pytest.raises(exceptions.RunLogNotFoundError):
        store.get_run_log_by_id(RUN)
    store.create_run_log(RUN, tag="second")
    store.log_folder = str(tmp_path / "first")
    assert store.get_run_log_by_id(RUN).tag == "first"
    assert {path.name for path in tmp_path.iterdir()} == {"first", "second"}


def test_a_relative_folder_is_found_from_the_working_folder(tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    store = ChunkstoreRunLogStore(log_folder="logs")
    store.create_run_log(RUN)
    assert (tmp_path / "logs" / RUN).is_dir()
    assert store.get_summary()["Location"] == "logs"


@pytest.mark.parametrize(
    "copied",
    [
        lambda store: pickle.loads(pickle.dumps(store)),
        copy.deepcopy,
        copy.copy,
        lambda store: store.model_copy(deep=True),
    ],
    ids=["pickle", "deepcopy", "copy", "model copy"],
)
def test_a_copy_of_the_store_works_on_the_same_runs(store, copied):
    fill(store)
    found = copied(store)
    assert found == store
    assert found.supports_parallel_writes
    found.add_step_log(step("last", message="by the copy"), RUN)
    assert store.get_step_log("last", RUN).message == full(found).steps["last"].message == "by the copy"
    store.add_step_log(step("last", message="by the first"), RUN)
    assert found.get_step_log("last", RUN).message == full(found).steps["last"].message == "by the first"
    assert store.model_dump() == found.model_dump()


def in_a_child(pickled):
    store = pickle.loads(pickled)
    store.add_step_log(step("p.a.s", message="by the child"), RUN)
    return store.supports_parallel_writes, store.get_step_log("last", RUN).internal_name


@pytest.mark.parametrize("method", ["fork", "spawn"])
def test_a_store_that_arrives_in_a_process_without_children_of_its_own_says_so(store, method):
    fill(store)
    assert run_processes(in_a_child, [(pickle.dumps(store),)], method=method) == [(False, "last")]
    assert full(store).steps["p"].branches["p.a"].steps["p.a.s"].message == "by the child"
    assert store.supports_parallel_writes


def test_a_file_that_cannot_be_read_is_reported_and_hides_nothing_else(store, tmp_path, caplog):
    fill(store)
    (file,) = (tmp_path / "logs" / RUN).glob("StepLog-last-*")
    file.write_bytes(b"{")
    with caplog.at_level(logging.WARNING, logger="chunkstore"):
        log = full(store)
    assert list(log.steps) == ["p"]
    assert file.name in caplog.text
