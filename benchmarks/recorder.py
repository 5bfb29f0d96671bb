"""Places for the records of a run, as the scenarios use all of them."""

from __future__ import annotations

from abc import ABC, abstractmethod
from collections.abc import Callable, Iterable, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any, NoReturn

import chunkstore
from benchmarks.example import version_of
from benchmarks.measure import Role, Sample, Side, Task


class Recorder(ABC):
    """One process's way to the records of one run.

    Each process makes its own. What a caller has at hand, a step as an object of its library, is made by `prepare`,
    outside of what is timed; encoding it is a part of recording.

    Args:
        folder: where all processes of one measurement record.
    """

    def __init__(self, folder: Path) -> None:
        self.folder = folder

    def create(self) -> None:  # noqa: B027 - not all have something to do
        """Make the run: called once, before any process records."""

    def prepare(self, step: chunkstore.StepLog) -> Any:
        """Return a step as `add` and `replace` get it."""
        return step

    @abstractmethod
    def add(self, record: Any) -> None:
        """Record a new step."""

    def replace(self, record: Any) -> None:
        """Record a step again that this object has recorded."""
        self.add(record)

    def fill(self, steps: Iterable[chunkstore.StepLog]) -> None:
        """Record many steps, in the fastest way there is."""
        for step in steps:
            self.add(self.prepare(step))

    @abstractmethod
    def read(self) -> Mapping[str, Any]:
        """Return all steps by internal name, decoded, as objects with attributes."""

    def count_up(self, name: str) -> None:
        """Change a step that anybody has recorded: read it, count its version up, write it."""
        self._cannot("change what others have recorded", name)

    def close(self) -> None:  # noqa: B027 - not all hold something open
        """Give back what is held open."""

    def versions(self) -> dict[str, int]:
        """Return which version of each step is there."""
        return {name: version_of(step) for name, step in self.read().items()}

    def _cannot(self, what: str, name: str) -> NoReturn:
        raise NotImplementedError(f"{type(self).__name__} cannot {what}: {name}")


@dataclass(frozen=True, kw_only=True)
class Contestant:
    """One place for records, set up in one way.

    Attributes:
        name: what the tables call it.
        role: see `measure.Role`.
        opens: makes the recorder in a folder.
        why_skipped: see `measure.Side`.
        load: likewise.
        slow: likewise.
        floor: the contestant that does the same with bare system calls.
    """

    name: str
    role: Role
    opens: Callable[[Path], Recorder]
    why_skipped: Callable[[], str] = lambda: ""
    load: Callable[[], None] = lambda: None
    slow: bool = False
    floor: str = ""

    def side(self, work: Callable[[Contestant, Task], Sample]) -> Side:
        """Return the side of a scenario in which this contestant does some work."""
        return Side(
            name=self.name,
            role=self.role,
            measure=lambda task: work(self, task),
            floor=self.floor,
            why_skipped=self.why_skipped,
            load=self.load,
            slow=self.slow,
        )
