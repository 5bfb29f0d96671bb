"""A job array whose tasks are cancelled, requeued, killed, and run out of time; their program joins one run.

Slurm looks for jobs whose time is over every 30 seconds: the array is begun before what else is tried there, once for
all processes that run tests.
"""

import os
import signal

from slurm.cluster import wait_until

CANCELLED, REQUEUED, OUT_OF_TIME, KILLED, DEAF = 3, 5, 7, 9, 11
_HELD = (CANCELLED, REQUEUED, OUT_OF_TIME, KILLED, DEAF)
TASKS = 20

_PROGRAM = f"""
import os, signal, sys, time
import chunkstore

job, task = os.environ["SLURM_ARRAY_JOB_ID"], int(os.environ["SLURM_ARRAY_TASK_ID"])
if task == {DEAF}:
    signal.signal(signal.SIGTERM, signal.SIG_IGN)
store = chunkstore.open_store("chunked-fs", log_folder="runs")
with store.join_run(f"array-{{job}}", create=True, tag="sweep") as run:
    with run.step(f"task-{{task}}") as step:
        with open(f"starts-{{task}}", "a") as starts:
            starts.write(f"{{os.getpid()}}\\n")
        step.log_metric("index", task)
        if task in {_HELD} and "SLURM_RESTART_COUNT" not in os.environ:
            time.sleep(600)
"""


class Array:
    """The array, in a folder of its own; it is begun by whoever comes first."""

    def __init__(self, slurm, folder):
        self.folder = folder
        self._slurm = slurm
        self._noted = folder / "job"
        with slurm.turn:
            if not self._noted.exists():
                self._begin()
        #: The id of the array.
        self.job = self._noted.read_text()

    def _begin(self):
        self.folder.mkdir(exist_ok=True)
        (self.folder / "work.py").write_text(_PROGRAM)
        (self.folder / "array.sh").write_text("#!/bin/sh\n#SBATCH --requeue\nexec python work.py\n")
        job = self._slurm.submit("array.sh", f"--array=0-{TASKS - 1}", folder=self.folder)
        wait_until(lambda: all(map(self.pids, range(TASKS))), "every task has begun")
        self._slurm.let_time_run_out(f"{job}_{OUT_OF_TIME}")
        self._slurm.run("scancel", f"{job}_{CANCELLED}", f"{job}_{DEAF}")
        self._slurm.run("scontrol", "requeue", f"{job}_{REQUEUED}")
        os.kill(self.pids(KILLED)[0], signal.SIGKILL)
        wait_until(lambda: self._slurm.states(job)[str(KILLED)] == "FAILED", "the task that was killed is over")
        self._slurm.run("scontrol", "requeue", f"{job}_{KILLED}")
        self._noted.write_text(job)

    def wait_for_end(self):
        """Wait until all tasks are over, also those that begin again; return their states."""
        wait_until(lambda: len(self.pids(KILLED)) == len(self.pids(REQUEUED)) == 2, "two tasks have begun again")
        return self._slurm.wait_for_end(self.job)

    def pids(self, task):
        """Return the process of each start of a task."""
        path = self.folder / f"starts-{task}"
        return [int(line) for line in path.read_text().split()] if path.exists() else []
