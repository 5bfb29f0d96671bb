"""What branches do in tests of jobs at Slurm."""

import os
import time
from pathlib import Path

_LONGER_THAN_ANY_TEST = 600


def this_job():
    task = os.environ.get("SLURM_ARRAY_TASK_ID")
    return os.environ["SLURM_JOB_ID"] if task is None else f"{os.environ['SLURM_ARRAY_JOB_ID']}_{task}"


def where(item):
    return item, this_job()


def wait_once(name):
    """Note in a file which job this is; then wait, unless it is not the first start. A short name is no file's."""
    if len(name) == 1:
        return name
    with open(name, "a", encoding="utf-8") as starts:
        starts.write(f"{this_job()}\n")
    if len(jobs_in(name)) == 1:
        time.sleep(_LONGER_THAN_ANY_TEST)
    return name


def jobs_in(name):
    """Return which jobs have noted themselves in a file, one for each start."""
    return Path(name).read_text(encoding="utf-8").split() if os.path.exists(name) else []
