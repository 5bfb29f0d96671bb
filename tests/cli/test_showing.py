"""`chunkstore show` shows all that was recorded of a run."""

import json
import os

import pytest

import chunkstore as library
from cli.command import chunkstore, on_terminal
from cli.conftest import being_recorded, step


def test_the_tree_tells_how_each_step_went(store, logs, pipeline):
    pipeline(store)
    result = chunkstore("show", "one", "--store", logs)
    assert result.code == 0
    text = result.out
    for expected in (
        "✘ FAIL  one  tag nightly",
        "steps    6: 4 succeeded, 2 failed",
        "seed=7",
        "✔ load",
        "loss=0.25",
        "→ in.py",
        "✘ work (map, 3 branches: 2 succeeded, 1 failed)",
        "✘ b.csv",
        "ValueError: b.csv is bad",
        "rows=5",
        "accuracy=0.5 (3 points)",
    ):
        assert expected in text
    assert chunkstore("show", "--store", logs).out == text  # the latest, if no other is named


@pytest.mark.sampled
def test_wide_maps_are_folded_and_all_failures_are_listed(store, logs, pipeline):
    items = tuple(f"{number}.csv" for number in range(200))
    pipeline(store, items=items, bad=("7.csv", "77.csv", "177.csv"))
    result = chunkstore("show", "one", "--store", logs)
    assert "(map, 200 branches: 197 succeeded, 3 failed)" in result.out
    assert all(f"✘ {bad}" in result.out for bad in ("7.csv", "77.csv", "177.csv"))
    assert "197 more branches succeeded" in result.out
    assert "✔ 8.csv" not in result.out
    assert "✔ 8.csv" in chunkstore("show", "one", "--store", logs, "--all").out


@pytest.mark.sampled
def test_long_rows_of_steps_are_folded_in_the_middle(store, logs):
    store.create_run_log("long", status="FAIL")
    for number in range(300):
        store.add_step_log("long", step(f"s{number}"))
    store.add_step_log("long", library.StepLog(name="bad", internal_name="bad", status="FAIL", message="why"))
    for number in range(300, 600):
        store.add_step_log("long", step(f"s{number}"))
    lines = chunkstore("show", "long", "--store", logs).lines
    assert len(lines) < 50
    assert any("✔ s0" in line for line in lines)
    assert any("✔ s599" in line for line in lines)
    assert any("285 steps succeeded" in line for line in lines)
    assert any("✘ bad" in line for line in lines)


def test_a_step_is_shown_with_all_that_was_recorded_of_it(store, logs, pipeline):
    pipeline(store)
    load = chunkstore("show", "one", "--store", logs, "--step", "load").out
    assert "loss" in load
    assert "one/in.py" in load
    assert store.get_step_log("one", "load").data_catalog[0].data_hash in load
    failed = chunkstore("show", "one", "--store", logs, "--step", "b.csv").out
    assert "Traceback" in failed
    assert "ValueError: b.csv is bad" in failed
    end = chunkstore("show", "one", "--store", logs, "--step", "end").out
    assert "▁▄█" in end or "▁▅█" in end
    found = chunkstore("show", "one", "--store", logs, "--step", "load", "--json").json
    assert found["user_defined_metrics"] == {"loss": 0.25}


def test_a_step_that_is_not_there_is_wrong_use_with_a_hint(store, logs, pipeline):
    pipeline(store)
    result = chunkstore("show", "one", "--store", logs, "--step", "laod")
    assert result.code == 2
    assert "load" in result.err


def test_parameters_metrics_and_data_are_shown_as_tables(store, logs, pipeline):
    pipeline(store, deep={"a": [1, 2]})
    result = chunkstore("show", "one", "--store", logs, "--params", "--metrics", "--data")
    assert '{"a":[1,2]}' in result.out
    assert "accuracy" in result.out
    found = chunkstore("show", "one", "--store", logs, "--params", "--metrics", "--data", "--json").json
    assert {"of": "", "name": "deep", "value": {"a": [1, 2]}} in found["parameters"]
    assert {"step": "load", "name": "loss", "value": 0.25, "at": None} in found["metrics"]
    assert {"step": "end", "name": "accuracy", "value": 0.5, "at": 2} in found["metrics"]
    assert any(row["name"] == "in.py" and len(row["sha256"]) == 64 for row in found["data"])


def test_a_run_with_nothing_in_it_is_shown(store, logs):
    store.create_run_log("empty", status="SUCCESS")
    assert chunkstore("show", "empty", "--store", logs).code == 0
    result = chunkstore("show", "empty", "--store", logs, "--params", "--metrics", "--data")
    assert result.lines == ["There are no parameters.", "There are no metrics.", "There are no data."]


def test_the_log_in_json_is_the_whole_log(store, logs, pipeline):
    pipeline(store)
    found = chunkstore("show", "one", "--store", logs, "--json").json
    assert library.RunLog.from_json(json.dumps(found["log"])) == store.get_run_log("one")
    assert (found["status"], found["steps"]) == ("FAIL", {"SUCCESS": 4, "FAIL": 2})


def test_a_lost_run_says_so_and_its_steps_too(store, logs):
    with being_recorded(store) as owner:
        assert "… PROCESSING" in chunkstore("show", "mine", "--store", logs).out
        pid = owner.pid
        owner.kill()
    result = chunkstore("show", "mine", "--store", logs)
    assert result.code == 0
    assert "☠ LOST  mine" in result.out
    assert f"process {pid} on {os.uname().nodename}" in " ".join(result.out.split())
    assert "last heard" in result.out
    assert "☠ a" in result.out
    found = chunkstore("show", "mine", "--store", logs, "--json").json
    assert (found["status"], found["log"]["status"], found["liveness"]["state"]) == ("LOST", "PROCESSING", "LOST")


def test_what_cannot_be_read_is_told_beside_the_rest(tmp_path, logs, pipeline):
    store = library.open_store("chunked-fs", log_folder=logs)
    pipeline(store)
    (file,) = (tmp_path / "logs" / "one").glob("StepLog-load-*")
    file.write_text("{")
    result = chunkstore("show", "one", "--store", logs)
    assert result.code == 1
    assert file.name in result.out
    assert "✔ end" in result.out


@pytest.mark.sampled
@pytest.mark.parametrize("columns", [80, 140])
def test_no_line_is_longer_than_the_terminal(store, logs, pipeline, columns):
    pipeline(store, items=("x" * 300, "y" * 300), bad=("y" * 300,))
    code, screen = on_terminal("show", "one", "--store", logs, columns=columns, NO_COLOR="1")
    assert code == 0
    assert max(map(len, screen.splitlines())) <= columns


def test_a_run_of_a_hundred_thousand_steps_fits_on_a_screen(tmp_path, logs):
    store = library.open_store("chunked-fs", log_folder=logs, durability="process", container="journal")
    store.create_run_log("large", status="SUCCESS")
    store.add_step_log("large", library.StepLog(name="map", internal_name="map", status="SUCCESS", step_type="map"))
    for number in range(20_000):
        store.add_branch_log("large", library.BranchLog(internal_name=f"map.{number}", status="SUCCESS"))
    result = chunkstore("show", "large", "--store", logs)
    assert "(map, 20,000 branches)" in result.out
    assert len(result.lines) < 10


def test_a_run_that_has_ended_says_who_records_into_it_again(store, logs):
    store.start_run("one").finish("FAIL")
    assert "goes on" not in chunkstore("show", "one", "--store", logs).out
    with store.join_run("one") as run, run.step("late"):
        shown = chunkstore("show", "one", "--store", logs)
        assert f"It has ended, and goes on. It is recorded by process {os.getpid()}" in shown.out
        assert chunkstore("show", "one", "--store", logs, "--json").json["liveness"]["state"] == "LIVE"
    assert "goes on" not in chunkstore("show", "one", "--store", logs).out
