"""What single blocks of the pages show is so: configurations, what commands report, the commands that set up."""

import re
import subprocess
import sys
from pathlib import Path

import pytest
from pages import PAGES, PROJECT, blocks_of
from programs import environment

import chunkstore

README = blocks_of(PROJECT / "README.md")
ALL = [block for page in PAGES for block in blocks_of(page)]


def only(language, *, begins="", holds=""):
    """Return the one block of a language that begins with something and holds something."""
    blocks = [block.text for block in ALL if block.language == language]
    (found,) = [text for text in blocks if text.startswith(begins) and holds in text]
    return found


def test_the_configuration_block_opens_the_default_store(tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    Path("chunkstore.yaml").write_text(only("yaml", begins="# chunkstore.yaml", holds="seal_finished_runs: 1000"))
    configured, default = chunkstore.open_store(), chunkstore.open_store("chunked-fs")
    assert configured.options == chunkstore.StoreOptions(catalog_folder=".catalog", seal_finished_runs=1000)
    assert configured.catalog_folder == default.catalog_folder
    assert configured.backend.location == default.backend.location


def test_the_configuration_for_runnable_is_that_of_the_examples():
    block = only("yaml", begins="# examples/runnable/chunkstore.yaml")
    lines = [line.partition(" #")[0] for line in block.splitlines()[1:]]
    assert lines == (PROJECT / "examples" / "runnable" / "chunkstore.yaml").read_text().splitlines()


def test_ci_runs_the_two_commands_of_the_readme():
    commands = [block.text.strip() for block in README if block.language == "sh"]
    assert len(commands) == 2
    assert all(re.match(r"python3 -m venv \.venv && ", command) for command in commands)
    assert r"grep -E '^python3 -m venv \.venv && ' README.md" in (PROJECT / ".ci" / "run").read_text()


@pytest.mark.thorough
def test_the_example_of_testing_a_store_of_ones_own_passes(tmp_path):
    # Without the property tests, which take longest, and which our own stores go through anyway.
    options = ["-q", "-p", "no:cacheprovider", "-k", "not any"]
    result = subprocess.run(
        [sys.executable, "-m", "pytest", *options, str(PROJECT / "examples" / "test_own_store.py")],
        cwd=tmp_path,
        env=environment(),
        capture_output=True,
        text=True,
        check=False,
    )
    assert result.returncode == 0, result.stdout
    assert int(re.search(r"(\d+) passed", result.stdout)[1]) > 120


def test_the_examination_of_a_folder_asks_what_is_shown(tmp_path, programs):
    block = only("text", begins="What it does", holds="type: chunked-fs")
    report = programs.run(["chunkstore", "doctor", str(tmp_path)], tmp_path).printed
    shown = re.findall(r"^  (?:good|caution) +([^:\n]+)", block, re.MULTILINE)
    assert len(shown) >= 5
    for title in [*shown, "What it does", "What to configure", "type: chunked-fs", "durability: run", "container: "]:
        assert title in report


def test_a_timeline_has_the_parts_that_are_shown(tmp_path, programs):
    block = only("text", holds="\nat once  ")
    (tmp_path / "train.py").write_text(only("python", begins="# train.py", holds="depth"))
    programs.run(["train.py"], tmp_path)
    timeline = programs.run(["chunkstore", "timeline", "rate-0.1"], tmp_path).printed
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
