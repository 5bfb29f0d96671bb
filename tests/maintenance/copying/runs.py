"""Runs to be copied, stores to copy them between, and what of a run and its copy must be equal."""

import msgspec
from msgspec import UNSET

import chunkstore
from chunkstore import BranchLog, MetricPoint, StepLog
from chunkstore.maintenance.copying import copy_runs
from chunkstore.records.copied import COPIED, CopyNote
from chunkstore.records.models import NOTES
from chunkstore.stores.chunked import ChunkedStore
from chunkstore.stores.options import StoreOptions
from chunkstore.stores.reading import RunFiles
from chunkstore.testing.plain_backend import PlainBackend

RUN = "train-7"


def open_store(kind, folder, **options):
    """Open a store of a kind: as users name it, `journal`, or `plain`, over a back end that has only what all have."""
    if kind == "plain":
        return ChunkedStore(PlainBackend(), StoreOptions(catalog_folder=str(folder / "catalog")))
    if kind == "buffered":
        return chunkstore.open_store(kind, catalog_folder=str(folder / "catalog"))
    if kind == "journal":
        kind, options = "chunked-fs", {**options, "container": "journal"}
    folders = {"log_folder": str(folder / "runs"), "catalog_folder": str(folder / "catalog")}
    return chunkstore.open_store(kind, **folders, durability="process", **options)


def record(store, run_id=RUN, *, steps=3, data=False):
    """Record a run with everything that a run may hold; return it."""
    with store.start_run(run_id, tag="nightly", parameters={"seed": 7}) as run:
        record_into(store, run, steps, data=data)
    return store.get_run_log(run_id)


def record_into(store, run, steps, *, data=False):
    """Record something of each kind into a run."""
    for number in range(steps):
        with run.step(f"load-{number}") as step:
            step.log_metric("loss", 0.5, step=1)
            if data:
                step.put_data(__file__, f"in-{number}.py")
    change_by_others(store, run.run_id)


def change_by_others(store, run_id):
    """Add what is not recorded by whoever records the run."""
    store.add_step_log(run_id, StepLog(name="map", internal_name="map", status="SUCCESS", branches={}))
    store.add_branch_log(run_id, BranchLog(internal_name="map.a", status="SUCCESS", parameters={"x": 1}))
    store.add_step_log(run_id, StepLog(name="fit", internal_name="map.a.fit", status="SUCCESS"))
    store.anew().update_step_log(run_id, "map.a.fit", lambda step: setattr(step, "message", "looked at"))
    store.append_metrics(run_id, "map.a.fit", {"loss": [MetricPoint(0, 1.0), MetricPoint(1, 0.5)]})


def told(log):
    """Return all that a run tells, without what tells the copy from the run."""
    own = ("incarnation", "format", "version", "contents", "contents_at_least", "sealed", COPIED)
    notes = {key: value for key, value in log.notes.items() if key not in own}
    return msgspec.structs.replace(log, run_config={**log.run_config, NOTES: notes}, found_problems=UNSET)


def same(source, target, run_id=RUN):
    """Tell whether a copy is equal to its run, and can be read without a problem."""
    one, other = source.get_run_log(run_id), target.get_run_log(run_id)
    assert one.problems == other.problems == []
    return told(one) == told(other)


def chunks(store, run_id=RUN):
    """Return the chunks of a run, byte for byte."""
    with store.backend.reader(run_id) as reader:
        files = RunFiles(reader)
        return {name: files.load(name) for name in files.names() if name.partition("-")[0] in _KINDS}


_KINDS = {"StepLog", "BranchLog", "StepUpdate", "BranchUpdate", "Metric", "Parameter"}


def copied(source, target, *run_ids, **options):
    """Copy runs, without a problem; return what became of the first."""
    report = copy_runs(source, target, run_ids or None, **options)
    problems = [problem for run in report.runs for problem in run.problems]
    assert problems == [], problems
    return report.runs[0]


def outcome(source, target, **options):
    """Copy one run; return what became of it."""
    return copy_runs(source, target, [RUN], **options).runs[0]


def note(store, run_id=RUN):
    """Return the note of a copy."""
    return CopyNote.of(store.get_run_log(run_id, full=False))
