"""Engines as the conformance suite opens them: of two workers each, in the tests, in drivers and in branches.

A cluster of Dask or Ray is started once by the fixture of its tests, which names it in the environment.
"""

import multiprocessing
import os
import sys
import tempfile
from concurrent.futures import ProcessPoolExecutor, ThreadPoolExecutor
from contextlib import contextmanager

from chunkstore import engines

WORKERS = 2
#: Where the cluster of Dask that the tests have started is.
DASK_ADDRESS = "CHUNKSTORE_TESTS_DASK"

# Commands that belong to this interpreter, such as those that Parsl starts, are found.
if os.path.dirname(sys.executable) not in os.environ["PATH"].split(os.pathsep):
    os.environ["PATH"] = f"{os.path.dirname(sys.executable)}{os.pathsep}{os.environ['PATH']}"


def threads():
    return ThreadPoolExecutor(WORKERS)


def forked():
    return ProcessPoolExecutor(WORKERS, mp_context=multiprocessing.get_context("fork"))


def spawned():
    return ProcessPoolExecutor(WORKERS, mp_context=multiprocessing.get_context("spawn"))


def loky():
    from loky import ProcessPoolExecutor as LokyPool

    return LokyPool(WORKERS)


def joblib_loky():
    return engines.joblib("loky", n_jobs=WORKERS)


def joblib_threading():
    return engines.joblib("threading", n_jobs=WORKERS)


def joblib_multiprocessing():
    return engines.joblib("multiprocessing", n_jobs=WORKERS)


@contextmanager
def dask_client():
    """In a branch, the worker's own client; elsewhere another one of the same cluster."""
    import distributed

    try:
        yield distributed.get_client()
    except ValueError:
        with distributed.Client(os.environ[DASK_ADDRESS], set_as_default=False) as client:
            client.wait_for_workers(WORKERS)  # the last test may have killed some
            yield client


@contextmanager
def dask():
    with dask_client() as client:
        yield engines.dask(client)


def ray():
    return engines.ray()


@contextmanager
def submitit():
    with tempfile.TemporaryDirectory(ignore_cleanup_errors=True) as folder:
        yield engines.submitit(folder, cluster="local", timeout_min=10)


def mpi():
    from mpi4py.futures import MPIPoolExecutor

    return MPIPoolExecutor(WORKERS)


@contextmanager
def parsl():
    from parsl.concurrent import ParslPoolExecutor
    from parsl.config import Config
    from parsl.executors import HighThroughputExecutor
    from parsl.providers import LocalProvider

    executor = HighThroughputExecutor(
        max_workers_per_node=WORKERS,
        address="127.0.0.1",
        loopback_address="127.0.0.1",
        encrypted=False,
        provider=LocalProvider(init_blocks=1, max_blocks=1),
    )
    with (
        tempfile.TemporaryDirectory(ignore_cleanup_errors=True) as folder,
        ParslPoolExecutor(Config(executors=[executor], run_dir=folder, usage_tracking=0)) as pool,
    ):
        yield pool


@contextmanager
def parsl_threads():
    from parsl.concurrent import ParslPoolExecutor
    from parsl.config import Config
    from parsl.executors import ThreadPoolExecutor as ParslThreads

    with (
        tempfile.TemporaryDirectory(ignore_cleanup_errors=True) as folder,
        ParslPoolExecutor(
            Config(executors=[ParslThreads(max_threads=WORKERS)], run_dir=folder, usage_tracking=0)
        ) as pool,
    ):
        yield pool


def executorlib():
    """A process for each function."""
    from executorlib import SingleNodeExecutor

    return SingleNodeExecutor(max_workers=WORKERS)


def executorlib_blocks():
    """Processes that run one function after the other."""
    from executorlib import SingleNodeExecutor

    return SingleNodeExecutor(max_workers=WORKERS, block_allocation=True)
