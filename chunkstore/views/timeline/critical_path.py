"""Which steps determined when a run ended."""

from __future__ import annotations

from bisect import bisect_right
from collections.abc import Iterator, Sequence
from typing import Protocol


class Interval(Protocol):
    """What has a start, an end, and a place inside another."""

    start: float
    end: float
    parent: int


def critical_path(spans: Sequence[Interval]) -> list[int]:
    """Return the places of the spans on the critical path, the outer ones before those inside them.

    A run log has no dependencies in it, so the path is read from the times: what ended last determined the end, and
    what it had to wait for is, most likely, what ended last before it began. On each level, the walk goes back like
    that from the span that ended last to one before which nothing had ended. It goes on inside every span on the path:
    from the branch of a composite step that ended last, back to the branch whose worker it got, and so on.

    A step on the path that takes a second longer makes the run a second longer; others may have time to spare.

    Args:
        spans: outer ones before inner ones; `parent` is a place in them, or -1.
    """
    children: list[list[int]] = [[] for _ in range(len(spans) + 1)]
    for place, span in enumerate(spans):
        children[span.parent].append(place)
    found: list[int] = []
    levels = [children[-1]]
    while levels:
        for place in _walk_back(spans, levels.pop()):
            found.append(place)
            levels.append(children[place])
    return sorted(found)


def _walk_back(spans: Sequence[Interval], level: list[int]) -> Iterator[int]:
    by_end = sorted(level, key=lambda place: (spans[place].end, spans[place].start))
    ends = [spans[place].end for place in by_end]
    at = len(by_end) - 1
    while at >= 0:
        place = by_end[at]
        yield place
        # Always further back, also among spans that took no time at all.
        at = bisect_right(ends, spans[place].start, 0, at) - 1
