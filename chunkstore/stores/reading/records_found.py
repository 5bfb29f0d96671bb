"""The records that were found in the chunks of a run, of which several starts may have left some."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from typing import Any

from msgspec import UNSET, UnsetType

from chunkstore.names import ChunkName
from chunkstore.records.models import BranchLog, StepAttempt, StepLog
from chunkstore.records.starts import Accounts, Key, Starts


class RecordsFound:
    """Steps and branches, as they are read one after the other, in order of execution.

    Args:
        others: returns the accounts of a step or branch that is not among them.
    """

    def __init__(self, others: Callable[[Key], Sequence[Any]]) -> None:
        newest: dict[Key, StepLog | BranchLog] = {}
        several: dict[Key, Accounts] = {}

        def accounts_of(key: Key) -> Sequence[Any]:
            if key in several:
                return several[key].all()
            return [newest[key]] if key in newest else others(key)

        self._newest, self._several = newest, several
        self._all: list[StepLog | BranchLog] = []
        self._accounts: dict[int, StepLog | BranchLog] = {}
        # Nothing leads back here: a reader, with the folder that it holds open, is let go of at once.
        self._accounts_of = accounts_of
        self.starts = Starts(accounts_of)

    def add(self, record: StepLog | BranchLog) -> None:
        """Add a record; later ones replace earlier ones, unless they are of different starts."""
        key = type(record), record.internal_name
        earlier = self._newest.pop(key, None)
        self._newest[key] = record  # in its own place in the order of execution
        self._all.append(record)
        if earlier is not None:
            if key not in self._several:
                self._several[key] = Accounts()
                self._several[key].add(earlier)
            self._several[key].add(record)

    def steps(self) -> Mapping[str, Sequence[StepLog]]:
        """Return the accounts of the steps by name."""
        return {name: self._accounts_of((kind, name)) for kind, name in self._newest if kind is StepLog}

    def all(self, *, may_be_inside_several: bool) -> list[StepLog | BranchLog]:
        """Return the records that count, in order of execution, at most one of a kind and name.

        Args:
            may_be_inside_several: whether several starts may have recorded what these are inside of.
        """
        joined = {key: found for key, accounts in self._several.items() if len(found := accounts.all()) > 1}
        if not joined and not may_be_inside_several:
            return list(self._newest.values())
        counting = {id(record) for key, record in self._newest.items() if key not in joined}
        of_several = {id(self.starts.chosen(accounts)): accounts for accounts in joined.values()}
        shown = []
        for record in self._all:
            if id(record) in counting or id(record) in of_several:
                shown.append(self.starts.joined(of_several.get(id(record), [record])))
                self._accounts[id(shown[-1])] = record
        return shown

    def account_of(self, shown: StepLog | BranchLog) -> StepLog | BranchLog:
        """Return what was added of one of the records that `all` has returned; of several, what counts."""
        return self._accounts.get(id(shown), shown)


class RepeatedChunks:
    """Chunks of steps and branches of which there are several, in order of execution; little is kept of each.

    Args:
        others: returns the accounts of a step or branch that has one chunk at most.
    """

    def __init__(self, others: Callable[[Key], Sequence[Any]]) -> None:
        accounts: dict[Key, Accounts] = {}
        looked_up: dict[Key, Sequence[Any]] = {}

        def accounts_of(key: Key) -> Sequence[Any]:
            if key in accounts:
                return accounts[key].all()
            if key not in looked_up:
                looked_up[key] = list(map(_slim, others(key)))
            return looked_up[key]

        self._accounts = accounts
        self._chunks: dict[int, ChunkName] = {}
        # As in `RecordsFound`, nothing leads back here.
        self.starts = Starts(accounts_of)

    def add(self, record: StepLog | BranchLog, chunk: ChunkName) -> None:
        """Add what a chunk holds."""
        slim = _slim(record)
        self._chunks[id(slim)] = chunk
        self._accounts.setdefault((type(record), record.internal_name), Accounts()).add(slim)

    @property
    def are_of_several_starts(self) -> bool:
        """Whether some are side by side what several starts have left."""
        return any(len(accounts.all()) > 1 for accounts in self._accounts.values())

    def joined_with(self, record: StepLog | BranchLog, chunk: ChunkName) -> list[ChunkName]:
        """Return the chunks, in order, that a record is told by if its own is the one that counts; else none."""
        accounts = self._accounts.get((type(record), record.internal_name))
        if accounts is None:
            return [chunk]
        found = accounts.all()
        is_chosen = self._chunks[id(self.starts.chosen(found))] == chunk
        return [self._chunks[id(account)] for account in found] if is_chosen else []


def _slim(record: StepLog | BranchLog) -> Any:
    """Return what is to be known of a record so that others can be put together with it."""
    attempts: list[StepAttempt] | UnsetType = UNSET
    if record.attempts is not UNSET:
        attempts = [StepAttempt(status=one.status, end_time=one.end_time, start=one.start) for one in record.attempts]
    name, status, counted = record.internal_name, record.status, record.counted_attempt
    slim: Any
    if isinstance(record, BranchLog):
        slim = BranchLog(internal_name=name, status=status, attempt=record.attempt)
    else:
        slim = StepLog(name="", internal_name=name, status=status, inside=record.inside, returned=record.returned)
        slim.inside_attempt = record.inside_attempt
    slim.attempts, slim.counted_attempt = attempts, counted
    return slim
