"""Dask, through its adapter, which also stands for a client and for what its `get_executor` returns."""

import os

import pytest
from engines import opened

from chunkstore.testing import EngineConformance


@pytest.fixture(scope="module", autouse=True)
def _cluster():
    import dask
    import distributed

    # What kills its workers is given to the next one so often.
    dask.config.set({"distributed.scheduler.allowed-failures": 1})
    with distributed.LocalCluster(
        n_workers=opened.WORKERS, threads_per_worker=1, dashboard_address="127.0.0.1:0"
    ) as cluster:
        os.environ[opened.DASK_ADDRESS] = cluster.scheduler_address
        yield


class TestDask(EngineConformance):
    open_engine = staticmethod(opened.dask)
    breaks_at_death = True
