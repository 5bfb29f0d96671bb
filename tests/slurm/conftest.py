import os
import sys

import pytest
from programs import PROJECT

from slurm.cluster import Slurm, require_slurm


@pytest.fixture(scope="session")
def slurm():
    """A Slurm whose jobs find this Python as `python`, and these sources."""
    require_slurm()
    with Slurm() as cluster:
        path = os.pathsep.join([os.path.dirname(sys.executable), cluster.environment["PATH"]])
        cluster.environment |= {"PATH": path, "PYTHONPATH": os.pathsep.join(map(str, (PROJECT, PROJECT / "tests")))}
        yield cluster
