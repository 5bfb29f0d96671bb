"""What workers do in the tests of engines."""

import os
import signal
import threading
import time

import chunkstore
from chunkstore import engines

sixteen = threading.Barrier(16)


def meet(item):
    """Return when sixteen threads are at work at once."""
    sixteen.wait(60)
    return item


def double(item):
    return item * 2


def process_of(item):
    return os.getpid()


def kill_at_three(item):
    """End this process, as the system does when it runs out of memory, for one of the items."""
    if item == 3:
        os.kill(os.getpid(), signal.SIGKILL)
    return item


def kill_among_others(item):
    """End this process for one of the items, while others are at work in it, or have been for a while."""
    time.sleep(0.5)
    return kill_at_three(item) if item == 3 else time.sleep(0.5) or item


def kill_once(item):
    """End this process, unless that has been done before."""
    if item is not None and not os.path.exists(item):
        with open(item, "w"):
            pass
        os.kill(os.getpid(), signal.SIGKILL)
    return "lived"


def stay_once(item):
    """Stay until this process is ended, unless that has been done before."""
    if item is not None and not os.path.exists(item):
        with open(item, "w"):
            pass
        time.sleep(600)
    return "lived"


def wait_for(path):
    """Wait until a file is there."""
    deadline = time.monotonic() + 60
    while path is not None and not os.path.exists(path) and time.monotonic() < deadline:
        time.sleep(0.02)
    return path


def map_inside(item):
    """Map on whatever a map without an executor runs on here."""
    return chunkstore.current_run().map("inner", [item, item + 1], double)


def map_on_dask(item):
    return chunkstore.current_run().map("inner", [item, item + 1], double, executor=engines.dask())


def map_on_ray(item):
    return chunkstore.current_run().map("inner", [item, item + 1], double, executor=engines.ray())


def map_on_loky(item):
    return chunkstore.current_run().map("inner", [item, item + 1], double, executor=engines.joblib("loky", n_jobs=2))
