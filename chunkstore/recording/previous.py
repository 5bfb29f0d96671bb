"""What an earlier run left that a resumed one need not do again."""

from __future__ import annotations

from collections.abc import Iterator
from functools import lru_cache
from typing import Any, NamedTuple

import msgspec
from msgspec import UNSET

from chunkstore.errors import RunLogNotFoundError
from chunkstore.names import incarnation_of
from chunkstore.recording.catalog import Catalog
from chunkstore.recording.identity import same_code
from chunkstore.records.models import SUCCESS, BranchLog, CodeIdentity, RunLog, StepLog
from chunkstore.stores.base import Store

#: More runs that resume one another are not looked at.
_LONGEST_CHAIN = 100


class _Index(NamedTuple):
    """What a run and the runs that it resumed have left, by internal name: of each record the nearest success."""

    steps: dict[str, StepLog]
    branches: dict[str, BranchLog]
    runs: dict[tuple[type[StepLog | BranchLog], str], str]


class PreviousRun:
    """The run that is being resumed; read when it is first asked for, once per process.

    Args:
        store: where it is.
        run_id: the run; pinned, if it is known which of its id is meant.
    """

    def __init__(self, store: Store, run_id: str) -> None:
        self.store = store
        self.run_id = run_id
        self._own_index: _Index | None = None

    def step(self, internal_name: str) -> StepLog | None:
        """Return what was recorded of a step, or None."""
        return self._index().steps.get(internal_name)

    def branch(self, internal_name: str) -> BranchLog | None:
        """Return what was recorded of a branch, or None."""
        return self._index().branches.get(internal_name)

    def run_of(self, record: StepLog | BranchLog) -> str:
        """Return the run that a record was found in: this one, or one that it resumed itself."""
        return self._index().runs[type(record), record.internal_name]

    def _index(self) -> _Index:
        if self.store.backend.shared_between_processes:
            return _read(self.store.backend.location, self.run_id, incarnation_of(self.run_id), _Uncompared(self.store))
        # It never leaves this process, and its location does not tell it from other stores in memory.
        if self._own_index is None:
            self._own_index = _indexed(self.store, self.run_id)
        return self._own_index


class _Uncompared:
    """Carries a store past the cache's comparison of arguments."""

    def __init__(self, store: Store) -> None:
        self.store = store

    def __eq__(self, other: object) -> bool:
        return isinstance(other, _Uncompared)

    def __hash__(self) -> int:
        return 0


@lru_cache(maxsize=2)
def _read(_location: str, run_id: str, _incarnation: str, uncompared: _Uncompared) -> _Index:
    return _indexed(uncompared.store, run_id)


def _indexed(store: Store, run_id: str) -> _Index:
    index = _Index({}, {}, {})
    seen: set[str] = set()
    current: str | None = run_id
    while current and current not in seen and len(seen) < _LONGEST_CHAIN:
        try:
            log = store.get_run_log(current)
        except RunLogNotFoundError:
            break  # an earlier run was deleted: what it had done is not known any more
        for record in _all_records(log):
            _add_to(index, record, current)
        seen.add(current)
        # A run that died early has taken over little: what the one before it had done still counts.
        current = log.resumed
    return index


def _add_to(index: _Index, record: StepLog | BranchLog, run_id: str) -> None:
    known: dict[str, Any] = index.steps if isinstance(record, StepLog) else index.branches
    nearer = known.get(record.internal_name)
    if nearer is None or (nearer.status != SUCCESS and record.status == SUCCESS):
        known[record.internal_name] = record
        index.runs[type(record), record.internal_name] = run_id


def forget() -> None:
    """Read earlier runs anew when they are next asked for; they may have gone on since."""
    _read.cache_clear()


def _all_records(log: RunLog) -> Iterator[StepLog | BranchLog]:
    waiting: list[StepLog | BranchLog] = [*log.steps.values()]
    while waiting:
        record = waiting.pop()
        yield record
        waiting.extend(record.branches.values() if isinstance(record, StepLog) else record.steps.values())


def reusable_step(step: StepLog | None, code: list[CodeIdentity], input_hash: str | None) -> bool:
    """Tell whether a recorded step did the same as one that is about to run, and left its result."""
    return (
        step is not None
        and step.status == SUCCESS
        and step.result is not UNSET
        and input_hash is not None
        and step.input_hash == input_hash
        and same_code(step.code_identities, code)
    )


def taken_over(step: StepLog, run_id: str, catalog: Catalog) -> StepLog:
    """Return the record of a step whose result is taken over from a run, with all inside it and its data.

    Raises:
        DataNotFoundError: data that the step put is gone, so that it cannot be taken over.
    """
    return msgspec.structs.replace(
        step,
        mock=True,
        cached_from=run_id,
        data_catalog=catalog.adopt(step.data_catalog, run_id),
        branches={name: taken_over_branch(branch, run_id, catalog) for name, branch in step.branches.items()},
    )


def taken_over_branch(branch: BranchLog, run_id: str, catalog: Catalog) -> BranchLog:
    """Return the record of a branch whose result is taken over from a run, as `taken_over`."""
    return msgspec.structs.replace(
        branch,
        cached_from=run_id,
        steps={name: taken_over(step, run_id, catalog) for name, step in branch.steps.items()},
    )
