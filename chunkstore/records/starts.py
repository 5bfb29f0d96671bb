"""Several starts of one step or branch: which of them counts, and what becomes of the others. Pure: no I/O.

An engine starts a branch again when a worker died, or recomputes a result; a process of a batch system that was killed
comes back. Each start records by itself, as it knows of no other: so there are several accounts of one step or branch.
Put together, they are one record whose attempts are all that the accounts tell of.

What a start is called tells inside which other one it runs: that comes before it, with a slash.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from typing import Any, NamedTuple, TypeVar

import msgspec
from msgspec import UNSET

from chunkstore.records.attempts import counted_attempt, left_by
from chunkstore.records.models import LOST, PROCESSING, SUCCESS, BranchLog, StepAttempt, StepLog

Record = StepLog | BranchLog
_R = TypeVar("_R", bound=Record)
#: What kind of record, and its internal name.
Key = tuple[type[Record], str]


def start_of(record: Record) -> str | None:
    """Return which start has recorded something; empty if none has, but who waits for it; None if nobody knows."""
    attempts = record.attempts
    if attempts is UNSET:
        return None
    if not attempts:
        return "" if isinstance(record, BranchLog) else None
    start = attempts[-1].start
    return None if start is UNSET else start


def is_within(start: str, outer: str) -> bool:
    """Tell whether a start is another one, or runs inside it."""
    return start == outer or (bool(outer) and start.startswith(f"{outer}/"))


def key_of(record: Record) -> Key:
    """Return what tells a record from all others of its run."""
    return (BranchLog if isinstance(record, BranchLog) else StepLog), record.internal_name


class Accounts:
    """What was recorded of one step or branch, as it is read one after the other, in order of execution."""

    def __init__(self) -> None:
        self._found: dict[str | None, Any] = {}

    def add(self, record: Record) -> None:
        """Add a record; it replaces an earlier one of the same start, or all if nobody knows which start it is of."""
        start = start_of(record)
        if start is None:
            self._found.clear()
        else:
            self._found.pop(None, None)
            self._found.pop(start, None)
        self._found[start] = record

    def all(self) -> list[Any]:
        """Return those that count side by side."""
        return list(self._found.values())


class _Joined(NamedTuple):
    """How the accounts of several starts become one.

    Attributes:
        chosen: which account counts.
        path: the start that has recorded it.
        told: of each attempt, which account tells of it, and as which of its attempts.
        places: by account, which attempt each of its attempts is; counted from 0.
        by_start: which account each start has recorded.
        counted: which attempt counts, from 1; 0 if none does.
        statuses: of the attempts.
    """

    chosen: int
    path: str
    told: list[tuple[int, int]]
    places: list[list[int]]
    by_start: dict[str, int]
    counted: int
    statuses: list[str]

    def place(self, start: str, attempt: int) -> int:
        """Return which attempt something ran in whose start took it for a certain one; 0 if that is not known."""
        while start:
            account = self.by_start.get(start)
            if account is not None and 0 < attempt <= len(self.places[account]):
                return self.places[account][attempt - 1] + 1
            start = start.rpartition("/")[0]
        return 0


class Starts:
    """Puts the accounts of several starts together.

    Args:
        accounts_of: returns the accounts of a step or branch, in order; only those of a few are asked for.
    """

    def __init__(self, accounts_of: Callable[[Key], Sequence[Any]]) -> None:
        self._accounts_of = accounts_of
        self._known: dict[Key, _Joined | None] = {}
        self._lost: dict[Key, bool] = {}

    def chosen(self, accounts: Sequence[_R]) -> _R:
        """Return which of the accounts of a step or branch counts."""
        joined = self._join(accounts)
        return accounts[-1] if joined is None else accounts[joined.chosen]

    def joined(self, accounts: Sequence[_R]) -> _R:
        """Return the one record that the accounts of a step or branch are."""
        joined = self._join(accounts)
        if joined is None:
            return self._placed(accounts[-1], start_of(accounts[-1]) or "")
        return self._placed(_as_one(accounts, joined), joined.path)

    # --- which counts ------------------------------------------------------------------------------------------------

    def _of(self, key: Key) -> _Joined | None:
        if key not in self._known:
            self._known[key] = None  # should a step be inside itself
            self._known[key] = self._join(self._accounts_of(key))
        return self._known[key]

    def _counting(self, key: Key) -> Any:
        """Return the account of a step or branch that counts; None if there is none."""
        joined, accounts = self._of(key), self._accounts_of(key)
        if not accounts:
            return None
        return accounts[-1] if joined is None else accounts[joined.chosen]

    def _join(self, accounts: Sequence[Record]) -> _Joined | None:
        if len(accounts) < 2:  # noqa: PLR2004 - then there is nothing to be joined
            return None
        told, places = _told(accounts)
        starts = [start_of(account) or "" for account in accounts]
        choose = self._of_branch if isinstance(accounts[0], BranchLog) else self._of_step
        chosen = choose(accounts, starts)
        local = counted_attempt(accounts[chosen])
        counted = places[chosen][local - 1] + 1 if 0 < local <= len(places[chosen]) else 0
        # What is told of has attempts.
        statuses = [accounts[account].attempts[attempt].status for account, attempt in told]  # type: ignore[index]
        if accounts[chosen].status != PROCESSING:
            statuses = [
                LOST if status == PROCESSING and place != counted else status
                for place, status in enumerate(statuses, 1)
            ]
        by_start = {start: account for account, start in enumerate(starts)}
        return _Joined(chosen, starts[chosen], told, places, by_start, counted, statuses)

    def _of_branch(self, accounts: Sequence[Any], starts: list[str]) -> int:
        """Return which account of a branch counts.

        That is the one whose result came back; if nobody has noted that, the first that ended in success; if none did,
        the last. All of the attempt of the composite step that counts.
        """
        outer, _, segment = accounts[0].internal_name.rpartition(".")
        step, joined = self._counting((StepLog, outer)), self._of((StepLog, outer))
        if step is not None and step.returned is not UNSET and (returned := step.returned.get(segment)) is not None:
            for account, start in enumerate(starts):
                if start.rpartition("/")[2] == returned:
                    return account
        counted = joined.counted if joined else counted_attempt(step) if step is not None else 0
        around = [_around(account, start, joined) for account, start in zip(accounts, starts, strict=True)]
        possible = [each for each, place in enumerate(around) if place in {0, counted}] or list(range(len(accounts)))
        successes = [each for each in possible if accounts[each].status == SUCCESS]
        return min(successes, key=lambda each: _end_of(accounts[each])) if successes else possible[-1]

    def _of_step(self, accounts: Sequence[Any], starts: list[str]) -> int:
        """Return which account of a step counts: as of its attempts, the last success, or the last.

        In a branch, all of the start of that which counts.
        """
        branch = self._of((BranchLog, accounts[0].internal_name.rpartition(".")[0]))
        possible = [each for each, start in enumerate(starts) if branch is None or is_within(start, branch.path)]
        possible = possible or list(range(len(accounts)))
        return next((each for each in reversed(possible) if accounts[each].status == SUCCESS), possible[-1])

    # --- what is inside ----------------------------------------------------------------------------------------------

    def _placed(self, record: _R, start: str) -> _R:
        """Return a record that says in which attempt of what is around it a start has recorded it."""
        changes: dict[str, Any] = {}
        if isinstance(record, BranchLog):
            outer = self._of((StepLog, record.internal_name.rpartition(".")[0]))
            if outer is not None and (place := _around(record, start, outer)):
                changes["attempt"] = place
        elif record.inside is not UNSET and (outer := self._of((StepLog, record.inside))) is not None:
            place = outer.place(start, record.inside_attempt or 1)
            if place:
                changes["inside_attempt"] = place if place > 1 else UNSET
        if record.status == PROCESSING and self._is_lost(key_of(record)):
            changes["status"] = LOST
            changes["attempts"] = [
                _lost(attempt) if attempt.status == PROCESSING else attempt for attempt in record.attempts or ()
            ]
        return msgspec.structs.replace(record, **changes) if changes else record

    def _is_lost(self, key: Key) -> bool:
        """Tell whether something that has not ended ran inside a start that was lost."""
        if key not in self._lost:
            self._lost[key] = False
            self._lost[key] = self._was_lost(key)
        return self._lost[key]

    def _was_lost(self, key: Key) -> bool:
        record = self._counting(key)
        if record is None or record.status != PROCESSING:
            return False
        joined = self._of(key)
        start = joined.path if joined else start_of(record) or ""
        parent = key[1].rpartition(".")[0]
        if isinstance(record, BranchLog):
            return self._is_lost_attempt(parent, start.rpartition("/")[0], record.attempt or 1)
        if parent and self._is_lost((BranchLog, parent)):
            return True
        inside = record.inside
        return inside is not UNSET and self._is_lost_attempt(inside, start, record.inside_attempt or 1)

    def _is_lost_attempt(self, step: str, start: str, attempt: int) -> bool:
        joined = self._of((StepLog, step))
        if joined is not None and (place := joined.place(start, attempt)):
            return joined.statuses[place - 1] == LOST
        return self._is_lost((StepLog, step))


def _around(branch: BranchLog, start: str, step: _Joined | None) -> int:
    """Return in which attempt of its composite step a start has recorded a branch; 0 if that does not matter."""
    if step is None or not start:
        return branch.attempt or 0
    return step.place(start.rpartition("/")[0], branch.attempt or 1)


def _end_of(branch: BranchLog) -> str:
    return branch.attempts[-1].end_time if branch.attempts else ""


def _told(accounts: Sequence[Record]) -> tuple[list[tuple[int, int]], list[list[int]]]:
    """Return which account tells best of each attempt, and by account which attempts it tells of.

    A start knows best of its own attempts, but not of its death: others may have told of that.
    """
    told: list[tuple[int, int]] = []
    ends: list[bool] = []
    known: dict[tuple[str, int], int] = {}
    places: list[list[int]] = []
    for number, account in enumerate(accounts):
        own = start_of(account)
        counts: dict[str, int] = {}
        places.append([])
        for index, attempt in enumerate(account.attempts or ()):
            start = attempt.start or ""
            counts[start] = counts.get(start, 0) + 1
            place = known.setdefault((start, counts[start]), len(told))
            has_ended = attempt.status != PROCESSING
            if place == len(told):
                told.append((number, index))
                ends.append(has_ended)
            elif has_ended >= ends[place] and (start == own or not ends[place]):
                told[place], ends[place] = (number, index), has_ended
            places[number].append(place)
    return told, places


def _as_one(accounts: Sequence[_R], joined: _Joined) -> _R:
    by_account = [
        list(account.attempts or ()) if number == joined.chosen or isinstance(account, BranchLog) else left_by(account)
        for number, account in enumerate(accounts)
    ]
    attempts = []
    for place, ((account, index), status) in enumerate(zip(joined.told, joined.statuses, strict=True), 1):
        attempt = msgspec.structs.replace(by_account[account][index], attempt_number=place)
        attempts.append(_lost(attempt) if status == LOST else attempt)
    whole = msgspec.structs.replace(accounts[joined.chosen], attempts=attempts, counted_attempt=UNSET)
    if counted_attempt(whole) != joined.counted and (joined.counted or isinstance(whole, BranchLog)):
        whole.counted_attempt = joined.counted
    return whole


def _lost(attempt: StepAttempt) -> StepAttempt:
    """Return an attempt that has not ended and counts no more."""
    who = "the process" if attempt.pid is UNSET else f"process {attempt.pid} on {attempt.host or 'some host'}"
    message = attempt.message or f"it did not end: {who} was lost, or goes on for nothing"
    return msgspec.structs.replace(attempt, status=LOST, message=message)
