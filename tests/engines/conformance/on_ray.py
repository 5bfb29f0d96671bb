"""Ray, through its adapter."""

import os

import pytest
from engines import opened

from chunkstore.testing import EngineConformance


@pytest.fixture(scope="module", autouse=True)
def _cluster():
    import ray

    quiet = {"include_dashboard": False, "log_to_driver": False, "configure_logging": False}
    context = ray.init("local", num_cpus=opened.WORKERS, **quiet)
    os.environ["RAY_ADDRESS"] = context.address_info["gcs_address"]
    yield
    ray.shutdown()


class TestRay(EngineConformance):
    open_engine = staticmethod(opened.ray)
