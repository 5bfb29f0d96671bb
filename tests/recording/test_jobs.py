"""A record says which job of a batch system it is of, as that system's commands take it."""

import os

import pytest

from chunkstore.recording.jobs import job_here, job_in


@pytest.mark.parametrize(
    ("environment", "job"),
    [
        ("", ""),
        ("SLURM_JOB_ID=70", "Slurm 70"),
        ("SLURM_JOB_ID=77 SLURM_ARRAY_JOB_ID=70 SLURM_ARRAY_TASK_ID=7", "Slurm 70_7"),
        ("SLURM_JOB_ID=77 SLURM_ARRAY_JOB_ID=70 SLURM_ARRAY_TASK_ID=7 SLURM_RESTART_COUNT=2", "Slurm 70_7, restart 2"),
        ("SLURM_JOB_ID=70 SLURM_RESTART_COUNT=0", "Slurm 70"),
        ("PBS_JOBID=12[3].server PBS_ARRAY_INDEX=3", "PBS 12[3].server"),
        ("LSB_JOBID=5 LSB_JOBINDEX=0", "LSF 5"),
        ("LSB_JOBID=5 LSB_JOBINDEX=2", "LSF 5:2"),
        ("HOSTNAME=sweep-3-x7kq2 JOB_COMPLETION_INDEX=3", "Kubernetes sweep-3-x7kq2 index 3"),
        ("HOSTNAME=laptop", ""),
        ("JOB_ID=9 SGE_TASK_ID=undefined", "Grid Engine 9"),
        ("JOB_ID=9 SGE_TASK_ID=4 RESTARTED=1", "Grid Engine 9.4, restart 1"),
        ("JOB_ID=9", ""),
        ("AWS_BATCH_JOB_ID=a-b:3 AWS_BATCH_JOB_ATTEMPT=1", "AWS Batch a-b:3"),
        ("AWS_BATCH_JOB_ID=a-b:3 AWS_BATCH_JOB_ATTEMPT=2", "AWS Batch a-b:3, restart 1"),
        ("FLUX_JOB_ID=f23", "Flux f23"),
        ("SLURM_JOB_ID=70 SLURM_RESTART_COUNT=many", "Slurm 70"),
    ],
)
def test_a_job_is_named_as_the_commands_of_its_system_take_it(environment, job):
    assert job_in(dict(pair.split("=") for pair in environment.split())) == job


def test_a_process_outside_of_any_batch_system_names_no_job(monkeypatch):
    for name in list(os.environ):
        if name.startswith(("SLURM_", "JOB_", "PBS_")):
            monkeypatch.delenv(name)
    assert job_here() == job_in(os.environ)
