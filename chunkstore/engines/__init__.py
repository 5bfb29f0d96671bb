"""Engines: adapters for what runs branches on other hosts, and what an engine is asked. Each is imported when used."""

from __future__ import annotations

import os
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
        StoreUsageError: there is no client.
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


def is_dask_client(executor: Any) -> bool:
    """Tell whether what was given as an executor is a client of Dask."""
    return any((kind.__module__, kind.__name__) == ("distributed.client", "Client") for kind in type(executor).__mro__)


def as_executor(executor: Any) -> Any:
    """Return what was given as an executor; a client of Dask is wrapped into one."""
    return dask(executor) if is_dask_client(executor) else executor
