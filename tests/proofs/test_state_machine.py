"""Any sequence of calls, through any handles, leaves what a model of plain dicts says."""

import os
import uuid

import pytest
from hypothesis import settings
from hypothesis import strategies as st
from hypothesis.stateful import rule
from model import PARAMETERS, RUN_RECORD, STEP, canonical, flat, held_in

import chunkstore
from chunkstore.backends.memory import MemoryBackend
from chunkstore.errors import CorruptChunkError
from chunkstore.names import LOCK_FILE, RUN_FILE
from chunkstore.records.integrity import LENGTH
from chunkstore.records.models import StepLog
from chunkstore.stores.chunked import ChunkedStore
from chunkstore.testing.plain_backend import PlainBackend
from proofs.store_machine import HANDLES, METRICS, RECORDS, RUNS, STATUSES, StoreMachine

DAMAGE = st.tuples(st.sampled_from(["flip", "cut", "zeros"]), st.integers(0, 1_000), st.integers(0, 7))


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


class ChunkedPlainMachine(StoreMachine):
    packs = True

    def make_store(self):
        self.backend = getattr(self, "backend", None) or PlainBackend()
        return ChunkedStore(self.backend)


class ChunkedObjectMachine(StoreMachine):
    """Each handle has a client of its own, to one bucket in memory."""

    packs = True

    def make_store(self):
        self.bucket = getattr(self, "bucket", None) or f"memory://of-{uuid.uuid4().hex}"
        return chunkstore.open_store(self.bucket)


for machine, times in (
    (ChunkedFolderMachine, 6),
    (JournalMachine, 4),
    (DocumentFolderMachine, 5),
    (BufferedMachine, 3),
    (ChunkedMemoryMachine, 3),
    (ChunkedPlainMachine, 3),
    (ChunkedObjectMachine, 2),
):
    machine.TestCase.settings = settings(max_examples=times * settings().max_examples, stateful_step_count=50)

TestChunkedFolder = pytest.mark.thorough(ChunkedFolderMachine.TestCase)
TestJournal = pytest.mark.thorough(JournalMachine.TestCase)
TestDocumentFolder = pytest.mark.thorough(DocumentFolderMachine.TestCase)
TestBuffered = pytest.mark.thorough(BufferedMachine.TestCase)
TestChunkedMemory = ChunkedMemoryMachine.TestCase
TestChunkedObject = pytest.mark.thorough(ChunkedObjectMachine.TestCase)
TestChunkedPlain = pytest.mark.thorough(ChunkedPlainMachine.TestCase)
