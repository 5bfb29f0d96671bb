"""Processes are killed hundreds of times while they write; and the command that does so for as long as one likes."""

import json

import pytest
from zygote import in_small_process

from proofs.torture.__main__ import main
from proofs.torture.figures import Figures
from proofs.torture.kills import kill_writers
from proofs.torture.kills_of_recordings import kill_recorders
from proofs.torture.scenarios import Scenario


@pytest.mark.thorough
@pytest.mark.parametrize(("store_type", "kills"), [("chunked-fs", 20), ("chunked-fs", 480), ("file-system", 100)])
def test_whatever_killed_writers_acknowledged_is_there_whole_and_no_lock_stays(tmp_path, store_type, kills):
    figures = in_small_process(kill_writers, tmp_path, 1, kills, store_type)
    figures.check()
    assert figures.kills == kills
    assert figures.acknowledged > kills


def keep(folder, seed, size):
    return Figures(kills=size, acknowledged=seed)


def lose(folder, seed, size):
    figures = Figures()
    figures.complain("lost", f"with seed {seed}")
    return figures


def fail(folder, seed, size):
    raise OSError("the machine was tired")


@pytest.mark.parametrize(("only", "code"), [("keep", 0), ("lose", 1), ("fail", 1)])
def test_the_command_says_what_was_lost_and_how_to_try_it_again(tmp_path, capsys, only, code):
    scenarios = {"keep": Scenario(keep, 7), "lose": Scenario(lose, 7), "fail": Scenario(fail, 7)}
    options = ["--minutes", "0", "--only", only, "--seed", "5", "--folder", str(tmp_path)]
    assert main([*options, "--json", str(tmp_path / "figures.json")], scenarios) == code
    printed = capsys.readouterr().out
    (row,) = json.loads((tmp_path / "figures.json").read_text())["rows"]
    assert row["scenario"] == only
    assert row["kills"] == (7 if only == "keep" else 0)
    assert ("--only lose --on here --seed 5" in printed) == (only == "lose")
    assert row["complaints"] == (["lost: with seed 5"] if only == "lose" else row["complaints"])
    assert ("the machine was tired" in printed) == (only == "fail")


@pytest.mark.thorough
@pytest.mark.parametrize("store_type", ["chunked-fs", "file-system"])
def test_whatever_killed_pipelines_have_left_is_there_and_the_rest_can_be_cleaned_up(tmp_path, store_type):
    figures = in_small_process(kill_recorders, tmp_path, 1, 6, store_type)
    figures.check()
    assert figures.kills == 6
    assert figures.acknowledged > 3
