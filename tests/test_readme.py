"""Every code block of the README runs, and prints what the README says."""

from __future__ import annotations

import itertools
import os
import re
import shutil
import subprocess
import sys
from pathlib import Path

import pytest
from privileges import skip_or_fail

import chunkstore
from chunkstore.testing.system_trace import why_no_trace

PROJECT = Path(__file__).parent.parent
README = (PROJECT / "README.md").read_text()
BLOCKS = re.findall(r"^```(\w+)\n(.*?)^```$", README, re.MULTILINE | re.DOTALL)

#: The block that seals the run which the blocks for other tools read.
SEALING = next(text for language, text in BLOCKS if language == "python" and "store.seal(" in text)

RUN_ID = re.compile(r"[a-z]+-[a-z]+-\d{4}-[0-9a-z]{12}")
DURATION = re.compile(r"\b[\d.]+ (ms|s|min)\b")
CLOCK = re.compile(r"(\d{4}-\d\d-\d\d )?\d\d:\d\d:\d\d")
SIZE = re.compile(r"\b[\d.]+ [kM]B\b")
HASH = re.compile(r"\b[0-9a-f]{8,64}\b")
TREE = re.compile(r"^[│├└─ ]+")


def python_blocks() -> list[tuple[str, str | None]]:
    """Return the Python blocks, each with the output that the README shows right after it."""
    found = []
    for (language, code), (next_language, text) in zip(BLOCKS, [*BLOCKS[1:], ("", "")], strict=True):
        if language == "python":
            follows = f"```python\n{code}```\n\n```text\n" in README
            found.append((code, text if next_language == "text" and follows else None))
    return found


def normal(output: str) -> list[str]:
    """Return the lines of an output without what differs from run to run: ids, durations, the order of branches."""
    return sorted(TREE.sub("", DURATION.sub("TIME", RUN_ID.sub("RUN", line))) for line in output.splitlines())


@pytest.mark.parametrize(("code", "output"), python_blocks())
def test_python_blocks_run_and_print_what_the_readme_shows(code, output, tmp_path):
    if "system_trace" in code and (reason := why_no_trace()):
        skip_or_fail(reason)
    if "Sealed-" in code:
        run_block(SEALING, tmp_path)
    printed = run_block(code, tmp_path)
    if output is not None:
        assert normal(printed) == normal(output)


def test_what_is_typed_into_a_terminal_shows_what_the_readme_shows(tmp_path):
    """All commands work on what one program leaves, the one that stands before them."""
    place = next(number for number, (language, _) in enumerate(BLOCKS) if language == "console")
    run_block(BLOCKS[place - 1][1], tmp_path)
    path = os.pathsep.join([str(Path(sys.executable).parent), os.environ["PATH"]])
    environment = {**os.environ, "PATH": path, "PYTHONPATH": str(PROJECT)}
    environment.pop("COLUMNS", None)
    shown = [line for language, text in BLOCKS if language == "console" for line in text.splitlines()]
    while shown:
        command = shown.pop(0).removeprefix("$ ")
        expected = list(itertools.takewhile(lambda line: not line.startswith("$ "), shown))
        del shown[: len(expected)]
        result = subprocess.run(
            ["sh", "-c", command], cwd=tmp_path, env=environment, capture_output=True, text=True, check=False
        )
        assert result.returncode in {0, 1}, result.stderr
        # How long something took differs from machine to machine, and may be a difference of its own.
        printed, _, _ = result.stdout.replace(str(tmp_path), "/data").partition("\nDurations\n")
        # Branches come in the order in which they began.
        assert sorted(map(plain, printed.splitlines())) == sorted(map(plain, expected)), command


def plain(line: str) -> str:
    """Return a line without times, durations, hashes, and how wide its columns are."""
    for pattern, name in ((CLOCK, "CLOCK"), (DURATION, "TIME"), (SIZE, "SIZE"), (HASH, "HASH")):
        line = pattern.sub(name, line)
    return re.sub(r"[ ─━█▏▎▍▌▋▊▉▐░│├└]+", " ", line).strip()


def run_block(code: str, folder: Path) -> str:
    """Run a block as a program in a folder; return what it prints."""
    script = folder / "block.py"
    script.write_text(code)
    environment = {**os.environ, "PYTHONPATH": str(PROJECT), "PYTHONWARNINGS": "error"}
    result = subprocess.run(
        [sys.executable, script.name], cwd=folder, env=environment, capture_output=True, text=True, check=False
    )
    assert result.returncode == 0, result.stderr
    return result.stdout


def test_the_command_for_jq_prints_what_the_readme_shows(tmp_path):
    if shutil.which("jq") is None:
        skip_or_fail("jq is not installed")
    ((_, command), (_, shown)) = next(pair for pair in itertools.pairwise(BLOCKS) if pair[0][1].startswith("jq "))
    run_block(SEALING, tmp_path)
    result = subprocess.run(["sh", "-c", command], cwd=tmp_path, capture_output=True, text=True, check=True)
    assert result.stdout == shown


def test_most_python_blocks_show_their_output():
    assert len(python_blocks()) >= 5
    assert sum(output is not None for _, output in python_blocks()) >= 4


def test_the_configuration_block_opens_the_default_store(tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    (block,) = [text for language, text in BLOCKS if text.startswith("# chunkstore.yaml")]
    Path("chunkstore.yaml").write_text(block)
    configured, default = chunkstore.open_store(), chunkstore.open_store("chunked-fs")
    assert configured.options == chunkstore.StoreOptions(catalog_folder=".catalog", seal_finished_runs=1000)
    assert configured.catalog_folder == default.catalog_folder
    assert configured.backend.location == default.backend.location


def test_the_folder_block_is_what_a_run_leaves(tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    store = chunkstore.open_store()
    with store.start_run() as run:
        for name in ("simple", "success"):
            with run.step(name):
                pass
    left = sorted(path.name for path in Path(".run_log_store", run.run_id).iterdir() if not path.name.startswith("."))
    block = folder_blocks()[0]
    assert without_digits([".run_log_store", run.run_id, *left]) == without_digits(block)


def folder_blocks():
    """Return the lines of the blocks that show a folder of runs, without what draws the tree."""
    blocks = [text for language, text in BLOCKS if language == "text" and text.startswith(".run_log_store")]
    return [[TREE.sub("", line) for line in block.splitlines()] for block in blocks]


def without_digits(lines):
    return [re.sub(r"\d{19}", "NS", RUN_ID.sub("RUN", line)) for line in lines]


def test_the_configuration_for_runnable_is_that_of_the_examples():
    (block,) = [text for language, text in BLOCKS if text.startswith("# examples/runnable/chunkstore.yaml")]
    lines = [line.partition(" #")[0] for line in block.splitlines()[1:]]
    assert lines == (PROJECT / "examples" / "runnable" / "chunkstore.yaml").read_text().splitlines()


def test_the_pipeline_of_runnable_leaves_the_folder_that_is_shown(tmp_path):
    (command,) = [text for language, text in BLOCKS if language == "sh" and text.startswith("RUNNABLE")]
    shutil.copytree(PROJECT / "examples", tmp_path / "examples")
    path = os.pathsep.join([str(Path(sys.executable).parent), os.environ["PATH"]])
    environment = {**os.environ, "PATH": path, "PYTHONPATH": str(PROJECT), "RUNNABLE_RUN_ID": "cold-austin-1910"}
    subprocess.run(["sh", "-c", command], cwd=tmp_path, env=environment, capture_output=True, check=True)
    left = sorted(path.name for path in (tmp_path / ".run_log_store" / "cold-austin-1910").glob("[!.]*"))
    assert without_digits([".run_log_store", "cold-austin-1910", *left]) == without_digits(folder_blocks()[1])
    (printed,) = (tmp_path / ".catalog" / "cold-austin-1910").glob("simple*.execution.log")
    assert "Hello World!" in printed.read_text()


def test_the_example_of_testing_a_store_of_ones_own_passes(tmp_path):
    # Without the property tests, which take longest, and which our own stores go through anyway.
    options = ["-q", "-p", "no:cacheprovider", "-k", "not any"]
    result = subprocess.run(
        [sys.executable, "-m", "pytest", *options, str(PROJECT / "examples" / "test_own_store.py")],
        cwd=tmp_path,
        capture_output=True,
        text=True,
        check=False,
    )
    assert result.returncode == 0, result.stdout
    assert int(re.search(r"(\d+) passed", result.stdout)[1]) > 120


def test_ci_runs_the_two_commands_of_the_readme():
    commands = [
        text.strip() for language, text in BLOCKS if language == "sh" and not text.startswith(("RUNNABLE", "jq "))
    ]
    assert len(commands) == 2
    assert all(re.match(r"python3 -m venv \.venv && ", command) for command in commands)
    assert r"grep -E '^python3 -m venv \.venv && ' README.md" in (PROJECT / ".ci" / "run").read_text()


def test_every_block_is_of_a_language_that_is_tested_here():
    assert {language for language, _ in BLOCKS} == {"python", "text", "yaml", "sh", "console"}


def test_links_to_files_of_the_project_lead_somewhere():
    for target in re.findall(r"\]\((?!https?://|#)([^)]+)\)", README):
        assert (PROJECT / target).exists(), target


def printed_by(*arguments, folder):
    environment = {**os.environ, "PYTHONPATH": str(PROJECT)}
    command = [sys.executable, "-m", "chunkstore", *arguments]
    return subprocess.run(command, cwd=folder, env=environment, capture_output=True, text=True, check=True).stdout


def test_the_examination_of_a_folder_asks_what_the_readme_shows(tmp_path):
    (block,) = [text for language, text in BLOCKS if language == "text" and text.startswith("What it does")]
    report = printed_by("doctor", str(tmp_path), folder=tmp_path)
    shown = re.findall(r"^  (?:good|caution) +([^:\n]+)", block, re.MULTILINE)
    assert len(shown) >= 5
    for title in [*shown, "What it does", "What to configure", "type: chunked-fs", "durability: run", "container: "]:
        assert title in report


def test_a_timeline_has_the_parts_that_the_readme_shows(tmp_path):
    (block,) = [text for language, text in BLOCKS if language == "text" and "\nat once  " in text]
    place = next(number for number, (language, _) in enumerate(BLOCKS) if language == "console")
    run_block(BLOCKS[place - 1][1], tmp_path)
    timeline = printed_by("timeline", "rate-0.1", folder=tmp_path)
    for part in (
        "✘ FAIL",
        "tag ",
        "│0 s",
        "at once",
        "✔ load",
        "1 step failed",
        "critical path  ",
        "longest  ",
        "in all  ",
    ):
        assert part in block
        assert part in timeline
