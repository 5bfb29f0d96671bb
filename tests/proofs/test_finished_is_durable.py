"""A run has finished when all of it would survive a loss of power, whoever says so, and whatever failed before."""

import errno
import os
import threading
from pathlib import Path

import pytest
from every import LAYOUTS, every_layout
from recorded import step

import chunkstore
from chunkstore.backends.disk.directory import DirectoryBackend
from chunkstore.backends.disk.syscalls import SYSTEM, Syscalls
from chunkstore.errors import StoreIOError
from chunkstore.names import UNSYNCED_FILE
from chunkstore.records.fields import MetricPoint
from chunkstore.records.models import RunLog
from chunkstore.stores.base import StoreOptions
from chunkstore.stores.chunked import ChunkedStore

RUN = "run"
JOURNAL = StoreOptions(container="journal")


class Disk(Syscalls):
    """A disk whose cache is written back by syncs alone, and that takes what it could not write for written.

    That is what Linux does: after a sync has failed, another one says that all is well.
    """

    def __init__(self):
        self.dirty, self.failing, self.lost = set(), False, set()
        self.sizes = {}  # of what is on the disk

    def _touch(self, fd):
        status = self.fstat(fd)
        self.dirty.add(status.st_ino)
        if not status.st_size:  # a new file, which may have got the number of one that is gone
            self.lost.discard(status.st_ino)

    def write(self, fd, data):
        self._touch(fd)
        return super().write(fd, data)

    def pwrite(self, fd, data, offset):
        self._touch(fd)
        self.lost.discard(self.fstat(fd).st_ino)
        return super().pwrite(fd, data, offset)

    def _bring(self, fd):
        number = self.fstat(fd).st_ino
        if self.failing:
            self.lost |= self.dirty & {number}
            self.dirty.discard(number)
            raise OSError(errno.EIO, "disk error")
        self.dirty.discard(number)
        self.sizes[number] = self.fstat(fd).st_size

    def truncate(self, fd, size):
        super().truncate(fd, size)
        if size <= self.sizes.get(self.fstat(fd).st_ino, -1):
            self.lost.discard(self.fstat(fd).st_ino)
            self.dirty.discard(self.fstat(fd).st_ino)

    def fsync(self, fd):
        self._bring(fd)

    def fdatasync(self, fd):
        self._bring(fd)

    def syncfs(self, fd):
        raise OSError(errno.ENOSYS, "one by one")

    def at_risk(self, folder):
        """Return the files that count and that a loss of power would take."""
        numbers = self.dirty | self.lost
        return sorted(
            path.name
            for path in Path(folder).rglob("*")
            if path.is_file() and not path.name.startswith(".") and path.stat().st_ino in numbers
        )


@pytest.fixture
def disk():
    return Disk()


def opened(folder, layout, disk):
    return layout(DirectoryBackend(folder / "logs", syscalls=disk))


def finish(store):
    store.update_run_log(RUN, lambda log: setattr(log, "status", "SUCCESS"))


@every_layout
@pytest.mark.parametrize("again", ["the same object", "another process"])
def test_a_finish_whose_sync_failed_is_not_acknowledged_by_the_next(tmp_path, disk, layout, again):
    store = opened(tmp_path, layout, disk)
    store.create_run_log(RUN)
    store.add_step_log(RUN, step("a"))
    store.append_metrics(RUN, "a", {"m": [MetricPoint(1, 1)]})
    store.set_parameters(RUN, {"x": 1})
    disk.failing = True
    for _ in range(2):
        with pytest.raises(StoreIOError):
            finish(store)
    disk.failing = False
    content = store.get_run_log(RUN, strict=True).to_json()
    finish(store if again == "the same object" else opened(tmp_path, layout, disk))
    assert disk.at_risk(tmp_path) == []
    assert opened(tmp_path, layout, disk).get_run_log(RUN, strict=True).to_json() == content
    assert not list(tmp_path.rglob(f"{UNSYNCED_FILE}*"))


def test_a_failed_sync_is_remembered_where_no_mark_of_it_can_be_left(tmp_path):
    class Full(Disk):
        def open(self, path, flags, dir_fd=None):
            if self.failing and flags & os.O_CREAT:
                raise OSError(errno.ENOSPC, "no room", path)
            return super().open(path, flags, dir_fd)

    disk = Full()
    store = opened(tmp_path, ChunkedStore, disk)
    store.create_run_log(RUN)
    store.add_step_log(RUN, step("a"))
    disk.failing = True
    with pytest.raises(StoreIOError):
        store.sync(RUN)
    disk.failing = False
    store.sync(RUN)
    assert disk.at_risk(tmp_path) == []


@every_layout
def test_a_second_finisher_returns_when_all_is_durable_though_the_first_has_not_come_to_that(tmp_path, disk, layout):
    first, second = opened(tmp_path, layout, disk), opened(tmp_path, layout, disk)
    first.create_run_log(RUN)
    first.add_step_log(RUN, step("a"))
    at_the_sync, go_on = threading.Event(), threading.Event()
    sync = first.backend.sync

    def slow(*arguments):
        at_the_sync.set()
        assert go_on.wait(10)
        sync(*arguments)

    first.backend.sync = slow
    thread = threading.Thread(target=finish, args=(first,))
    thread.start()
    try:
        assert at_the_sync.wait(10)
        finish(second)
        assert disk.at_risk(tmp_path) == []
    finally:
        go_on.set()
        thread.join()


def test_what_changes_a_finished_run_syncs_the_run_once(tmp_path):
    class Counting(Disk):
        synced = 0

        def fsync(self, fd):
            self.synced += 1
            super().fsync(fd)

    disk = Counting()
    store = opened(tmp_path, ChunkedStore, disk)
    store.create_run_log(RUN)
    for number in range(50):
        store.add_step_log(RUN, step(f"s-{number}"))
    finish(store)
    disk.synced = 0
    store.update_run_log(RUN, lambda log: setattr(log, "tag", "t"))
    assert disk.synced < 10
    store.update_run_log(RUN, lambda log: setattr(log, "status", "PROCESSING"))
    store.add_step_log(RUN, step("more"))
    finish(store)
    assert disk.at_risk(tmp_path) == []


def test_a_run_that_is_added_whole_is_durable_before_anybody_sees_it(tmp_path, disk):
    seen = []

    class Watching(Disk):
        def rename(self, source, target, dir_fd=None):
            if target.endswith(f"/{RUN}"):
                seen.append(self.at_risk(tmp_path))
            super().rename(source, target, dir_fd)

    log = RunLog(run_id=RUN, status="SUCCESS", steps={"a": step("a")}, parameters={"x": 1})
    opened(tmp_path, ChunkedStore, Watching()).add_run_log(log)
    assert seen == [[]]
    disk.failing = True
    with pytest.raises(StoreIOError):
        opened(tmp_path / "other", ChunkedStore, disk).add_run_log(log)
    assert list(opened(tmp_path / "other", ChunkedStore, Disk()).list_runs()) == []


# --- data ------------------------------------------------------------------------------------------------------------


@pytest.fixture
def data_disk(tmp_path, monkeypatch):
    """Data goes through a disk as above; the working folder is one of its own."""
    disk = Disk()
    for name in ("write", "pwrite", "fsync", "fdatasync"):
        monkeypatch.setattr(SYSTEM, name, getattr(disk, name))
    (tmp_path / "work").mkdir()
    monkeypatch.chdir(tmp_path / "work")
    Path("d").write_text("data")
    Path("inner").mkdir()
    Path("inner/e").write_text("more data")
    return disk


def opened_for_data(folder, durability="run", kind="chunked-fs"):
    return chunkstore.open_store(kind, log_folder=str(folder / "logs"), durability=durability)


def catalog(folder):
    return folder / ".catalog"


@pytest.mark.parametrize("kind", ["chunked-fs", "file-system"])
def test_data_that_could_not_be_synced_is_written_again_before_the_run_has_finished(tmp_path, data_disk, kind):
    run = opened_for_data(tmp_path, kind=kind).start_run(RUN, capture_output=False)
    with run.step("a") as recorded:
        recorded.put_data("d")
        recorded.put_data("inner")
    data_disk.failing = True
    with pytest.raises(StoreIOError):
        run.finish()
    assert opened_for_data(tmp_path, kind=kind).get_run_log(RUN).status == "PROCESSING"
    data_disk.failing = False
    run.finish()
    assert data_disk.at_risk(catalog(tmp_path)) == []
    assert (catalog(tmp_path) / RUN / "inner/e").read_text() == "more data"


def test_a_folder_of_data_that_cannot_be_listed_is_an_error(tmp_path, data_disk, monkeypatch):
    run = opened_for_data(tmp_path).start_run(RUN, capture_output=False)
    with run.step("a") as recorded:
        recorded.put_data("inner")
    scandir = os.scandir

    def failing(path="."):
        if str(path).endswith("/inner"):
            raise OSError(errno.EIO, "disk error", str(path))
        return scandir(path)

    with monkeypatch.context() as patched:
        patched.setattr(os, "scandir", failing)
        with pytest.raises(StoreIOError):
            run.finish()
    run.finish()
    assert data_disk.at_risk(catalog(tmp_path)) == []


@pytest.mark.parametrize("kind", ["chunked-fs", "file-system"])
@pytest.mark.parametrize("moment", ["before the status", "after the status", "after the end"])
def test_data_that_another_process_puts_while_the_run_ends_is_durable(tmp_path, data_disk, monkeypatch, kind, moment):
    store, other = (opened_for_data(tmp_path, kind=kind) for _ in range(2))
    run = store.start_run(RUN, capture_output=False)
    joined = other.join_run(RUN, capture_output=False)
    with joined.step("late") as recorded:
        update = store.update_run_log

        def meanwhile(*arguments, **options):
            if moment == "before the status":
                recorded.put_data("d")
            log = update(*arguments, **options)
            if moment == "after the status":
                recorded.put_data("d")
            return log

        monkeypatch.setattr(store, "update_run_log", meanwhile)
        run.finish("SUCCESS")
        if moment == "after the end":
            recorded.put_data("d")
        assert (catalog(tmp_path) / RUN / "d").read_text() == "data"
        assert data_disk.at_risk(catalog(tmp_path)) == []


def test_data_of_a_run_that_is_ended_through_its_store_is_durable(tmp_path, data_disk):
    store = opened_for_data(tmp_path)
    run = store.start_run(RUN, capture_output=False)
    with run.step("a") as recorded:
        recorded.put_data("d")
    finish(store)
    assert data_disk.at_risk(catalog(tmp_path)) == []


def test_what_is_printed_after_a_run_has_ended_is_durable_when_its_step_is(tmp_path, data_disk):
    store = opened_for_data(tmp_path)
    joined = store.join_run(RUN, create=True)
    with joined.step("late"):
        print("printed")
        finish(opened_for_data(tmp_path))
    assert data_disk.at_risk(catalog(tmp_path)) == []


def test_at_level_step_data_that_is_taken_over_is_durable(tmp_path, data_disk):
    def work():
        chunkstore.current_step().put_data("d")
        return 1

    opened_for_data(tmp_path).start_run("one", capture_output=False).step("a", work)  # then it is killed
    assert "d" in data_disk.at_risk(catalog(tmp_path))
    with opened_for_data(tmp_path, "step").start_run("two", resume="one", capture_output=False) as second:
        second.step("a", work)
        assert data_disk.at_risk(catalog(tmp_path) / "two") == []


def test_at_level_step_printed_output_that_cannot_be_synced_fails_the_step_and_its_end_is_recorded(
    tmp_path, monkeypatch, data_disk
):
    bring = SYSTEM.fsync

    def failing(fd):
        if os.readlink(f"/proc/self/fd/{fd}").endswith(".execution.log"):
            raise OSError(errno.EIO, "disk error")
        bring(fd)

    monkeypatch.setattr(SYSTEM, "fsync", failing)
    store = opened_for_data(tmp_path, "step")
    with pytest.raises(StoreIOError), store.start_run(RUN) as run, run.step("a"):
        print("printed")
    log = store.get_run_log(RUN)
    assert (log.status, log.steps["a"].status, log.steps["a"].data_catalog) == ("FAIL", "SUCCESS", [])


# --- points ----------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize("layout", [LAYOUTS["files"], LAYOUTS["journal"]], ids=["files", "journal"])
@pytest.mark.parametrize("first", [True, False], ids=["first points", "further points"])
def test_points_whose_sync_failed_are_not_there_and_once_when_they_are_appended_again(tmp_path, disk, layout, first):
    store = opened(tmp_path, layout, disk)
    store.create_run_log(RUN)
    store.add_step_log(RUN, step("a"))
    points = [] if first else [MetricPoint(0, 0)]
    if points:
        store.append_metrics(RUN, "a", {"m": points})
    finish(opened(tmp_path, layout, disk))
    disk.failing = True
    with pytest.raises(StoreIOError):
        store.append_metrics(RUN, "a", {"m": [MetricPoint(1, 1)]})
    disk.failing = False
    series = store.get_step_log(RUN, "a").metric_series
    assert (series or {}).get("m", []) == points
    store.append_metrics(RUN, "a", {"m": [MetricPoint(1, 1)]})
    assert store.get_step_log(RUN, "a").metric_series == {"m": [*points, MetricPoint(1, 1)]}
    assert disk.at_risk(tmp_path) == []
