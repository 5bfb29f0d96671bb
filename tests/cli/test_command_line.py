"""The command line as a whole: how stores and runs are named, exit codes, colour, errors, start-up."""

import os
import subprocess
import sys

import pytest

import chunkstore as library
from chunkstore.cli.app import COMMANDS
from chunkstore.version import __version__
from cli.command import chunkstore, on_terminal


def test_without_a_command_it_says_what_there_is():
    result = chunkstore()
    assert "demo" in result.out + result.err
    assert "ls" in result.out + result.err


@pytest.mark.parametrize("command", COMMANDS)
def test_every_command_has_help_and_takes_the_options_that_all_have(command):
    result = chunkstore(command, "--help")
    assert result.code == 0
    assert "--json" in result.out or command == "schema"
    assert ("--store" in result.out and "--config" in result.out) or command == "schema"


def test_it_tells_its_version():
    assert chunkstore("--version") == (0, f"chunkstore {__version__}\n", "")


@pytest.mark.parametrize(
    "arguments",
    [
        ["nonsense"],
        ["ls", "--nonsense"],
        ["ls", "--store", "chunked-fs:"],
        ["ls", "--store", "a", "--config", "b"],
        ["ls", "--config", "nowhere.yaml"],
        ["ls", "--since", "yesterday-ish"],
        ["ls", "--metric", "loss"],
        ["ls", "--sort", "beauty"],
        ["show", "nobody"],
        ["seal"],
        ["import", "nowhere"],
        ["schema", "nonsense"],
    ],
    ids=" ".join,
)
def test_wrong_use_is_told_and_has_the_exit_code_2(tmp_path, monkeypatch, arguments):
    monkeypatch.chdir(tmp_path)
    result = chunkstore(*arguments)
    assert result.code == 2
    assert result.err.strip()
    assert "Traceback" not in result.err
    assert os.listdir(tmp_path) == []


def test_a_store_is_found_as_the_library_finds_it(tmp_path, monkeypatch, pipeline):
    monkeypatch.chdir(tmp_path)
    (tmp_path / "chunkstore.yaml").write_text("run_log_store: {type: file-system, config: {log_folder: here}}\n")
    (tmp_path / "other.yaml").write_text("run_log_store: {config: {log_folder: there}}\n")
    pipeline(library.open_store(), "here-1")
    pipeline(library.open_store(config="other.yaml"), "there-1")
    assert [row["run_id"] for row in chunkstore("ls", "--json").json] == ["here-1"]
    assert [row["run_id"] for row in chunkstore("ls", "--json", "--config", "other.yaml").json] == ["there-1"]
    monkeypatch.setenv("CHUNKSTORE_CONFIGURATION_FILE", "other.yaml")
    assert [row["run_id"] for row in chunkstore("ls", "--json").json] == ["there-1"]
    assert [row["run_id"] for row in chunkstore("ls", "--json", "--store", "here").json] == ["here-1"]
    assert [row["run_id"] for row in chunkstore("ls", "--json", "--store", "file-system:here").json] == ["here-1"]


def test_a_store_that_is_not_there_has_no_runs_and_is_not_made(tmp_path):
    result = chunkstore("ls", "--store", tmp_path / "none")
    assert (result.code, result.out) == (0, "")
    assert "no runs" in result.err
    assert chunkstore("ls", "--store", tmp_path / "none", "--json").json == []
    assert chunkstore("show", "latest", "--store", tmp_path / "none").code == 2
    assert os.listdir(tmp_path) == []


def test_a_run_is_named_by_its_id_the_beginning_of_it_or_latest(store, logs, pipeline):
    for run_id in ("early-bird", "early", "late"):
        pipeline(store, run_id)

    def shown(name):
        return chunkstore("show", name, "--json", "--store", logs).json["log"]["run_id"]

    assert [shown(name) for name in ("early", "early-", "l", "latest")] == ["early", "early-bird", "late", "late"]
    several = chunkstore("show", "e", "--store", logs)
    assert several.code == 2
    assert "early-bird" in several.err
    assert "early" in several.err
    alike = chunkstore("show", "erly-bird", "--store", logs)
    assert alike.code == 2
    assert "'early-bird'" in alike.err


def test_a_run_that_is_called_latest_is_itself(store, logs, pipeline):
    pipeline(store, "latest")
    pipeline(store, "later")
    assert chunkstore("show", "latest", "--json", "--store", logs).json["log"]["run_id"] == "latest"


@pytest.mark.thorough
def test_colour_is_for_terminals_without_no_color(store, logs, pipeline):
    pipeline(store)
    code, screen = on_terminal("show", "one", "--store", logs)
    assert code == 0
    assert "\x1b[1;31m✘ FAIL" in screen
    code, screen = on_terminal("show", "one", "--store", logs, NO_COLOR="1")
    assert code == 0
    assert "✘ FAIL" in screen
    assert "\x1b[1;31m" not in screen
    assert "\x1b" not in chunkstore("show", "one", "--store", logs).out


def test_nothing_that_was_recorded_reaches_the_terminal_as_a_command(store, logs):
    store.create_run_log("evil", tag="\x1b[31mred\x07[bold]", parameters={"[bold]x": "\x1b]0;title\x07"})
    store.add_step_log(
        "evil", library.StepLog(name="\x1b[2Jx", internal_name="\x1b[2Jx", status="FAIL", message="[/nonsense]\x1b[0m")
    )
    for arguments in (["ls"], ["show", "evil"], ["show", "evil", "--params"], ["show", "evil", "--step", "\x1b[2Jx"]):
        result = chunkstore(*arguments, "--store", logs)
        assert result.code == 0, result
        assert "\x1b" not in result.out
        assert "\x07" not in result.out
    assert "[/nonsense]" in chunkstore("show", "evil", "--store", logs).out


def test_whoever_reads_only_the_beginning_sees_no_traceback(tmp_path, logs):
    store = library.open_store("chunked-fs", log_folder=logs, durability="process")
    for number in range(2_000):
        store.create_run_log(f"run-{number}", status="SUCCESS")
    command = f"{sys.executable} -m chunkstore ls --store {logs} | head -1"
    result = subprocess.run(command, shell=True, capture_output=True, text=True, check=True)
    assert result.stdout.startswith("STATUS")
    assert result.stderr == ""


def loaded_by(*arguments):
    code = (
        f"import sys; sys.argv = {['chunkstore', *map(str, arguments)]!r}\n"
        "from chunkstore.__main__ import main\n"
        "try: main()\nexcept SystemExit: pass\n"
    )
    return loaded_after(code) - loaded_after("import sys, filelock, msgspec, typer\n")  # some load asyncio


def loaded_after(code):
    code += "print(*sys.modules, file=sys.stderr)"
    return set(subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True).stderr.split())


@pytest.mark.thorough
def test_json_and_tables_in_pipes_load_nothing_heavy(store, logs, pipeline):
    pipeline(store)
    for arguments in (["--version"], ["ls", "--json", "--store", logs], ["show", "one", "--json", "--store", logs]):
        loaded = loaded_by(*arguments)
        assert "chunkstore.cli.app" in loaded
        heavy = {"rich.console", "rich.table", "yaml", "pandas", "pyarrow", "asyncio", "chunkstore.recording.run"}
        assert not loaded & heavy, arguments


def test_what_is_missing_for_the_command_line_is_told(tmp_path):
    (tmp_path / "typer.py").write_text("raise ModuleNotFoundError('no', name='typer')")
    environment = {**os.environ, "PYTHONPATH": str(tmp_path)}
    command = [sys.executable, "-m", "chunkstore", "ls"]
    result = subprocess.run(command, env=environment, capture_output=True, text=True, check=False)
    assert result.returncode == 1
    assert result.stderr == "error: the command line needs typer. Run `pip install 'chunkstore[cli]'`.\n"


@pytest.mark.sampled
def test_the_shell_completes_run_ids(store, logs, pipeline):
    for run_id in ("early-bird", "early-worm", "late"):
        pipeline(store, run_id)
    words = f"chunkstore show --store {logs} early"
    environment = {
        **os.environ,
        "_CHUNKSTORE_COMPLETE": "complete_bash",
        "COMP_WORDS": words,
        "COMP_CWORD": "4",
        "_TYPER_COMPLETE_ARGS": words,
    }
    command = os.path.join(os.path.dirname(sys.executable), "chunkstore")
    result = subprocess.run([command], env=environment, capture_output=True, text=True, check=True)
    assert set(result.stdout.split()) == {"early-bird", "early-worm"}, result


@pytest.mark.thorough
@pytest.mark.parametrize("encoding", ["ascii", "latin-1", "utf-8"])
def test_whatever_the_encoding_of_the_output_everything_is_printed(store, logs, pipeline, encoding):
    pipeline(store, items=("模型", "🙂"), bad=("🙂",))
    environment = {**os.environ, "PYTHONIOENCODING": encoding}
    for arguments in (["ls"], ["show", "one"], ["timeline", "one"], ["diff", "one", "one"], ["verify"]):
        command = [sys.executable, "-m", "chunkstore", *arguments, "--store", logs]
        result = subprocess.run(command, env=environment, capture_output=True, check=False)
        assert (result.returncode, result.stderr) == (0, b""), arguments


@pytest.mark.thorough
def test_output_that_cannot_be_written_is_told_and_one_that_is_closed_is_no_error(store, logs, pipeline):
    pipeline(store)
    for arguments in ("ls", "ls --json", "show one", "show one --json"):
        command = f"{sys.executable} -m chunkstore {arguments} --store {logs}"
        full = subprocess.run(f"{command} > /dev/full", shell=True, capture_output=True, text=True, check=False)
        assert full.returncode == 1
        assert "No space left" in full.stderr
        assert "Traceback" not in full.stderr
        closed = subprocess.run(f"{command} >&-", shell=True, capture_output=True, text=True, check=False)
        assert (closed.returncode, closed.stderr) == (0, "")


def test_line_breaks_in_names_cannot_forge_a_line(store, logs):
    store.create_run_log("one", tag="a\nforged", parameters={"b\nforged": 1}, status="SUCCESS")
    store.add_step_log("one", library.StepLog(name="c\nforged", internal_name="c\nforged", status="SUCCESS"))
    for arguments in (
        ["ls"],
        ["show", "one"],
        ["show", "one", "--params"],
        ["watch", "one"],
        ["gc", "--dry-run", "--keep-last", "0"],
    ):
        result = chunkstore(*arguments, "--store", logs)
        assert result.code == 0, result
        assert "\\nforged" in result.out
        assert not [line for line in result.lines if line.startswith("forged")]


@pytest.mark.parametrize("columns", ["0", "00", "1"])
def test_however_narrow_the_terminal_something_is_shown(store, logs, pipeline, monkeypatch, columns):
    pipeline(store)
    monkeypatch.setenv("COLUMNS", columns)
    assert chunkstore("show", "one", "--store", logs).out.strip()


def test_odd_limits_and_values_are_no_traceback(store, logs, pipeline):
    pipeline(store)
    assert len(chunkstore("ls", "--limit", "9" * 30, "--store", logs).lines) == 2
    assert chunkstore("ls", "--param", "seed=" + "[" * 50_000, "--store", logs).code == 0
    assert chunkstore("ls", "--metric", "loss<", "--store", logs).code == 2
