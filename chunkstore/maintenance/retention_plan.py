"""Which runs are to be deleted, and what became of them."""

from __future__ import annotations

from datetime import timedelta

import msgspec


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
    """

    run: Candidate
    deleted: bool
    reason: str = ""
    failed: bool = False


class LeftOvers(msgspec.Struct, frozen=True, kw_only=True):
    """What somebody who was stopped has left, and nobody uses any more.

    Attributes:
        files: how many files and folders.
        space: how many bytes of the disk they take.
    """

    files: int = 0
    space: int = 0
