"""`chunkstore gc` deletes what a rule lets go, after somebody has agreed."""

import json
import os
import pty
import subprocess
import sys
import time

import pytest
import typer
from maintenance.old_runs import add
from processes import Forked
from typer.testing import CliRunner

from chunkstore.cli.retention import GcReport, collect_garbage
from chunkstore.errors import InvalidValueError

app = typer.Typer()
app.command()(collect_garbage)


def cleaned(*arguments):
    return CliRunner().invoke(app, [str(argument) for argument in arguments])


@pytest.fixture
def filled(store):
    """A store with runs of some ages, of which two have failed."""
    for days in (1, 10, 40, 50):
        add(store, f"run-{days}", days, "FAIL" if days in (10, 50) else "SUCCESS", tag="nightly" if days == 40 else "")
    return store


def runs(store):
    return [run.run_id for run in store.list_runs()]


@pytest.mark.parametrize(
    ("rule", "left"),
    [
        (["--older-than", "30d"], ["run-1", "run-10"]),
        (["--older-than", "6w"], ["run-1", "run-10", "run-40"]),
        (["--keep-last", "1"], ["run-1"]),
        (["--status", "fail"], ["run-1", "run-40"]),
        (["--status", "FAIL", "--keep-last", "1"], ["run-1", "run-10", "run-40"]),
        (["--tag", "nightly"], ["run-1", "run-10", "run-50"]),
        (["--status", "SUCCESS", "--status", "FAIL", "--older-than", "45d"], ["run-1", "run-10", "run-40"]),
    ],
    ids=" ".join,
)
def test_each_rule_lets_go_what_it_says(filled, logs, rule, left):
    result = cleaned("--store", logs, *rule, "--yes")
    assert result.exit_code == 0
    assert runs(filled) == left
    deleted = 4 - len(left)
    assert f"Deleted {deleted} run{'s' * (deleted != 1)}; that freed" in result.stdout
    assert "kB" in result.stdout


def test_a_dry_run_shows_the_same_and_does_nothing(filled, logs):
    result = cleaned("--store", logs, "--older-than", "30d", "--dry-run")
    assert result.exit_code == 0
    assert [line.split()[:3] for line in result.stdout.splitlines()[:2]] == [
        ["delete", "run-50", "FAIL"],
        ["delete", "run-40", "SUCCESS"],
    ]
    assert "Would delete 2 runs; that would free" in result.stdout
    assert len(runs(filled)) == 4


def test_without_yes_nothing_is_deleted_where_nobody_can_be_asked(filled, logs):
    for more in ([], ["--json"]):
        result = cleaned("--store", logs, "--older-than", "30d", *more)
        assert result.exit_code == 2
        assert "--yes" in result.stderr
        assert result.stdout == ""
    assert len(runs(filled)) == 4


@pytest.mark.parametrize(
    "rule", [[], ["--dry-run"], ["--yes"], ["--older-than", "soon", "--yes"], ["--status", "PROCESSING", "--yes"]]
)
def test_a_rule_that_cannot_be_used_is_refused_before_anything_is_done(filled, logs, rule):
    assert isinstance(cleaned("--store", logs, *rule).exception, InvalidValueError)
    assert len(runs(filled)) == 4


def test_json_holds_everything_and_nothing_else_is_printed(filled, logs):
    result = cleaned("--store", logs, "--older-than", "30d", "--yes", "--json")
    report = json.loads(result.stdout)
    assert [run["run_id"] for run in report["deleted"]] == ["run-50", "run-40"]
    assert report["freed"] == sum(run["space"] for run in report["deleted"]) > 0
    assert (report["runs"], report["unfinished"], report["failed"], report["dry_run"]) == (4, 0, [], False)
    assert set(report) == set(GcReport.__struct_fields__)


def test_what_is_kept_is_told_with_the_reason(store, logs, tmp_path):
    add(store, "old", 90, "FAIL")
    with store.start_run("new", resume="old"):
        result = cleaned("--store", logs, "--status", "FAIL", "--yes")
    assert result.exit_code == 0
    assert "kept    old: run new, which resumed it, has not succeeded" in result.stdout
    assert "1 has not finished" in result.stdout
    assert len(runs(store)) == 2


def test_a_run_that_cannot_be_deleted_makes_the_exit_code_1(filled, logs, monkeypatch):
    def fail(_store, _run_id, _condition):
        from chunkstore.errors import StoreIOError

        raise StoreIOError("Cannot use it: the disk is on fire. Check the disk.")

    monkeypatch.setattr("chunkstore.stores.base.Store.delete_run_if", fail)
    result = cleaned("--store", logs, "--older-than", "45d", "--yes")
    assert result.exit_code == 1
    assert "failed  run-50: Cannot use it" in result.stdout


def on_terminal(logs, answer, *arguments):
    """Run the command on a terminal and answer its question; return the exit code and the screen."""
    code = "import typer; from chunkstore.cli.retention import collect_garbage; typer.run(collect_garbage)"
    leader, follower = pty.openpty()
    process = subprocess.Popen(
        [sys.executable, "-c", code, "--store", logs, *arguments], stdin=follower, stdout=follower, stderr=follower
    )
    os.close(follower)
    screen = b""
    try:
        while block := os.read(leader, 65536):
            screen += block
            if b"[y/N]" in block:
                os.write(leader, answer)
    except OSError:
        pass  # Linux says so when the other end is closed
    os.close(leader)
    return process.wait(), screen.decode()


@pytest.mark.sampled
@pytest.mark.parametrize(("answer", "left"), [(b"y\n", 2), (b"n\n", 4), (b"\n", 4)])
def test_on_a_terminal_somebody_is_asked(filled, logs, answer, left):
    code, screen = on_terminal(logs, answer, "--older-than", "30d")
    assert code == 0
    assert "Delete 2 runs? This cannot be undone." in screen
    assert len(runs(filled)) == left


@pytest.mark.sampled
def test_on_a_terminal_the_screen_is_not_filled_with_what_goes(store, logs):
    for number in range(60):
        add(store, f"run-{number:02}", 50 + number)
    _, screen = on_terminal(logs, b"n\n", "--keep-last", "0")
    assert "… and 40 more" in screen
    assert screen.count("run-") == 20


def test_a_run_that_goes_on_elsewhere_is_not_touched(store, logs):
    def work(tell):
        live = [store.start_run("live"), store.start_run("live too")]
        tell("started")
        time.sleep(60)
        live.clear()

    with Forked(work) as child:
        assert child.wait_for_line() == "started"
        for rule in (["--keep-last", "0"], ["--older-than", "0s"], ["--status", "LOST"]):
            assert cleaned("--store", logs, *rule, "--yes").exit_code == 0
            assert len(runs(store)) == 2
        child.kill()
    assert "2 runs" in cleaned("--store", logs, "--status", "LOST", "--yes").stdout
    assert runs(store) == []
