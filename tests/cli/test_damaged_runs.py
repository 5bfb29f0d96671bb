"""Commands that look at a run say in their exit codes that not all of it could be read, and show the rest."""

import os

import pytest

import chunkstore as library
from chunkstore.cli import unread
from cli.command import chunkstore

COMMANDS = {
    "logs": ("logs", "run", "load"),
    "logs --json": ("logs", "run", "load", "--json"),
    "logs of a silent step": ("logs", "run", "fit"),
    "show --step": ("show", "run", "--step", "load"),
    "why": ("why", "load", "--run", "run"),
    "verify": ("verify", "run"),
}


@pytest.fixture
def folder(tmp_path, logs):
    store = library.open_store("chunked-fs", log_folder=logs)
    with store.start_run("first"):
        pass
    with store.start_run("run", resume="first") as run:
        with run.step("load"):
            print("output of load")
        with run.step("fit") as step:
            step.log_metric("loss", 0.5, step=1)
    return os.path.join(logs, "run")


def the_file(folder, start):
    (name,) = [name for name in os.listdir(folder) if name.startswith(start)]
    return os.path.join(folder, name)


@pytest.mark.parametrize("command", COMMANDS)
def test_that_something_else_of_a_run_is_gone_is_in_the_exit_code(folder, logs, command):
    assert chunkstore(*COMMANDS[command], "--store", logs).code == 0
    os.remove(the_file(folder, "Metric-fit"))
    result = chunkstore(*COMMANDS[command], "--store", logs)
    assert result.code == 1
    if command == "logs":
        assert "output of load" in result.out
        assert "chunkstore verify run" in result.err


def test_that_a_run_cannot_be_read_is_in_the_exit_code_of_the_list(folder, logs):
    assert chunkstore("ls", "--store", logs).code == 0
    with open(os.path.join(folder, "RunLog.json"), "w"):
        pass
    for options in ((), ("--json",), ("--limit", "5")):
        result = chunkstore("ls", *options, "--store", logs)
        assert result.code == 1
        assert "first" in result.out


def test_that_a_step_is_gone_is_told_to_those_who_ask_for_it(folder, logs):
    os.remove(the_file(folder, "StepLog-load"))
    for command in ("logs", "show --step", "why"):
        result = chunkstore(*COMMANDS[command], "--store", logs)
        assert result.code != 0
        assert "2 records of steps" in result.err


def damage(folder, kind):
    """Do to a chunk of a run what its own bytes do not tell, and to its bytes."""
    if kind == "gone":
        os.remove(the_file(folder, "StepLog-fit"))
    elif kind == "cut":
        with open(the_file(folder, "Metric-fit"), "w"):
            pass
    elif kind == "flipped":
        with open(the_file(folder, "StepLog-load"), "r+b") as file:
            file.seek(20)
            file.write(b"#")
    elif kind == "sealed":
        library.open_store("chunked-fs", log_folder=os.path.dirname(folder)).seal("run")
        sealed = the_file(folder, "Sealed-")
        os.truncate(sealed, os.path.getsize(sealed) - 30)
    else:
        library.open_store("chunked-fs", log_folder=os.path.dirname(folder)).seal("run")
        os.remove(os.path.join(folder, "RunLog.json"))


@pytest.mark.parametrize("kind", ["gone", "cut", "flipped", "sealed", "own record of a sealed run"])
def test_that_a_part_of_a_listed_run_is_damaged_is_in_its_row_and_in_the_exit_code(folder, logs, kind):
    damage(folder, kind)
    result = chunkstore("ls", "--store", logs)
    assert result.code == 1
    damaged, sound = result.lines[1:]
    assert damaged.split()[1:3] == ["SUCCESS", "run"]
    assert "! " in damaged
    assert "!" not in sound
    rows = chunkstore("ls", "--json", "--store", logs).json
    assert [bool(row["problem"]) for row in rows] == [True, False]
    assert chunkstore("verify", "run", "--store", logs).code == 1


def test_the_list_looks_through_the_first_runs_alone(folder, logs, monkeypatch):
    damage(folder, "gone")
    monkeypatch.setattr(unread, "_MOST_STEPS", 1)
    assert chunkstore("ls", "--store", logs).code == 0
