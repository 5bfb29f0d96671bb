"""Engines as the conformance suite opens them: of two workers each, in the tests, in drivers and in branches.

Clusters are started once by the fixture of their tests; those of Dask and Ray are named in the environment.
"""

import multiprocessing
import os
import sys
import tempfile
from concurrent.futures import ProcessPoolExecutor, ThreadPoolExecutor
from contextlib import contextmanager, nullcontext

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


def _parsl_processes():
    from parsl.executors import HighThroughputExecutor
    from parsl.providers import LocalProvider

    return HighThroughputExecutor(
        label="processes",
        max_workers_per_node=WORKERS,
        address="127.0.0.1",
        loopback_address="127.0.0.1",
        encrypted=False,
        heartbeat_period=1,  # so often a manager looks whether its workers live
        heartbeat_threshold=60,
        provider=LocalProvider(init_blocks=1, max_blocks=1),
    )


def _parsl_threads():
    from parsl.executors import ThreadPoolExecutor as ParslThreads

    return ParslThreads(label="threads", max_threads=WORKERS)


@contextmanager
def _loaded_parsl(*executors):
    import parsl

    with tempfile.TemporaryDirectory(ignore_cleanup_errors=True) as folder:
        config = parsl.Config(
            executors=list(executors), run_dir=folder, usage_tracking=0, initialize_logging=False, strategy="none"
        )
        with parsl.load(config) as kernel:
            yield kernel


def parsl_of_both_kinds():
    """A process has one configuration of Parsl at most; the tests' has both kinds of executors."""
    return _loaded_parsl(_parsl_processes(), _parsl_threads())


@contextmanager
def _parsl_pool(make):
    import parsl
    from parsl.concurrent import ParslPoolExecutor

    executor = make()
    try:
        loaded = nullcontext(parsl.dfk())
    except parsl.errors.NoDataFlowKernelError:
        loaded = _loaded_parsl(executor)
    with loaded as kernel:
        yield ParslPoolExecutor(dfk=kernel, executors=[executor.label])


def parsl():
    return _parsl_pool(_parsl_processes)


def parsl_threads():
    return _parsl_pool(_parsl_threads)


def executorlib():
    """A process for each function."""
    from executorlib import SingleNodeExecutor

    return SingleNodeExecutor(max_workers=WORKERS)


def executorlib_blocks():
    """Processes that run one function after the other."""
    from executorlib import SingleNodeExecutor

    return SingleNodeExecutor(max_workers=WORKERS, block_allocation=True)
