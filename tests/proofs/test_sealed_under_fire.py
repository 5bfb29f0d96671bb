"""A run is sealed and unsealed all the time while processes write to it and read it: nobody notices."""

import os
import shutil
import tempfile

import pytest

from proofs.torture.sealing import seal_under_fire


@pytest.fixture(params=["disk", "memory"])
def folder(request, tmp_path):
    """A folder on a disk, and in memory, where a folder's times do not always change when it does."""
    in_memory = request.param == "memory" and os.path.isdir("/dev/shm")
    path = tempfile.mkdtemp(dir="/dev/shm" if in_memory else tmp_path)
    yield path
    shutil.rmtree(path)


@pytest.mark.thorough
def test_nothing_is_missed_lost_or_doubled_while_a_run_is_sealed_and_unsealed(folder):
    figures = seal_under_fire(folder, 1, 250)
    figures.check()
    assert figures.reads >= 250
    assert figures.acknowledged >= 92
