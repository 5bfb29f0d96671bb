"""Every engine, as a local cluster of two worker processes: made when it is asked for, and kept for the whole session.

`with engine("dask") as executor:` gives what is passed as `executor=`. Clusters that cost seconds to start are started
once in a process of tests, and ended with it.
"""

import atexit
import os
import sys
import tempfile
import warnings
from concurrent.futures import ProcessPoolExecutor, ThreadPoolExecutor
from contextlib import ExitStack, contextmanager

from chunkstore import engines

WORKERS = 2
#: Adapters of ours.
OURS = ["dask", "dask-client", "ray", "submitit", "joblib-loky", "joblib-threading", "joblib-multiprocessing"]
#: What is taken as it is.
AS_THEY_ARE = ["dask-executor", "mpi", "parsl", "executorlib"]
STANDARD = ["threads", "processes"]
ALL = [*STANDARD, *OURS, *AS_THEY_ARE]
#: Those whose branches run in other processes than the driver's.
WITH_PROCESSES = [name for name in ALL if name not in {"threads", "joblib-threading"}]

# Workers import what the tests define.
_TESTS = os.path.dirname(os.path.dirname(os.path.abspath(__file__)))
os.environ["PYTHONPATH"] = os.pathsep.join(filter(None, [_TESTS, os.environ.get("PYTHONPATH")]))

_clusters = ExitStack()
_made = {}
atexit.register(_clusters.close)


def _once(name, make):
    """Return what a context manager gives, entered once; it ends with the tests."""
    if name not in _made:
        with warnings.catch_warnings():
            warnings.simplefilter("ignore")  # of engines, about their own dependencies
            _made[name] = _clusters.enter_context(make())
    return _made[name]


def _put_commands_on_path():
    """Have the commands found that belong to this interpreter: `mpiexec`, and those that Parsl starts."""
    folder = os.path.dirname(sys.executable)
    if folder not in os.environ["PATH"].split(os.pathsep):
        os.environ["PATH"] = f"{folder}{os.pathsep}{os.environ['PATH']}"


@contextmanager
def _dask_client():
    import dask
    import distributed

    with (
        dask.config.set({"distributed.scheduler.allowed-failures": 1}),
        distributed.LocalCluster(
            n_workers=WORKERS, threads_per_worker=1, dashboard_address="127.0.0.1:0", local_directory=_folder()
        ) as cluster,
        distributed.Client(cluster) as client,
    ):
        yield client


@contextmanager
def _ray():
    import ray

    ray.init("local", num_cpus=WORKERS, include_dashboard=False, log_to_driver=False, configure_logging=False)
    try:
        yield
    finally:
        ray.shutdown()


@contextmanager
def _parsl():
    from parsl.concurrent import ParslPoolExecutor
    from parsl.config import Config
    from parsl.executors import HighThroughputExecutor
    from parsl.providers import LocalProvider

    _put_commands_on_path()
    executor = HighThroughputExecutor(
        max_workers_per_node=WORKERS,
        address="127.0.0.1",
        loopback_address="127.0.0.1",
        encrypted=False,
        provider=LocalProvider(init_blocks=1, max_blocks=1),
    )
    with ParslPoolExecutor(Config(executors=[executor], run_dir=_folder(), usage_tracking=0)) as pool:
        yield pool


def _folder():
    return _clusters.enter_context(tempfile.TemporaryDirectory(prefix="engine-", ignore_cleanup_errors=True))


@contextmanager
def engine(name, **options):
    """Give an engine by its name, in the form that `executor=` takes.

    Args:
        name: one of `ALL`.
        options: for an adapter of ours.
    """
    if name == "threads":
        with ThreadPoolExecutor(WORKERS) as executor:
            yield executor
    elif name == "processes":
        with ProcessPoolExecutor(WORKERS) as executor:
            yield executor
    elif name == "dask":
        yield engines.dask(_once("dask", _dask_client), **options)
    elif name == "dask-client":
        yield _once("dask", _dask_client)
    elif name == "dask-executor":
        with _once("dask", _dask_client).get_executor(pure=False) as executor:
            yield executor
    elif name == "ray":
        _once("ray", _ray)
        yield engines.ray(**options)
    elif name == "submitit":
        yield engines.submitit(_folder(), cluster="local", **{"timeout_min": 10, **options})
    elif name.startswith("joblib-"):
        with engines.joblib(name.removeprefix("joblib-"), n_jobs=WORKERS, **options) as executor:
            yield executor
    elif name == "mpi":
        from mpi4py.futures import MPIPoolExecutor

        _put_commands_on_path()
        with MPIPoolExecutor(WORKERS, **options) as executor:
            yield executor
    elif name == "parsl":
        yield _once("parsl", _parsl)
    elif name == "executorlib":
        import executorlib

        _put_commands_on_path()
        with executorlib.SingleNodeExecutor(max_workers=WORKERS, **options) as executor:
            yield executor
    else:
        raise ValueError(name)
