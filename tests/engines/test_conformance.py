"""Every engine keeps what `map` and `parallel` promise."""

import os
import subprocess
import sys
import tempfile
from pathlib import Path

import pytest

from chunkstore.testing import EngineConformance
from engines import opened

TESTS = Path(__file__).parents[1]
#: One file an engine, or engines of one kind, by what comes after `on_`.
SUITES = {path.stem.removeprefix("on_"): path for path in sorted(Path(__file__).parent.glob("conformance/on_*.py"))}


class TestThreads(EngineConformance):
    open_engine = staticmethod(opened.threads)
    other_processes = False
    survives_deaths = False
    many = 100


class TestProcesses(EngineConformance):
    open_engine = staticmethod(opened.forked)
    breaks_at_death = True
    many = 100


@pytest.mark.thorough
@pytest.mark.parametrize("name", SUITES)
def test_an_engine_conforms(name):
    """In a process of its own: engines leave threads, handlers of signals and warnings behind."""
    environment = {**os.environ, "PYTHONPATH": os.pathsep.join([str(TESTS), str(TESTS / "support")])}
    memory = "/dev/shm" if os.path.isdir("/dev/shm") else None
    with tempfile.TemporaryDirectory(dir=memory, ignore_cleanup_errors=True) as folder:  # some workers end later
        options = ["-q", "--tb=short", "-p", "no:cacheprovider", f"--basetemp={folder}/{name}"]
        command = [sys.executable, "-m", "pytest", *options, str(SUITES[name])]
        suite = subprocess.run(command, cwd=TESTS.parent, env=environment, capture_output=True, text=True, check=False)
    assert suite.returncode == 0, suite.stdout + suite.stderr
    assert " passed" in suite.stdout


def test_every_engine_that_the_documentation_names_is_among_them():
    assert set(SUITES) == {"dask", "executorlib", "joblib", "mpi", "parsl", "pools", "ray", "submitit"}
