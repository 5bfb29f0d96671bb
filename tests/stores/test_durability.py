"""What is brought to stable storage, and in which order, before a call returns."""

import errno
import itertools
import os
import shutil
import subprocess

import pytest
from outcomes import error_of

from chunkstore.backends.disk.directory import DirectoryBackend
from chunkstore.backends.disk.syscalls import SYSTEM
from chunkstore.errors import ChunkstoreError, StoreFullError, StoreIOError
from chunkstore.records.fields import MetricPoint
from chunkstore.records.models import RunLog, StepLog
from chunkstore.stores.chunked import ChunkedStore
from chunkstore.stores.document import DocumentStore
from chunkstore.testing.faults import WRITING_CALLS, CountingSyscalls, FaultySyscalls

RUN = "run"
STEP = StepLog(name="s", internal_name="s")
LAYOUTS = {"chunked": ChunkedStore, "document": DocumentStore}
WRITES = {
    "add": lambda store: store.add_step_log(RUN, StepLog(name="new", internal_name="new")),
    "add again": lambda store: store.add_step_log(RUN, STEP),
    "update": lambda store: store.update_step_log(RUN, "s", lambda step: setattr(step, "message", "x")),
    "update run": lambda store: store.update_run_log(RUN, lambda log: setattr(log, "status", "SUCCESS")),
    "set parameters": lambda store: store.set_parameters(RUN, {"a": 1}),
    "append": lambda store: store.append_metrics(RUN, "s", {"m": [MetricPoint(1, 1)]}),
    "append again": lambda store: store.append_metrics(RUN, "s", {"m": [MetricPoint(2, 2)]}),
}
SYNCS = ("fsync", "fdatasync")
_layouts = pytest.mark.parametrize("layout", LAYOUTS.values(), ids=list(LAYOUTS))


def prepared(tmp_path, layout, durability, syscalls):
    store = layout(DirectoryBackend(tmp_path / "logs", durability=durability, syscalls=syscalls))
    store.create_run_log(RUN)
    store.add_step_log(RUN, STEP)
    return store


def check_synced_before_named(calls, top):
    """Every file is synced after its last write and before it gets its name, and its folder after that."""
    dirty, renamed = set(), False
    for call in calls:
        if call.name == "write":
            dirty.add(call.target)
        elif call.name == "fsync" and os.path.isdir(call.target):
            renamed = False
        elif call.name in SYNCS:
            dirty.discard(call.target)
        elif call.name in ("link", "link_unnamed", "rename"):
            assert not dirty, f"{call} before the fsync of {dirty}"
            renamed = True
    assert not dirty
    assert not renamed
    assert any(call.name in SYNCS and call.target.startswith(top) for call in calls)


@pytest.mark.parametrize("write", WRITES)
@pytest.mark.parametrize("unnamed", [True, False], ids=["unnamed", "temporary"])
@_layouts
def test_level_step_syncs_data_before_the_name_and_the_folder_after(tmp_path, monkeypatch, layout, unnamed, write):
    if not unnamed:
        monkeypatch.setattr("chunkstore.backends.disk.folder.has_unnamed_files", lambda: False)
    syscalls = CountingSyscalls()
    store = prepared(tmp_path, layout, "step", syscalls)
    if write == "append again":
        WRITES["append"](store)
    syscalls.clear()
    WRITES[write](store)
    check_synced_before_named(syscalls.calls, str(tmp_path))


@pytest.mark.parametrize("durability", ["process", "run"])
@_layouts
def test_levels_process_and_run_sync_nothing_while_writing(tmp_path, layout, durability):
    syscalls = CountingSyscalls()
    store = prepared(tmp_path, layout, durability, syscalls)
    for name, write in WRITES.items():
        if name != "update run" or durability == "process":
            write(store)
    assert not {*SYNCS, "syncfs"} & set(syscalls.counts)


@pytest.mark.parametrize("write", WRITES)
@_layouts
def test_level_run_syncs_what_changes_a_run_that_has_finished(tmp_path, layout, write):
    syscalls = CountingSyscalls()
    store = prepared(tmp_path, layout, "run", syscalls)
    if write == "append again":
        WRITES["append"](store)
    # By another handle: that the run has finished, nobody tells the first one.
    WRITES["update run"](layout(DirectoryBackend(tmp_path / "logs")))
    syscalls.clear()
    change = WRITES[write] if write != "update run" else rename_run
    change(store)
    synced = [call.target for call in syscalls.calls if call.name == "fsync"]
    folder = tmp_path / "logs" / RUN if layout is ChunkedStore else tmp_path / "logs"
    assert str(folder) in synced
    assert any(target.startswith(f"{folder}/") for target in synced)
    if layout is DocumentStore or write not in ("add", "append", "append again"):
        check_synced_before_named(syscalls.calls, str(tmp_path))


def rename_run(store):
    store.update_run_log(RUN, lambda log: setattr(log, "tag", "renamed"))


@_layouts
def test_level_run_syncs_nothing_in_a_run_that_goes_on_again(tmp_path, layout):
    syscalls = CountingSyscalls()
    store = prepared(tmp_path, layout, "run", syscalls)
    WRITES["update run"](store)
    store.update_run_log(RUN, lambda log: setattr(log, "status", "PROCESSING"))
    syscalls.clear()
    WRITES["add"](store)
    WRITES["add again"](store)
    WRITES["set parameters"](store)
    assert "fsync" not in syscalls.counts


@_layouts
def test_level_run_syncs_a_whole_run_once_its_status_says_that_it_has_ended(tmp_path, layout):
    syscalls = CountingSyscalls()
    store = prepared(tmp_path, layout, "run", syscalls)
    for name, write in WRITES.items():
        if name != "update run":
            write(store)
    syscalls.clear()
    WRITES["update run"](store)
    synced = {call.target for call in syscalls.calls if call.name == "fsync"}
    folder = tmp_path / "logs" / RUN if layout is ChunkedStore else tmp_path / "logs"
    files = {str(folder / name) for name in os.listdir(folder) if name.endswith((".json", ".jsonl"))}
    assert files | {str(folder), str(tmp_path / "logs"), str(tmp_path)} <= synced


def test_level_run_treats_a_run_whose_own_record_is_damaged_as_finished(tmp_path):
    syscalls = CountingSyscalls()
    store = prepared(tmp_path, ChunkedStore, "run", syscalls)
    (tmp_path / "logs" / RUN / "RunLog.json").write_text("{")
    syscalls.clear()
    WRITES["add again"](store)
    check_synced_before_named(syscalls.calls, str(tmp_path))


@_layouts
def test_level_step_syncs_every_folder_that_creating_a_run_made(tmp_path, layout):
    syscalls = CountingSyscalls()
    logs = tmp_path / "a" / "b" / "logs"
    layout(DirectoryBackend(logs, durability="step", syscalls=syscalls)).create_run_log(RUN, parameters={"a": 1})
    check_synced_before_named(syscalls.calls, str(tmp_path))
    synced = [call.target for call in syscalls.calls if call.name == "fsync"]
    assert {str(tmp_path), str(tmp_path / "a"), str(tmp_path / "a" / "b"), str(logs)} <= set(synced)
    made = [call.target for call in syscalls.calls if call.name in ("mkdir", "rename", "link_unnamed", "link")]
    assert made[:3] == [str(tmp_path / "a"), str(tmp_path / "a" / "b"), str(logs)]


@_layouts
def test_syncing_a_run_syncs_every_file_and_the_way_to_it(tmp_path, layout):
    syscalls = CountingSyscalls()
    store = prepared(tmp_path, layout, "run", syscalls)
    for write in WRITES.values():
        write(store)
    syscalls.clear()
    store = layout(DirectoryBackend(tmp_path / "logs", syscalls=syscalls))
    store.sync(RUN)
    synced = {call.target for call in syscalls.calls if call.name == "fsync"}
    folder = tmp_path / "logs" / RUN if layout is ChunkedStore else tmp_path / "logs"
    files = {str(folder / name) for name in os.listdir(folder) if name.endswith((".json", ".jsonl"))}
    assert files | {str(folder), str(tmp_path / "logs"), str(tmp_path)} <= synced


def test_syncing_a_large_run_takes_one_call(tmp_path):
    syscalls = CountingSyscalls()
    store = prepared(tmp_path, ChunkedStore, "run", syscalls)
    for number in range(300):
        store.add_step_log(RUN, StepLog(name=f"s{number}", internal_name=f"s{number}"))
    syscalls.clear()
    store.sync(RUN)
    assert syscalls.counts["syncfs"] == 1
    assert syscalls.counts["fsync"] < 10


@pytest.mark.parametrize("write", WRITES)
@_layouts
def test_a_failed_fsync_is_never_acknowledged_and_never_tried_again_on_that_file(tmp_path, layout, write):
    number = 0
    while True:
        number += 1
        folder = tmp_path / str(number)
        syscalls = FaultySyscalls(errno.EIO, only=SYNCS)
        store = prepared(folder, layout, "step", syscalls)
        if write == "append again":
            WRITES["append"](store)
        syscalls.clear()
        syscalls._at = syscalls.counted + number
        error = error_of(WRITES[write], store, kinds=StoreIOError)
        if error is None:
            assert not syscalls.failed
            break
        assert error.errno == errno.EIO
        (failed,) = syscalls.failed
        later = syscalls.calls[syscalls.calls.index(failed) + 1 :]
        if failed in later:
            # What was there before the call has been put back into a folder, and that is another sync.
            assert os.path.isdir(failed.target)
            assert {"rename", "unlink"} & {call.name for call in later[: later.index(failed)]}
    assert number > 1


@pytest.mark.parametrize("durability", ["run", "step"])
def test_a_failed_sync_of_a_run_is_an_error(tmp_path, durability):
    syscalls = FaultySyscalls(errno.EIO, only=("fsync", "syncfs"))
    store = prepared(tmp_path, ChunkedStore, durability, syscalls)
    for number in range(1, 5):
        syscalls.counted, syscalls._at = 0, number
        with pytest.raises(StoreIOError):
            store.sync(RUN)


@pytest.fixture
def small_disk(tmp_path):
    """A file system of a megabyte, if one may be mounted here; None elsewhere."""
    folder = tmp_path / "disk"
    folder.mkdir()
    command = ["mount", "-t", "tmpfs", "-o", "size=1m,nr_inodes=200", "tmpfs", str(folder)]
    mounted = shutil.which("mount") and subprocess.run(command, check=False, capture_output=True).returncode == 0
    yield str(folder) if mounted else None
    if mounted:
        subprocess.run(["umount", "-l", str(folder)], check=True)


@pytest.mark.parametrize("size", [10, 20_000], ids=["inodes", "bytes"])
@_layouts
def test_a_full_disk_loses_nothing_that_was_acknowledged(tmp_path, small_disk, layout, size):
    logs = os.path.join(small_disk or tmp_path, "logs")
    faulty = FaultySyscalls(errno.ENOSPC, at=0 if small_disk else 150, persistent=True, only=WRITING_CALLS)
    store = layout(DirectoryBackend(logs, syscalls=faulty))
    store.create_run_log(RUN)
    acknowledged = []

    def write_until_it_fails():
        for number in itertools.count():
            name = f"s{number}"
            text = "x" * (size if layout is ChunkedStore or size > 10 else 2_000)
            store.add_step_log(RUN, StepLog(name=name, internal_name=name, message=text))
            acknowledged.append(name)

    with pytest.raises(StoreFullError) as caught:
        write_until_it_fails()
    assert caught.value.errno == errno.ENOSPC
    assert "free some space" in str(caught.value)
    assert len(acknowledged) > 3
    for call in (
        lambda: store.set_parameters(RUN, {"a": "x" * 100_000}),
        lambda: store.create_run_log("other", parameters={"a": "x" * 1_000_000}),
    ):
        with pytest.raises(ChunkstoreError):
            call()
    log = store.get_run_log(RUN, strict=True)
    assert list(log.steps) == acknowledged
    assert log.parameters == {}
    left = [name for _, folders, files in os.walk(logs) for name in (*folders, *files) if name.startswith(".tmp-")]
    assert left == []
    assert [summary.run_id for summary in store.list_runs()] == [RUN]


def test_level_step_syncs_what_a_new_run_holds_before_it_has_its_name(tmp_path):
    syscalls = CountingSyscalls()
    logs = tmp_path / "logs"
    ChunkedStore(DirectoryBackend(logs, durability="step", syscalls=syscalls)).create_run_log(RUN, parameters={"a": 1})
    named = [(call.name, call.target) for call in syscalls.calls].index(("rename", str(logs / RUN)))
    last_file = max(number for number, call in enumerate(syscalls.calls[:named]) if call.name == "create")
    synced = [call.target for call in syscalls.calls[last_file:named] if call.name == "fsync"]
    assert [os.path.dirname(target) for target in synced if os.path.basename(target).startswith(".tmp-")] == [str(logs)]


def test_level_step_syncs_folders_that_were_made_anew(tmp_path):
    syscalls = CountingSyscalls()
    logs = tmp_path / "a" / "logs"
    store = ChunkedStore(DirectoryBackend(logs, durability="step", syscalls=syscalls))
    store.create_run_log(RUN)
    shutil.rmtree(tmp_path / "a")  # the new folders may get the inodes of the old ones
    syscalls.clear()
    store.create_run_log(RUN)
    synced = {call.target for call in syscalls.calls if call.name == "fsync"}
    assert {str(tmp_path), str(tmp_path / "a"), str(logs)} <= synced


def test_level_step_syncs_each_line_of_a_journal_and_its_name_once(tmp_path):
    syscalls = CountingSyscalls()
    backend = DirectoryBackend(tmp_path / "logs", durability="step", syscalls=syscalls)
    backend.create_folder(RUN, {"last": b""})
    journal = backend.begin_journal(RUN, "lines")
    syscalls.clear()
    for line in (b"a", b"b"):
        journal.append(line)
    synced = [(call.name, call.target) for call in syscalls.calls if call.name in SYNCS]
    folder = str(tmp_path / "logs" / RUN)
    line = ("fdatasync", f"{folder}/lines")
    assert synced == [line, ("fsync", folder), line]


@_layouts
def test_level_step_syncs_that_a_run_was_removed(tmp_path, layout):
    syscalls = CountingSyscalls()
    store = prepared(tmp_path, layout, "step", syscalls)
    store.set_parameters(RUN, {"a": 1})
    syscalls.clear()
    store.delete_run(RUN)
    logs = str(tmp_path / "logs")
    removed = [
        number
        for number, call in enumerate(syscalls.calls)
        if (call.name == "rename" and call.target.startswith(f"{logs}/.deleted-"))
        or (call.name == "unlink" and call.target == f"{RUN}.json")
    ]
    assert len(removed) == 1
    assert logs in [call.target for call in syscalls.calls[removed[0] :] if call.name == "fsync"]


@pytest.mark.parametrize("durability", ["run", "step"])
@_layouts
def test_a_run_that_is_added_whole_is_synced(tmp_path, layout, durability):
    log = RunLog(run_id="whole", steps={"s": STEP}, parameters={"a": 1})
    syscalls = CountingSyscalls()
    logs = tmp_path / "logs"
    store = layout(DirectoryBackend(logs, durability=durability, syscalls=syscalls))
    store.add_run_log(log)
    synced = [call.target for call in syscalls.calls if call.name == "fsync"]
    assert {str(logs), str(tmp_path)} <= set(synced)
    files = 3 if layout is ChunkedStore else 1
    assert len([target for target in synced if not os.path.isdir(target)]) >= files


def test_durability_process_syncs_nothing_of_a_run_that_is_added_whole(tmp_path):
    syscalls = CountingSyscalls()
    store = ChunkedStore(DirectoryBackend(tmp_path / "logs", durability="process", syscalls=syscalls))
    store.add_run_log(RunLog(run_id="whole", steps={"s": STEP}))
    assert not {*SYNCS, "syncfs"} & set(syscalls.counts)


def test_syncing_a_large_run_syncs_every_file_where_there_is_no_call_for_all(tmp_path):
    syscalls = FaultySyscalls(errno.ENOSYS, at=1, persistent=True, only=("syncfs",))
    store = prepared(tmp_path, ChunkedStore, "run", syscalls)
    for number in range(300):
        store.add_step_log(RUN, StepLog(name=f"s{number}", internal_name=f"s{number}"))
    syscalls.clear()
    store.sync(RUN)
    assert syscalls.failed
    folder = tmp_path / "logs" / RUN
    synced = {call.target for call in syscalls.calls if call.name == "fsync"}
    assert {str(folder / name) for name in os.listdir(folder)} | {str(folder), str(tmp_path / "logs")} <= synced


def test_a_sync_of_everything_that_fails_says_so():
    with pytest.raises(OSError):
        SYSTEM.syncfs(-1)
