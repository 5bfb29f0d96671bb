"""`chunkstore diff`: what differs between two runs, and exit codes as those of diff(1)."""

import json

import msgspec
import pytest
import typer
from rich.cells import cell_len
from typer.testing import CliRunner

import chunkstore as library
from chunkstore.cli import comparing
from chunkstore.records.models import BranchLog, RunLog, StepLog
from chunkstore.views.compare import RunDiff

app = typer.Typer()
app.command("diff")(comparing.diff)


def diff(*arguments, **environment):
    return CliRunner().invoke(app, list(map(str, arguments)), env=environment)


def record(store, run_id, *, loss=0.5, bad=(), count=3, **parameters):
    branches = {}
    for number in range(count):
        name, status = f"score.{number}", "FAIL" if number in bad else "SUCCESS"
        step = StepLog(
            name="work", internal_name=f"{name}.work", status=status, user_defined_metrics={"loss": loss + number}
        )
        branches[name] = BranchLog(internal_name=name, status=status, steps={step.internal_name: step})
    score = StepLog(name="score", internal_name="score", step_type="map", status="SUCCESS", branches=branches)
    store.add_run_log(
        RunLog(run_id=run_id, parameters={"seed": 7, **parameters}, status="SUCCESS", steps={"score": score})
    )


def test_two_equal_runs_do_not_differ(store, logs):
    for run_id in ("one", "two"):
        record(store, run_id)
    result = diff("one", "two", "--store", logs)
    assert result.exit_code == 0
    assert "The runs do not differ." in result.output


def test_runs_that_differ_are_told_apart(store, logs):
    record(store, "calm-1")
    record(store, "warm-2", loss=0.6, bad={1}, lr=0.1)
    result = diff("calm", "latest", "--store", logs)
    assert result.exit_code == 1
    lines = [line.split() for line in result.output.splitlines()]
    assert ["~", "score.1.work", "SUCCESS", "→", "FAIL"] in lines
    assert ["+", "lr", "0.1"] in lines
    assert ["~", "score.0.work", "loss", "0.5", "→", "0.6", "+0.1", "+20.0", "%"] in lines
    assert lines[0][:3] == ["-", "calm-1", "SUCCESS"]


def test_as_json_each_difference_stands_alone(store, logs):
    record(store, "one", loss=float("nan"))
    record(store, "two", loss=0.5, lr=0.1)
    result = diff("one", "two", "--store", logs, "--json")
    assert result.exit_code == 1
    found = json.loads(result.stdout)
    assert msgspec.convert(found, RunDiff).different
    assert found["parameters"] == [{"where": "", "name": "lr", "new": 0.1}]
    assert found["metrics"][0]["old"] == {"$float": "NaN"}
    assert (found["old"]["run_id"], found["new"]["run_id"]) == ("one", "two")


@pytest.mark.parametrize("columns", [80, 140])
def test_many_differences_fit_the_screen(store, logs, columns):
    record(store, "one", count=100)
    record(store, "two", loss=0.6, count=100, bad=range(50), **{f"a-parameter-{n}": "x" * 200 for n in range(50)})
    result = diff("one", "two", "--store", logs, COLUMNS=str(columns))
    lines = result.output.splitlines()
    assert max(map(cell_len, lines)) <= columns
    assert len(lines) < 60
    assert "… and 30 more; --all shows them" in result.output
    assert "0 the same; 100 differ: 0, 1, 2 and 97 more" in " ".join(result.output.split())
    whole = diff("one", "two", "--store", logs, "--all", COLUMNS="1000").output
    assert whole.count("score.") > 100
    assert "x" * 200 in whole
    assert "more;" not in whole


def test_what_no_run_is_has_the_exit_code_of_trouble(store, logs):
    record(store, "one")
    result = diff("one", "nobody", "--store", logs)
    assert result.exit_code == 2
    assert "no run 'nobody'" in result.stderr


def test_a_store_without_runs(tmp_path):
    result = diff("latest", "latest", "--store", tmp_path / "nowhere")
    assert result.exit_code == 2
    assert not (tmp_path / "nowhere").exists()


def test_runs_without_steps_are_compared(store, logs):
    store.create_run_log("one")
    store.create_run_log("two", tag="other")
    assert diff("one", "two", "--store", logs).exit_code == 1
    assert diff("one", "one", "--store", logs).exit_code == 0


def test_what_cannot_be_read_is_told_and_nothing_is_called_the_same(tmp_path):
    store = library.open_store("chunked-fs", log_folder=str(tmp_path))
    for run_id in ("one", "two"):
        record(store, run_id)
        for file in (tmp_path / run_id).glob("StepLog-score.1.*"):
            file.write_bytes(file.read_bytes()[:40])
    result = diff("one", "two", "--store", tmp_path)
    assert result.exit_code == 2
    assert "do not differ in what could be read" in result.output
    assert "StepLog-score.1.work" in result.stderr


def test_of_a_run_whose_own_record_is_damaged_the_rest_is_compared(tmp_path):
    store = library.open_store("chunked-fs", log_folder=str(tmp_path))
    record(store, "one")
    record(store, "two")
    (tmp_path / "two" / "RunLog.json").write_text("{")
    result = diff("one", "two", "--store", tmp_path)
    assert result.exit_code == 1
    assert "SUCCESS → UNKNOWN" in result.output
    assert "score" not in result.output
    assert "RunLog.json" in result.stderr


def test_names_cannot_colour_the_screen(store, logs):
    store.create_run_log("one", parameters={"[red]\x1b[31m": 1})
    store.create_run_log("two")
    result = diff("one", "two", "--store", logs, FORCE_COLOR="1")
    assert "\x1b[31m1" not in result.output
    assert r"[red]\x1b[31m" in result.output


def test_a_sealed_run_is_compared_with_one_that_is_not(tmp_path):
    store = library.open_store("chunked-fs", log_folder=str(tmp_path))
    for run_id in ("one", "two"):
        record(store, run_id)
    store.seal("one")
    assert diff("one", "two", "--store", tmp_path).exit_code == 0
