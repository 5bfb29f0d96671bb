"""A reader who does what a page says: runs its programs, types its commands, saves its files, in one folder."""

import itertools
import json
import os
import re
import shutil
import subprocess

import yaml
from programs import PROJECT, environment

RUN_ID = re.compile(r"\b[a-z]+-[a-z]+-\d{4}-[0-9a-z]{12}\b")
DURATION = re.compile(r"\b[\d.]+ (ms|s|min)\b")
CLOCK = re.compile(r"(\d{4}-\d\d-\d\d )?\d\d:\d\d:\d\d")
SIZE = re.compile(r"\b[\d.]+ [kM]B\b")
HASH = re.compile(r"\b[0-9a-f]{8,64}\b")
TIMESTAMP = re.compile(r"\d{19}")
TREE = re.compile(r"^[│├└─ ]+")

#: Commands that need no shell: they run in a fork instead of an interpreter of their own.
SIMPLE = re.compile(r"(chunkstore|python3?(?= [\w.]+\.py))( ('[^']*'|[\w./=:,%+-]+))*")
#: Commands that install something; they are looked at, and not run.
SET_UP = re.compile(r"(python3 -m venv|\S*pip install|\S*python -m pip install) ")
#: A folder and what is in it; before anything has run, it is no more than a drawing.
FOLDER = re.compile(r"[\w./-]+\n[├└]── ")
#: A line of this alone stands for lines that are left out.
LEFT_OUT = "…"


class Reader:
    """Does what the blocks of a page say, one after the other.

    Args:
        folder: where the reader works.
        programs: what runs them.
        blocks: those of the page.
    """

    def __init__(self, folder, programs, blocks):
        self._folder = folder
        self._programs = programs
        self._has_done_something = False
        self._commands = "".join(block.text for block in blocks if block.language in {"console", "sh"})
        self._environment = {**environment(), "RUNNABLE_RUN_ID": "cold-austin-1910"}

    def obey(self, block):
        """Do what a block says; yield what must be equal, as pairs: what the page shows, and what happened."""
        text = block.text
        if block.file:
            self._save(block.file, text)
        if block.language == "python" and not self._is_typed(block.file):
            yield from self._run(block)
        elif block.language == "console":
            yield from self._type(text)
        elif block.language == "sh" and not block.file and not SET_UP.match(text):
            yield from self._run_script(block)
        elif block.language == "yaml":
            assert yaml.safe_load(text)
        elif block.language == "json":
            json.loads(text)
        elif block.language == "text" and FOLDER.match(text) and self._has_done_something:
            yield self._tree(text)
        self._has_done_something |= block.language in {"python", "console", "sh"}

    def _is_typed(self, file):
        """Tell whether a command of the page runs a file."""
        return bool(file) and re.search(rf"python.* {re.escape(file)}\b", self._commands) is not None

    def _save(self, file, text):
        path = self._folder / file
        path.parent.mkdir(parents=True, exist_ok=True)
        path.write_text(text, encoding="utf-8")

    def _run(self, block):
        file = block.file or "block.py"
        if not block.file:
            self._save(file, block.text)
        ended = self._programs.run([file], self._folder)
        assert ended.code == 0, ended.errors
        if block.shown is not None:
            yield compared(block.shown.splitlines(), ended.printed.splitlines(), normal)

    def _run_script(self, block):
        ended = self._shell(block.text)
        assert ended.returncode == 0, ended.stderr
        if block.shown is not None:
            yield block.shown, ended.stdout

    def _type(self, text):
        lines = text.splitlines()
        while lines:
            command = lines.pop(0).removeprefix("$ ")
            while command.endswith("\\"):
                command = command[:-1] + lines.pop(0).removeprefix("> ")
            shown = list(itertools.takewhile(lambda line: not line.startswith("$ "), lines))
            del lines[: len(shown)]
            printed = self._printed(command).replace(str(self._folder), "/data")
            # How long something took differs from machine to machine, and may be a difference of its own.
            printed, _, _ = printed.partition("\nDurations\n")
            yield compared(shown, printed.splitlines(), plain)

    def _printed(self, command):
        if SIMPLE.fullmatch(command):
            words = [re.sub("'", "", word) for word in re.findall(r"'[^']*'|\S+", command)]
            ended = self._programs.run(words[words[0] != "chunkstore" :], self._folder)
            assert ended.code in {0, 1}, ended.errors
            return ended.printed
        result = self._shell(command)
        assert result.returncode in {0, 1}, result.stderr
        return result.stdout

    def _shell(self, command):
        return subprocess.run(
            ["sh", "-c", command],
            cwd=self._folder,
            env=self._environment,
            capture_output=True,
            encoding="utf-8",
            check=False,
        )

    def _tree(self, text):
        """Return a folder as a page shows it, and as it is."""
        shown = [TREE.sub("", line) for line in text.splitlines()]
        there = [shown[0]]
        for path, folders, files in os.walk(self._folder / shown[0]):
            folders.sort()
            below = os.path.relpath(path, self._folder / shown[0])
            there += [] if below == "." else [os.path.basename(path)]
            there += sorted(file for file in files if not file.startswith("."))
        return without_ids(shown), without_ids(there)


def copy_examples(folder):
    """Give a reader the examples that lie in the repository."""
    shutil.copytree(PROJECT / "examples", folder / "examples", ignore=shutil.ignore_patterns("__pycache__"))


def compared(shown, printed, simplified):
    """Return two lists that must be equal, without what differs from run to run: the order of branches, for example."""
    left, right = sorted(map(simplified, shown)), sorted(map(simplified, printed))
    if LEFT_OUT in map(str.strip, shown):
        left = [line for line in left if line.strip() != LEFT_OUT]
        right = [line for line in right if line in left]
    return left, right


def normal(line):
    """Return a line of a program's output without ids, durations, and what draws a tree."""
    return TREE.sub("", DURATION.sub("TIME", RUN_ID.sub("RUN", line)))


def plain(line):
    """Return a line of a command's output without ids, times, sizes, hashes, and how wide its columns are."""
    for pattern, name in (
        (CLOCK, "CLOCK"),
        (DURATION, "TIME"),
        (SIZE, "SIZE"),
        (RUN_ID, "RUN"),
        (TIMESTAMP, "NS"),
        (HASH, "HASH"),
    ):
        line = pattern.sub(name, line)
    return re.sub(r"[ ─━█▏▎▍▌▋▊▉▐░│├└]+", " ", line).strip()


def without_ids(lines):
    return [TIMESTAMP.sub("NS", RUN_ID.sub("RUN", line)) for line in lines]
