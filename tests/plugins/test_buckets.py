"""runnable records into a bucket, in the place of its own `chunked-minio`."""

import json
import os
import pickle
import subprocess
import sys
from importlib import import_module
from pathlib import Path

import pytest
import runnable.context
from runnable import defaults

import chunkstore
from chunkstore.errors import ConfigurationError
from chunkstore.plugins.runnable import ChunkstoreRunLogStore
from plugins.workbench import clean_runnable

SECRET = "not-to-be-seen"


def store_of(config):
    return runnable.context.get_service_by_name("run_log_store", {"type": "chunkstore", "config": config}, None)


def test_a_url_stands_in_the_place_of_a_folder():
    store = store_of({"url": "s3://bucket/prefix", "endpoint": "https://x.example", "pretty": True})
    assert store.service_name == "chunked-object"  # executors mount no folder for that
    assert store.get_summary() == {"Type": "chunked-object", "Location": "s3://bucket/prefix"}
    assert store.store.backend.location == "s3://bucket/prefix"
    assert store.store.options.client == {"endpoint": "https://x.example"}
    assert store.store.options.pretty
    assert store_of({"url": None}).service_name == "chunked-fs"
    assert pickle.loads(pickle.dumps(store)).store is store.store


def test_nothing_secret_is_in_what_runnable_records_of_its_store():
    store = ChunkstoreRunLogStore(url="s3://bucket", access_key_id="id", secret_access_key=SECRET)
    assert SECRET not in repr(store) + str(store.model_dump()) + store.model_dump_json()


@pytest.mark.parametrize("config", [{"url": "s3://bucket", "endpont": "x"}, {"ulr": "s3://bucket"}, {"url": "bucket"}])
def test_what_cannot_be_is_refused(config):
    with pytest.raises(ConfigurationError, match=r"Did you mean '(endpoint|url)'|the URL of a bucket"):
        ChunkstoreRunLogStore(**config)


@pytest.fixture
def environment(workbench):
    """What has runnable record into a bucket: returns the variables of a configuration."""

    def write(config, *, parallel):
        executor = {"type": "local", "config": {"enable_parallel": parallel}}
        configuration = {"pipeline-executor": executor, "run-log-store": {"type": "chunkstore", "config": config}}
        workbench.folder.joinpath("c.yaml").write_text(json.dumps(configuration))
        workbench.folder.joinpath("p.yaml").write_text(json.dumps({"items": ["a", "b"]}))
        return {
            defaults.RUNNABLE_CONFIGURATION_FILE: "c.yaml",
            defaults.RUNNABLE_PARAMETERS_FILE: "p.yaml",
            defaults.ENV_RUN_ID: "run",
        }

    return write


def test_a_pipeline_records_into_a_bucket(memory_place, environment):
    """In one process, as all that is in memory."""
    with clean_runnable(environment({"url": memory_place.url}, parallel=False)):
        import_module("pipelines").map_items()
    log = chunkstore.open_store(memory_place.url).get_run_log("run", strict=True)
    assert log.status == "SUCCESS"
    assert [len(step.branches) for step in log.steps.values() if step.branches] == [2]


@pytest.mark.thorough
def test_branches_run_in_processes_of_their_own(s3_place, environment):
    """They are started anew: forked ones could not use what the parent has used."""
    variables = environment({"url": s3_place.url, **s3_place.options}, parallel=True)
    Path("go.py").write_text("import pipelines\n\nif __name__ == '__main__':\n    pipelines.map_in_parallel()\n")
    ended = subprocess.run(
        [sys.executable, "go.py"],
        env={**os.environ, **variables},
        capture_output=True,
        text=True,
        timeout=120,
        check=False,
    )
    assert ended.returncode == 0, ended.stdout + ended.stderr
    log = chunkstore.open_store(s3_place.url, **s3_place.options).get_run_log("run", strict=True)
    assert log.status == "SUCCESS"
    (composite,) = [step for step in log.steps.values() if step.branches]
    assert {branch.status for branch in composite.branches.values()} == {"SUCCESS"}
