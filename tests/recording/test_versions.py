"""Every version of data that a record names stays, and can be got back by the step that has put it."""

import errno
import hashlib
import os
import shutil
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

import pytest
from processes import Forked, run_processes

import chunkstore
from chunkstore.backends.disk.syscalls import SYSTEM
from chunkstore.maintenance.checking import verify
from chunkstore.recording.catalog import VERSIONS
from chunkstore.testing.faults import KillingSyscalls


def put(run, step, text, name="x", branch=""):
    """Put some text in a step."""
    Path("source").write_text(text)
    with (run.bound_to(branch) if branch else run).step(step) as recorded:
        recorded.put_data("source", name)


def sha(text):
    return hashlib.sha256(text.encode()).hexdigest()


def missing(store, run_id="run"):
    """Return which recorded hashes have no bytes in the catalog."""
    there = {
        hashlib.sha256(path.read_bytes()).hexdigest()
        for path in Path(store.catalog_path, run_id).rglob("*")
        if path.is_file()
    }
    records = store.iter_records(run_id)
    return {entry.data_hash for record in records for entry in getattr(record, "data_catalog", [])} - there


def problems(store):
    return [found for found in verify(store, with_data=True) if found.severity == "problem"]


def test_what_a_step_has_put_is_got_by_its_name_whatever_was_put_since(any_store):
    with any_store.start_run("run", capture_output=False) as run:
        for step, text in (("a", "one"), ("b.csv", "two"), ("c", "one"), ("d", "three")):
            put(run, step, text)
        with run.step("read") as step:
            texts = {name: step.get_data("x", "copy", step=name).read_text() for name in ("a", "b.csv", "b%2Ecsv", "c")}
            assert texts == {"a": "one", "b.csv": "two", "b%2Ecsv": "two", "c": "one"}
            assert step.get_data("x", "copy").read_text() == "three"
            with pytest.raises(chunkstore.StepLogNotFoundError):
                step.get_data("x", step="nobody")
            with pytest.raises(chunkstore.DataNotFoundError, match="step 'a'"):
                step.get_data("y", step="a")
    read = any_store.get_step_log("run", "read").data_catalog
    assert [entry.data_hash for entry in read] == [sha(text) for text in ("one", "two", "two", "one", "three")]
    assert {entry.stage for entry in read} == {"get"}
    assert (Path(any_store.catalog_path) / "run" / "x").read_text() == "three"


def test_a_step_that_puts_twice_keeps_both_and_gives_the_last(any_store):
    with any_store.start_run("run", capture_output=False) as run, run.step("a") as step:
        for text in ("one", "two"):
            Path("x").write_text(text)
            step.put_data("x")
        assert step.get_data("x", "copy", step="a").read_text() == "two"
    assert missing(any_store) == set()


def test_a_branch_gets_what_a_step_around_it_has_put(any_store):
    with any_store.start_run("run", capture_output=False) as run:
        put(run, "a", "outer")
        put(run, "b", "newer")
        put(run, "a", "inner", branch="m.1")
        with run.bound_to("m.1").step("read") as step:
            assert step.get_data("x", "copy", step="a").read_text() == "inner"
        with run.bound_to("m.2").step("read") as step:
            assert step.get_data("x", "copy", step="a").read_text() == "outer"
            assert step.get_data("x", "copy", step="m.1.a").read_text() == "inner"


def test_what_another_process_puts_just_before_ours_takes_the_name_stays(any_store, monkeypatch):
    original, other = SYSTEM.rename, []

    def rename(source, target, dir_fd=None):
        if target == "x" and not other:
            Path("other").write_text("other's")
            other.append("")
            other[0] = run.catalog.put("other", "x", "")[0]
        original(source, target, dir_fd)

    with any_store.start_run("run", capture_output=False) as run:
        put(run, "a", "one")
        monkeypatch.setattr(SYSTEM, "rename", rename)
        put(run, "b", "two")
        assert run.catalog.get_version(other[0], "copy")[0].read_text() == "other's"
        assert run.catalog.get("x", "copy", "")[0].read_text() == "two"


def test_equal_bytes_that_are_put_just_before_ours_take_the_name_leave_nothing_behind(any_store, monkeypatch):
    original, others = SYSTEM.rename, []

    def rename(source, target, dir_fd=None):
        if target == "x" and not others:
            others.append(None)
            run.catalog.put("source", "x", "")
        original(source, target, dir_fd)

    with any_store.start_run("run", capture_output=False) as run:
        monkeypatch.setattr(SYSTEM, "rename", rename)
        put(run, "a", "one")
        assert run.catalog.get("x", "copy", "")[0].read_text() == "one"
    assert others
    assert [path.name for path in Path(any_store.catalog_path).rglob(".tmp-*")] == []


def put_many(folder, log_folder, number):
    os.chdir(folder)
    store = chunkstore.open_store("chunked-fs", log_folder=log_folder, durability="process")
    with store.join_run("run", capture_output=False) as run:
        for turn in range(10):
            with run.step(f"s-{number}-{turn}") as step:
                Path(f"source-{number}").write_text(f"{turn % 3}-{number % 2}")
                step.put_data(f"source-{number}", "x")


def test_of_processes_that_put_one_name_at_once_each_finds_its_own(store, tmp_path):
    store.start_run("run")
    run_processes(put_many, [(os.getcwd(), str(tmp_path / "log"), number) for number in range(4)])
    assert missing(store) == set()
    assert problems(store) == []
    left = [name for _, _, names in os.walk(store.catalog_path) for name in names if name.startswith(".tmp-")]
    assert left == []


def test_threads_that_put_one_name_at_once_find_their_own(store):
    for number in range(8):
        Path(f"source-{number}").write_text(str(number % 3))
    with store.start_run("run", capture_output=False) as run, ThreadPoolExecutor(8) as threads:

        def work(number):
            with run.step(f"s-{number}") as step:
                step.put_data(f"source-{number}", "x")

        list(threads.map(work, range(8)))
    assert missing(store) == set()


def test_equal_bytes_are_there_once(store):
    with store.start_run("run", capture_output=False) as run:
        for step, name in (("a", "x"), ("b", "y"), ("c", "deep/x"), ("d", "x")):
            put(run, step, "z" * 10_000, name)
        put(run, "a", "z" * 10_000, branch="m.1")
    files = [path for path in Path(store.catalog_path, "run").rglob("*") if path.is_file()]
    assert len(files) == 5
    assert len({path.stat().st_ino for path in files}) == 1


@pytest.mark.parametrize("refused", [errno.EPERM, errno.EMLINK, errno.EOPNOTSUPP, errno.EINVAL])
def test_without_hard_links_every_version_is_kept_too(any_store, monkeypatch, refused):
    def refuse(*_):
        raise OSError(refused, os.strerror(refused))

    monkeypatch.setattr(SYSTEM, "link", refuse)
    with any_store.start_run("run", capture_output=False) as run:
        for step, text in (("a", "one"), ("b", "two"), ("c", "one")):
            put(run, step, text)
        with run.step("read") as step:
            assert step.get_data("x", "copy", step="b").read_text() == "two"
    assert missing(any_store) == set()
    assert (Path(any_store.catalog_path) / "run" / "x").read_text() == "one"


def test_data_that_an_older_version_has_put_is_kept_when_it_is_replaced(any_store):
    with any_store.start_run("run", capture_output=False) as run:
        put(run, "a", "one")
        shutil.rmtree(Path(any_store.catalog_path) / "run" / VERSIONS)
        put(run, "b", "two")
        with run.step("read") as step:
            assert step.get_data("x", "copy", step="a").read_text() == "one"


def test_a_version_that_somebody_has_damaged_is_put_again_and_never_given_out(any_store):
    kept = Path(any_store.catalog_path) / "run" / VERSIONS / sha("one")
    with any_store.start_run("run", capture_output=False) as run:
        put(run, "a", "one")
        kept.write_text("0ne")
        put(run, "b", "two")
        with run.step("read") as step:
            with pytest.raises(chunkstore.DataNotFoundError, match="has changed the file"):
                step.get_data("x", "copy", step="a")
            assert not Path("copy").exists()
        put(run, "c", "one")
        with run.step("again") as step:
            assert step.get_data("x", "copy", step="a").read_text() == "one"


def test_the_last_whole_copy_of_a_version_is_kept_when_it_is_replaced(any_store):
    kept = Path(any_store.catalog_path) / "run" / VERSIONS / sha("one")
    with any_store.start_run("run", capture_output=False) as run:
        put(run, "a", "one")
        kept.unlink()
        kept.write_text("0ne")
        put(run, "b", "two")
        with run.step("read") as step:
            assert step.get_data("x", "copy", step="a").read_text() == "one"


def test_a_folder_that_is_put_again_and_again_costs_the_same_each_time(store, monkeypatch):
    listed = []
    monkeypatch.setattr("chunkstore.recording.catalog.versions._has_inode", lambda *_: listed.append(1))
    Path("data").mkdir()
    with store.start_run("run", capture_output=False) as run, run.step("a") as step:
        for turn in range(3):
            for number in range(5):
                Path(f"data/{number}").write_text(f"{turn} {number}")
            step.put_data("data")
    assert listed == []
    assert missing(store) == set()


@pytest.mark.parametrize("is_gone", [False, True])
def test_what_is_taken_over_is_the_version_that_was_recorded(any_store, is_gone):
    ran = []

    def make(text):
        ran.append(text)
        Path("source").write_text(text)
        chunkstore.current_step().put_data("source", "x")
        return text

    with any_store.start_run("first", capture_output=False) as run:
        run.step("a", make, "one")
        run.step("b", make, "two")
    if is_gone:  # as older versions of this library, which kept no more than the newest, have left it
        shutil.rmtree(Path(any_store.catalog_path) / "first" / VERSIONS)
    with any_store.start_run("second", resume="first", capture_output=False) as run:
        run.step("a", make, "one")
        run.step("b", make, "two")
        with run.step("read") as step:
            assert step.get_data("x", "copy", step="a").read_text() == "one"
            assert step.get_data("x", "copy").read_text() == "two"
    assert ran == ["one", "two", *(["one"] if is_gone else [])]
    assert missing(any_store, "second") == set()


def kill_while_putting(store, number):
    """Put data in a child that is killed at its Nth system call; tell whether it was."""

    def work(tell):
        run = store.join_run("run", capture_output=False)
        syscalls = KillingSyscalls(at=number)
        for name in ("open", "write", "link", "rename", "mkdir", "unlink", "close"):
            setattr(SYSTEM, name, getattr(syscalls, name))
        run.catalog.put("source", "x", "")
        for name in ("open", "write", "link", "rename", "mkdir", "unlink", "close"):
            delattr(SYSTEM, name)
        tell("done")

    with Forked(work) as child:
        return child.wait_for_line() != "done"


@pytest.mark.thorough
def test_whoever_is_killed_while_putting_takes_no_version_away(store):
    with store.start_run("run", capture_output=False) as run:
        put(run, "a", "one")
        put(run, "b", "two")
        number = 0
        while kill_while_putting(store, number := number + 1):
            assert missing(store) == set(), f"killed at call {number}"
            assert problems(store) == []
        assert number > 10


def test_what_two_processes_print_in_steps_of_one_name_stays_both(store):
    with store.start_run("run") as run, run.step("a"):
        print("first")
        store.join_run("run").step("a", lambda: print("second"))
        print("still the first")
    kept = {path.read_text() for path in Path(store.catalog_path, "run").rglob("*") if path.is_file()}
    assert {"first\nstill the first\n", "second\n"} <= kept


def test_permissions_come_back_and_nothing_more(any_store):
    modes = {"tool": 0o755, "secret": 0o600, "read-only": 0o444, "setuid": 0o4755, "group": 0o664}
    with any_store.start_run("run", capture_output=False) as run, run.step("a") as step:
        for name, mode in modes.items():
            Path(name).write_text("the same bytes")
            os.chmod(name, mode)
            step.put_data(name)
            os.unlink(name)
        for name, mode in modes.items():
            assert step.get_data(name).stat().st_mode & 0o7777 == mode & 0o777, name
            os.unlink(name)


def test_the_copy_of_a_step_has_its_own_permissions(any_store):
    with any_store.start_run("run", capture_output=False) as run:
        for step, mode in (("a", 0o644), ("b", 0o755)):
            with run.step(step) as recorded:
                Path("tool").write_text("#!/bin/sh\n")
                os.chmod("tool", mode)
                recorded.put_data("tool")
        with run.step("read") as step:
            assert step.get_data("tool", "copy", step="b").stat().st_mode & 0o777 == 0o755
            assert step.get_data("tool", "copy").stat().st_mode & 0o777 == 0o755
