"""A copy that is killed anywhere is never taken for the whole, and the next one completes it."""

import itertools
import os
import random
import signal
import time

import pytest
from processes import fork

from chunkstore.backends.disk.directory import DirectoryBackend
from chunkstore.errors import RunLogNotFoundError
from chunkstore.maintenance.copying import copy_runs, into_chunks
from chunkstore.stores.chunked import ChunkedStore
from chunkstore.stores.document import DocumentStore
from chunkstore.stores.options import StoreOptions
from chunkstore.testing.faults import KillingSyscalls
from maintenance.copying.runs import RUN, chunks, copied, note, open_store, outcome, record, record_into, same

LAYOUTS = {"chunked-fs": ChunkedStore, "file-system": DocumentStore}


def opened(kind, folder, syscalls=None):
    """Open a store whose system calls are given."""
    options = StoreOptions(catalog_folder=str(folder / "catalog"))
    given = {} if syscalls is None else {"syscalls": syscalls}
    return LAYOUTS[kind](DirectoryBackend(str(folder / "runs"), durability="run", **given), options)


def killed(act, at):
    """Do something in a child that is killed at some system call; tell whether it was."""
    pid = fork()
    if pid == 0:
        try:
            act(KillingSyscalls(at=at))
        finally:
            os._exit(0)
    return os.WIFSIGNALED(os.waitpid(pid, 0)[1])


def check_is_no_whole(source, target):
    """Check that what is there says what it is: the whole run, or a part of it that goes on."""
    try:
        log = target.get_run_log(RUN)
    except RunLogNotFoundError:
        return
    if log.status == "SUCCESS":
        assert not note(target).partial
        assert same(source, target)
    else:
        assert log.status == "PROCESSING"


def kill_everywhere(source, tmp_path, kind, prepare=lambda _target: None, step=1, **options):
    """Kill a copy at each system call on its target, or some, and complete it."""
    for at in itertools.count(1, step):
        folder = tmp_path / f"target-{at}"
        prepare(opened(kind, folder))
        is_killed = killed(lambda calls, to=folder: copy_runs(source, opened(kind, to, calls), **options), at)
        target = opened(kind, folder)
        check_is_no_whole(source, target)
        assert copied(source, target, **options).has_ended
        assert same(source, target)
        if not is_killed:
            return at
    raise AssertionError


@pytest.mark.thorough
@pytest.mark.parametrize("kind", LAYOUTS)
@pytest.mark.parametrize("data", [False, True])
def test_a_new_copy_is_killed_at_any_system_call(tmp_path, kind, data):
    source = open_store("chunked-fs", tmp_path / "source")
    record(source, steps=1, data=data)
    assert kill_everywhere(source, tmp_path, kind, step=3 if data else 1) > 5


@pytest.mark.thorough
def test_a_copy_in_parts_is_killed_at_every_other_system_call(tmp_path, monkeypatch):
    monkeypatch.setattr(into_chunks, "MOST_KEPT", 100)
    source = open_store("chunked-fs", tmp_path / "source")
    with source.start_run(RUN) as run, run.step("load") as step:
        step.log_metric("loss", 0.5, step=1)
    assert kill_everywhere(source, tmp_path, "chunked-fs", step=2, seal=True, concurrency=1) > 30


@pytest.mark.thorough
@pytest.mark.parametrize("kind", LAYOUTS)
def test_bringing_a_copy_up_to_date_is_killed_at_every_system_call(tmp_path, kind):
    source = open_store("chunked-fs", tmp_path / "source")
    with source.start_run(RUN) as run:
        record_into(source, run, 1)
        copied(source, opened(kind, tmp_path / "earlier"))
        source.set_parameters(RUN, {"more": 1})
        with run.step("later"):
            pass

    def prepare(target):
        import shutil

        shutil.copytree(tmp_path / "earlier", os.path.dirname(target.backend.location))

    assert kill_everywhere(source, tmp_path, kind, prepare, concurrency=1) > 10


def test_a_copy_that_was_killed_says_that_it_goes_on_and_whose_it_is(tmp_path, monkeypatch):
    monkeypatch.setattr(into_chunks, "MOST_KEPT", 100)
    source, target = (open_store("chunked-fs", tmp_path / name) for name in ("source", "target"))
    log = record(source)
    assert killed(lambda calls: copy_runs(source, opened("chunked-fs", tmp_path / "target", calls), concurrency=1), 100)
    part = target.get_run_log(RUN)
    assert (part.status, "finished" in part.notes) == ("PROCESSING", False)
    assert (note(target).partial, note(target).incarnation) == (True, log.incarnation)
    assert target.liveness(RUN).state == "UNKNOWN"
    assert "copy it again" in target.liveness(RUN).why
    held = chunks(target)
    assert 0 < len(held) < len(chunks(source))
    again = copied(source, target)
    assert again.chunks == len(chunks(source)) - len(held)
    assert same(source, target)


@pytest.mark.thorough
def test_copies_of_many_runs_that_are_killed_again_and_again_come_to_an_end(tmp_path):
    source, target = (open_store("chunked-fs", tmp_path / name) for name in ("source", "target"))
    names = [f"run-{number}" for number in range(30)]
    for name in names:
        record(source, name, steps=2, data=True)
    chance = random.Random(5)
    for _ in range(12):
        pid = fork()
        if pid == 0:
            copy_runs(source, target)
            os._exit(0)
        time.sleep(chance.uniform(0, 0.3))
        os.kill(pid, signal.SIGKILL)
        os.waitpid(pid, 0)
        for run in target.list_runs():
            assert run.status == "PROCESSING" or same(source, target, run.run_id)
    report = copy_runs(source, target)
    assert [problem for run in report.runs for problem in run.problems] == []
    assert all(same(source, target, name) for name in names)


def test_a_source_that_is_deleted_while_it_is_copied_leaves_no_whole_copy(tmp_path, monkeypatch):
    monkeypatch.setattr(into_chunks, "MOST_KEPT", 100)
    source, target = (open_store("chunked-fs", tmp_path / name) for name in ("source", "target"))
    record(source)
    publish = target.backend.publish

    def delete_then_publish(*arguments, **options):
        if source.has_run(RUN):
            source.delete_run(RUN)
            record(source, steps=1)
        return publish(*arguments, **options)

    monkeypatch.setattr(target.backend, "publish", delete_then_publish)
    failed = outcome(source, target)
    assert failed.outcome == "failed"
    assert not target.has_run(RUN) or note(target).partial
