"""The executors that branches are tested on."""

import multiprocessing
from concurrent.futures import ProcessPoolExecutor, ThreadPoolExecutor
from contextlib import contextmanager

import loky

PROCESSES = ["default", "fork", "spawn", "loky"]
ALL = ["threads", *PROCESSES]


@contextmanager
def pool(kind, workers=2, **options):
    """Make an executor of a kind; None for the default one."""
    if kind == "default":
        yield None
        return
    if kind == "threads":
        executor = ThreadPoolExecutor(workers, **options)
    elif kind == "loky":
        executor = loky.ProcessPoolExecutor(workers, **options)
    else:
        executor = ProcessPoolExecutor(workers, mp_context=multiprocessing.get_context(kind), **options)
    with executor:
        yield executor
