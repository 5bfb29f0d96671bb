"""A run with files of all kinds, and its folder as bytes."""

import os

import chunkstore
from chunkstore.records.fields import MetricPoint
from chunkstore.records.models import BranchLog, StepLog

RUN = "run"


def step(name, **fields):
    return StepLog(name=name.rpartition(".")[2], internal_name=name, status="SUCCESS", **fields)


def finish(store, status="SUCCESS"):
    store.update_run_log(RUN, lambda log: setattr(log, "status", status))


def opened(logs, **options):
    return chunkstore.open_store("chunked-fs", log_folder=logs, **options)


class Folder:
    """A run's folder as bytes."""

    def __init__(self, path):
        self.path = path

    def files(self):
        """Return what every file holds, but for the lock."""
        found = {}
        for name in sorted(os.listdir(self.path)):
            if name != ".lock":
                with open(os.path.join(self.path, name), "rb") as file:
                    found[name] = file.read()
        return found

    def write(self, name, data):
        with open(os.path.join(self.path, name), "wb") as file:
            file.write(data)

    def become(self, files):
        for name in self.files():
            os.unlink(os.path.join(self.path, name))
        for name, data in files.items():
            self.write(name, data)

    def sealed(self):
        return [name for name in self.files() if name.startswith("Sealed-")]


def record(store, other):
    store.create_run_log(RUN, parameters={"a": 1}, tag="t")
    branch = BranchLog(internal_name="outer.b", steps={"outer.b.in": step("outer.b.in")}, parameters={"p": 1})
    store.add_step_log(RUN, step("outer", branches={"outer.b": branch}))
    store.add_step_log(RUN, step("é/*" + "x" * 300))
    store.add_step_log(RUN, step("half"))
    for number in range(3):
        store.append_metrics(RUN, "half", {"m": [MetricPoint(number, number)]})
    other.update_step_log(RUN, "half", lambda found: found.user_defined_metrics.update(n=1))
    other.update_branch_log(RUN, "outer.b", lambda found: setattr(found, "status", "FAIL"))


def state(store):
    log = store.get_run_log(RUN, strict=True)
    log.run_config = {}
    return repr(log)
