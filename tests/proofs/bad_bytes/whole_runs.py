"""A run with a file of each kind, what is in each of them, and how the rest is checked where one is not whole."""

import os
from pathlib import Path

from recorded import step

import chunkstore
from chunkstore import BranchLog, MetricPoint, StepLog
from chunkstore.records.assemble import flatten

RUN = "run"
#: What is in each file of the run that `make_run` makes, by how the file's name begins.
HELD = {
    "RunLog.json": {("run", "")},
    "StepLog-map-": {("step", "map")},
    "StepUpdate-map-": {("step", "map")},
    "Metric-map-": {("step", "map")},
    "BranchLog-map.a-": {("branch", "map.a")},
    "BranchUpdate-map.a-": {("branch", "map.a")},
    "Parameter-root.json": {("parameters", "")},
    "Parameter-map.a.json": {("parameters", "map.a")},
}


def open_chunked(folder, **options):
    return chunkstore.open_store("chunked-fs", log_folder=folder, lock_timeout=5, **options)


def open_documents(folder, **options):
    return chunkstore.open_store("file-system", log_folder=folder, lock_timeout=5, **options)


OPEN = {"chunked-fs": open_chunked, "file-system": open_documents}


def make_run(folder, store_type="chunked-fs", **options):
    """Record a run with a file of each kind; return its folder."""
    owner, other = (OPEN[store_type](folder, **options) for _ in range(2))
    owner.create_run_log(RUN, tag="nightly", parameters={"rate": 0.125})
    owner.add_step_log(RUN, step("map", message="12 of 12"))
    owner.add_branch_log(RUN, BranchLog(internal_name="map.a", parameters={"p": 1}))
    owner.add_step_log(RUN, step("map.a.x"))
    owner.append_metrics(RUN, "map", {"loss": [MetricPoint(1, 0.5)]})
    owner.append_metrics(RUN, "map", {"loss": [MetricPoint(2, 0.25)]})
    owner.add_step_log(RUN, step("good", status="SUCCESS"))
    other.update_step_log(RUN, "map", lambda found: setattr(found, "message", "13 of 13"))
    other.update_branch_log(RUN, "map.a", lambda found: setattr(found, "status", "SUCCESS"))
    return Path(folder) / RUN


def contents(log):
    """Return all that is in a run, by kind and name."""
    records, parameters = flatten(log)
    found = {("run", ""): (log.run_id, log.status, log.tag, log.run_config)}
    found.update({("parameters", scope): values for scope, values in parameters.items()})
    for record in records:
        found["step" if isinstance(record, StepLog) else "branch", record.internal_name] = record
    return found


def read(folder):
    return open_chunked(folder.parent).get_run_log(RUN)


def file_of(folder, start):
    (name,) = [name for name in os.listdir(folder) if name.startswith(start)]
    return folder / name


def check_the_rest(log, whole, damaged):
    """Check that all is there that the damaged files did not hold."""
    found = contents(log)
    for key, value in whole.items():
        if key not in damaged:
            assert found.get(key) == value, key


#: Each kind of name, what is in that file, and whether a reader looks at it.
PLACES = {
    "RunLog.json": ({("run", "")}, True),
    "Parameter-root.json": ({("parameters", "")}, True),
    "Parameter-evil.json": (set(), True),
    "StepLog-evil-1.json": (set(), True),
    "BranchLog-evil-1.json": (set(), True),
    "StepUpdate-good-1.json": (set(), True),
    "BranchUpdate-map.a-1.json": (set(), True),
    "Metric-good-1.jsonl": (set(), True),
    ".lock": (set(), False),
    ".tmp-1-00-0": (set(), False),
}
