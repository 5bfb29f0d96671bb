"""Every input that found something once, and those that reach code which others do not, in each run of the tests."""

import importlib.util
import os
import subprocess
import sys
from pathlib import Path

import pytest
from privileges import skip_or_fail
from programs import PROJECT, environment

from proofs.fuzz.registry import CORPUS, all_targets, inputs_of

TARGETS = all_targets()
#: Of all that lies here, in bytes: it is read in each run, and by people who look for what is new.
MOST_BYTES = 300_000

PLANTED = """
from chunkstore import names

parse = names.parse_chunk_file


def parse_badly(file):
    found = parse(file)
    return None if found is None else [found]["aa" in found.encoded]


names.parse_chunk_file = parse_badly
"""


@pytest.mark.quick
@pytest.mark.parametrize("name", TARGETS)
def test_any_bytes_give_a_value_or_the_documented_error(name):
    for label, data in inputs_of(TARGETS[name]):
        try:
            TARGETS[name].run(data)
        except Exception as error:
            raise AssertionError(f"{label}: {data[:200]!r}") from error


def test_the_corpus_is_small_and_all_of_it_is_some_targets():
    files = [path for path in CORPUS.rglob("*") if path.is_file()]
    assert {path.parent.name for path in files} <= {*TARGETS}
    assert sum(path.stat().st_size for path in files) < MOST_BYTES


def fuzz(*options, path=()):
    command = [sys.executable, "-m", "tests.proofs.fuzz", *options]
    variables = environment()
    variables["PYTHONPATH"] = os.pathsep.join([variables["PYTHONPATH"], *path])
    return subprocess.run(command, cwd=PROJECT, env=variables, capture_output=True, text=True, check=False)


@pytest.mark.thorough
def test_a_fault_that_was_planted_is_found_and_kept(tmp_path):
    if importlib.util.find_spec("atheris") is None:
        skip_or_fail("atheris is not installed")
    (tmp_path / "planted.py").write_text(PLANTED)
    options = ["--target", "file-name@planted", "--minutes", "0.2", "--folder", str(tmp_path)]
    ended = fuzz(*options, path=[str(tmp_path)])
    assert ended.returncode == 1, ended.stdout + ended.stderr
    found = next(tmp_path.glob("findings/file-name/crash-*"))
    assert str(found) in ended.stdout
    assert "IndexError" in ended.stdout
    assert b"aa" in found.read_bytes()
    assert fuzz("--target", "file-name", "--replay", str(found)).returncode == 0


def test_who_names_no_target_is_told_which_there_are():
    ended = fuzz("--target", "nothing")
    assert ended.returncode == 2
    assert all(name in ended.stdout for name in TARGETS)


def test_a_finding_is_tried_again_without_a_fuzzer(tmp_path):
    path = Path(tmp_path, "input")
    path.write_bytes(b"StepLog-a-1.json")
    ended = fuzz("--target", "file-name", "--replay", str(path))
    assert (ended.returncode, ended.stderr) == (0, "")
