"""What failures say, and whether two say the same; ids of runs and of objects in memory are no differences."""

from __future__ import annotations

import re
from bisect import bisect_left

from chunkstore.records.models import LOST, StepLog
from chunkstore.views.recorded_values import failure_of

#: What a traceback says of places in the code, also inside a group of exceptions, whose lines have a margin.
_PLACES = re.compile(
    r"^(?P<margin>(?: *[|+] )?)(?:"
    r"(?:Exception Group )?Traceback \(most recent call last\):\n"
    r"| {2}File \".*\", line \d+.*\n(?:(?P=margin) {4}.*\n)*"
    r"| {2}\[Previous line repeated .*\n)",
    re.MULTILINE,
)
#: If more than this of a line is the same, less is shown before what differs.
_LONGEST_START, _SHORT_START = 100, 20
_ADDRESS = re.compile(r"\b0x[0-9a-f]{6,}\b", re.IGNORECASE)


def error_in(traceback: str) -> str:
    """Return the errors that a traceback tells of, its causes too, without places in the code; other text as it is."""
    return _PLACES.sub("", traceback).strip() or traceback.strip()


def first_difference(old: str, new: str, *, longest_start: int = _LONGEST_START) -> tuple[str, str]:
    """Return two texts from the first line on that differs, and from shortly before the place where it does."""
    # Texts may be long: how much of the beginnings is the same is found by bisection.
    before = bisect_left(range(1, min(len(old), len(new)) + 1), x=True, key=lambda end: old[:end] != new[:end])
    line = old.rfind("\n", 0, before) + 1
    start = line if before - line < longest_start else before - _SHORT_START
    one, other = (f"…{text[start:]}" if start and text[start:] else text[start:] for text in (old, new))
    return one, other


class Texts:
    """Compares texts of two runs.

    Args:
        old: the id of the first run.
        new: that of the second.
    """

    def __init__(self, old: str, new: str) -> None:
        self._old, self._new = old, new

    def differ(self, old: str, new: str) -> bool:
        """Tell whether two texts differ in more than their run's id and addresses."""
        return old != new and _without(old, self._old) != _without(new, self._new)

    def failures(self, old: StepLog, new: StepLog) -> tuple[str, str]:
        """Return how two steps failed, if they did so in different ways: at last, or in an attempt before."""
        messages = failure_of(old), failure_of(new)
        if self.differ(*messages):
            return messages
        if old.branches or new.branches:
            return "", ""
        for number, (before, after) in enumerate(zip(old.attempts, new.attempts, strict=False), 1):
            if before.message == after.message or before.status == after.status == LOST:
                continue
            errors = error_in(before.message), error_in(after.message)
            if self.differ(*errors):
                one, other = (f"attempt {number}: {error}" if error else "" for error in first_difference(*errors))
                return one, other
        return "", ""


def _without(text: str, run_id: str) -> str:
    return _ADDRESS.sub("0x…", re.sub(rf"(?<!\w){re.escape(run_id)}(?!\w)", "…", text))
