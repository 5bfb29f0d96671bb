"""An executor whose workers see another folder than their driver: as in a container, or on another host."""

import pickle
from concurrent.futures import Executor, ProcessPoolExecutor


def _run_pickled(data):
    function, arguments = pickle.loads(data)
    return function(*arguments)


class Elsewhere(Executor):
    """Runs what it gets in a process for which one path is another.

    Args:
        here: a path as the driver knows it.
        there: another one of the same length, which it is for the worker.
        wrong: tells whether it is the other one for the first, second, … of what is submitted.
    """

    def __init__(self, here, there, wrong=lambda count: True):
        self._paths = [str(path).encode() for path in (here, there)]
        self._pool = ProcessPoolExecutor(1)
        self._max_workers = 1
        self._wrong = wrong
        self._count = 0

    def submit(self, function, /, *arguments):
        data = pickle.dumps((function, arguments))
        assert len(self._paths[0]) == len(self._paths[1])
        assert self._paths[0] in data
        self._count += 1
        return self._pool.submit(_run_pickled, data.replace(*self._paths) if self._wrong(self._count) else data)

    def shutdown(self, wait=True, *, cancel_futures=False):
        self._pool.shutdown(wait, cancel_futures=cancel_futures)
