"""A process that records for years keeps little of runs that have ended, and many runs in turns cost it no more."""

import gc
import os
import tracemalloc

import pytest
from descriptors import leading_into
from recorded import step

import chunkstore
from chunkstore.backends.disk.directory import DirectoryBackend
from chunkstore.backends.mount import Mount
from chunkstore.errors import RunLogNotFoundError
from chunkstore.maintenance.retention import remove_left_overs
from chunkstore.stores.base import StoreOptions
from chunkstore.stores.chunked import ChunkedStore
from chunkstore.stores.document import DocumentStore
from chunkstore.testing.faults import CountingSyscalls
from chunkstore.testing.suite_sharing import run_threads

JOURNAL = StoreOptions(container="journal", durability="process")
KINDS = {
    "files": ChunkedStore,
    "journal": lambda backend: ChunkedStore(backend, JOURNAL),
    "document": DocumentStore,
}
_kinds = pytest.mark.parametrize("kind", KINDS.values(), ids=list(KINDS))


@pytest.fixture
def folder(tmp_path):
    return tmp_path / "logs"


def has_ended(log):
    log.status = "SUCCESS"


@pytest.mark.thorough
@_kinds
@pytest.mark.parametrize("ended_by", ["itself", "another process", "nobody: it is deleted by another process"])
def test_little_is_kept_of_runs_that_have_ended(folder, kind, ended_by):
    store, other = (kind(DirectoryBackend(folder, durability="process")) for _ in range(2))

    def record(number):
        run_id = f"run-{number}"
        store.create_run_log(run_id)
        for name in range(20 if kind is not DocumentStore else 2):  # which takes its time with more
            store.add_step_log(run_id, step(f"step-{name}"))
        if "deleted" in ended_by:
            other.delete_run(run_id)
        else:
            (store if ended_by == "itself" else other).update_run_log(run_id, has_ended)

    for number in range(100):
        record(number)
    gc.collect()
    tracemalloc.start(30)
    try:
        for number in range(1_000, 1_200):
            record(number)
        gc.collect()
        # Not what other threads of this process keep meanwhile.
        ours = tracemalloc.Filter(inclusive=True, filename_pattern=__file__, all_frames=True)
        kept = sum(trace.size for trace in tracemalloc.take_snapshot().filter_traces([ours]).traces)
    finally:
        tracemalloc.stop()
    # Some of them are remembered, and others forgotten for them. The names of twenty steps alone take 3 kB.
    assert 0 < kept / 200 < 2_500
    assert len(store._owned) < 100


@pytest.mark.parametrize("count", [60, 65, 110])
@pytest.mark.parametrize("kind", ["files", "journal"])
def test_a_step_costs_the_same_however_many_runs_are_recorded_in_turns(folder, kind, count):
    syscalls = CountingSyscalls()
    store = KINDS[kind](DirectoryBackend(folder, durability="process", syscalls=syscalls))
    for number in range(count):
        store.create_run_log(f"run-{number}")
        store.add_step_log(f"run-{number}", step("first"))
    syscalls.clear()
    for turn in range(2):
        for number in range(count):
            store.add_step_log(f"run-{number}", step(f"s-{turn}"))
    steps = 2 * count
    assert len(syscalls.calls) / steps <= (10 if kind == "journal" else 6)
    assert not {"list", "read"} & set(syscalls.counts)


@pytest.mark.parametrize("kind", ["files", "journal"])
def test_so_many_runs_in_turns_that_not_all_stay_open_cost_no_reading(folder, kind):
    syscalls = CountingSyscalls()
    store = KINDS[kind](DirectoryBackend(folder, durability="process", syscalls=syscalls))
    count = 200
    for number in range(count):
        store.create_run_log(f"run-{number}")
        store.add_step_log(f"run-{number}", step("first"))
    for turn in range(2):
        syscalls.clear()
        for number in range(count):
            store.add_step_log(f"run-{number}", step(f"s-{turn}"))
    assert len(syscalls.calls) / count <= 14
    assert not {"list", "read"} & set(syscalls.counts)
    for number in range(count):  # what is its own it still replaces
        store.add_step_log(f"run-{number}", step("first", message="again"))
    names = os.listdir(folder / "run-0")
    assert len([name for name in names if name.startswith("StepLog-first-")]) == (kind == "files")
    assert len([name for name in names if name.startswith("Journal-")]) == (kind == "journal")
    assert store.get_run_log("run-0", strict=True).steps["first"].message == "again"


def test_of_a_run_that_goes_on_nothing_is_forgotten(folder):
    """However many others come and end meanwhile; else the next record of a step would hide what others changed."""
    store, other = (ChunkedStore(DirectoryBackend(folder)) for _ in range(2))
    store.create_run_log("long")
    store.add_step_log("long", step("s"))
    other.update_step_log("long", "s", lambda found: found.user_defined_metrics.update(a=1))
    for number in range(200):
        store.create_run_log(f"run-{number}")
        store.add_step_log(f"run-{number}", step("s"))
        store.update_run_log(f"run-{number}", has_ended)
    store.add_step_log("long", step("s", message="goes on"))
    found = other.get_step_log("long", "s")
    assert (found.message, found.user_defined_metrics) == ("goes on", {"a": 1})


@_kinds
def test_what_others_changed_stays_also_when_the_owner_has_recorded_many_runs_since(folder, kind):
    store, other = (kind(DirectoryBackend(folder)) for _ in range(2))
    for run_id in ("first", *(f"run-{number}" for number in range(80))):
        store.create_run_log(run_id)
        store.add_step_log(run_id, step("s"))
        store.update_run_log(run_id, has_ended)
    other.update_step_log("first", "s", lambda found: found.user_defined_metrics.update(n=1))
    store.add_step_log("first", step("s", message="again"))
    for _ in range(2):
        found = other.get_step_log("first", "s")
        assert (found.message, found.user_defined_metrics) == ("again", {"n": 1})
        store.add_step_log("first", found)


@pytest.mark.sampled
@_kinds
def test_a_store_that_is_dropped_gives_its_descriptors_back_at_once(folder, kind):
    kind(DirectoryBackend(folder)).create_run_log("run")
    gc.collect()
    gc.disable()
    try:
        before = len(leading_into(folder))
        for _ in range(20):
            kind(DirectoryBackend(folder)).set_parameters("run", {"a": 1})
        assert len(leading_into(folder)) <= before + 3
    finally:
        gc.enable()


# --- lock files of documents -----------------------------------------------------------------------------------------


def test_no_lock_file_stays_of_a_document_that_was_deleted(folder):
    store = DocumentStore(DirectoryBackend(folder))
    for number in range(20):
        with store.start_run(f"run-{number}", capture_output=False) as run:
            run.step("s", int, "1")
        store.delete_run(f"run-{number}")
        with pytest.raises(RunLogNotFoundError):
            store.update_run_log(f"run-{number}", has_ended)
    assert os.listdir(folder) == []


def test_whoever_comes_to_lock_a_document_when_it_is_gone_leaves_no_lock_file(folder):
    store, other = (DocumentStore(DirectoryBackend(folder)) for _ in range(2))
    store.create_run_log("run")
    acquire = store.backend.acquire_lock

    def late(*arguments, **options):
        run_threads([lambda: other.delete_run("run")])  # in this one it would not wait for the lock
        return acquire(*arguments, **options)

    store.backend.acquire_lock = late
    with pytest.raises(RunLogNotFoundError):
        store.update_run_log("run", has_ended)
    assert os.listdir(folder) == []


def test_lock_files_that_older_versions_have_left_are_left_overs(folder):
    store = DocumentStore(DirectoryBackend(folder))
    store.create_run_log("kept")
    store.update_run_log("kept", lambda log: None)
    for number in range(3):
        (folder / f".gone-{number}.lock").touch()
    assert remove_left_overs(store, dry_run=True).files == 3
    assert remove_left_overs(store).files == 3
    assert sorted(os.listdir(folder)) == [".kept.lock", "kept.json"]


def test_lock_files_stay_where_other_hosts_may_have_the_folder_mounted(folder, monkeypatch):
    store = DocumentStore(DirectoryBackend(folder))
    monkeypatch.setattr(store.backend, "mount", lambda: Mount("/", "nfs4", "server:/", frozenset({"rw"})))
    store.create_run_log("run")
    store.update_run_log("run", has_ended)
    store.delete_run("run")
    assert os.listdir(folder) == [".run.lock"]


# --- asking who lives ------------------------------------------------------------------------------------------------


@_kinds
def test_who_records_a_run_is_found_out_without_a_list_of_all_there_is(folder, kind):
    for number in range(30):
        kind(DirectoryBackend(folder)).create_run_log(f"run-{number}")
    recorder = kind(DirectoryBackend(folder))
    run = recorder.join_run("run-7", capture_output=False)
    syscalls = CountingSyscalls()
    looker = kind(DirectoryBackend(folder, syscalls=syscalls))
    assert looker.liveness("run-7").state == "LIVE"
    assert looker.liveness("run-8").state == "UNKNOWN"
    assert "scan_folders" not in syscalls.counts
    if kind is KINDS["document"]:
        assert not {"list", "scan"} & set(syscalls.counts)
    del run


def test_a_store_of_a_process_that_goes_on_is_the_same_after_its_store_was_closed(folder):
    store = chunkstore.open_store("chunked-fs", log_folder=folder)
    store.create_run_log("run")
    store.add_step_log("run", step("s"))
    store.close()
    store.add_step_log("run", step("s", message="again"))
    assert len([name for name in os.listdir(folder / "run") if name.startswith("StepLog-")]) == 1
