import os
import sys

import pytest
from programs import PROJECT

from slurm.array import Array
from slurm.cluster import Slurm, require_slurm


@pytest.fixture(scope="session")
def shared(tmp_path_factory):
    """A folder that all processes of one run of the tests have in common."""
    own = tmp_path_factory.getbasetemp()
    return own.parent if "PYTEST_XDIST_WORKER" in os.environ else own


@pytest.fixture(scope="session")
def cluster(shared):
    """A Slurm whose jobs find this Python as `python`, and these sources."""
    require_slurm()
    with Slurm(shared) as cluster:
        path = os.pathsep.join([os.path.dirname(sys.executable), cluster.environment["PATH"]])
        cluster.environment |= {"PATH": path, "PYTHONPATH": os.pathsep.join(map(str, (PROJECT, PROJECT / "tests")))}
        yield cluster


@pytest.fixture(scope="session")
def begun_array(cluster, shared):
    return Array(cluster, shared / "array")


@pytest.fixture
def slurm(cluster, begun_array):
    """The Slurm; while tests use it, what takes its time goes on there."""
    return cluster
