"""`chunkstore copy` copies the runs that are meant, and says what became of them."""

import pytest

import chunkstore as library
from cli.command import chunkstore, on_terminal


@pytest.fixture
def target(tmp_path):
    return str(tmp_path / "copies" / "logs")


@pytest.fixture
def store(logs):
    return library.open_store("chunked-fs", log_folder=logs)


def ids(target):
    return sorted(run.run_id for run in library.open_store("chunked-fs", log_folder=target).list_runs())


def runs(store):
    store.create_run_log("night-1", tag="nightly", status="SUCCESS")
    store.create_run_log("night-2", tag="nightly", status="FAIL")
    store.create_run_log("day-1", tag="daily", status="SUCCESS")


@pytest.mark.parametrize(
    ("chosen", "expected"),
    [
        (["--all"], ["day-1", "night-1", "night-2"]),
        (["night-1"], ["night-1"]),
        (["latest"], ["day-1"]),
        (["d"], ["day-1"]),
        (["night-1", "day-1"], ["day-1", "night-1"]),
        (["night-*"], ["night-1", "night-2"]),
        (["*-1", "--tag", "nightly"], ["night-1"]),
        (["--status", "FAIL"], ["night-2"]),
        (["--since", "1h"], ["day-1", "night-1", "night-2"]),
        (["--since", "2999-01-01"], []),
    ],
)
def test_the_runs_that_are_meant_are_copied_and_no_others(store, logs, target, chosen, expected):
    runs(store)
    assert chunkstore("copy", *chosen, "--to", target, "--store", logs).code == 0
    assert ids(target) == expected


@pytest.mark.parametrize("arguments", [[], ["one", "--all"], ["no-such-run"]])
def test_what_is_not_clear_is_wrong_use(store, logs, target, arguments):
    runs(store)
    assert chunkstore("copy", *arguments, "--to", target, "--store", logs).code == 2
    assert ids(target) == []


def test_what_became_of_the_runs_is_told(store, logs, target, pipeline):
    pipeline(store)
    first = chunkstore("copy", "one", "--to", target, "--store", logs, "--seal")
    assert first.code == 0
    assert first.lines[-1].startswith("1 run copied: ")
    again = chunkstore("copy", "one", "--to", target, "--store", logs)
    assert again.lines == [f"1 run there already: {target}"]
    store.create_run_log("open")
    going_on = chunkstore("copy", "--all", "--to", target, "--store", logs)
    assert going_on.lines[-1] == "1 run goes on: copy again for its rest."
    printed = chunkstore("copy", "--all", "--to", target, "--store", logs, "--json").json
    assert [run["outcome"] for run in printed["runs"]] == ["unchanged", "unchanged"]


def test_a_run_that_cannot_be_copied_is_an_error_and_keeps_no_other_from_it(store, logs, target):
    runs(store)
    library.open_store("chunked-fs", log_folder=target).create_run_log("day-1", tag="mine")
    result = chunkstore("copy", "--all", "--to", target, "--store", logs)
    assert result.code == 1
    assert "day-1" in result.err
    assert "another run of this id" in result.err
    assert "2 runs copied, 1 run failed" in result.out
    assert chunkstore("copy", "day-1", "--replace", "--to", target, "--store", logs).code == 0


def test_a_dry_run_copies_nothing(store, logs, target):
    runs(store)
    result = chunkstore("copy", "--all", "--dry-run", "--to", target, "--store", logs)
    assert result.lines[0].startswith("3 runs would be copied")
    assert ids(target) == []


def test_the_copy_of_a_run_that_goes_on_is_not_live(store, logs, target):
    with store.start_run("on"):
        chunkstore("copy", "on", "--to", target, "--store", logs)
        row = chunkstore("ls", "--store", target, "--json").json[0]
    assert row["status"] == "UNKNOWN"
    assert "is a copy of a run in" in library.open_store("chunked-fs", log_folder=target).liveness("on").why


@pytest.mark.thorough
def test_a_bar_is_shown_on_a_terminal(store, logs, target):
    runs(store)
    code, screen = on_terminal("copy", "--all", "--to", target, "--store", logs)
    assert code == 0
    assert "Copying" in screen
