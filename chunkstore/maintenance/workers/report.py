"""What an examination of the workers of an engine tells."""

from __future__ import annotations

import msgspec

from chunkstore.maintenance.doctor.report import BAD, Check


class WorkerReport(msgspec.Struct, frozen=True, kw_only=True):
    """One process that an engine has run functions in.

    Attributes:
        host: its host.
        pid: its id there.
        job: which job of a batch system it is part of, as `StepAttempt.job`; empty for none.
        python: its version of Python.
        version: its version of chunkstore.
        clock_low: by how many seconds its clock is at least ahead of the driver's; behind it, if negative.
        clock_high: the same, at most.
        checks: what was tried there.
    """

    host: str
    pid: int
    job: str
    python: str
    version: str
    clock_low: float
    clock_high: float
    checks: list[Check]

    def __str__(self) -> str:
        return f"process {self.pid} on {self.host}"


class EngineReport(msgspec.Struct, frozen=True, kw_only=True):
    """What the workers of an engine see of their driver's folder.

    Attributes:
        engine: what was examined.
        driver: who asked, as `process 12 on node3`.
        folder: the folder of the runs, as the driver sees it.
        workers: the processes that answered.
        silent: what is known of those that did not answer, and of what went wrong with the engine itself.
        holds: whether all workers answered, and nothing was found that keeps them from recording.
    """

    engine: str
    driver: str
    folder: str
    workers: list[WorkerReport]
    silent: list[str]
    holds: bool

    @property
    def findings(self) -> list[str]:
        """What keeps workers from recording, in sentences."""
        found = [
            f"{worker}: {check.detail}" for worker in self.workers for check in worker.checks if check.result == BAD
        ]
        return [*found, *self.silent]
