"""With `chunkstore doctor --with`, workers try a folder, whatever starts them, and say what is in the way."""

import json
import os
import subprocess
import sys
import time

import pytest
import typer
from typer.testing import CliRunner

from chunkstore import EngineReport
from chunkstore.cli.doctor import examine_folder

app = typer.Typer()
app.command()(examine_folder)

MODULE = """
import sys
import time
from concurrent.futures import ProcessPoolExecutor, ThreadPoolExecutor

sys.path.append({support!r})
from elsewhere import Elsewhere

threads = ThreadPoolExecutor(1)
made = []

def processes():
    made.append(ProcessPoolExecutor(1))
    return made[0]

def hanging():
    return ProcessPoolExecutor(1, initializer=time.sleep, initargs=(600,))

def never():
    time.sleep(600)

def elsewhere():
    return Elsewhere({here!r}, {there!r})

number = 7
"""


@pytest.fixture
def module(tmp_path, monkeypatch):
    """The name of a module in the working folder."""
    monkeypatch.chdir(tmp_path)
    monkeypatch.setattr("sys.path", list(os.sys.path))
    name = f"engines_of_{tmp_path.name}".replace("-", "_")
    for folder in ("log-1", "log-2"):
        (tmp_path / folder).mkdir()
    support = os.path.join(os.path.dirname(__file__), "..", "support")
    paths = {"here": str(tmp_path / "log-1"), "there": str(tmp_path / "log-2")}
    (tmp_path / f"{name}.py").write_text(MODULE.format(support=support, **paths))
    yield name
    os.sys.modules.pop(name, None)


def examined(*arguments):
    return CliRunner().invoke(app, ["log-1", "--with", *arguments])


def test_every_worker_has_a_line_and_the_exit_code_is_0(module):
    result = examined("processes:2")
    assert result.exit_code == 0, result.output
    lines = result.stdout.splitlines()
    assert lines[0].startswith(f"{os.getcwd()}/log-1  as process {os.getpid()} on {os.uname().nodename}")
    rows = [line for line in lines if line.startswith("process ")]
    assert len(rows) == 2
    assert all(row.count(" yes") == 6 for row in rows)
    assert lines[-1] == "Everything holds that chunkstore relies on."
    assert os.listdir("log-1") == []


def test_a_finding_names_both_sides_and_the_exit_code_is_1(module):
    result = examined(f"{module}:elsewhere")
    assert result.exit_code == 1
    assert " NO " in result.stdout
    assert f"does not see {os.getcwd()}/log-1 of process {os.getpid()} on" in result.stdout
    assert "Do not record runs with these workers" in result.stdout
    assert os.listdir("log-2") == []


def test_json_holds_everything_and_nothing_else_is_printed(module):
    for engine, code in ((f"{module}:elsewhere", 1), ("env", 0)):
        result = examined(engine, "--json")
        report = json.loads(result.stdout)
        assert result.exit_code == code
        assert set(report) == set(EngineReport.__struct_fields__)
        assert report["holds"] is (code == 0)
        assert report["engine"] == engine


def test_an_executor_or_what_makes_one_may_be_named_and_only_what_was_made_is_ended(module):
    for attribute in ("threads", "processes"):
        result = examined(f"{module}:{attribute}")
        assert result.exit_code == 0, result.output
    named = os.sys.modules[module]
    assert named.threads.submit(int).result() == 0
    with pytest.raises(RuntimeError):
        named.made[0].submit(int)


@pytest.mark.thorough
def test_nobody_is_waited_for_longer_than_was_said(module):
    begun = time.monotonic()
    result = examined(f"{module}:hanging", "--timeout", "1")
    assert result.exit_code == 1
    assert "No answer to 1 question in 1 seconds" in result.stdout
    assert time.monotonic() - begun < 60


@pytest.mark.thorough
def test_an_engine_that_does_not_come_is_given_up_though_nothing_interrupts_it(module):
    program = (
        "import signal, sys; from chunkstore.cli import chosen_engine; from chunkstore.__main__ import main; "
        "signal.pthread_sigmask(signal.SIG_BLOCK, {signal.SIGINT, signal.SIGTERM}); "
        "chosen_engine._STARTS_WITHIN = 0.5; sys.argv[1:1] = ['doctor', 'log-1', '--with']; main()"
    )
    done = subprocess.run(
        [sys.executable, "-c", program, f"{module}:never"], capture_output=True, text=True, timeout=60, check=False
    )
    assert (done.returncode, done.stdout) == (1, "")
    assert f"'{module}:never' gives no executor: nothing has answered in 0.5 seconds" in done.stderr


@pytest.mark.parametrize(
    ("engine", "said"),
    [
        ("no-such-command -n 4", "there is no command 'no-such-command'"),
        ("nonsense", "there is no command 'nonsense'"),
        ("no_such_module:pool", "ModuleNotFoundError"),
        ("{}:missing", "AttributeError"),
        ("{}:number", "gives no executor"),
        ("", "names no engine"),
    ],
)
def test_what_is_no_engine_is_wrong_use(module, engine, said):
    result = examined(engine.format(module))
    assert result.exit_code == 2
    assert said in " ".join(result.output.replace("│", " ").split())


def test_without_a_folder_the_store_is_that_of_the_configuration(module, tmp_path):
    (tmp_path / "chunkstore.yaml").write_text("run_log_store: {config: {log_folder: elsewhere/logs}}")
    result = CliRunner().invoke(app, ["--with", "env", "--json"])
    assert json.loads(result.stdout)["folder"] == str(tmp_path / "elsewhere" / "logs")
    assert not (tmp_path / "elsewhere").exists()


def test_workers_of_a_bucket_are_not_looked_for_in_a_folder_of_that_name(tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    ended = CliRunner().invoke(app, ["memory://bucket/prefix", "--with", "processes:1"])
    assert ended.exit_code != 0
    assert list(tmp_path.iterdir()) == []
