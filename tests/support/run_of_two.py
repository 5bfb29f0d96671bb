"""A run that two stores have recorded in, and every call that is made on it."""

import os

import pytest
from recorded import step

import chunkstore
from chunkstore import MetricPoint

RUN = "run"


def open_at(folder, store_type="chunked-fs", **options):
    return chunkstore.open_store(store_type, log_folder=folder, lock_timeout=20, **options)


def files_of(folder, start):
    return sorted(name for name in os.listdir(folder) if name.startswith(start))


def prepare(folder, store_type):
    """Return a store that owns a step in a run where another has recorded too."""
    store, other = (open_at(folder, store_type) for _ in range(2))
    store.create_run_log(RUN, parameters={"a": 1})
    store.add_step_log(RUN, step("own"))
    store.append_metrics(RUN, "own", {"m": [MetricPoint(1, 1)]})
    other.add_step_log(RUN, step("foreign"))
    store.close()
    return store


def put_data(store):
    run = store.join_run(RUN, capture_output=False)
    with run.step("with data") as current:
        current.put_data(os.path.join(store.backend.location, "..", "data.csv"), "data.csv")


def record_run(store):
    with store.start_run("recorded") as run, run.step("s"):
        print("kept")


#: Every call; those that only look fail if they do not find what is there.
OPERATIONS = {
    "add": lambda store: store.add_step_log(RUN, step("new")),
    "replace": lambda store: store.add_step_log(RUN, step("own", message="again")),
    "put": lambda store: store.put_step_log(RUN, step("foreign", message="put")),
    "update own": lambda store: store.update_step_log(RUN, "own", lambda found: setattr(found, "message", "x")),
    "update": lambda store: store.update_step_log(RUN, "foreign", lambda found: setattr(found, "message", "x")),
    "update run": lambda store: store.update_run_log(RUN, lambda log: setattr(log, "tag", "x")),
    "set parameters": lambda store: store.set_parameters(RUN, {"b": 2}),
    "append": lambda store: store.append_metrics(RUN, "own", {"m": [MetricPoint(2, 2)]}),
    "create": lambda store: store.create_run_log("new", parameters={"a": 1}),
    "get": lambda store: store.get_run_log(RUN, strict=True),
    "get json": lambda store: store.get_run_json(RUN),
    "get step": lambda store: store.get_step_log(RUN, "foreign"),
    "get parameters": lambda store: store.get_parameters(RUN),
    "has step": lambda store: store.has_step_log(RUN, "foreign") or pytest.fail("there is one"),
    "has no step": lambda store: not store.has_step_log(RUN, "none") or pytest.fail("there is none"),
    "has run": lambda store: store.has_run(RUN) or pytest.fail("there is one"),
    "has no run": lambda store: not store.has_run("none") or pytest.fail("there is none"),
    "sync": lambda store: store.sync(RUN),
    "delete": lambda store: store.delete_run(RUN),
    "put data": put_data,
    "record a run": record_run,
}
