"""What the parts of the conformance suite for engines share: fixtures, capabilities, a look at a run."""

from __future__ import annotations

import signal
import sys
from collections.abc import Callable, Iterator, Sequence
from contextlib import AbstractContextManager
from pathlib import Path
from typing import Any, ClassVar

import pytest

from chunkstore.config import open_store
from chunkstore.records.models import BranchLog, RunLog, StepLog
from chunkstore.stores.base import Store
from chunkstore.testing.capabilities import Capable

#: Opens an engine, and closes it at the end of the block.
OpenEngine = Callable[[], AbstractContextManager[Any]]


def branches_of(log: RunLog, step: str) -> dict[str, BranchLog]:
    """Return the branches of a step by the last part of their names."""
    return {name.rpartition(".")[2]: branch for name, branch in log.steps[step].branches.items()}


def statuses(log: RunLog, step: str) -> dict[str, str | None]:
    """Return the status of each branch of a step by the last part of its name."""
    return {name: branch.status for name, branch in branches_of(log, step).items()}


def step_in(branch: BranchLog) -> StepLog:
    """Return the step of a branch that ran its function."""
    return next(iter(branch.steps.values()))


class EngineBase(Capable):
    """Fixtures and capabilities; see `chunkstore.testing.EngineConformance`."""

    #: Opens an engine of at least two workers; to be given by the subclass.
    open_engine: ClassVar[OpenEngine]
    #: Whether workers are other processes than the driver.
    other_processes: ClassVar[bool] = True
    #: Whether the engine outlives a worker that dies.
    survives_deaths: ClassVar[bool] = True
    #: Whether a worker's death ends the engine for others, though chunkstore goes on with a new one.
    breaks_at_death: ClassVar[bool] = False
    #: Whether a worker may have processes of its own.
    workers_have_children: ClassVar[bool] = True
    #: Whether `open_engine` works in a worker.
    opens_in_workers: ClassVar[bool] = True
    #: How many items are many.
    many: ClassVar[int] = 2_000
    #: The command that runs a program of Python which opens the engine.
    driver: ClassVar[Sequence[str]] = (sys.executable,)
    #: Seconds after which a test that has not ended counts as one that hangs.
    patience: ClassVar[float] = 120.0

    @pytest.fixture(scope="class")
    @classmethod
    def engine(cls) -> Iterator[Any]:
        """Open an engine that the tests of a class share."""
        with cls.open_engine() as engine:
            yield engine

    @pytest.fixture
    def mortal_engine(self, request: pytest.FixtureRequest) -> Iterator[Any]:
        """Give an engine whose workers may die: the shared one, or one of its own if that would break."""
        if not self.breaks_at_death:
            yield request.getfixturevalue("engine")
            return
        with type(self).open_engine() as engine:
            yield engine

    @pytest.fixture
    def shared_folder(self, tmp_path: Path) -> Path:
        """Return a new folder that the driver and the workers see at one path."""
        return tmp_path

    @pytest.fixture
    def store(self, shared_folder: Path) -> Store[Any]:
        """Return a store without runs, which the driver and the workers share."""
        folder = str(shared_folder / "log")
        catalog = str(shared_folder / "catalog")
        return open_store("chunked-fs", log_folder=folder, catalog_folder=catalog, durability="process")

    @pytest.fixture
    def notes(self, shared_folder: Path) -> str:
        """Return an empty folder in which workers note what happens."""
        (shared_folder / "notes").mkdir()
        return str(shared_folder / "notes")

    @pytest.fixture(autouse=True)
    def _no_hang(self) -> Iterator[None]:
        """End a test that hangs, where the system has alarms."""
        if not hasattr(signal, "SIGALRM"):
            yield
            return

        def give_up(*_: Any) -> None:
            pytest.fail(f"no end after {self.patience:.0f} s")

        before = signal.signal(signal.SIGALRM, give_up)
        signal.setitimer(signal.ITIMER_REAL, self.patience)
        try:
            yield
        finally:
            signal.setitimer(signal.ITIMER_REAL, 0)
            signal.signal(signal.SIGALRM, before)
