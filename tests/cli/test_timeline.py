"""`chunkstore timeline` tells when steps ran, also of runs that go on, that died, and that are damaged."""

import json
import os
from datetime import datetime, timezone

import pytest
import typer
from typer.testing import CliRunner
from views.timed_runs import at, branch, run, step, typical

import chunkstore
from chunkstore.cli.timeline import show_timeline
from chunkstore.clock import parse_time
from cli.conftest import being_recorded

app = typer.Typer()
app.command()(show_timeline)


def timeline(*arguments):
    return CliRunner().invoke(app, list(map(str, arguments)), catch_exceptions=False)


def test_the_terminal_shows_the_timeline_of_a_run(store, logs):
    store.add_run_log(typical())
    result = timeline("latest", "--store", logs)
    assert result.exit_code == 0
    assert "✔ load  " in result.stdout
    assert "lane 4" in result.stdout
    assert "critical path  1 min 18 s: load → fetch → score → train → report" in result.stdout
    assert max(map(len, result.stdout.splitlines())) <= 120


def test_a_pipe_can_be_as_wide_as_asked(store, logs, monkeypatch):
    store.add_run_log(typical())
    monkeypatch.setenv("COLUMNS", "70")
    lines = timeline("latest", "--store", logs).stdout.splitlines()
    assert 60 < max(map(len, lines)) <= 70


def test_machines_get_every_span(store, logs):
    store.add_run_log(typical())
    result = timeline("latest", "--store", logs, "--json")
    report = json.loads(result.stdout)
    assert (report["wall_seconds"], report["beginning"]) == (83, at(0))
    assert len(report["spans"]) == 49
    assert report["critical_path"][:2] == ["load", "fetch"]


def test_recorded_runs_have_a_timeline(store, logs, pipeline):
    run_id = pipeline(store)
    report = json.loads(timeline(run_id, "--store", logs, "--json").stdout)
    found = {span["name"]: (span["depth"], span["status"]) for span in report["spans"]}
    assert found == {
        "load": (0, "SUCCESS"),
        "work": (0, "FAIL"),
        "a.csv": (1, "SUCCESS"),
        "b.csv": (1, "FAIL"),
        "c.csv": (1, "SUCCESS"),
        "end": (0, "SUCCESS"),
    }
    assert report["work_seconds"] > 0


def test_the_page_and_the_trace_are_files_that_are_replaced_whole(store, logs, tmp_path):
    store.add_run_log(typical())
    page, trace = tmp_path / "run.html", tmp_path / "run.json"
    for file, option in ((page, "--html"), (trace, "--trace")):
        file.write_text("what was there")
        result = timeline("latest", "--store", logs, option, file)
        assert (result.exit_code, result.stdout) == (0, "")
        assert result.stderr == f"Wrote {file.stat().st_size:,} bytes to {file}.\n"
        assert timeline("latest", "--store", logs, option, "-").stdout == file.read_text()
    assert page.read_text().startswith("<!DOCTYPE html>")
    assert json.loads(trace.read_text())["otherData"]["run_id"] == "calm-noether-1200"
    assert not list(tmp_path.glob(".tmp-*"))


def test_a_file_that_cannot_be_written_is_named(store, logs, tmp_path):
    store.add_run_log(typical())
    with pytest.raises(chunkstore.ChunkstoreError, match=r"Cannot write .*/nowhere/a\.html: No such file"):
        timeline("latest", "--store", logs, "--html", tmp_path / "nowhere" / "a.html")


def test_outputs_exclude_each_other(store, logs):
    store.add_run_log(typical())
    assert timeline("latest", "--store", logs, "--json", "--html", "-").exit_code == 2


def test_a_run_that_goes_on_reaches_until_now(store, logs):
    with store.start_run("mine") as mine, mine.step("load"):
        report = json.loads(timeline("mine", "--store", logs, "--json").stdout)
        now = datetime.now(timezone.utc)
    (span,) = report["spans"]
    assert (report["status"], span["status"], span["is_running"]) == ("PROCESSING", "PROCESSING", True)
    end = parse_time(report["beginning"]).timestamp() + span["end"]
    assert 0 <= now.timestamp() - end < 5


def test_a_run_whose_owner_was_killed_ends_when_it_was_last_heard_of(store, logs):
    with being_recorded(store) as owner:
        owner.kill()
    report = json.loads(timeline("mine", "--store", logs, "--json").stdout)
    assert (report["status"], report["spans"][0]["status"]) == ("LOST", "LOST")
    assert "☠ LOST" in timeline("mine", "--store", logs).stdout
    assert store.get_run_log("mine").status == "PROCESSING"


def test_a_run_that_nobody_owns_is_not_drawn_until_now(store, logs):
    store.add_run_log(run(step("a", 0, 2), step("b", 2, None, "PROCESSING"), status="PROCESSING"))
    report = json.loads(timeline("latest", "--store", logs, "--json").stdout)
    assert (report["status"], report["spans"][1]["status"]) == ("UNKNOWN", "UNKNOWN")


def test_what_cannot_be_read_is_told_and_the_rest_is_drawn(tmp_path):
    store = chunkstore.open_store("chunked-fs", log_folder=tmp_path / "logs")
    store.add_run_log(run(step("a", 0, 1), step("m", 1, 3, branches=[branch("m.0", step("m.0.x", 1, 3))])))
    folder = tmp_path / "logs" / "calm-noether-1200"
    (bad,) = folder.glob("StepLog-a-*")
    os.truncate(bad, 20)
    (missing,) = folder.glob("BranchLog-m.0-*")
    missing.unlink()
    result = timeline("latest", "--store", tmp_path / "logs")
    assert result.exit_code == 1
    assert "3 problems; `chunkstore verify` tells them" in result.stdout
    assert "✔ x" in result.stdout


@pytest.mark.parametrize("option", [(), ("--json",), ("--html", "-"), ("--trace", "-"), ("--all",)])
def test_a_run_without_steps_has_a_timeline_too(store, logs, option):
    store.create_run_log("empty", status="SUCCESS")
    assert timeline("empty", "--store", logs, *option).exit_code == 0
