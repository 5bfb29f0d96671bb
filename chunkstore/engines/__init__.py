"""Engines: adapters for what runs branches on other hosts, and what an engine is asked. Each is imported when used."""

from __future__ import annotations

import os
import sys
from concurrent.futures import Executor
from typing import Any

__all__ = ["dask", "joblib", "ray", "submitit"]


def dask(client: Any = None, **options: Any) -> Executor:
    """Return an executor that runs branches on a Dask cluster.

    Args:
        client: a `distributed.Client`; None for the one that is in use here, which in a branch on Dask is the worker's.
        options: for `Client.submit`: `workers`, `resources`, `retries`, `priority`, …

    Raises:
        ImportError: distributed is not installed.
        StoreUsageError: there is no client, or it is asynchronous.
    """
    from chunkstore.engines.on_dask import DaskEngine  # noqa: PLC0415 - the engine is imported when it is used

    return DaskEngine(client, options)


def ray(**options: Any) -> Executor:
    """Return an executor that runs branches as tasks of Ray, which is connected to, or started, if it is not yet.

    Args:
        options: for `ray.remote`: `num_cpus`, `resources`, `max_retries`, `runtime_env`, …

    Raises:
        ImportError: Ray is not installed.
    """
    from chunkstore.engines.on_ray import RayEngine  # noqa: PLC0415 - the engine is imported when it is used

    return RayEngine(options)


def submitit(folder: str | os.PathLike[str], *, cluster: str | None = None, **parameters: Any) -> Executor:
    """Return an executor that runs each branch as a job of its own, through submitit.

    Args:
        folder: where submitit keeps what it sends, what comes back and what jobs print; all hosts see it.
        cluster: `slurm`, `local` for processes on this host; None for Slurm where it is installed, else local.
        parameters: for submitit's `update_parameters`: `timeout_min`, `slurm_partition`, `slurm_array_parallelism`, …

    Raises:
        ImportError: submitit is not installed.
    """
    from chunkstore.engines.on_submitit import SubmititEngine  # noqa: PLC0415 - the engine is imported when it is used

    return SubmititEngine(folder, cluster, parameters)


def joblib(backend: Any = "loky", *, n_jobs: int = -1, **parameters: Any) -> Executor:
    """Return an executor that runs branches on a backend of joblib.

    Args:
        backend: what `joblib.parallel_config` takes: `loky`, `threading`, `multiprocessing`, `dask`, or the name or an
            instance of a backend that has been registered.
        n_jobs: how many run at once; -1 for one per processor.
        parameters: further ones of `joblib.parallel_config`.

    Raises:
        ImportError: joblib is not installed.
    """
    from chunkstore.engines.on_joblib import JoblibEngine  # noqa: PLC0415 - the engine is imported when it is used

    return JoblibEngine(backend, n_jobs, parameters)


def is_of_dask(executor: Any) -> bool:
    """Tell whether what was given as an executor is a client of Dask, or what its `get_executor` returns."""
    names = {(kind.__module__, kind.__name__) for kind in type(executor).__mro__}
    return bool(names & {("distributed.client", "Client"), ("distributed.cfexecutor", "ClientExecutor")})


def as_executor(executor: Any) -> Any:
    """Return what was given as an executor; a client of Dask, or its executor, in the form of ours.

    Where none was given, in the middle of what an engine runs that its workers can submit to, return that engine.
    """
    if is_of_dask(executor):
        from chunkstore.engines.on_dask import adapted  # noqa: PLC0415 - the engine is imported when it is used

        return adapted(executor)
    return engine_here() if executor is None else executor


def engine_here() -> Any:
    """Return the engine that runs the function at work in this thread; None if that is none which takes more from it.

    Its own modules are loaded then: nothing is imported to find that out.
    """
    if (worker := sys.modules.get("distributed.worker")) and hasattr(worker.thread_state, "execution_state"):
        return dask()
    if (module := sys.modules.get("ray")) and module.is_initialized() and _is_task_of_ray(module):
        return ray()
    return None


def _is_task_of_ray(module: Any) -> bool:
    context = module.get_runtime_context()
    return context.worker.mode == module.WORKER_MODE and context.get_task_id() is not None
