"""What a step prints is kept in the catalog, and still printed."""

import contextlib
import hashlib
import logging
import os
import subprocess
import sys
import threading
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

import pytest
from processes import fork_and_wait

import chunkstore
from chunkstore.backends.disk.syscalls import SYSTEM
from chunkstore.recording.catalog import retrieval
from recording import work


def kept(run, step):
    """Return what was kept of what a step printed; None if there is nothing."""
    path = Path(run.catalog.path, run.run_id, f"{step}.execution.log")
    return path.read_text() if path.exists() else None


def test_what_a_step_prints_is_kept_recorded_and_still_printed(any_store, capsys):
    with any_store.start_run("run") as run, run.step("load") as step:
        print("out")
        print("err", file=sys.stderr)
        sys.stdout.writelines(["one\n", "größe\n"])
        step.log_metric("rows", 1)
    assert kept(run, "load") == "out\nerr\none\ngröße\n"
    printed = capsys.readouterr()
    assert (printed.out, printed.err) == ("out\none\ngröße\n", "err\n")
    (entry,) = any_store.get_step_log("run", "load").data_catalog
    assert (entry.name, entry.catalog_relative_path) == ("load.execution.log", "run/load.execution.log")
    assert (entry.stage, entry.data_hash) == ("put", hashlib.sha256(kept(run, "load").encode()).hexdigest())


def test_a_step_that_prints_nothing_leaves_no_file(store, tmp_path):
    with store.start_run("run") as run, run.step("load"):
        sys.stdout.write("")
    assert store.get_step_log("run", "load").data_catalog == []
    assert not Path(run.catalog.path).exists()


def test_capture_can_be_switched_off(store, capsys):
    with store.start_run("run", capture_output=False) as run:
        before = sys.stdout
        with run.step("load"):
            assert sys.stdout is before
            print("out")
        run.map("score", [1], print, executor=work.threads())
    assert capsys.readouterr().out == "out\n1\n"
    assert not Path(run.catalog.path).exists()


def test_a_stream_that_the_step_replaced_is_left_alone(store, monkeypatch, capsys):
    original = sys.stdout
    with store.start_run() as run, run.step("load"):
        mine = open("mine.txt", "w")  # noqa: SIM115 - closed below
        sys.stdout = mine
    try:
        assert sys.stdout is mine
    finally:
        sys.stdout = original
        mine.close()


def test_a_program_without_streams_records_all_the_same(store, monkeypatch):
    monkeypatch.setattr(sys, "stdout", None)
    monkeypatch.setattr(sys, "stderr", None)
    with store.start_run("run") as run, run.step("load"):
        pass
    assert store.get_step_log("run", "load").status == "SUCCESS"


def test_threads_keep_apart(store, capsys):
    barrier = threading.Barrier(3)

    def chat(name):
        with run.step(name):
            for number in range(3):
                barrier.wait(10)
                print(f"{name} {number}")

    with store.start_run() as run, ThreadPoolExecutor(3) as threads:
        list(threads.map(chat, "abc"))
    for name in "abc":
        assert kept(run, name) == "".join(f"{name} {number}\n" for number in range(3))
    assert len(capsys.readouterr().out.splitlines()) == 9


def test_inner_steps_keep_apart_from_the_step_around_them(store):
    with store.start_run() as run, run.step("outer"):
        print("before")
        with run.step("inner"):
            print("inside")
        print("after")
    assert (kept(run, "outer"), kept(run, "inner")) == ("before\nafter\n", "inside\n")


def test_what_each_attempt_printed_is_kept_by_itself(store, calls):
    def load():
        work.note(calls, "x")
        print("try", work.noted(calls)["x"])
        if work.noted(calls)["x"] < 3:
            raise ValueError("again")

    with store.start_run("run") as run:
        run.step("load", load, max_attempts=3, backoff=0)
    assert kept(run, "load") == "try 3\n"
    step = store.get_step_log("run", "load")
    (last,) = step.data_catalog
    entries = [*(entry for attempt in step.attempts[:2] for entry in attempt.data_catalog), last]
    for number, entry in enumerate(entries, 1):
        with retrieval.version(run.catalog.path, entry.catalog_relative_path, entry.data_hash) as kept_of_attempt:
            assert kept_of_attempt.read() == f"try {number}\n".encode()


def test_what_branches_in_processes_print_is_kept(store):
    with store.start_run("run") as run:
        run.map("score", [1, 2], work.log_all)
    for item in (1, 2):
        assert kept(run, f"score.{item}.log_all") == f"printed by {item}\n"


def test_hostile_step_names_have_files_of_their_own_inside_the_catalog(store, tmp_path):
    names = ["../x", "data/a.csv", "a" * 300, "a" * 299 + "b", "größe", "..", " "]
    with store.start_run("run") as run:
        for name in names:
            with run.step(name):
                print(name)
    files = [path for path in Path(run.catalog.path).rglob("*") if path.is_file()]
    assert {path.parent for path in files} == {Path(run.catalog.path, "run")}
    assert sorted(path.read_text() for path in files) == sorted(f"{name}\n" for name in names)


def test_text_that_utf8_cannot_hold_is_kept_escaped(store, monkeypatch):
    class Anything:
        def write(self, text):
            return len(text)

        def flush(self):
            pass

    monkeypatch.setattr(sys, "stdout", Anything())
    with store.start_run() as run, run.step("load"):
        print("half \ud800")
    assert kept(run, "load") == "half \\ud800\n"


def test_a_full_disk_does_not_fail_the_step(store, monkeypatch, caplog, capsys):
    def full(*_):
        raise OSError(28, "No space left on device")

    original = SYSTEM.open
    with store.start_run("run") as run, run.step("load"):
        monkeypatch.setattr(SYSTEM, "open", full)
        print("lost")
        monkeypatch.setattr(SYSTEM, "open", original)
        print("lost too")
    assert capsys.readouterr().out == "lost\nlost too\n"
    assert store.get_step_log("run", "load").status == "SUCCESS"
    assert len([record for record in caplog.records if record.levelno == logging.WARNING]) == 1


def test_logging_that_was_set_up_before_still_works_and_after_the_step_too(store, capsys):
    with store.start_run() as run, run.step("load"):
        handler = logging.StreamHandler()  # holds the stream of this very moment
    record = logging.LogRecord("x", logging.INFO, "", 0, "later", None, None)
    handler.emit(record)
    handler.flush()
    assert "later" in capsys.readouterr().err


def test_a_step_runs_while_both_streams_are_one(store, capsys):
    with contextlib.redirect_stdout(sys.stderr), store.start_run("run") as run, run.step("load"):
        print("out")
    assert capsys.readouterr().err == "out\n"
    assert kept(run, "load") == "out\n"


def test_the_library_itself_prints_nothing():
    program = (
        "import chunkstore\n"
        "store = chunkstore.open_store('buffered')\n"
        "from concurrent.futures import ThreadPoolExecutor\n"
        "with store.start_run() as run:\n"
        "    run.step('load', abs, -1)\n"
        "    run.map('score', [1, 2], abs, executor=ThreadPoolExecutor(2))\n"
    )
    result = subprocess.run([sys.executable, "-c", program], capture_output=True, check=True)
    assert (result.stdout, result.stderr) == (b"", b"")


def test_current_step_is_the_one_whose_output_is_kept(store):
    def say(text):
        print(chunkstore.current_step().name, text)

    with store.start_run() as run:
        run.step("a", say, "hello")
    assert kept(run, "a") == "a hello\n"


@pytest.mark.parametrize("durability", ["step", "run", "process"])
def test_what_was_printed_survives_a_loss_of_power_as_all_data_does(tmp_path, monkeypatch, durability):
    synced = []
    original = SYSTEM.fsync
    monkeypatch.setattr(SYSTEM, "fsync", lambda fd: (synced.append(os.readlink(f"/proc/self/fd/{fd}")), original(fd)))
    store = chunkstore.open_store("chunked-fs", log_folder=str(tmp_path / "log"), durability=durability)
    run = store.start_run("run")
    with run.step("load"):
        print("out")
    folder = f"{store.catalog_path}/run"
    kept_in = {f"{folder}/load.execution.log", folder, store.catalog_path, str(tmp_path)}
    assert (kept_in <= set(synced)) == (durability == "step")
    run.finish()
    assert (kept_in <= set(synced)) == (durability != "process")


def test_what_a_forked_child_prints_is_not_kept_as_the_steps_output(store):
    with store.start_run("run") as run, run.step("load"):
        print("parent")
        assert fork_and_wait(lambda: print("child"))
        print("parent again")
    assert kept(run, "load") == "parent\nparent again\n"
    (entry,) = store.get_step_log("run", "load").data_catalog
    assert entry.data_hash == hashlib.sha256(kept(run, "load").encode()).hexdigest()


@pytest.mark.parametrize("name", ["stdout", "stderr"])
def test_logging_that_was_set_up_before_is_kept_once(store, name, capsys):
    handler = logging.StreamHandler(getattr(sys, name))
    mine = logging.getLogger("mine")
    mine.addHandler(handler)
    try:
        stream = handler.stream
        with store.start_run("run") as run:
            for step in ("a", "b"):
                with run.step(step), run.step(f"{step}-inner"):
                    mine.warning("in %s", step)
        assert handler.stream is stream
        mine.warning("after")
    finally:
        mine.removeHandler(handler)
    assert (kept(run, "a-inner"), kept(run, "b-inner")) == ("in a\n", "in b\n")
    assert (kept(run, "a"), kept(run, "b")) == (None, None)
    printed = capsys.readouterr()
    assert (printed.out if name == "stdout" else printed.err) == "in a\nin b\nafter\n"


def test_what_a_finaliser_prints_in_the_middle_of_a_print_is_kept(store, monkeypatch):
    opened = SYSTEM.open
    left = ["first"]

    def interrupted(*arguments):
        if left:
            print(left.pop())
        return opened(*arguments)

    with store.start_run("run") as run, run.step("load"):
        monkeypatch.setattr(SYSTEM, "open", interrupted)
        print("second")
        monkeypatch.undo()
        print("third")
    assert all(kept(run, "load").count(text) == 1 for text in ("first", "second", "third"))
    (entry,) = store.get_step_log("run", "load").data_catalog
    assert entry.data_hash == hashlib.sha256(kept(run, "load").encode()).hexdigest()


def test_a_step_that_ends_in_the_middle_of_its_own_print_has_the_hash_of_what_is_kept(store, monkeypatch):
    write = SYSTEM.write
    run = store.start_run("run")
    step = run.step("load")
    step.__enter__()
    print("first")

    def interrupted(*arguments):
        monkeypatch.undo()
        step.__exit__(None, None, None)
        return write(*arguments)

    monkeypatch.setattr(SYSTEM, "write", interrupted)
    print("second")
    (entry,) = store.get_step_log("run", "load").data_catalog
    assert entry.data_hash == hashlib.sha256(b"first\n").hexdigest()
    run.finish()
