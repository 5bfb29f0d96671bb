"""Branches as jobs of a cluster, through submitit."""

from __future__ import annotations

import os
import subprocess
import threading
import time
from collections.abc import Callable, Collection
from concurrent.futures import Future
from contextlib import suppress
from functools import partial
from typing import Any

import submitit

from chunkstore.engines.base import Engine, settle
from chunkstore.engines.in_submitit_job import JobWork
from chunkstore.errors import WorkerDiedError

#: How long jobs are gathered before they are submitted together, and how often it is looked for results, in seconds.
_INTERVAL = 0.25
#: How often Slurm is asked what has become of jobs, in seconds.
_SLURM_INTERVAL = 5.0
#: How long Slurm has to answer, in seconds.
_LONGEST_ANSWER = 60
#: How long a program that ends waits until its jobs are cancelled, and how often it looks, in seconds.
_LONGEST_STOP, _LOOK = 10.0, 0.02
#: How long a result may take to be seen here after its job has ended, in seconds: file systems remember what is absent.
_LONGEST_ARRIVAL = {"slurm": 30.0}
#: So many jobs at most in one array: the limit that Slurm has unless it is told otherwise.
_LARGEST_ARRAY = 1000
#: So many characters of what a job printed at last are told if it died.
_SHOWN_OUTPUT = 500
#: States of Slurm's jobs from which they do not go on.
_OVER = set(
    "BOOT_FAIL CANCELLED COMPLETED DEADLINE FAILED LAUNCH_FAILED NODE_FAIL OUT_OF_MEMORY PREEMPTED TIMEOUT".split()
)


class SubmititEngine(Engine):
    """Runs each function as a job; what is submitted within a moment is one array of jobs.

    Args:
        folder: where submitit keeps its files.
        cluster: of which kind; None to find out.
        parameters: for `update_parameters`.
    """

    def __init__(self, folder: str | os.PathLike[str], cluster: str | None, parameters: dict[str, Any]) -> None:
        self._folder = os.path.abspath(os.fspath(folder))
        self._cluster = cluster
        self._parameters = parameters
        self._executor = submitit.AutoExecutor(self._folder, cluster=cluster)
        self._executor.update_parameters(**parameters)
        self.is_elsewhere = self._executor.cluster != "debug"
        self._mutex = threading.Lock()
        self._gathered: dict[Future[Any], Callable[[], Any]] = {}
        self._jobs: dict[Future[Any], _Job] = {}
        self._watcher: threading.Thread | None = None
        self._ask_next = 0.0
        #: What has not ended, nor been cancelled for good; and what wakes who watches before its time.
        self._unsettled: set[Future[Any]] = set()
        self._wake = threading.Event()

    def __reduce__(self) -> tuple[Any, ...]:
        return SubmititEngine, (self._folder, self._cluster, self._parameters)

    def submit(self, function: Callable[..., Any], /, *arguments: Any, **keywords: Any) -> Future[Any]:
        """Have a job submitted with others in a moment."""
        future: Future[Any] = Future()
        with self._mutex:
            self._unsettled.add(future)
            self._gathered[future] = JobWork(partial(function, *arguments, **keywords))
            if self._watcher is None:
                self._watcher = threading.Thread(target=self._watch, name="chunkstore-submitit", daemon=True)
                self._watcher.start()
        return future

    def stop(self, futures: Collection[Future[Any]]) -> None:
        """Cancel jobs, and see to it that this is done before the program ends."""
        super().stop(futures)
        deadline = time.monotonic() + _LONGEST_STOP
        while not self._unsettled.isdisjoint(futures) and time.monotonic() < deadline:
            self._wake.set()
            time.sleep(_LOOK)

    def capacity(self) -> int | None:
        """Return how many processors there are for local jobs, or how many of an array may run; else Slurm's queue."""
        if self._executor.cluster != "slurm":
            return os.cpu_count()
        given = self._parameters.get("slurm_array_parallelism")
        return int(given) if given else None

    # --- in the thread that watches ----------------------------------------------------------------------------------

    def _watch(self) -> None:
        while True:
            self._wake.wait(_INTERVAL)
            self._wake.clear()
            with self._mutex:
                if not (self._gathered or self._jobs):
                    self._watcher = None
                    return
                gathered = list(self._gathered.items())[:_LARGEST_ARRAY]
                for future, _ in gathered:
                    del self._gathered[future]
            self._submit_all([(future, work) for future, work in gathered if not future.cancelled()])
            self._unsettled.difference_update(future for future, _ in gathered if future not in self._jobs)
            gathered.clear()
            self._look()

    def _submit_all(self, gathered: list[tuple[Future[Any], Callable[[], Any]]]) -> None:
        if not gathered:
            return
        try:
            jobs = self._executor.submit_array([work for _, work in gathered])
        except Exception as error:  # noqa: BLE001 - whatever keeps jobs from being submitted
            for future, _ in gathered:
                settle(future, None, error)
            return
        for (future, _), job in zip(gathered, jobs, strict=True):
            self._jobs[future] = _Job(job, _LONGEST_ARRIVAL.get(self._executor.cluster, 1.0))

    def _look(self) -> None:
        states = self._states()
        self._cancel([job for future, job in self._jobs.items() if future.cancelled()])
        for future, job in list(self._jobs.items()):
            if not future.cancelled():
                if not job.has_ended(states):
                    continue
                settle(future, *job.outcome())
            del self._jobs[future]
            self._unsettled.discard(future)

    def _cancel(self, jobs: list[_Job]) -> None:
        if self._executor.cluster != "slurm":
            for job in jobs:
                job.cancel()
        elif jobs:  # all at once: there may be many
            with suppress(OSError, subprocess.SubprocessError):  # they have ended, or the command is not there
                subprocess.run(  # noqa: S603 - likewise
                    ["scancel", *(job.job_id for job in jobs)],  # noqa: S607 - where users have it
                    check=False,
                    timeout=_LONGEST_ANSWER,
                )

    def _states(self) -> dict[str, str] | None:
        """Return what Slurm says of all jobs that it knows; None if it was not asked, or does not answer."""
        now = time.monotonic()
        if self._executor.cluster != "slurm" or now < self._ask_next:
            return None
        self._ask_next = now + _SLURM_INTERVAL
        command = ["squeue", "--me", "--array", "--states=all", "--noheader", "--format=%i %T"]
        try:
            answer = subprocess.run(  # noqa: S603 - the command stands above
                command, capture_output=True, check=True, text=True, timeout=_LONGEST_ANSWER
            ).stdout
        except (OSError, subprocess.SubprocessError):
            return None
        return dict(line.split()[:2] for line in answer.splitlines() if len(line.split()) > 1)


class _Job:
    """A job of submitit, and what is known of it.

    Slurm's own list of jobs is asked, in one call for all: submitit asks its accounting, which not every cluster has,
    and takes a job for running where there is no answer.
    """

    def __init__(self, job: Any, longest_arrival: float) -> None:
        self._job = job
        self._longest_arrival = longest_arrival
        self.job_id: str = job.job_id
        self._last_state = ""
        self._over_since: float | None = None

    def cancel(self) -> None:
        try:
            self._job.cancel(check=False)
        except OSError:
            pass  # it has ended, or its command is not there

    def has_ended(self, states: dict[str, str] | None) -> bool:
        """Tell whether its result is there, or nothing more is to be waited for."""
        if self._job.paths.result_pickle.exists():
            return True
        if self._is_over(states):
            self._over_since = self._over_since or time.monotonic()
        elif states is not None:
            self._over_since = None  # it was put into the queue again
        return self._over_since is not None and time.monotonic() - self._over_since > self._longest_arrival

    def _is_over(self, states: dict[str, str] | None) -> bool:
        if isinstance(self._job, submitit.SlurmJob):
            if states is None:
                return self._over_since is not None
            self._last_state = states.get(self._job.job_id, self._last_state or "not in Slurm's queue")
            return self._job.job_id not in states or self._last_state in _OVER
        is_done: bool = self._job.done()
        self._last_state = self._job.state
        return is_done

    def outcome(self) -> tuple[Any, BaseException | None]:
        """Return what came of it: a result and None, or None and an error."""
        if not self._job.paths.result_pickle.exists():
            return None, WorkerDiedError(
                f"job {self._job.job_id} ended without a result ({self._last_state}); it printed to "
                f"{self._job.paths.stderr}:{self._last_output()}"
            )
        try:
            return self._job.result(), None
        except Exception as error:  # noqa: BLE001 - whatever came of it
            return None, error

    def _last_output(self) -> str:
        try:
            text = (self._job.stderr() or self._job.stdout() or "").strip()
        except OSError:
            text = ""
        return f" …{text[-_SHOWN_OUTPUT:]}" if len(text) > _SHOWN_OUTPUT else f" {text or 'nothing'}"
