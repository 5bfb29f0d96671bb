"""How many steps of a run went on at once."""

from __future__ import annotations

from itertools import accumulate

from chunkstore.views.timeline.spans import Timeline, times_at_work


def concurrency(timeline: Timeline, parts: int) -> list[float]:
    """Return how many steps went on at once, on average, in each of some equal parts of the time.

    Composite steps do not count, what is inside them does, and so it is with a step while steps inside it are at work;
    of a step that was tried again, its attempts count.
    """
    if not timeline.wall_seconds:
        return [0.0] * parts
    scale = parts / timeline.wall_seconds
    within = [0.0] * (parts + 1)
    changes = [0] * (parts + 1)
    for start, end in times_at_work(timeline):
        first, last = min(int(start * scale), parts), min(int(end * scale), parts)
        # Whole parts in between, and what is missing of the first and of the last.
        changes[first] += 1
        changes[last] -= 1
        within[first] -= start * scale - first
        within[last] += end * scale - last
    whole = accumulate(changes[:parts])
    return [max(count + part, 0.0) for count, part in zip(whole, within[:parts], strict=True)]


def most_at_once(timeline: Timeline) -> int:
    """Return how many steps went on at the same moment, at most; what begins when another ends comes after it."""
    changes = sorted(change for start, end in times_at_work(timeline) for change in ((start, 1), (end, -1)))
    return max(accumulate(change for _, change in changes), default=0)
