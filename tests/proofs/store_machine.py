"""Calls of a store in any order, through any handles, beside a model of plain dicts that says what they leave."""

import itertools
import os
import pickle
import shutil
import tempfile
import time

import pytest
from hypothesis import strategies as st
from hypothesis.stateful import RuleBasedStateMachine, initialize, invariant, rule
from model import BRANCH, STEP, Run, canonical, split

from chunkstore.clock import clock
from chunkstore.errors import (
    BranchLogNotFoundError,
    InvalidValueError,
    RunLogExistsError,
    RunLogNotFoundError,
    StepLogNotFoundError,
    StoreUsageError,
)
from chunkstore.records.models import BranchLog, StepLog

RUNS = st.sampled_from(["run-a", "run-b"])
STEPS = st.sampled_from(["s", "s-two", "é/*", "p", "p.x.in", "x" * 300])
RECORDS = st.one_of(st.tuples(st.just(STEP), STEPS), st.just((BRANCH, "p.x")))
HANDLES = st.integers(0, 1)
STATUSES = st.sampled_from(["PROCESSING", "SUCCESS", "FAIL"])
KEYS = st.sampled_from(["a", "b", "c"])
VALUES = st.sampled_from([0, 1, 1.0, True, -0.0, 0.0, None, "", "text", float("nan"), float("inf"), 10**30, 0.1])
METRICS = st.dictionaries(KEYS, VALUES)
SCOPES = st.sampled_from(["", "p.x", "root"])


class StoreMachine(RuleBasedStateMachine):
    #: Whether sealing a run packs it, which is for runs that have finished.
    packs = False

    def make_store(self):
        raise NotImplementedError

    def __init__(self):
        super().__init__()
        self.folder = tempfile.mkdtemp(dir="/dev/shm" if os.path.isdir("/dev/shm") else None)
        self.runs = {}
        self.numbers = itertools.count()
        self.handles = [self.make_store(), self.make_store()]
        self.owners = list(map(self.owner_of, self.handles))

    def owner_of(self, handle):
        return next(self.numbers)

    def teardown(self):
        clock._wall_clock = time.time_ns
        shutil.rmtree(self.folder)

    @initialize()
    def begin_with_a_run(self):
        self.create("run-a", 0, "", {})

    # --- runs --------------------------------------------------------------------------------------------------------

    @rule(run_id=RUNS, handle=HANDLES, tag=st.text(max_size=3), parameters=METRICS)
    def create(self, run_id, handle, tag, parameters):
        store = self.handles[handle]
        if run_id in self.runs:
            with pytest.raises(RunLogExistsError):
                store.create_run_log(run_id, tag=tag)
        else:
            store.create_run_log(run_id, tag=tag, parameters=parameters)
            self.runs[run_id] = Run(tag)
            self.runs[run_id].parameters[""] = dict(parameters)

    @rule(run_id=RUNS, handle=HANDLES)
    def delete(self, run_id, handle):
        if run_id not in self.runs:
            with pytest.raises(RunLogNotFoundError):
                self.handles[handle].delete_run(run_id)
            return
        self.handles[handle].delete_run(run_id)
        del self.runs[run_id]
        self.reopen(1 - handle)

    @rule(run_id=RUNS, handle=HANDLES, status=STATUSES)
    def set_status(self, run_id, handle, status):
        def change(log):
            log.status = status

        if run_id in self.runs:
            assert self.handles[handle].update_run_log(run_id, change).status == status
            self.runs[run_id].status = status

    # --- records -----------------------------------------------------------------------------------------------------

    @rule(run_id=RUNS, handle=HANDLES, key=RECORDS, status=STATUSES, metrics=METRICS)
    def add(self, run_id, handle, key, status, metrics):
        kind, name = key
        store = self.handles[handle]
        if kind == STEP:
            record = StepLog(name=name.split(".")[-1], internal_name=name, status=status, user_defined_metrics=metrics)
            write = store.add_step_log
        else:
            record = BranchLog(internal_name=name, status=status)
            write = store.add_branch_log
            metrics = {}
        if run_id not in self.runs:
            with pytest.raises(RunLogNotFoundError):
                write(run_id, record)
            return
        write(run_id, record)
        fields = {"status": status, **{f"metric.{name}": value for name, value in metrics.items()}}
        self.runs[run_id].add(key, self.owners[handle], fields)

    @rule(run_id=RUNS, handle=HANDLES, step=STEPS)
    def add_what_cannot_be_recorded(self, run_id, handle, step):
        if run_id in self.runs:
            with pytest.raises(InvalidValueError):
                self.handles[handle].add_step_log(run_id, StepLog(name=step, internal_name=step, result={1: object()}))

    @rule(run_id=RUNS, handle=HANDLES, key=RECORDS, status=STATUSES)
    def change_status(self, run_id, handle, key, status):
        def change(record):
            record.status = status

        if self.call_change(run_id, handle, key, change):
            self.runs[run_id].records[key].change("status", status)

    @rule(run_id=RUNS, handle=HANDLES, step=STEPS, metric=KEYS, value=VALUES)
    def change_metric(self, run_id, handle, step, metric, value):
        def change(record):
            record.user_defined_metrics[metric] = value

        if self.call_change(run_id, handle, (STEP, step), change):
            self.runs[run_id].records[STEP, step].change(f"metric.{metric}", value)

    @rule(run_id=RUNS, handle=HANDLES, step=STEPS, metric=KEYS)
    def remove_metric(self, run_id, handle, step, metric):
        def change(record):
            record.user_defined_metrics.pop(metric, None)

        if self.call_change(run_id, handle, (STEP, step), change):
            self.runs[run_id].records[STEP, step].remove(f"metric.{metric}")

    def call_change(self, run_id, handle, key, change):
        kind, name = key
        store = self.handles[handle]
        update = store.update_step_log if kind == STEP else store.update_branch_log
        if run_id not in self.runs:
            with pytest.raises(RunLogNotFoundError):
                update(run_id, name, change)
            return False
        if key not in self.runs[run_id].records:
            with pytest.raises((StepLogNotFoundError, BranchLogNotFoundError)):
                update(run_id, name, change)
            return False
        update(run_id, name, change)
        return True

    @rule(run_id=RUNS, handle=HANDLES, step=STEPS, value=VALUES)
    def append_metric(self, run_id, handle, step, value):
        if run_id in self.runs:
            point = self.runs[run_id].append((STEP, step), self.owners[handle], value)
            if point is not None:
                self.handles[handle].append_metrics(run_id, step, {"m": [point]})

    @rule(run_id=RUNS, handle=HANDLES, scope=SCOPES, parameters=METRICS)
    def set_parameters(self, run_id, handle, scope, parameters):
        if run_id in self.runs:
            self.handles[handle].set_parameters(run_id, parameters, branch=scope)
            self.runs[run_id].parameters.setdefault(scope, {}).update(parameters)

    # --- sealing -----------------------------------------------------------------------------------------------------

    @rule(run_id=RUNS, handle=HANDLES, ended=st.booleans())
    def seal(self, run_id, handle, ended):
        store = self.handles[handle]
        if run_id not in self.runs:
            with pytest.raises(RunLogNotFoundError):
                store.seal(run_id)
            return
        if self.runs[run_id].status == "PROCESSING" and not ended and self.packs:
            with pytest.raises(StoreUsageError):
                store.seal(run_id)
            return
        self.set_status(run_id, 1 - handle, "SUCCESS")
        store.seal(run_id)

    @rule(run_id=RUNS, handle=HANDLES)
    def unseal(self, run_id, handle):
        if run_id in self.runs:
            self.handles[handle].unseal(run_id)
        else:
            with pytest.raises(RunLogNotFoundError):
                self.handles[handle].unseal(run_id)

    # --- the world around --------------------------------------------------------------------------------------------

    @rule(handle=HANDLES)
    def reopen(self, handle):
        self.handles[handle] = self.make_store()
        self.owners[handle] = self.owner_of(self.handles[handle])

    @rule(handle=HANDLES, again=st.none() | st.tuples(STATUSES, METRICS))
    def send_to_another_process_and_back(self, handle, again):
        """A handle that was pickled owns nothing: what it records of its sender's records are records of its own."""
        store, sender = self.handles[handle], self.owners[handle]
        if not store.backend.shared_between_processes:
            with pytest.raises(StoreUsageError):
                pickle.dumps(store)
            return
        self.handles[handle] = pickle.loads(pickle.dumps(store))
        self.owners[handle] = self.owner_of(self.handles[handle])
        for run_id, run in self.runs.items():
            sent = [key for key, record in run.records.items() if record.owner == sender]
            if again and sent:
                self.change_status(run_id, handle, sent[0], "changed")  # which lies over the sender's record alone
                self.add(run_id, handle, sent[0], *again)

    @rule(handle=HANDLES)
    def close(self, handle):
        self.handles[handle].close()

    @rule(handle=HANDLES, seconds=st.integers(-100_000, 100_000))
    def move_to_a_host_with_another_time(self, handle, seconds):
        clock._wall_clock = lambda: time.time_ns() + seconds * 10**9
        clock._latest = 0
        for run_id in self.runs:
            self.handles[handle].get_run_log(run_id)

    # --- what must hold ----------------------------------------------------------------------------------------------

    @invariant()
    def every_handle_reads_what_the_model_says(self):
        for store in self.handles:
            assert {summary.run_id for summary in store.list_runs()} == set(self.runs)
            for run_id, run in self.runs.items():
                self.compare(store.get_run_log(run_id, strict=True), run)

    def compare(self, log, run):
        assert (log.status, log.tag) == (run.status, run.tag)
        assert canonical(log.parameters) == canonical(run.parameters.get("", {}))
        records = run.records
        has_branch, has_parent = (BRANCH, "p.x") in records, (STEP, "p") in records
        steps = [name for kind, name in records if kind == STEP]
        assert list(log.steps) == [name for name in steps if name != "p.x.in"]
        assert list(log.orphans.steps) == [name for name in steps if name == "p.x.in" and not has_branch]
        assert list(log.orphans.branches) == ["p.x"] * (has_branch and not has_parent)
        for name, step in {**log.steps, **log.orphans.steps}.items():
            self.compare_step(step, records[STEP, name])
        if has_branch:
            branch = log.steps["p"].branches["p.x"] if has_parent else log.orphans.branches["p.x"]
            assert branch.status == records[BRANCH, "p.x"].visible()["status"]
            assert canonical(branch.parameters) == canonical(run.parameters.get("p.x", {}))
            assert list(branch.steps) == [name for name in steps if name == "p.x.in"]
            for name, step in branch.steps.items():
                self.compare_step(step, records[STEP, name])

    def compare_step(self, step, record):
        status, metrics = split(record.visible())
        assert step.status == status
        assert canonical(step.user_defined_metrics) == canonical(metrics)
        assert repr(step.metric_series or {}) == repr({"m": record.points} if record.points else {})

    @rule(run_id=RUNS, handle=HANDLES, step=STEPS, scope=SCOPES)
    def read_one_by_one(self, run_id, handle, step, scope):
        store = self.handles[handle]
        if run_id not in self.runs:
            with pytest.raises(RunLogNotFoundError):
                store.get_step_log(run_id, step)
            return
        run = self.runs[run_id]
        assert canonical(store.get_parameters(run_id, scope)) == canonical(run.parameters.get(scope, {}))
        if (STEP, step) in run.records:
            self.compare_step(store.get_step_log(run_id, step), run.records[STEP, step])
        else:
            with pytest.raises(StepLogNotFoundError):
                store.get_step_log(run_id, step)
