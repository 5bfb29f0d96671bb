"""What tests of crashes have in common: writers that say what was acknowledged, and whether that is still there."""

import functools
import hashlib
import json
from pathlib import Path

import chunkstore
from chunkstore import BranchLog, StepLog
from chunkstore.backends.disk.directory import DirectoryBackend
from chunkstore.errors import ChunkstoreError, RunLogNotFoundError
from chunkstore.records.fields import MetricPoint
from chunkstore.stores.base import StoreOptions
from chunkstore.stores.chunked import ChunkedStore
from chunkstore.stores.document import DocumentStore

LAYOUTS = {"chunked-fs": ChunkedStore, "file-system": DocumentStore}
JOURNAL = "journal"
ALL_LAYOUTS = {**LAYOUTS, JOURNAL: functools.partial(ChunkedStore, options=StoreOptions(container="journal"))}
RUN = "run"
#: Of the states of a disk after one operation, no test looks at more.
MANY = 64


def step(name, version):
    return StepLog(name=name, internal_name=name, message=str(version))


class Writer:
    """A store in a folder whose calls are acknowledged as claims that `holds` understands."""

    def __init__(self, store_type, logs, say, durability, syscalls=None):
        options = {} if syscalls is None else {"syscalls": syscalls}
        self.open = lambda: ALL_LAYOUTS[store_type](DirectoryBackend(logs, durability=durability, **options))
        self.store = self.open()
        self._say = say

    def claim(self, *claim):
        self._say(json.dumps(claim))

    def create(self, run_id=RUN):
        self.store.create_run_log(run_id, parameters={"first": 1})
        self.claim("parameter", run_id, "", "first", 1)

    def add(self, name, version, run_id=RUN):
        self.store.add_step_log(run_id, step(name, version))
        self.claim("step", run_id, name, version)

    def add_branch(self, name, version, run_id=RUN):
        self.store.add_branch_log(run_id, BranchLog(internal_name=name, status=str(version)))
        self.claim("branch", run_id, name, version)

    def update(self, name, version, run_id=RUN):
        def change(found):
            found.user_defined_metrics["version"] = version

        # Through another handle, which does not own the record.
        self.open().update_step_log(run_id, name, change)
        self.claim("updated", run_id, name, version)

    def set_parameter(self, key, version, run_id=RUN, scope=""):
        self.store.set_parameters(run_id, {key: version}, scope)
        self.claim("parameter", run_id, scope, key, version)

    def append(self, name, number, run_id=RUN):
        self.store.append_metrics(run_id, name, {"m": [MetricPoint(number, number)]})
        self.claim("point", run_id, name, number)

    def set_status(self, status, run_id=RUN):
        self.store.update_run_log(run_id, lambda log: setattr(log, "status", status))
        self.claim("status", run_id, status)

    def delete(self, run_id):
        self.claim("deleting", run_id)  # from now on it may be there or not
        self.store.delete_run(run_id)
        self.claim("deleted", run_id)

    def everything(self):
        """Make every call that records something, in folders that are not there yet."""
        self.create()
        self.add("a", 1)
        self.add("p", 1)
        self.add_branch("p.x", 1)
        self.add("p.x.inner", 1)
        self.add("a", 2)
        self.update("a", 1)
        self.update("a", 2)
        self.set_parameter("second", 1)
        self.set_parameter("second", 2)
        self.set_parameter("third", 1, scope="p.x")
        self.append("a", 1)
        self.append("a", 2)
        self.create("other")
        self.delete("other")
        self.set_status("SUCCESS")
        self.add("late", 1)
        self.add("a", 3)
        self.update("a", 3)
        self.append("a", 3)


def holds(logs, store_type, claims, catalog=None):
    """Return the claims that are not fulfilled by what a folder holds, each with what was found instead."""
    store_type = "chunked-fs" if store_type == JOURNAL else store_type
    store = chunkstore.open_store(store_type, log_folder=str(logs))
    found = {}
    broken = []
    deleted = {claim[1] for claim in claims if claim[0] == "deleting"}
    for kind, run_id, *claim in claims:
        if run_id in deleted:
            if kind == "deleted" and any(summary.run_id == run_id for summary in store.list_runs()):
                broken.append((kind, run_id, "it is there"))
            continue
        if run_id not in found:
            try:
                found[run_id] = store.get_run_log(run_id)
            except (RunLogNotFoundError, ChunkstoreError) as error:
                found[run_id] = error
        log = found[run_id]
        if isinstance(log, Exception):
            broken.append((kind, run_id, *claim, repr(log)))
        elif not _CHECKS[kind](store, log, *claim, **({"catalog": catalog} if kind == "data" else {})):
            broken.append((kind, run_id, *claim, log.to_json(), [str(problem) for problem in log.problems]))
    return broken


def records_in(log):
    """Return all steps and branches of a run by kind and internal name."""
    records = {}

    def add_steps(steps):
        for name, found in steps.items():
            records["step", name] = found
            add_branches(found.branches)

    def add_branches(branches):
        for name, found in branches.items():
            records["branch", name] = found
            add_steps(found.steps)

    add_steps(log.steps)
    add_steps(log.orphans.steps)
    add_branches(log.orphans.branches)
    return records


def _has_step(_, log, name, version):
    found = records_in(log).get(("step", name))
    return found is not None and int(found.message) >= version


def _has_branch(_, log, name, version):
    found = records_in(log).get(("branch", name))
    return found is not None and int(found.status) >= version


def _has_update(_, log, name, version):
    found = records_in(log).get(("step", name))
    return found is not None and found.user_defined_metrics.get("version", 0) >= version


def _has_parameter(_, log, scope, key, version):
    holder = records_in(log).get(("branch", scope)) if scope else log
    return holder is not None and holder.parameters.get(key, 0) >= version


def _has_point(_, log, name, number):
    found = records_in(log).get(("step", name))
    return found is not None and number in [point.step for point in (found.metric_series or {}).get("m", [])]


def _has_status(_, log, status):
    return log.status == status


def _has_ended(_, log, name, status):
    found = records_in(log).get(("step", name))
    return found is not None and found.status == status


def _has_data(_, log, name, *, catalog):
    """Everything that a step is recorded to have put lies in the catalog, with the hash that is recorded."""
    found = records_in(log).get(("step", name))
    if found is None or not found.data_catalog:
        return False
    for entry in found.data_catalog:
        plain = Path(catalog, entry.catalog_relative_path)
        kept = Path(catalog, entry.catalog_relative_path.partition("/")[0], ".versions", entry.data_hash)
        file = kept if kept.exists() else plain
        if not plain.is_file() or hashlib.sha256(file.read_bytes()).hexdigest() != entry.data_hash:
            return False
    return True


def _has_metrics(_, log, name, numbers):
    found = records_in(log).get(("step", name))
    return found is not None and [point.value for point in (found.metric_series or {}).get("loss", [])] == numbers


_CHECKS = {
    "step": _has_step,
    "branch": _has_branch,
    "updated": _has_update,
    "parameter": _has_parameter,
    "point": _has_point,
    "status": _has_status,
    "ended": _has_ended,
    "data": _has_data,
    "metrics": _has_metrics,
}
