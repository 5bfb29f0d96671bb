"""Runs that runnable's own stores record, with the calls that its executors make."""

import math

from extensions.run_log_store.chunked_fs import ChunkedFileSystemRunLogStore
from extensions.run_log_store.file_system import FileSystemRunLogstore
from runnable.datastore import (
    BranchLog,
    CodeIdentity,
    DataCatalog,
    JobLog,
    JsonParameter,
    MetricParameter,
    ObjectParameter,
    StepAttempt,
    StepLog,
)

STORES = {"file-system": FileSystemRunLogstore, "chunked-fs": ChunkedFileSystemRunLogStore}
PIPELINE = "pipeline-1"
JOB = "job-1"

PARAMETERS = {
    "seed": JsonParameter(kind="json", value=7),
    "text": JsonParameter(kind="json", value="longer than ten characters \u6a21\u578b"),
    "nested": JsonParameter(kind="json", value={"a": [1, 2.5, None, {"b": False}]}),
    "nothing": JsonParameter(kind="json", value=None),
    "loss": MetricParameter(kind="metric", value=0.25),
    "model": ObjectParameter(kind="object", value="model"),
}
NOT_FINITE = {
    "nan": MetricParameter(kind="metric", value=math.nan),
    "inf": JsonParameter(kind="json", value=[math.inf]),
}


class Recorder:
    """Records one run as an executor does: every record is put when it begins and again when it ends."""

    def __init__(self, store, run_id):
        self.store, self.run_id, self.second = store, run_id, 0

    def now(self):
        self.second += 1
        return f"2025-11-05 10:{self.second // 60:02}:{self.second % 60:02}.123456"

    def begin(self, internal_name, step_type="task"):
        record = StepLog(name=internal_name.rpartition(".")[2], internal_name=internal_name, step_type=step_type)
        record.status = "PROCESSING"
        self.store.add_step_log(record, self.run_id)

    def end(self, internal_name, status="SUCCESS"):
        record = self.store.get_step_log(internal_name, self.run_id)
        record.status = status
        self.store.add_step_log(record, self.run_id)

    def task(self, internal_name, attempts=1, **fields):
        self.begin(internal_name)
        record = self.store.get_step_log(internal_name, self.run_id)
        for number in range(1, attempts + 1):
            identity = CodeIdentity(code_identifier="39cd98", code_identifier_type="git", branch_of_git="main")
            record.attempts.append(
                StepAttempt(
                    attempt_number=number,
                    start_time=self.now(),
                    end_time=self.now(),
                    status="SUCCESS" if number == attempts else "FAIL",
                    message="" if number == attempts else "Traceback (most recent call last):\n  ...",
                    input_parameters=PARAMETERS,
                    output_parameters={**PARAMETERS, **fields},
                    user_defined_metrics={"loss": PARAMETERS["loss"], **fields},
                    retry_indicator="",
                    code_identities=[identity],
                )
            )
        record.add_data_catalogs(data_of(internal_name))
        record.status = "SUCCESS"
        self.store.add_step_log(record, self.run_id)

    def begin_branch(self, internal_name):
        self.store.add_branch_log(BranchLog(internal_name=internal_name, status="PROCESSING"), self.run_id)
        self.store.set_parameters(self.run_id, PARAMETERS, internal_name)

    def end_branch(self, internal_name, status="SUCCESS"):
        record = self.store.get_branch_log(internal_name, self.run_id)
        record.status = status
        self.store.add_branch_log(record, self.run_id)


def data_of(name):
    return [
        DataCatalog(name=f"{name}.csv", data_hash="03ba", stage="put", size=10**12, columns=["x", {"y": None}]),
        DataCatalog(name=f"{name}.execution.log", catalog_relative_path=f"x/{name}.execution.log", stage="put"),
    ]


def record_pipeline(store, run_id=PIPELINE, items=("10", "9", "b"), **values):
    """Record a task, a map, a parallel step in a parallel step, and a failure."""
    store.create_run_log(run_id, tag="nightly", dag_hash="abc", status="PROCESSING")
    store.set_run_config(run_id, {"executor": {"service_name": "local"}, "dag": {"start_at": "load", "steps": None}})
    store.set_parameters(run_id, PARAMETERS)
    recorder = Recorder(store, run_id)
    recorder.task("load", attempts=3, **values)
    recorder.begin("each", "map")
    for item in items:
        recorder.begin_branch(f"each.{item}")
    for item in items:
        recorder.task(f"each.{item}.work", **values)
        recorder.task(f"each.{item}.count")
        recorder.end_branch(f"each.{item}")
    recorder.end("each")
    recorder.begin("both", "parallel")
    recorder.begin_branch("both.left")
    recorder.begin("both.left.inner", "parallel")
    for name in ("z", "a"):
        recorder.begin_branch(f"both.left.inner.{name}")
        recorder.task(f"both.left.inner.{name}.work")
        recorder.end_branch(f"both.left.inner.{name}", "FAIL" if name == "a" else "SUCCESS")
    recorder.end("both.left.inner", "FAIL")
    recorder.end_branch("both.left", "FAIL")
    recorder.end("both", "FAIL")
    recorder.task("fail")
    store.set_parameters(run_id, {"last": JsonParameter(kind="json", value=[])})
    store.update_run_log_status(run_id, "FAIL")


def record_job(store, run_id=JOB):
    store.create_run_log(run_id, status="PROCESSING")
    job = JobLog(status="SUCCESS", message="done", code_identities=[CodeIdentity(code_identifier="abc", extra="x")])
    job.attempts = [StepAttempt(start_time="2025-11-05 10:00:00", end_time="2025-11-05 10:00:01", status="SUCCESS")]
    job.add_data_catalogs(data_of("job"))
    store.set_parameters(run_id, PARAMETERS)
    store.add_job_log(run_id, job)
