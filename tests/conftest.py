"""Fixtures and profiles for all tests, and which of them are run when none are named.

`pytest` alone runs the quick ones, `pytest -m thorough` the others; `pytest tests`, or any path, all that are there.
HYPOTHESIS_PROFILE=thorough tries many more examples, at random.
"""

import gc
import os
import shutil
import signal
import sys
import tempfile
import time
from pathlib import Path

import pytest
from hypothesis import HealthCheck, settings

from chunkstore.clock import clock
from chunkstore.recording.identity import git_identity

# Tests start hundreds of interpreters, and each would compile all that it imports.
sys.dont_write_bytecode = False
os.environ.pop("PYTHONDONTWRITEBYTECODE", None)

# Jobs in the background of a shell ignore interrupts; so would all that tests start and interrupt.
if signal.getsignal(signal.SIGINT) is signal.SIG_IGN:
    signal.signal(signal.SIGINT, signal.default_int_handler)

_TESTS = Path(__file__).parent
_PROOFS = _TESTS / "proofs"
sys.path[:0] = [str(_TESTS), str(_TESTS / "support")]  # modules that tests share, also with child processes

pytest_plugins = ["object_fixtures"]

_NO_HEALTH_CHECKS = [HealthCheck.function_scoped_fixture, HealthCheck.differing_executors, HealthCheck.too_slow]
settings.register_profile(
    "default",
    max_examples=25,
    stateful_step_count=30,
    derandomize=True,
    deadline=None,
    database=None,
    suppress_health_check=_NO_HEALTH_CHECKS,
)
settings.register_profile(
    "thorough", max_examples=500, stateful_step_count=60, deadline=None, suppress_health_check=_NO_HEALTH_CHECKS
)
settings.load_profile(os.environ.get("HYPOTHESIS_PROFILE", "default"))


def pytest_configure(config):
    """Without a path and without `-m`, leave out what takes its time."""
    if not config.option.markexpr and config.args_source is pytest.Config.ArgsSource.TESTPATHS:
        config.option.markexpr = "not thorough"


@pytest.hookimpl(tryfirst=True)
def pytest_collection_modifyitems(items):
    """Mark as `thorough` what comes after the first parameters of tests that are sampled, and of all proofs."""
    seen = set()
    for item in items:
        is_sampled = item.get_closest_marker("sampled") or _PROOFS in item.path.parents
        if not is_sampled or item.get_closest_marker("quick"):
            continue
        test = item.nodeid.partition("[")[0]
        if test in seen:
            item.add_marker(pytest.mark.thorough)
        seen.add(test)


def pytest_collection_finish():
    """Let the garbage collector pass over thousands of tests: it runs often, and in many forked children."""
    gc.collect()
    gc.freeze()


@pytest.fixture(autouse=True)
def _clock():
    """Take the process's clock back to where it would be, if a test has shown it a time ahead of its own."""
    before = clock._latest
    yield
    clock._latest = min(clock._latest, max(before, time.time_ns()))


@pytest.fixture(scope="session")
def golden() -> Path:
    """The folder of documents that `runnable` wrote in 2024."""
    return _TESTS / "golden"


@pytest.fixture
def memory():
    """A folder in memory, if there is such a thing, into which other users can look."""
    path = tempfile.mkdtemp(dir="/dev/shm" if os.path.isdir("/dev/shm") else None)
    os.chmod(path, 0o755)
    yield Path(path)
    shutil.rmtree(path)


@pytest.fixture
def _outside_git(tmp_path, monkeypatch):
    """A working folder that no git repository holds."""
    (tmp_path / "work").mkdir()
    monkeypatch.chdir(tmp_path / "work")
    monkeypatch.setenv("GIT_CEILING_DIRECTORIES", str(tmp_path))
    git_identity.cache_clear()
    yield
    git_identity.cache_clear()


@pytest.fixture(scope="module")
def quick_collections():
    """Let the garbage collector pass over what was there before: where it runs often, or in many forked children."""
    gc.collect()
    gc.freeze()
    yield
    gc.unfreeze()
