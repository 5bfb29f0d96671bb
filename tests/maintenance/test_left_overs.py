"""What killed processes have left is removed, and nothing that somebody may still need."""

import json
import os
import time

import pytest
from processes import NO_PROCESS, fork_and_wait

from chunkstore.backends.disk.directory import DirectoryBackend
from chunkstore.backends.disk.syscalls import Syscalls
from chunkstore.maintenance.checking import verify
from chunkstore.maintenance.retention import clearing_up, remove_left_overs
from maintenance.old_runs import add, record_with_data


def leave(folder, days, pid=NO_PROCESS, kind=".tmp-", is_folder=False):
    made = folder / f"{kind}{pid}-0123456789ab-{len(os.listdir(folder))}"
    if is_folder:
        made.mkdir()
        (made / "RunLog.json").write_bytes(b"x" * 10_000)
    else:
        made.write_bytes(b"x" * 10_000)
    moment = time.time() - days * 86_400
    os.utime(made, (moment, moment))
    return made


def test_old_temporary_files_of_dead_processes_go_and_no_others(store, logs):
    add(store, "run", 1)
    old = [leave(logs / "run", 2), leave(logs, 2, is_folder=True), leave(logs, 0.1, kind=".deleted-", is_folder=True)]
    new = [leave(logs / "run", 0.5), leave(logs / "run", 2, pid=os.getpid()), leave(logs, 0.5, is_folder=True)]
    assert remove_left_overs(store, dry_run=True).files == 3
    assert all(path.exists() for path in old)
    removed = remove_left_overs(store)
    assert removed.files == 3
    assert removed.space >= 30_000
    assert not any(path.exists() for path in old)
    assert all(path.exists() for path in new)
    assert remove_left_overs(store).files == 0


def test_nothing_is_removed_in_a_run_that_somebody_records(store, logs):
    with store.start_run("run"):
        left = leave(logs / "run", 60)
        assert remove_left_overs(store).files == 0
    assert left.exists()
    assert remove_left_overs(store).files == 1


def test_temporary_files_beside_data_go_if_the_catalog_is_cleaned_too(store, tmp_path):
    data = record_with_data(store, tmp_path)
    left, new = leave(data / "folder", 2), leave(data / "folder", 0)
    told = remove_left_overs(store)
    assert (told.files, told.files_in_catalog, told.space_in_catalog >= 10_000) == (0, 1, True)
    found = list(verify(store))  # the data itself need not be hashed for that
    assert {one.file for one in found} == {f"run/folder/{left.name}", f"run/folder/{new.name}"}
    for one in found:
        assert (one.severity, one.kind) == ("note", "left-over")
        assert "kB are left" in one.message
    assert left.exists()
    assert remove_left_overs(store, with_data=True).files == 1
    assert not left.exists()
    assert new.exists()
    assert (data / "folder" / "data").is_file()


def record_data(store, tmp_path):
    (tmp_path / "source").write_text("data")
    run = store.start_run("run", capture_output=False)
    with run.step("load") as step:
        step.put_data(tmp_path / "source", "data")
    return run


@pytest.mark.parametrize("moment", [0, 2**31 - 1], ids=["long ago", "far ahead"])
def test_how_old_a_file_is_that_was_only_being_made_its_times_do_not_tell(store, logs, monkeypatch, moment):
    """An NFS server keeps in them who makes it, until its maker has set them; whoever is killed before does not."""
    add(store, "run", 1)
    made = logs / "run" / f".tmp-{NO_PROCESS}-0123456789ab-0"
    made.touch()
    os.utime(made, (moment, moment))
    assert remove_left_overs(store).files == 0  # its maker may be about to write it
    later = time.time_ns() + 2 * 86_400 * 10**9
    monkeypatch.setattr(clearing_up.time, "time_ns", lambda: later)
    assert remove_left_overs(store).files == 1
    assert not made.exists()


def test_what_a_killed_copy_has_left_is_told_when_the_run_has_finished(store, tmp_path):
    run = record_data(store, tmp_path)
    left = leave(tmp_path / ".catalog" / "run", 0)
    leave(tmp_path / ".catalog" / "run", 0, pid=os.getpid())
    assert list(verify(store)) == []  # a worker whose process is not seen from here may be at it
    run.finish()
    (found,) = verify(store)
    assert (found.severity, found.kind, found.file) == ("note", "left-over", f"run/{left.name}")


def test_what_a_killed_copy_has_left_is_told_when_the_run_was_killed_too(store, tmp_path):
    assert fork_and_wait(lambda: record_data(store, tmp_path))
    left = leave(tmp_path / ".catalog" / "run", 0)
    assert [found.file for found in verify(store)] == [f"run/{left.name}"]


def test_data_that_nobody_has_come_to_record_is_told(store, tmp_path):
    data = record_with_data(store, tmp_path)
    (tmp_path / "source").write_text("put and not recorded")
    (entry,) = store.join_run("run").catalog.put(tmp_path / "source", "more", "")
    assert list(verify(store)) == []  # it may be recorded in a moment
    put = data / ".versions" / entry.data_hash
    os.utime(put, (time.time() - 120,) * 2)
    (found,) = verify(store)
    assert (found.severity, found.kind, found.file) == ("note", "left-over", f"run/.versions/{entry.data_hash}")


def test_only_data_that_was_marked_goes_when_a_deletion_is_finished(store, logs, tmp_path):
    data = record_with_data(store, tmp_path)
    for run_id, catalog in (("run", "/elsewhere"), ("../run", store.catalog_path), ("run2", store.catalog_path)):
        name = f".deleted-data-{run_id}".replace("/", "%2F")
        (logs / name).write_text(json.dumps({"run_id": run_id, "catalog": catalog}, separators=(",", ":")))
    store.delete_run("run")
    remove_left_overs(store)
    assert (data / "folder" / "data").is_file()
    assert (logs / ".deleted-data-run").exists()
    assert not (logs / ".deleted-data-run2").exists()


def test_a_mark_for_a_run_that_is_still_there_goes_and_its_data_stays(store, logs, tmp_path):
    data = record_with_data(store, tmp_path)
    mark = {"run_id": "run", "catalog": store.catalog_path}
    (logs / ".deleted-data-run").write_text(json.dumps(mark, separators=(",", ":")))
    remove_left_overs(store)
    assert not (logs / ".deleted-data-run").exists()
    assert (data / "folder" / "data").is_file()
    assert list(verify(store, with_data=True)) == []


def test_a_folder_that_its_maker_still_names_is_never_half_removed(store, logs):
    logs.mkdir()
    left = leave(logs, 2, is_folder=True)
    too_late = []

    class NamedMeanwhile(Syscalls):
        def unlink(self, path, dir_fd=None):
            try:
                os.rename(left, logs / "run")  # as the maker would, had it only been slow
            except FileNotFoundError:
                too_late.append(path)
            super().unlink(path, dir_fd)

    DirectoryBackend(logs, syscalls=NamedMeanwhile()).remove_left_over("", left.name)
    assert too_late == ["RunLog.json"]
    assert os.listdir(logs) == []
