"""What an earlier run left that a resumed one need not do again."""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from functools import lru_cache
from typing import NamedTuple

import msgspec
from msgspec import UNSET

from chunkstore.clock import utc_now
from chunkstore.errors import RunLogNotFoundError
from chunkstore.names import incarnation_of
from chunkstore.recording.catalog import Catalog
from chunkstore.recording.identity import same_code
from chunkstore.recording.results import result_of
from chunkstore.records.attempts import counting, counting_branches, has_branch_succeeded, has_succeeded, steps_inside
from chunkstore.records.late import count_late
from chunkstore.records.models import SUCCESS, BranchLog, CodeIdentity, DataCatalog, RunLog, StepAttempt, StepLog
from chunkstore.stores.base import Store

#: More runs that resume one another are not looked at.
_LONGEST_CHAIN = 100


class EarlierStep(NamedTuple):
    """A step of an earlier run.

    Attributes:
        log: its record, with its branches.
        run_id: the run that it was found in: the resumed one, or one that that resumed itself.
        inside: the steps that its function, or its block, recorded beside it.
    """

    log: StepLog
    run_id: str
    inside: tuple[StepLog, ...]

    @property
    def succeeded(self) -> bool:
        """Whether it succeeded with all inside it."""
        return has_succeeded(self.log) and all(map(has_succeeded, self.inside))


class EarlierBranch(NamedTuple):
    """A branch of an earlier run; its attributes are as those of `EarlierStep`."""

    log: BranchLog
    run_id: str

    @property
    def succeeded(self) -> bool:
        """Whether it succeeded with all inside it."""
        return has_branch_succeeded(self.log)


class _Index(NamedTuple):
    """What a run and the runs that it resumed have left, by internal name: of each record the nearest success."""

    steps: dict[str, EarlierStep]
    branches: dict[str, EarlierBranch]


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

    def step(self, internal_name: str) -> EarlierStep | None:
        """Return what was recorded of a step, or None."""
        return self._index().steps.get(internal_name)

    def branch(self, internal_name: str) -> EarlierBranch | None:
        """Return what was recorded of a branch, or None."""
        return self._index().branches.get(internal_name)

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
    index = _Index({}, {})
    for log in _chain(store, run_id):
        count_late(log.steps)
        _add_steps(index, log.steps, log.run_id)
    return index


def _chain(store: Store, run_id: str) -> Iterator[RunLog]:
    """Yield a run, the one that it resumed, and so on; what one that died early took over is in those before it."""
    seen: set[str] = set()
    current: str | None = run_id
    while current and current not in seen and len(seen) < _LONGEST_CHAIN:
        try:
            log = store.get_run_log(current)
        except RunLogNotFoundError:
            return  # an earlier run was deleted: what it had done is not known any more
        yield log
        seen.add(current)
        current = log.resumed


def _add_steps(index: _Index, steps: Mapping[str, StepLog], run_id: str) -> None:
    """Add the steps of a run or branch, and all inside them; a success counts more than what a nearer run has."""
    counted = list(counting(steps))
    inside = steps_inside(counted)
    for step in counted:
        found = EarlierStep(step, run_id, tuple(inside.get(step.internal_name, ())))
        nearer = index.steps.get(step.internal_name)
        if nearer is None or (not nearer.succeeded and found.succeeded):
            index.steps[step.internal_name] = found
        for branch in counting_branches(step).values():
            earlier = EarlierBranch(branch, run_id)
            known = index.branches.get(branch.internal_name)
            if known is None or (not known.succeeded and earlier.succeeded):
                index.branches[branch.internal_name] = earlier
            _add_steps(index, branch.steps, run_id)


def forget() -> None:
    """Read earlier runs anew when they are next asked for; they may have gone on since."""
    _read.cache_clear()


def is_same_work(step: StepLog, code: list[CodeIdentity], input_hash: str | None) -> bool:
    """Tell whether a recorded step did the same as one that is about to run, and left its result."""
    return (
        step.status == SUCCESS
        and input_hash is not None
        and step.input_hash == input_hash
        and same_code(step.code_identities, code)
        and result_of(step) is not UNSET
    )


def data_inside(step: StepLog) -> list[DataCatalog]:
    """Return the data that a step and all in its branches read and wrote."""
    found = list(step.data_catalog)
    for branch in counting_branches(step).values():
        for inner in counting(branch.steps):
            found += data_inside(inner)
    return found


def taken_over(step: StepLog, run_id: str, catalog: Catalog) -> StepLog:
    """Return the record of a step whose result is taken over from a run, with all inside it and its data.

    What attempts that do not count have left stays with that run.

    Raises:
        DataNotFoundError: data that the step put is gone, so that it cannot be taken over.
    """
    return msgspec.structs.replace(
        step,
        mock=True,
        attempts=list(map(_without_left, step.attempts)),
        user_defined_metrics=dict(step.user_defined_metrics),
        cached_from=run_id,
        returned=UNSET,
        reused_at=utc_now(),
        data_catalog=catalog.adopt(step.data_catalog, run_id),
        branches={name: taken_over_branch(branch, run_id, catalog) for name, branch in counting_branches(step).items()},
    )


def _without_left(attempt: StepAttempt) -> StepAttempt:
    return msgspec.structs.replace(
        attempt,
        parameters=dict(attempt.parameters),
        metrics=UNSET,
        metric_series=UNSET,
        data_catalog=UNSET,
        result=UNSET,
    )


def taken_over_branch(branch: BranchLog, run_id: str, catalog: Catalog) -> BranchLog:
    """Return the record of a branch whose result is taken over from a run, as `taken_over`."""
    return msgspec.structs.replace(
        branch,
        cached_from=run_id,
        steps={step.internal_name: taken_over(step, run_id, catalog) for step in counting(branch.steps)},
    )
