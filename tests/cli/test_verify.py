"""`chunkstore verify` says in a line each what is wrong, where, and what to do."""

import json

import pytest
import typer
from typer.testing import CliRunner

from chunkstore import StepLog
from chunkstore.cli.verify import VerifyReport, verify_runs
from chunkstore.errors import RunLogNotFoundError

app = typer.Typer()
app.command()(verify_runs)
DAMAGED = "StepLog-load-1706852981689005000.json"


@pytest.fixture(autouse=True)
def _brief(monkeypatch):
    monkeypatch.setattr("chunkstore.maintenance.checking.verification._PAUSE", 0.001)


def verified(*arguments):
    return CliRunner().invoke(app, [str(argument) for argument in arguments])


@pytest.fixture
def damaged(tmp_path):
    """The folder of a store with a damaged chunk, a foreign file and an orphan."""
    import chunkstore

    store = chunkstore.open_store("chunked-fs", log_folder=str(tmp_path / "logs"))
    for run_id in ("bad", "good"):
        store.create_run_log(run_id, status="SUCCESS")
    store.add_step_log("bad", StepLog(name="z", internal_name="gone.b.z"))
    (tmp_path / "logs" / "bad" / DAMAGED).write_bytes(b'{"name":')
    (tmp_path / "logs" / "bad" / "[red]notes\x1b[31m.txt").write_bytes(b"")
    return tmp_path / "logs"


def test_where_all_is_well_the_exit_code_is_0_and_a_line_says_so(store, logs, pipeline):
    pipeline(store)
    result = verified("--store", logs)
    assert result.exit_code == 0
    assert result.stdout.startswith(f"No problems in 1 run of {logs}.")
    assert verified("--store", logs, "--data").stdout == f"No problems in 1 run of {logs}.\n"


def test_a_store_that_does_not_exist_yet_is_fine(logs):
    result = verified("--store", logs)
    assert (result.exit_code, "0 runs" in result.stdout) == (0, True)


def test_every_finding_is_a_line_with_its_file_and_what_to_do(damaged):
    result = verified("--store", damaged)
    assert result.exit_code == 1
    *lines, summary = result.stdout.splitlines()
    assert len(lines) == 3
    (line,) = [line for line in lines if DAMAGED in line]
    assert line.split()[:3] == ["problem", "corrupt", f"bad/{DAMAGED}"]
    assert "(byte 8)" in line
    assert "--repair" in line
    assert summary.startswith(f"2 problems in 2 runs of {damaged}, 1 note.")


def test_names_are_shown_as_they_are_and_terminals_obey_nothing_in_them(damaged):
    (line,) = [line for line in verified("--store", damaged).stdout.splitlines() if "foreign" in line]
    assert "[red]notes\\x1b[31m.txt" in line


def test_notes_alone_leave_the_exit_code_0(damaged):
    (damaged / "good" / "notes.txt").write_bytes(b"")
    result = verified("good", "--store", damaged)
    assert result.exit_code == 0
    assert result.stdout.splitlines()[0].startswith("note     foreign")


def test_a_run_is_named_by_the_beginning_of_its_id(damaged):
    assert verified("go", "--store", damaged).exit_code == 0
    assert verified("ba", "--store", damaged).exit_code == 1
    assert isinstance(verified("nothing", "--store", damaged).exception, RunLogNotFoundError)


def test_repair_says_where_it_moved_a_file_and_the_next_look_finds_it_no_more(damaged):
    result = verified("--store", damaged, "--repair")
    assert result.exit_code == 1
    assert f"Moved to bad/quarantine/{DAMAGED}." in result.stdout
    assert ", 1 file moved into quarantine" in result.stdout
    again = verified("--store", damaged, "--repair")
    assert DAMAGED not in again.stdout
    assert "quarantined" in again.stdout


def test_json_holds_everything_and_nothing_else_is_printed(damaged):
    result = verified("--store", damaged, "--json")
    report = json.loads(result.stdout)
    assert (report["runs"], report["problems"], report["notes"], report["moved"]) == (2, 2, 1, 0)
    assert {one["kind"] for one in report["findings"]} == {"corrupt", "foreign", "orphan"}
    assert set(report) == set(VerifyReport.__struct_fields__)
    assert result.exit_code == 1


def test_on_a_terminal_lines_fit_and_colours_tell_problems_from_notes(damaged, monkeypatch):
    monkeypatch.setenv("FORCE_COLOR", "1")
    monkeypatch.setenv("COLUMNS", "80")
    screen = verified("--store", damaged).stdout
    assert "✘" in screen
    assert "\x1b[" in screen
    monkeypatch.setenv("NO_COLOR", "1")
    plain = verified("--store", damaged).stdout
    assert "\x1b[3" not in plain
