"""`chunkstore watch` shows a run until it ends; `chunkstore logs` what a step printed."""

import json
import os
import shutil
import signal
import subprocess
import sys

import pytest
from recording.work import wait_for

import chunkstore as library
from cli.command import chunkstore, on_terminal
from cli.conftest import being_recorded


def watched(logs, *options, run="mine"):
    command = [sys.executable, "-m", "chunkstore", "watch", run, "--store", logs, *options]
    return subprocess.Popen(command, stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True)


@pytest.mark.thorough
@pytest.mark.sampled
@pytest.mark.parametrize(("status", "code"), [("SUCCESS", 0), ("FAIL", 1)])
def test_watching_ends_with_the_run_and_its_exit_code_tells_how(store, logs, status, code):
    run = store.start_run("mine")
    with run.step("before"):
        pass
    with watched(logs) as watcher:
        assert "✔ before" in watcher.stdout.readline()
        with run.step("while"):
            pass
        assert "while" in watcher.stdout.readline()
        run.finish(status)
        out, err = watcher.communicate(timeout=20)
    assert (watcher.returncode, err) == (code, "")
    assert f"{status}  mine" in out


@pytest.mark.sampled
def test_watching_in_json_prints_each_change_in_a_line(store, logs):
    run = store.start_run("mine")
    with watched(logs, "--json") as watcher:
        first = json.loads(watcher.stdout.readline())
        assert (first["run_id"], first["status"], first["changed"]) == ("mine", "PROCESSING", [])
        with pytest.raises(KeyError), run.step("bad"):
            raise KeyError("why")
        run.finish()
        lines = [json.loads(line) for line in watcher.communicate(timeout=20)[0].splitlines()]
    assert watcher.returncode == 1
    changes = [change for line in lines for change in line["changed"]]
    assert changes[-1] == {"step": "bad", "status": "FAIL", "message": "KeyError: 'why'"}
    assert (lines[-1]["status"], lines[-1]["steps"]) == ("FAIL", {"FAIL": 1})


@pytest.mark.sampled
def test_watching_a_run_whose_owner_dies_ends_and_says_so(store, logs):
    with being_recorded(store) as owner, watched(logs) as watcher:
        assert "… a" in watcher.stdout.readline()
        owner.kill()
        out, _ = watcher.communicate(timeout=20)
    assert watcher.returncode == 1
    assert "☠ LOST" in out


def test_watching_can_be_interrupted(store, logs):
    store.create_run_log("mine")
    store.add_step_log("mine", library.StepLog(name="a", internal_name="a", status="PROCESSING"))
    with watched(logs) as watcher:
        assert "a" in watcher.stdout.readline()
        watcher.send_signal(signal.SIGINT)
        _, err = watcher.communicate(timeout=20)
    assert watcher.returncode == 130
    assert "Traceback" not in err


@pytest.mark.sampled
def test_watching_a_finished_run_shows_it_and_ends(store, logs, pipeline):
    pipeline(store, bad=())
    assert chunkstore("watch", "one", "--store", logs).code == 0
    code, screen = on_terminal("watch", "one", "--store", logs, rows=12)
    assert code == 0
    assert "SUCCESS" in screen


def test_a_terminal_shows_the_tree_as_it_grows(tmp_path, logs):
    store = library.open_store("chunked-fs", log_folder=logs)
    run = store.start_run("mine")
    (tmp_path / "screen").touch()
    child = os.fork()
    if child == 0:
        with (tmp_path / "screen").open("w") as screen:
            code, _ = on_terminal("watch", "mine", "--store", logs, columns=100, rows=10, copy=screen, NO_COLOR="1")
        os._exit(code)
    with run.step("first"):
        wait_for(lambda: "PROCESSING  mine" in (tmp_path / "screen").read_text())
    run.map("many", range(40), abs, on_error="continue")
    run.finish()
    _, status = os.waitpid(child, 0)
    assert os.waitstatus_to_exitcode(status) == 0
    screen = (tmp_path / "screen").read_text()
    assert "PROCESSING  mine" in screen
    assert "SUCCESS  mine" in screen
    assert "many (map, 40 branches)" in screen


# --- logs ------------------------------------------------------------------------------------------------------------


def test_what_a_step_printed_is_printed(store, logs, pipeline):
    pipeline(store)
    assert chunkstore("logs", "one", "load", "--store", logs) == (0, "loading\n", "")
    found = chunkstore("logs", "one", "load", "--store", logs, "--json").json
    assert (found["run_id"], found["step"], found["text"]) == ("one", "load", "loading\n")


def test_a_step_that_printed_nothing_is_no_error(store, logs, pipeline):
    pipeline(store)
    result = chunkstore("logs", "one", "end", "--store", logs)
    assert (result.code, result.out) == (0, "")
    assert "printed nothing" in result.err
    assert chunkstore("logs", "one", "end", "--store", logs, "--json").json is None


def test_what_a_step_prints_is_followed_until_it_ends(store, logs):
    with store.start_run("mine") as run, run.step("slow"):
        print("first")
        command = [sys.executable, "-m", "chunkstore", "logs", "mine", "slow", "-f", "--store", logs]
        reader = subprocess.Popen(command, stdout=subprocess.PIPE, text=True)
        assert reader.stdout.readline() == "first\n"
        print("second")
        assert reader.stdout.readline() == "second\n"
        assert reader.poll() is None
    with reader:
        assert reader.communicate(timeout=20)[0] == ""
    assert reader.returncode == 0


def test_text_that_is_gone_is_told(tmp_path, store, logs, pipeline):
    pipeline(store)
    (tmp_path / ".catalog" / "one" / "load.execution.log").unlink()
    result = chunkstore("logs", "one", "load", "--store", logs)
    assert result.code == 1
    assert "load.execution.log" in result.err


@pytest.mark.parametrize("path", ["../secret", "/etc/passwd", "one/../../secret", "link/secret", "one/pipe", "one"])
def test_no_record_leads_out_of_the_catalog_or_opens_what_is_no_file(tmp_path, store, logs, path):
    store.create_run_log("one", status="SUCCESS")
    catalog = tmp_path / ".catalog"
    (catalog / "one").mkdir(parents=True)
    (tmp_path / "secret").write_text("secret")
    (catalog / "link").symlink_to(tmp_path)
    os.mkfifo(catalog / "one" / "pipe")
    entry = library.DataCatalog(name="a.execution.log", catalog_relative_path=path, stage="put")
    store.add_step_log("one", library.StepLog(name="a", internal_name="a", status="SUCCESS", data_catalog=[entry]))
    result = chunkstore("logs", "one", "a", "--store", logs)
    assert (result.code, result.out) == (1, "")
    assert "secret" not in result.out


def test_a_branch_is_named_for_its_only_step(store, logs):
    with store.start_run("mine") as run:
        run.map("work", ["a.csv", "b.csv"], printing)
    assert chunkstore("logs", "mine", "a.csv", "--store", logs).out == "working on a.csv\n"


def printing(item):
    print("working on", item)
    wait_for(lambda: True)


def test_a_run_whose_own_record_cannot_be_read_is_not_waited_for(tmp_path, logs, pipeline):
    store = library.open_store("chunked-fs", log_folder=logs)
    pipeline(store)
    (tmp_path / "logs" / "one" / "RunLog.json").write_text("{")
    result = chunkstore("watch", "one", "--store", logs)
    assert result.code == 1
    assert "RunLog.json" in result.err


@pytest.mark.sampled
def test_watching_says_if_nobody_may_be_recording(store, logs):
    store.create_run_log("mine")
    with watched(logs) as watcher:
        assert "not known" in watcher.stderr.readline()
        store.update_run_log("mine", lambda log: setattr(log, "status", "SUCCESS"))
        out, _ = watcher.communicate(timeout=20)
    assert watcher.returncode == 0
    assert "SUCCESS" in out


def test_output_that_is_gone_is_told_with_the_whole_path(store, logs, pipeline):
    pipeline(store)
    (entry,) = [one for one in store.get_step_log("one", "load").data_catalog if one.name == "load.execution.log"]
    path = os.path.join(store.catalog_path, entry.catalog_relative_path)
    for gone in (path, os.path.dirname(path), store.catalog_path):
        (shutil.rmtree if os.path.isdir(gone) else os.unlink)(gone)
        result = chunkstore("logs", "one", "load", "--store", logs)
        assert (result.code, result.out) == (1, "")
        assert f"Cannot read {path}: " in result.err.replace("\n", "")
