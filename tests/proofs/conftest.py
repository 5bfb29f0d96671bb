"""Fixtures for proofs."""

import pytest
from privileges import skip_or_fail

from chunkstore.testing.system_trace import why_no_trace


@pytest.fixture
def folder(memory):
    """The path of a folder in memory, if there is such a thing."""
    return str(memory)


@pytest.fixture
def _strace():
    if reason := why_no_trace():
        skip_or_fail(reason)


@pytest.fixture
def top(tmp_path):
    """The folder that is watched, on a real file system: tmpfs knows no O_TMPFILE in some kernels."""
    folder = tmp_path / "top"
    folder.mkdir()
    return folder


@pytest.fixture
def disk(memory):
    """Where the states of a disk are built, in memory if that can be had."""
    return memory / "top"
