"""Deliberate defects, one at a time, in the running code: for each of them at least one test fails."""

import os
import re
import shlex
import subprocess
import sys
from pathlib import Path

import pytest
from zygote import zygote_with

import chunkstore

TESTS = Path(__file__).parents[1]
MUTATION = TESTS / "proofs" / "mutation"
sys.path.insert(0, str(MUTATION))

# From the folder that child processes have on their path too.
from mutant import Mutant  # noqa: E402
from mutants import HARMLESS, MUTANTS, named  # noqa: E402

TIMEOUT = 60
FAILED = 1
_LAST_LINES = 2_000


def source_of(mutant):
    return Path(chunkstore.__file__).parents[1].joinpath(mutant.file).read_text()


#: What a process imports before it is forked for each defect: what these tests need, and nothing of the project.
PRELOADED = ("run_tests", "hypothesis", "hypothesis.stateful", "msgspec", "orjson", "filelock")


def environment_of(mutant):
    return {
        "PYTHONPATH": str(MUTATION),
        "CHUNKSTORE_MUTANT": mutant.name,
        "PYTEST_ADDOPTS": "",  # they are for all tests and not for a few
        "PYTEST_DISABLE_PLUGIN_AUTOLOAD": "1",  # to import them takes longer than most of these tests
    }


def run_tests(mutant, folder):
    """Run the tests that shall notice a defect; return pytest's exit code, None if it did not end, and its output."""
    from run_tests import run_tests

    output = folder / "output"
    options = ["-x", "-q", "-p", "no:cacheprovider", f"--basetemp={folder / 'inner'}", f"--rootdir={TESTS.parent}"]
    arguments = [*options, *shlex.split(mutant.caught_by)]
    try:
        code = zygote_with(*PRELOADED).call(
            run_tests, mutant.name, arguments, environment_of(mutant), str(output), folder=TESTS.parent, timeout=TIMEOUT
        )
    except TimeoutError:
        code = None
    return code, output.read_text()[-_LAST_LINES:]


@pytest.mark.parametrize("mutant", MUTANTS, ids=lambda mutant: mutant.name)
def test_a_defect_is_caught_by_a_test(mutant, tmp_path):
    code, output = run_tests(mutant, tmp_path)
    if code is None:
        assert mutant.may_hang, f"{mutant.caught_by} did not end in {TIMEOUT} s:\n{output}"
        return
    assert code != 0, f"no test of {mutant.caught_by} notices it:\n{output}"
    assert code == FAILED, f"pytest ended with {code}, so no test has decided:\n{output}"


@pytest.mark.quick
@pytest.mark.parametrize("mutant", MUTANTS, ids=lambda mutant: mutant.name)
def test_a_defect_changes_one_place_and_leaves_code_that_compiles(mutant):
    source = source_of(mutant)
    changed = mutant.applied_to(source)
    assert changed != source
    compile(changed, mutant.file, "exec")


def test_what_is_no_defect_is_not_caught(tmp_path):
    code, output = run_tests(HARMLESS, tmp_path)
    assert code == 0, output


def test_every_defect_has_a_name_of_its_own():
    names = [mutant.name for mutant in MUTANTS]
    assert len(names) == len(set(names))


def selects(condition, node_id):
    """Tell whether a condition for pytest's `-k` selects a test."""
    return eval(re.sub(r"\b(?!(?:and|or|not)\b)\w+", lambda word: str(word[0].lower() in node_id.lower()), condition))


@pytest.mark.thorough
def test_every_defect_names_tests_that_there_are():
    named_tests = []
    for mutant in MUTANTS:
        paths, _, condition = mutant.caught_by.partition(" -k ")
        named_tests.append((mutant, paths.split(), "".join(shlex.split(condition))))
    all_paths = {path for _, paths, _ in named_tests for path in paths}
    command = [sys.executable, "-m", "pytest", "--collect-only", "-q", *sorted(all_paths)]
    output = subprocess.check_output(command, cwd=TESTS.parent, text=True)
    there_are = [line for line in output.splitlines() if line.startswith("tests/")]
    for mutant, paths, condition in named_tests:
        found = [node_id for node_id in there_are if node_id.startswith(tuple(paths))]
        assert all(any(node_id.startswith(path) for node_id in found) for path in paths), mutant
        assert not condition or any(selects(condition, node_id) for node_id in found), mutant


def test_a_place_that_is_missing_or_there_twice_is_an_error():
    mutant = Mutant("x", "chunkstore/clock.py", "a", "b", "")
    for source in ("", "a a"):
        with pytest.raises(LookupError, match=r"chunkstore/clock\.py"):
            mutant.applied_to(source)
    assert mutant._replace(nth=2).applied_to("a a") == "a b"


def test_the_running_code_has_the_defect_also_in_child_processes_and_the_file_has_not():
    mutant = named("the clock follows the wall clock alone")
    before = source_of(mutant)
    goes_back = (
        "from chunkstore.clock import HybridClock; times = iter([2, 1]); clock = HybridClock(lambda: next(times)); "
        "print(clock.tick(), clock.tick())"
    )
    child = f"import subprocess, sys; print(subprocess.check_output([sys.executable, '-c', {goes_back!r}], text=True))"
    for code in (goes_back, child):
        environment = {**os.environ, **environment_of(mutant)}
        changed = subprocess.check_output([sys.executable, "-c", code], text=True, cwd=TESTS.parent, env=environment)
        assert changed.split() == ["2", "1"]
        usual = subprocess.check_output([sys.executable, "-c", code], text=True, cwd=TESTS.parent)
        assert usual.split() == ["2", "3"]
    assert source_of(mutant) == before
