"""The benchmarks run, count what they measure, and say who loses records."""

import json
import subprocess
import sys
from dataclasses import replace
from importlib.util import find_spec
from pathlib import Path

import pytest

from benchmarks import __main__ as command
from benchmarks import two_mounts
from benchmarks.measure import Scenario, Settings, Target, at_most, measure, needs
from benchmarks.ours import CHUNKSTORE, ChunkstoreRecorder
from benchmarks.recorder import Contestant
from benchmarks.recording import add_steps, count_up_steps
from benchmarks.report import new_console, scenario_report
from benchmarks.results import outcome
from benchmarks.scenarios import ALL

PROJECT = Path(__file__).parent.parent


class Losing(ChunkstoreRecorder):
    """Acknowledges every step and records those with an even number."""

    def add(self, record):
        if int(record.internal_name.removeprefix("simple")) % 2 == 0:
            super().add(record)


class Locked(ChunkstoreRecorder):
    """Fails from the third step on."""

    def add(self, record):
        if int(record.internal_name.removeprefix("simple")) >= 2:
            raise OSError("database is locked")
        super().add(record)


PEER = Contestant(name="peer", role="peer", opens=ChunkstoreRecorder)


def scenario(*contestants, work=add_steps, targets=()):
    sides = tuple(one.side(work) for one in contestants)
    return Scenario(name="append", work="add", costs="time / step", count=20, sides=sides, targets=targets)


def outcomes(measured, folder):
    result = measure(measured, Settings(folder=folder, rounds=1))
    return {name: outcome(side) for name, side in result.sides.items()}


@pytest.mark.thorough
def test_every_scenario_runs_and_our_own_sides_lose_nothing(tmp_path):
    folder, output = tmp_path / "scratch", tmp_path / "output"
    options = ["--quick", "--scale", "0.002", "--folder", folder, "--output", output, "--json"]
    command_line = [sys.executable, "-m", "benchmarks", *map(str, options)]
    result = subprocess.run(command_line, cwd=PROJECT, capture_output=True, text=True, check=False)
    assert result.returncode == 0, result.stderr
    assert not list(folder.iterdir())
    assert (output / "results.png").exists() == (find_spec("matplotlib") is not None)
    assert result.stdout.encode() == (output / "results.json").read_bytes() + b"\n"

    document = json.loads(result.stdout)
    assert {"CPU", "cores", "system", "file system", "Python", "SQLite", "chunkstore"} <= document["environment"].keys()
    assert [(one["name"], one["case"]) for one in document["scenarios"]] == [(one.name, one.case) for one in ALL]
    assert document["correct"]
    for one in document["scenarios"]:
        assert any(side["role"] == "ours" and side["rounds"] for side in one["sides"]), one["name"]
        for side in one["sides"]:
            assert bool(side["rounds"]) != side["skipped"].startswith("skipped: "), (one["name"], side["name"])
            assert side["role"] == "peer" or side["correct"], (one["name"], side["name"], side["records"])
        for target in one["targets"]:
            assert isinstance(target["reached"], bool), (one["name"], target["text"])


def test_the_scenarios_are_listed(capsys):
    assert command.main(["--list"]) == 0
    shown = capsys.readouterr().out
    assert all(one.name in shown for one in ALL)


@pytest.mark.parametrize("arguments", [["--only", "nonsense"], ["--rounds", "0"], ["--nonsense"]])
def test_wrong_use_is_exit_code_2(arguments, capsys):
    with pytest.raises(SystemExit) as raised:
        command.main(arguments)
    assert raised.value.code == 2
    assert "usage:" in capsys.readouterr().err


def test_a_peer_that_loses_records_is_shown_as_losing_them(tmp_path):
    measured = scenario(CHUNKSTORE, replace(PEER, opens=Losing))
    result = measure(measured, Settings(folder=tmp_path, rounds=1))
    assert result.correct
    console = new_console()
    with console.capture() as capture:
        console.print(scenario_report(result))
    assert "lost 10 of 20" in capture.get()


def test_a_peer_that_fails_is_shown_with_its_error(tmp_path):
    shown = outcomes(scenario(CHUNKSTORE, replace(PEER, opens=Locked)), tmp_path)
    assert shown == {"chunkstore": "all of 20", "peer": "18 failed; OSError: database is locked"}


def test_lost_updates_are_counted(tmp_path):
    class Forgetful(ChunkstoreRecorder):
        def count_up(self, name):
            pass

    def work(contestant, task):
        return count_up_steps(contestant, task, processes=2)

    shown = outcomes(scenario(CHUNKSTORE, replace(PEER, opens=Forgetful), work=work), tmp_path)
    assert shown == {"chunkstore": "all of 20", "peer": "lost 20 of 20"}


def test_a_peer_that_is_not_installed_is_skipped_by_name(tmp_path):
    missing = replace(PEER, why_skipped=needs(json="json", not_a_module="some-distribution"))
    assert outcomes(scenario(missing), tmp_path) == {"peer": "skipped: some-distribution is not installed"}


def test_a_peer_that_cannot_be_loaded_is_skipped(tmp_path):
    def load():
        raise ImportError("no shared object")

    assert outcomes(scenario(replace(PEER, load=load)), tmp_path) == {"peer": "skipped: ImportError: no shared object"}


@pytest.mark.thorough
@pytest.mark.parametrize(("opens", "code"), [(ChunkstoreRecorder, 0), (Losing, 1), (Locked, 1)])
def test_the_exit_code_tells_whether_we_lost_records_not_whether_targets_were_reached(
    opens, code, tmp_path, monkeypatch, capsys
):
    ours = replace(CHUNKSTORE, opens=opens)
    impossible = Target(side="chunkstore", limit=0, how="value", text="no time at all")
    monkeypatch.setattr(command, "ALL", (scenario(ours, PEER, targets=(impossible, at_most(0.0, "peer"))),))
    options = ["--rounds", "1", "--folder", str(tmp_path / "scratch"), "--output", str(tmp_path / "output")]
    assert command.main(options) == code
    assert "missed: no time at all" in capsys.readouterr().out


def test_an_interrupt_leaves_nothing_behind(tmp_path, monkeypatch, capsys):
    def work(contestant, task):
        (task.folder / "file").touch()
        raise KeyboardInterrupt

    monkeypatch.setattr(command, "ALL", (scenario(PEER, work=work),))
    scratch = tmp_path / "scratch"
    assert command.main(["--folder", str(scratch), "--output", str(tmp_path / "output")]) == 130
    assert not list(scratch.iterdir())


@pytest.mark.parametrize(("contestant", "missing"), [(PEER, 0), (replace(PEER, opens=Losing), 100)])
def test_on_two_mounts_what_is_acknowledged_and_missing_is_counted(tmp_path, contestant, missing):
    outcome = two_mounts.add_steps(contestant, (tmp_path, tmp_path))
    assert (outcome.asked, outcome.acknowledged, outcome.missing, outcome.errors) == (200, 200, missing, [])


def test_on_two_mounts_who_fails_is_told(tmp_path):
    outcome = two_mounts.add_steps(replace(PEER, opens=Locked), (tmp_path, tmp_path))
    assert (outcome.acknowledged, outcome.missing, len(outcome.errors)) == (2, 0, 198)
    assert set(outcome.errors) == {"OSError: database is locked"}


@pytest.mark.thorough
def test_on_two_mounts_all_that_killed_processes_acknowledged_is_counted(tmp_path):
    outcome = two_mounts.kill_writers(PEER, (tmp_path, tmp_path))
    assert outcome.acknowledged == outcome.asked > 4
    assert (outcome.missing, outcome.errors) == (0, [])
    assert 0 < outcome.pauses[0] < 60
