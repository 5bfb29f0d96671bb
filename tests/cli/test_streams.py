"""Whatever is at the other ends of its streams, the command line ends as other tools do."""

import subprocess
import sys

import pytest

from chunkstore.cli.app import COMMANDS

BROKEN_PIPE = 141
#: Stands for the folder with the runs.
FOLDER = "FOLDER"
#: Of each command that prints of its own accord, a call.
CALLS = {
    "ls": ["ls"],
    "ls --json": ["ls", "--json"],
    "show": ["show", "one"],
    "show --json": ["show", "one", "--json"],
    "show --step": ["show", "one", "--step", "load"],
    "show --params": ["show", "one", "--params"],
    "watch": ["watch", "one"],
    "watch --json": ["watch", "one", "--json"],
    "logs": ["logs", "one", "load"],
    "logs --json": ["logs", "one", "load", "--json"],
    "timeline": ["timeline", "one"],
    "timeline --json": ["timeline", "one", "--json"],
    "timeline --html": ["timeline", "one", "--html", "-"],
    "timeline --trace": ["timeline", "one", "--trace", "-"],
    "diff": ["diff", "one", "two"],
    "diff --json": ["diff", "one", "two", "--json"],
    "why": ["why", "load", "--run", "one"],
    "why --json": ["why", "load", "--run", "one", "--json"],
    "export": ["export", "one", "--to", "-"],
    "export --format csv": ["export", "--all", "--to", "-", "--format", "csv"],
    "export --format jsonl": ["export", "--all", "--to", "-", "--format", "jsonl"],
    "verify": ["verify"],
    "verify --json": ["verify", "--json"],
    "gc": ["gc", "--dry-run", "--keep-last", "0"],
    "gc --json": ["gc", "--dry-run", "--keep-last", "0", "--json"],
    "doctor": ["doctor", FOLDER],
    "copy": ["copy", "one", "--to", f"{FOLDER}-of-copies"],
    "seal": ["seal", "one"],
    "unseal": ["unseal", "one"],
    "import": ["import", FOLDER],
    "schema": ["schema"],
}
#: One of each way to print; the others are tried where there is time.
QUICK = {"ls", "ls --json", "show", "timeline --html", "export --format csv", "logs"}
#: One runs a pipeline of its own, which takes long; the other leaves a file, and does so once.
NOT_CALLED = {"demo", "get"}
EVERY_CALL = [
    pytest.param(call, id=name, marks=() if name in QUICK else pytest.mark.thorough) for name, call in CALLS.items()
]


def shell(tmp_path, call, rest):
    """Run a command in a shell, with something done to its streams; return what became of it."""
    folder = str(tmp_path / "logs")
    own = [] if call[0] in {"schema", "doctor"} else ["--store", folder]
    arguments = [argument.replace(FOLDER, folder) for argument in call]
    script = ["bash", "-c", f'"$@" {rest}', "bash", sys.executable, "-m", "chunkstore", *arguments, *own]
    return subprocess.run(script, capture_output=True, text=True, timeout=60, check=False)


@pytest.fixture
def recorded(tmp_path, pipeline):
    import chunkstore

    store = chunkstore.open_store("chunked-fs", log_folder=str(tmp_path / "logs"))
    for run_id in ("one", "two"):
        pipeline(store, run_id)
    return tmp_path


def test_every_command_that_prints_is_tried():
    assert {call[0] for call in CALLS.values()} | NOT_CALLED == {*COMMANDS}


@pytest.mark.parametrize("call", EVERY_CALL)
def test_a_reader_that_has_seen_enough_is_no_error(recorded, call):
    result = shell(recorded, call, "| head -c 0; exit ${PIPESTATUS[0]}")
    assert (result.returncode, result.stdout, result.stderr) == (BROKEN_PIPE, "", "")


@pytest.mark.parametrize("call", EVERY_CALL)
def test_output_that_cannot_be_written_is_told_once(recorded, call):
    result = shell(recorded, call, "> /dev/full")
    assert result.returncode == 1
    assert result.stderr.splitlines() == ["error: The output cannot be written: No space left on device."]


@pytest.mark.parametrize("call", EVERY_CALL)
def test_streams_that_are_closed_change_nothing(recorded, call):
    usual = shell(recorded, call, "> /dev/null").returncode
    assert usual in {0, 1}
    result = shell(recorded, call, "<&- >&-")
    assert (result.returncode, result.stderr) == (usual, "")
    assert shell(recorded, call, "> /dev/null 2>&-").returncode == usual


def test_errors_that_nobody_reads_are_none(recorded):
    assert shell(recorded, ["show", "nobody"], "2> >(head -c 0); exit $?").returncode in {2, BROKEN_PIPE}
    assert shell(recorded, ["show", "nobody"], "2>&-").returncode == 2


def test_the_first_lines_are_printed_before_the_reader_goes(recorded):
    result = shell(recorded, ["ls"], "| head -n 1")
    assert (result.returncode, result.stderr) == (0, "")
    assert result.stdout.startswith("STATUS")
