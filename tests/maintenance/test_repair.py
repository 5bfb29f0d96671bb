"""Repair moves what cannot be read out of the way, and loses nothing."""

import errno
import itertools
import json
import os
import shutil
import signal
import time

import pytest
from processes import Forked

from chunkstore import StepLog
from chunkstore.backends.disk.directory import DirectoryBackend
from chunkstore.backends.disk.syscalls import Syscalls
from chunkstore.maintenance.checking import verify
from chunkstore.stores.chunked import ChunkedStore
from chunkstore.stores.document import DocumentStore
from chunkstore.testing.faults import FaultySyscalls, KillingSyscalls
from maintenance.verified_run import CHUNK, LONG_AGO, RUN, another, contents, file_of, found, kinds

pytestmark = pytest.mark.usefixtures("_brief")


def damage(run):
    """Damage a file of each kind that repair moves; return their names."""
    names = []
    chunks = [file_of(run, kind) for kind in ("StepLog-map.a.fit", "BranchLog-map.a", "StepUpdate-load", "Metric-load")]
    for path in (*chunks, run / "Parameter-map.a.json"):
        path.write_bytes(path.read_bytes()[:-45] + b"\n")
        names.append(path.name)
    (run / CHUNK).write_bytes(b"")
    return [*names, CHUNK]


def test_repair_moves_what_cannot_be_read_and_verify_is_clean_afterwards(store, run, logs):
    names = damage(run)
    before = contents(logs)
    moved = [one for one in found(store, with_repair=True) if one.moved_to]
    assert sorted(one.file for one in moved) == sorted(f"{RUN}/{name}" for name in names)
    assert all((logs / one.moved_to).is_file() for one in moved)
    assert contents(logs) == before
    assert kinds(store) == [("note", "quarantined", f"{RUN}/quarantine")]
    assert set(store.get_run_log(RUN, strict=True).steps) == {"load", "map"}


def test_what_is_in_quarantine_is_overwritten_by_nothing(store, run, logs):
    for text in ("first", "second", "third"):
        (run / CHUNK).write_text(text)
        found(store, with_repair=True)
    kept = {path.name: path.read_text() for path in (run / "quarantine").iterdir()}
    assert kept == {CHUNK: "first", f"{CHUNK}.2": "second", f"{CHUNK}.3": "third"}


def test_the_quarantine_is_no_run_and_goes_with_its_run(store, run, logs):
    damage(run)
    found(store, with_repair=True)
    assert [summary.run_id for summary in store.list_runs()] == [RUN]
    assert [summary.run_id for summary in another(logs).list_runs()] == [RUN]
    store.seal(RUN)
    store.sync(RUN)
    assert (run / "quarantine" / CHUNK).is_file()
    store.delete_run(RUN)
    assert os.listdir(logs) == []


def test_the_record_of_a_run_stays_where_it_is(store, run):
    (run / "RunLog.json").write_bytes(b"{")
    assert ("problem", "corrupt", f"{RUN}/RunLog.json") in kinds(store, with_repair=True)
    assert (run / "RunLog.json").read_bytes() == b"{"


def test_a_sealed_file_that_is_a_link_is_moved(store, run, logs):
    store.seal(RUN)
    name = f"Sealed-{time.time_ns()}.jsonl"
    (run / name).symlink_to(file_of(run, "Sealed"))
    (one,) = [one for one in found(store, with_repair=True) if one.severity == "problem"]
    assert one.moved_to == f"{RUN}/quarantine/{name}"
    assert set(store.get_run_log(RUN, strict=True).steps) == {"load", "map"}


def test_metrics_of_which_a_line_can_be_read_stay(store, run):
    path = file_of(run, "Metric")
    data = path.read_bytes() + b"no line\n"
    path.write_bytes(data)
    assert ("problem", "corrupt", f"{RUN}/{path.name}") in kinds(store, with_repair=True)
    assert path.read_bytes() == data


@pytest.mark.parametrize("code", [errno.EACCES, errno.EIO])
def test_what_only_we_cannot_read_is_not_moved(store, run, logs, code):
    class Refusing(Syscalls):
        def open(self, path, flags, dir_fd=None):
            if "StepLog-map-" in path:
                raise OSError(code, os.strerror(code))
            return super().open(path, flags, dir_fd)

    path = file_of(run, "StepLog-map-")
    unreadable = [one for one in found(another(logs, Refusing()), with_repair=True) if one.kind == "unreadable"]
    assert [one.file for one in unreadable] == [f"{RUN}/{path.name}"]
    assert path.is_file()
    assert found(store) == []


def test_a_chunk_that_its_owner_replaces_meanwhile_is_put_back(store, run, logs):
    good = StepLog(name="load", internal_name="load", message="new", status="SUCCESS").to_json().encode()
    name = CHUNK.replace(str(LONG_AGO), str(time.time_ns()))
    (run / name).write_bytes(b"")

    class ReplacedJustBefore(Syscalls):
        def rename(self, source, target, dir_fd=None):
            if source == name:
                (run / name).write_bytes(good)
            super().rename(source, target, dir_fd)

    assert not [one for one in found(another(logs, ReplacedJustBefore()), with_repair=True) if one.moved_to]
    assert (run / name).read_bytes() == good
    assert store.get_step_log(RUN, "load").message == "new"
    assert not [path.name for path in run.iterdir() if path.name.startswith(".aside-")]


def test_a_quarantine_that_is_a_link_is_not_followed(store, run, tmp_path):
    (tmp_path / "elsewhere").mkdir()
    (run / "quarantine").symlink_to(tmp_path / "elsewhere")
    (run / CHUNK).write_bytes(b"")
    (one,) = [one for one in found(store, with_repair=True) if one.kind == "corrupt"]
    assert "could not be moved" in one.advice
    assert os.listdir(tmp_path / "elsewhere") == []
    assert store.has_step_log(RUN, "load")


def test_a_repair_that_is_killed_anywhere_loses_nothing_and_is_finished_by_the_next(store, run, logs):
    path = file_of(run, "BranchLog-map.a")
    original = path.read_bytes()
    for number in itertools.count(1):
        path.write_bytes(original[:40])
        before = len(contents(logs))

        def work(number=number):
            list(verify(another(logs, KillingSyscalls(at=number, only=("rename", "mkdir", "unlink", "link"))), RUN,
                        with_repair=True))  # fmt: skip

        with Forked(lambda _tell, work=work: work()) as child:
            code = os.waitstatus_to_exitcode(os.waitpid(child.pid, 0)[1])
            child.pid = 0
        assert code in (0, -signal.SIGKILL)
        assert len(contents(logs)) == before
        found(store, with_repair=True)
        assert not [one for one in found(store) if one.kind in ("corrupt", "unreadable")]
        assert not [name for name in os.listdir(run) if name.startswith(".aside-")]
        assert len(contents(logs)) == before
        if code == 0:
            break
    assert number > 2


@pytest.mark.parametrize("code", [errno.EACCES, errno.ENOSPC, errno.EIO])
def test_a_repair_in_which_a_call_fails_loses_nothing_and_says_why(store, run, logs, code):
    path = file_of(run, "StepLog-map.a.fit")
    path.write_bytes(b"broken")
    for number in itertools.count(1):
        syscalls = FaultySyscalls(code, at=number, only=("rename", "mkdir", "lstat", "create"))
        problems = [one for one in found(another(logs, syscalls), RUN, with_repair=True) if one.severity == "problem"]
        kept = contents(logs)
        assert b"broken" in kept
        if not syscalls.failed:
            break
        found(store, with_repair=True)
        shutil.rmtree(run / "quarantine")
        path.write_bytes(b"broken")
    assert number > 3
    assert [one.moved_to != "" for one in problems if one.kind == "corrupt"] == [True]


def test_a_run_whose_lock_is_held_is_left_and_the_finding_says_why(run, logs):
    (run / CHUNK).write_bytes(b"")
    holder, other = DirectoryBackend(logs), ChunkedStore(DirectoryBackend(logs, lock_timeout=0.05))
    with holder.lock(RUN, ".lock"):
        (one,) = [one for one in found(other, with_repair=True) if one.kind == "corrupt"]
    assert "could not be moved" in one.advice
    assert (run / CHUNK).exists()


def test_two_repairs_at_once_move_every_file_once(run, logs):
    names = []
    for number in range(20):
        names.append(CHUNK.replace("load", f"s{number}"))
        (run / names[-1]).write_bytes(b"")

    def work(tell):
        moved = [one.file for one in found(another(logs), with_repair=True) if one.moved_to]
        tell(json.dumps(moved))

    with Forked(work) as first, Forked(work) as second:
        moved = json.loads(first.wait_for_line()) + json.loads(second.wait_for_line())
    assert sorted(moved) == sorted(f"{RUN}/{name}" for name in names)
    assert sorted(path.name for path in (run / "quarantine").iterdir()) == sorted(names)


def test_documents_are_repaired_beside_the_others(logs):
    store = DocumentStore(DirectoryBackend(logs))
    store.create_run_log("bad")
    store.create_run_log("good")
    data = (logs / "bad.json").read_bytes()[:-50]
    (logs / "bad.json").write_bytes(data)
    (one,) = [one for one in found(store, with_repair=True) if one.severity == "problem"]
    assert (logs / one.moved_to).read_bytes() == data
    assert kinds(store) == [("note", "quarantined", "quarantine")]
    assert [run.run_id for run in store.list_runs()] == ["good"]
