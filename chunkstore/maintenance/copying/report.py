"""What became of runs that were to be copied."""

from __future__ import annotations

import msgspec
from msgspec import field

#: The copy is new; it was there, and was brought up to date; nothing had changed since; it could not be made.
COPIED, UPDATED, UNCHANGED, FAILED = "copied", "updated", "unchanged", "failed"


class RunCopy(msgspec.Struct, kw_only=True):
    """What became of one run.

    Attributes:
        run_id: the run.
        outcome: `copied`, if the copy is new; `updated`, if an earlier copy was brought up to date; `unchanged`, if
            there was nothing to be done; `failed`.
        status: the status of the run when it was copied.
        has_ended: whether the run had ended then; else another copy, later, brings the rest.
        chunks: how many chunks were sent; of stores that keep runs whole, how many records.
        bytes: how many bytes those had.
        data: how many files of the catalog were sent.
        left_out: files beside the run's that are none of chunkstore's, and were not copied.
        problems: why it failed; or what of the run could not be copied, though the rest was.
    """

    run_id: str
    outcome: str = UNCHANGED
    status: str = ""
    has_ended: bool = False
    chunks: int = 0
    bytes: int = 0
    data: int = 0
    left_out: list[str] = field(default_factory=list)
    problems: list[str] = field(default_factory=list)


class CopyReport(msgspec.Struct, kw_only=True):
    """What became of runs that were to be copied.

    Attributes:
        source: where they are.
        target: where the copies are.
        dry_run: whether nothing was done.
        runs: each of them, in the order in which they were named or listed.
    """

    source: str
    target: str
    dry_run: bool = False
    runs: list[RunCopy] = field(default_factory=list)

    @property
    def has_problems(self) -> bool:
        """Whether a run, or a part of one, was not copied."""
        return any(run.problems for run in self.runs)
