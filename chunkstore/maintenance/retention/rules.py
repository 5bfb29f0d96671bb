"""Which runs are to be deleted, what becomes of them, and rules that cannot be used."""

from __future__ import annotations

import re
from datetime import timedelta

import msgspec

from chunkstore.errors import InvalidValueError
from chunkstore.records.models import PROCESSING
from chunkstore.stores.runs.liveness import LIVE, LOST, UNKNOWN

_AGE = re.compile(r"([0-9]{1,6}) ?([smhdw])\Z")
_SECONDS = {"s": 1, "m": 60, "h": 3_600, "d": 86_400, "w": 604_800}
#: Nothing was recorded longer ago; and from no moment of ours does so much lead beyond the first year there is.
LONGEST_AGE = timedelta(days=365 * 1_000)


class Rule(msgspec.Struct, frozen=True, kw_only=True):
    """Which runs are deleted: those that meet everything that is set.

    Runs that have not finished are never deleted; but with `LOST` among the statuses, those whose owner surely died.

    Attributes:
        keep_last: of the runs with these statuses and tags, so many of the newest are kept, however old they are. Runs
            that have not finished are kept beside them, and so are those whose record cannot be read.
        older_than: only runs that ended longer ago, or were last heard of.
        statuses: only runs of one of these; empty for all that have finished.
        tags: only runs of one of these; empty for all.
    """

    keep_last: int | None = None
    older_than: timedelta | None = None
    statuses: frozenset[str] = frozenset()
    tags: frozenset[str] = frozenset()


class Candidate(msgspec.Struct, frozen=True, kw_only=True):
    """A run that is to be deleted.

    Attributes:
        run_id: the run; pinned, so that no other of its id is deleted in its place.
        status: as recorded, or `LOST`.
        start_time: when it started; empty where nobody recorded it.
        end_time: when it ended, or was last heard of.
        tag: its tag.
        space: how many bytes of the disk its log takes, and its data if that is deleted too.
    """

    run_id: str
    status: str
    start_time: str
    end_time: str
    tag: str
    space: int = 0


class Kept(msgspec.Struct, frozen=True, kw_only=True):
    """A run that meets the rule, and is kept all the same.

    Attributes:
        run_id: the run.
        reason: why.
    """

    run_id: str
    reason: str


class Plan(msgspec.Struct, frozen=True, kw_only=True):
    """What is going to be deleted.

    Attributes:
        runs: how many runs there are.
        unfinished: how many of them have not finished.
        delete: the runs to delete, the oldest first.
        kept: those that meet the rule and are kept.
    """

    runs: int
    unfinished: int
    delete: list[Candidate]
    kept: list[Kept]


class Outcome(msgspec.Struct, frozen=True, kw_only=True):
    """What became of a run that was to be deleted.

    Attributes:
        run: the run.
        deleted: whether it is gone.
        reason: why it is not; empty if it is.
        failed: whether an error was the reason, and not that the run is needed again.
        data_left: why data stays that its records name; empty if none does.
    """

    run: Candidate
    deleted: bool
    reason: str = ""
    failed: bool = False
    data_left: str = ""


class LeftOvers(msgspec.Struct, frozen=True, kw_only=True):
    """What somebody who was stopped has left, and nobody uses any more.

    Attributes:
        files: how many files and folders.
        space: how many bytes of the disk they take.
        files_in_catalog: how many more are in the catalog, and left there as nobody asked to delete data.
        space_in_catalog: how many bytes of the disk those take.
    """

    files: int = 0
    space: int = 0
    files_in_catalog: int = 0
    space_in_catalog: int = 0


def parse_age(text: str) -> timedelta:
    """Return a length of time that people write as `90m`, `12h`, `30d` or `2w`.

    Raises:
        InvalidValueError: it is none.
    """
    match = _AGE.match(text.strip())
    if match is None:
        reason = "it must be a number and a unit: s, m, h, d or w"
        raise InvalidValueError(f"Cannot use {text!r} as an age: {reason}, as in 30d.", key="older_than", reason=reason)
    age = timedelta(seconds=int(match.group(1)) * _SECONDS[match.group(2)])
    if age > LONGEST_AGE:
        reason = f"it is longer than {LONGEST_AGE.days:,} days"
        raise InvalidValueError(f"Cannot use {text!r} as an age: {reason}.", key="older_than", reason=reason)
    return age


def check_rule(rule: Rule) -> None:
    """Refuse a rule that says nothing, or that asks for runs that go on.

    Raises:
        InvalidValueError: it cannot be used.
    """
    if rule.keep_last is None and rule.older_than is None and not rule.statuses and not rule.tags:
        reason = "it would delete every run that has finished"
        raise InvalidValueError(
            f"Cannot delete runs by no rule: {reason}. Say which: by --keep-last, --older-than, --status or --tag.",
            key="rule",
            reason=reason,
        )
    if going_on := rule.statuses & {PROCESSING, UNKNOWN, LIVE}:
        reason = "such runs may be going on, and are never deleted"
        raise InvalidValueError(
            f"Cannot delete runs of status {min(going_on)}: {reason}. {LOST} is for those whose owner surely died; if "
            "you know better, say so with update_run_log, which sets a run's status.",
            key="status",
            reason=reason,
        )
