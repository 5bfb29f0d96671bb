"""Which job of a batch system this process is part of, as that tells its jobs in their environment."""

from __future__ import annotations

import os
from collections.abc import Mapping
from functools import lru_cache
from typing import NamedTuple


class _System(NamedTuple):
    """A batch system, by the variables that it sets; empty for what it does not tell.

    Attributes:
        name: what it is called.
        job: has the job's id, as its commands take it.
        array: has the id of the array that the job is part of, if that is another.
        task: has which job of its array this is, counted or named.
        no_task: what that is for a job in no array.
        restarts: has how often the job was started again.
        first: what that is for the first start.
        present: is set wherever the system is at work, if the others may be set elsewhere.
        separator: stands between the id of an array and the task.
    """

    name: str
    job: str
    array: str = ""
    task: str = ""
    no_task: str = ""
    restarts: str = ""
    first: int = 0
    present: str = ""
    separator: str = "_"


_POD = "JOB_COMPLETION_INDEX"
#: Those whose variables other things may set come last.
_SYSTEMS = (
    _System("Slurm", "SLURM_JOB_ID", "SLURM_ARRAY_JOB_ID", "SLURM_ARRAY_TASK_ID", restarts="SLURM_RESTART_COUNT"),
    _System("PBS", "PBS_JOBID"),  # that of a job in an array has the task in it
    _System("LSF", "LSB_JOBID", task="LSB_JOBINDEX", no_task="0", separator=":"),
    _System("Flux", "FLUX_JOB_ID"),
    _System("OAR", "OAR_JOB_ID", "OAR_ARRAY_ID", "OAR_ARRAY_INDEX"),
    _System("AWS Batch", "AWS_BATCH_JOB_ID", restarts="AWS_BATCH_JOB_ATTEMPT", first=1),  # as for PBS
    _System("Cloud Run", "CLOUD_RUN_EXECUTION", task="CLOUD_RUN_TASK_INDEX", restarts="CLOUD_RUN_TASK_ATTEMPT"),
    _System("Kubernetes", "HOSTNAME", task=_POD, present=_POD, separator=" index "),
    _System(
        "Grid Engine",
        "JOB_ID",
        task="SGE_TASK_ID",
        no_task="undefined",
        restarts="RESTARTED",
        present="SGE_TASK_ID",
        separator=".",
    ),
)


def job_here() -> str:
    """Return which job of a batch system this process is part of: `Slurm 1234_7, restart 1`; empty for none.

    What stands after the name is what the system's commands take: `sacct -j 1234_7`.
    """
    return _of_process(os.getpid())


@lru_cache(maxsize=1)
def _of_process(_pid: int) -> str:
    return job_in(os.environ)


def job_in(environment: Mapping[str, str]) -> str:
    """Return which job of a batch system an environment was made for; empty for none."""
    for system in _SYSTEMS:
        job = environment.get(system.job, "")
        if not job or (system.present and not environment.get(system.present)):
            continue
        task = environment.get(system.task, "")
        if task and task != system.no_task:
            job = f"{environment.get(system.array) or job}{system.separator}{task}"
        restarts = _number(environment.get(system.restarts, "")) - system.first
        return f"{system.name} {job}" + (f", restart {restarts}" if restarts > 0 else "")
    return ""


def _number(text: str) -> int:
    return int(text) if text.isdecimal() else 0
