"""`chunkstore ls` lists runs as they are, the newest first, and finds those that somebody looks for."""

import os
from datetime import timedelta

import pytest

import chunkstore as library
from chunkstore.clock import parse_time
from cli.command import chunkstore, on_terminal
from cli.conftest import being_recorded, step


def ids(*arguments):
    return [row["run_id"] for row in chunkstore("ls", "--json", *arguments).json]


def test_a_row_tells_how_a_run_went(store, logs, pipeline):
    pipeline(store)
    (row,) = chunkstore("ls", "--json", "--store", logs).json
    assert (row["run_id"], row["status"], row["tag"]) == ("one", "FAIL", "nightly")
    assert row["steps"] == {"done": 4, "failed": 2, "total": 6}
    assert row["started"] < row["ended"]
    assert row["seconds"] > 0
    title, line = chunkstore("ls", "--store", logs).lines
    assert title.split() == ["STATUS", "RUN", "STARTED", "DURATION", "STEPS", "TAG"]
    assert line.split()[:3] == ["✘", "FAIL", "one"]
    assert line.split()[-3:] == ["✘2", "4/6", "nightly"]


def test_the_newest_run_comes_first(store, logs, pipeline):
    for run_id in ("b", "c", "a"):
        pipeline(store, run_id)
    assert ids("--store", logs) == ["a", "c", "b"]
    assert ids("--store", logs, "--reverse") == ["b", "c", "a"]
    assert ids("--store", logs, "--limit", "2") == ["a", "c"]
    assert ids("--store", logs, "--limit", "0") == ["a", "c", "b"]


def test_runs_are_sorted_as_asked(store, logs, pipeline):
    pipeline(store, "b", tag="x", items=("1", "2", "3", "4"), bad=("1", "2", "3"))
    pipeline(store, "a", tag="z", items=("1",), bad=())
    pipeline(store, "c", tag="y", items=("1", "2"), bad=("1",))
    assert ids("--store", logs, "--sort", "run") == ["a", "b", "c"]
    assert ids("--store", logs, "--sort", "run", "-r") == ["c", "b", "a"]
    assert ids("--store", logs, "--sort", "tag") == ["b", "c", "a"]
    assert ids("--store", logs, "--sort", "steps") == ["b", "c", "a"]
    assert ids("--store", logs, "--sort", "failed") == ["b", "c", "a"]
    assert ids("--store", logs, "--sort", "status")[-1] == "a"
    seconds = [row["seconds"] for row in chunkstore("ls", "--json", "--store", logs, "--sort", "duration").json]
    assert seconds == sorted(seconds, reverse=True)


def test_runs_are_found_by_status_tag_and_age(store, logs, pipeline):
    pipeline(store, "good", tag="nightly-1", bad=())
    pipeline(store, "bad", tag="weekly")
    store.create_run_log("open", tag="nightly-2")
    assert ids("--store", logs, "--status", "success") == ["good"]
    assert ids("--store", logs, "--status", "FAIL", "--status", "SUCCESS") == ["bad", "good"]
    assert ids("--store", logs, "--status", "unknown") == ["open"]
    assert ids("--store", logs, "--tag", "weekly") == ["bad"]
    assert ids("--store", logs, "--tag", "nightly-*") == ["open", "good"]
    assert ids("--store", logs, "--since", "1h") == ["open", "bad", "good"]
    assert ids("--store", logs, "--since", "2999-01-01") == []
    none = chunkstore("ls", "--store", logs, "--tag", "none")
    assert (none.code, none.out) == (0, "")
    assert "matches" in none.err


def test_runs_are_found_by_parameters_and_metrics(store, logs, pipeline):
    pipeline(store, "one", model={"name": "xgb", "depth": 3})
    pipeline(store, "two", model={"name": "rf", "depth": 5}, version="1.10")
    assert ids("--store", logs, "--param", "seed=7") == ["two", "one"]
    assert ids("--store", logs, "--param", "seed=8") == []
    assert ids("--store", logs, "--param", "model.depth>3") == ["two"]
    assert ids("--store", logs, "--param", "model.name=xgb", "--param", "seed=7") == ["one"]
    assert ids("--store", logs, "--param", "version=1.10") == ["two"]
    assert ids("--store", logs, "--param", "nothing=1") == []
    assert ids("--store", logs, "--metric", "loss<0.3") == ["two", "one"]
    assert ids("--store", logs, "--metric", "loss<0.25") == []
    assert ids("--store", logs, "--metric", "accuracy>=0.5", "--metric", "rows=5") == [
        "two",
        "one",
    ]  # of a series, the last
    assert ids("--store", logs, "--metric", "accuracy<0.5") == []


def test_a_run_whose_owner_was_killed_is_lost_and_a_slow_one_is_not(store, logs):
    with being_recorded(store) as owner:
        (row,) = chunkstore("ls", "--json", "--store", logs).json
        assert (row["status"], row["recorded_status"], row["why"]) == ("PROCESSING", "PROCESSING", "")
        assert row["steps"] == {"done": 0, "failed": 0, "total": 1}
        owner.kill()
    (row,) = chunkstore("ls", "--json", "--store", logs).json
    assert (row["status"], row["recorded_status"]) == ("LOST", "PROCESSING")
    assert row["host"] == os.uname().nodename
    # The times of files are those of the kernel's last tick.
    assert parse_time(row["last_heard"]) > parse_time(row["started"]) - timedelta(seconds=1)
    assert "☠ LOST" in chunkstore("ls", "--store", logs).out
    assert ids("--store", logs, "--status", "lost") == ["mine"]
    assert store.get_run_log("mine").status == "PROCESSING"


def test_runs_that_others_recorded_are_counted_anew(store, logs):
    store.create_run_log("engine")
    store.add_step_log("engine", step("a"))
    store.add_step_log("engine", library.StepLog(name="b", internal_name="b", status="FAIL"))
    (row,) = chunkstore("ls", "--json", "--store", logs).json
    assert row["steps"] == {"done": 1, "failed": 1, "total": 2}


def test_a_damaged_run_is_listed_and_hides_no_other(store, logs, pipeline):
    pipeline(store, "good")
    pipeline(store, "bad")
    place = os.path.join(logs, "bad.json")
    with open(place if os.path.exists(place) else os.path.join(logs, "bad", "RunLog.json"), "w") as file:
        file.write("{")
    rows = {row["run_id"]: row for row in chunkstore("ls", "--json", "--store", logs).json}
    assert rows.keys() == {"good", "bad"}
    assert rows["bad"]["problem"]
    result = chunkstore("ls", "--store", logs)
    assert result.code == 1
    assert "! unreadable" in result.out
    assert "good" in ids("--store", logs, "--param", "seed=7")


@pytest.mark.thorough
def test_a_terminal_shows_twenty_and_says_that_there_are_more(tmp_path, logs):
    store = library.open_store("chunked-fs", log_folder=logs)
    for number in range(22):
        store.create_run_log(f"run-{number:02}", tag="a-tag-that-is-much-longer-than-the-line" * 2, status="SUCCESS")
    for columns in (80, 140):
        code, screen = on_terminal("ls", "--store", logs, columns=columns, NO_COLOR="1")
        lines = screen.splitlines()
        assert code == 0
        assert len(lines) == 1 + 20 + 1
        assert "--limit 0" in lines[-1]
        assert max(map(len, lines)) <= columns
        assert lines[1].endswith("…") == (columns == 80)
    assert len(chunkstore("ls", "--store", logs).lines) == 23


@pytest.mark.parametrize("noted", [{"SUCCESS": "many"}, "x"])
def test_notes_of_other_tools_do_no_harm(store, logs, noted):
    store.create_run_log("run", status="SUCCESS")
    store.update_run_log("run", lambda log: log.run_config["chunkstore"].update(steps=noted, created=5, finished=[]))
    assert ids("--store", logs) == ["run"]
