"""Any sequence of calls, through any handles, leaves what a model of plain dicts says."""

import itertools
import os
import pickle
import shutil
import tempfile
import time

import pytest
from hypothesis import settings
from hypothesis import strategies as st
from hypothesis.stateful import RuleBasedStateMachine, initialize, invariant, rule
from model import BRANCH, PARAMETERS, RUN_RECORD, STEP, Run, canonical, flat, held_in, split

import chunkstore
from chunkstore.backends.memory import MemoryBackend
from chunkstore.clock import clock
from chunkstore.errors import (
    BranchLogNotFoundError,
    CorruptChunkError,
    InvalidValueError,
    RunLogExistsError,
    RunLogNotFoundError,
    StepLogNotFoundError,
    StoreUsageError,
)
from chunkstore.names import LOCK_FILE, RUN_FILE
from chunkstore.records.integrity import LENGTH
from chunkstore.records.models import BranchLog, StepLog
from chunkstore.stores.chunked import ChunkedStore

RUNS = st.sampled_from(["run-a", "run-b"])
STEPS = st.sampled_from(["s", "s-two", "é/*", "p", "p.x.in", "x" * 300])
RECORDS = st.one_of(st.tuples(st.just(STEP), STEPS), st.just((BRANCH, "p.x")))
HANDLES = st.integers(0, 1)
STATUSES = st.sampled_from(["PROCESSING", "SUCCESS", "FAIL"])
KEYS = st.sampled_from(["a", "b", "c"])
VALUES = st.sampled_from([0, 1, 1.0, True, -0.0, 0.0, None, "", "text", float("nan"), float("inf"), 10**30, 0.1])
METRICS = st.dictionaries(KEYS, VALUES)
SCOPES = st.sampled_from(["", "p.x", "root"])
DAMAGE = st.tuples(st.sampled_from(["flip", "cut", "zeros"]), st.integers(0, 1_000), st.integers(0, 7))


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


class ChunkedFolderMachine(StoreMachine):
    packs = True

    def make_store(self):
        return chunkstore.open_store("chunked-fs", log_folder=self.folder)

    # --- damaged files -----------------------------------------------------------------------------------------------

    @rule(
        run_id=RUNS,
        handle=HANDLES,
        which=st.integers(0, 1_000),
        damage=DAMAGE,
        meanwhile=st.tuples(RECORDS, STATUSES, METRICS),
        later=st.tuples(STATUSES, METRICS),
    )
    def damage_a_file_and_mend_it(self, run_id, handle, *, which, damage, meanwhile, later):
        """A file is damaged and others go on; then its owner writes it anew, or it is put back."""
        if run_id not in self.runs:
            return
        folder = os.path.join(self.folder, run_id)
        if any(name.startswith("Sealed-") for name in os.listdir(folder)):
            self.unseal(run_id, handle)
        files = {name: read_file(folder, name) for name in sorted(os.listdir(folder)) if name != LOCK_FILE}
        file = list(files)[which % len(files)]
        key = held_in(file, files[file])
        write_file(folder, file, damaged(file, files[file], *damage))
        self.compare_all_but(run_id, file, key)
        if file != RUN_FILE and meanwhile[0] != key:
            self.add(run_id, handle, *meanwhile)
            self.compare_all_but(run_id, file, key)
        kind = "StepLog-" if key[0] == STEP else "BranchLog-"
        counting = file.startswith(kind) and file == max(
            (name for name in files if name.startswith(kind) and held_in(name, files[name]) == key), key=timestamp
        )
        if counting:
            self.check_that_no_older_record_passes(run_id, handle, key)
        if counting and self.runs[run_id].records[key].owner in self.owners:
            owner = self.owners.index(self.runs[run_id].records[key].owner)
            self.add(run_id, owner, key, *later)
        else:
            write_file(folder, file, files[file])

    def compare_all_but(self, run_id, file, key):
        """Check that reads report this file alone, and that whatever is not in it is as the model says."""
        run = self.runs[run_id]
        for store in self.handles:
            log = store.get_run_log(run_id)
            assert {problem.file for problem in log.problems if problem.kind != "orphan"} == {file}
            with pytest.raises(CorruptChunkError, match="strict=True"):
                store.get_run_log(run_id, strict=True)
            summaries = {summary.run_id: bool(summary.problem) for summary in store.list_runs()}
            assert summaries == {each: each == run_id and file == RUN_FILE for each in self.runs}
            records, parameters = flat(log)
            assert records.keys() - {key} == run.records.keys() - {key}
            for each, record in run.records.items():
                if each != key:
                    self.compare_record(records[each], record)
            for scope in {*parameters, *run.parameters}:
                if (PARAMETERS, scope) != key:
                    assert canonical(parameters.get(scope, {})) == canonical(run.parameters.get(scope, {}))
            assert key == RUN_RECORD or (log.status, log.tag) == (run.status, run.tag)

    def compare_record(self, found, record):
        if isinstance(found, StepLog):
            self.compare_step(found, record)
        else:
            assert found.status == record.visible()["status"]

    def check_that_no_older_record_passes(self, run_id, handle, key):
        kind, name = key
        store = self.handles[handle]
        if len(name) > MOST_IN_A_FILE_NAME:
            return  # the file's name does not tell all of the record's: it could be another's
        for call in (
            (lambda: store.get_step_log(run_id, name))
            if kind == STEP
            else (lambda: store.get_branch_log(run_id, name)),
            lambda: self.call_change(run_id, handle, key, lambda record: setattr(record, "status", "FAIL")),
        ):
            with pytest.raises(CorruptChunkError):
                call()


MOST_IN_A_FILE_NAME = 200


def timestamp(file):
    return int(file.rpartition("-")[2].partition(".")[0])


def read_file(folder, file):
    with open(os.path.join(folder, file), "rb") as opened:
        return opened.read()


def write_file(folder, file, data):
    with open(os.path.join(folder, file), "wb") as opened:
        opened.write(data)


def damaged(file, data, kind, place, bit):
    """Return the bytes of a file with some damage that can be noticed."""
    if kind == "flip" or file.startswith("Metric-"):  # lines that are cut off were not acknowledged
        changed = bytearray(data)
        changed[place % len(data)] ^= 1 << bit
        return bytes(changed)
    return data[: place % (len(data) - LENGTH)] if kind == "cut" else bytes(len(data))


class DocumentFolderMachine(StoreMachine):
    def make_store(self):
        return chunkstore.open_store("file-system", log_folder=self.folder)


class JournalMachine(StoreMachine):
    """One handle writes to journals, and the other to files, into the same runs."""

    packs = True

    def make_store(self):
        container = "files" if next(self.numbers) % 2 else "journal"
        return chunkstore.open_store("chunked-fs", log_folder=self.folder, container=container)


class BufferedMachine(StoreMachine):
    packs = True

    def make_store(self):
        self.only = getattr(self, "only", None) or chunkstore.open_store("buffered")
        return self.only

    def owner_of(self, handle):
        return 0


class ChunkedMemoryMachine(StoreMachine):
    packs = True

    def make_store(self):
        self.backend = getattr(self, "backend", None) or MemoryBackend()
        return ChunkedStore(self.backend)


for machine, times in (
    (ChunkedFolderMachine, 6),
    (JournalMachine, 4),
    (DocumentFolderMachine, 5),
    (BufferedMachine, 3),
    (ChunkedMemoryMachine, 3),
):
    machine.TestCase.settings = settings(max_examples=times * settings().max_examples, stateful_step_count=50)

TestChunkedFolder = ChunkedFolderMachine.TestCase
TestJournal = JournalMachine.TestCase
TestDocumentFolder = DocumentFolderMachine.TestCase
TestBuffered = BufferedMachine.TestCase
TestChunkedMemory = ChunkedMemoryMachine.TestCase
