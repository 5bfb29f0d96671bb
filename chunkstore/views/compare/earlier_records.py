"""What earlier runs recorded of some steps and branches: of each, what counts when a run is resumed."""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from typing import NamedTuple, TypeGuard

from chunkstore.records.attempts import counting, counting_branches, has_branch_succeeded, has_succeeded, steps_inside
from chunkstore.records.late import count_late
from chunkstore.records.models import BranchLog, DataCatalog, RunLog, StepLog

AnyRecord = StepLog | BranchLog

PUT, GET = "put", "get"


class Put(NamedTuple):
    """Data that a step has put, or got."""

    step: StepLog
    entry: DataCatalog


class EarlierRecords:
    """What earlier runs recorded of some steps and branches.

    Args:
        wanted: the types and internal names of those.
    """

    def __init__(self, wanted: set[tuple[type[AnyRecord], str]]) -> None:
        self._wanted = wanted
        self._found: dict[tuple[type[AnyRecord], str], tuple[AnyRecord, RunLog]] = {}
        #: Of a step that succeeded, what failed inside it, so that it was not taken over.
        self._failed_inside: dict[int, StepLog] = {}
        self._puts: dict[str, dict[str, list[Put]]] = {}
        self._succeeded: set[tuple[type[AnyRecord], str]] = set()
        self.runs: list[str] = []
        #: Whether something of these runs could not be read.
        self.has_problems = False

    def add(self, log: RunLog) -> None:
        """Look into a run; a success counts more than what a nearer run has recorded."""
        self.runs.append(log.run_id)
        self.has_problems = self.has_problems or bool(log.problems)
        count_late(log.steps)
        self._add_steps(log.steps, log)

    def _add_steps(self, steps: Mapping[str, StepLog], log: RunLog) -> None:
        counted = list(counting(steps))
        inside = steps_inside(counted)
        for step in counted:
            failed = [part for part in inside.get(step.internal_name, ()) if not has_succeeded(part)]
            if failed:
                self._failed_inside[id(step)] = failed[0]
            self._add(step, log, succeeded=not failed and has_succeeded(step))
            for branch in counting_branches(step).values():
                self._add(branch, log, succeeded=has_branch_succeeded(branch))
                self._add_steps(branch.steps, log)

    def _add(self, record: AnyRecord, log: RunLog, *, succeeded: bool) -> None:
        key = type(record), record.internal_name
        if key in self._wanted and (key not in self._found or (succeeded and key not in self._succeeded)):
            self._found[key] = record, log
            if succeeded:
                self._succeeded.add(key)

    def failed_inside(self, step: StepLog) -> StepLog | None:
        """Return a step that ran inside one that succeeded, and failed; None if there is none."""
        return self._failed_inside.get(id(step))

    @property
    def is_complete(self) -> bool:
        """Whether no older run could add anything."""
        return len(self._succeeded) == len(self._wanted)

    def puts(self, log: RunLog) -> dict[str, list[Put]]:
        """Return what the steps of a run have put, by its place in the catalog."""
        if log.run_id not in self._puts:
            puts = self._puts[log.run_id] = {}
            for step in filter(_is_step, all_records(log)):
                for entry in step.data_catalog:
                    if entry.stage == PUT:
                        puts.setdefault(entry.catalog_relative_path, []).append(Put(step, entry))
        return self._puts[log.run_id]

    def step(self, name: str) -> tuple[StepLog, RunLog] | None:
        """Return what counts of a step, and the run that recorded it."""
        found = self._found.get((StepLog, name))
        return (found[0], found[1]) if found and isinstance(found[0], StepLog) else None

    def branch(self, name: str) -> tuple[BranchLog, RunLog] | None:
        """Return what counts of a branch, and the run that recorded it."""
        found = self._found.get((BranchLog, name))
        return (found[0], found[1]) if found and isinstance(found[0], BranchLog) else None


def all_records(log: RunLog) -> Iterator[AnyRecord]:
    """Yield all steps and branches of a run, in no special order."""
    waiting: list[AnyRecord] = [*log.steps.values()]
    while waiting:
        record = waiting.pop()
        yield record
        waiting.extend(record.branches.values() if isinstance(record, StepLog) else record.steps.values())


def _is_step(record: AnyRecord) -> TypeGuard[StepLog]:
    return isinstance(record, StepLog)


def function_step(branch: BranchLog) -> StepLog | None:
    """Return the step that runs the function of a branch: it begins before all others inside."""
    return next(iter(branch.steps.values()), None)


def step_of(record: AnyRecord) -> StepLog | None:
    """Return the step that runs a function: the record itself, or the one in a branch."""
    return record if isinstance(record, StepLog) else function_step(record)
