"""Where spans are drawn: rows in which nothing overlaps.

A span has a row of its own where there are few beside it. Where there are many, as in a map over thousands of items,
they share rows, its lanes: as many as were at work at once. What is inside a span is drawn below it.
"""

from __future__ import annotations

import heapq

import msgspec

from chunkstore.views.timeline.spans import BRANCH, TOP, Span, Timeline

#: More branches of a composite step share lanes.
MOST_BRANCHES = 12
#: More steps one after the other share lanes.
MOST_STEPS = 60


class Row(msgspec.Struct, kw_only=True):
    """One line of a drawing.

    Attributes:
        owner: the place of the span that has the row for its own, or of the one whose lane it is; -1 for the run.
        depth: how far its label is indented.
        lane: which lane, counted from 1; 0 for a row of its own.
        is_inner: whether it shows what is inside the spans of the lane above it.
        spans: places of the spans, in order of time; they do not overlap.
    """

    owner: int
    depth: int
    lane: int = 0
    is_inner: bool = False
    spans: list[int] = msgspec.field(default_factory=list)


def rows_of(timeline: Timeline, *, most_branches: int = MOST_BRANCHES, most_steps: int = MOST_STEPS) -> list[Row]:
    """Return the rows of a drawing.

    Args:
        timeline: what to draw.
        most_branches: composite steps with more branches have lanes.
        most_steps: runs and branches with more steps have lanes.
    """
    return _Layout(timeline, most_branches, most_steps).rows()


class _Layout:
    """Blocks in blocks: the block of a span is its own row and, below, the blocks of what is inside it."""

    def __init__(self, timeline: Timeline, most_branches: int, most_steps: int) -> None:
        self._spans = timeline.spans
        self._children = timeline.children
        self._most = {True: most_branches, False: most_steps}
        count = len(self._spans) + 1  # the last one is the run
        self._is_packed = [False] * count
        self._height = [1] * count
        self._reach = [(0.0, 0.0)] * count
        self._offset = [0] * count
        self._lane = [0] * count

    def rows(self) -> list[Row]:
        """Return all rows, from the top down."""
        for place in range(len(self._spans)):
            self._is_packed[place] = self._shares_lanes(self._spans[place].parent)
        for place in reversed(range(len(self._spans))):  # inner ones first
            self._arrange(place)
        self._height[TOP] = 0
        self._arrange(TOP)
        found: dict[int, Row] = {}
        tops = [0] * (len(self._spans) + 1)
        for place, span in enumerate(self._spans):  # outer ones first
            top = tops[place] = tops[span.parent] + self._offset[place]
            if top not in found:
                found[top] = self._row(place, span)
            found[top].spans.append(place)
        for row in found.values():
            row.spans.sort(key=lambda place: (self._spans[place].start, self._spans[place].end))
        return [found[top] for top in sorted(found)]

    def _shares_lanes(self, parent: int) -> bool:
        """Tell whether the spans in a span share lanes: there are many, or they are in what shares one itself."""
        if parent != TOP and self._is_packed[parent]:
            return True
        inner = self._children[parent]
        return len(inner) > self._most[bool(inner) and self._spans[inner[0]].kind == BRANCH]

    def _arrange(self, place: int) -> None:
        """Put the blocks inside a block below each other, or beside each other where they do not overlap."""
        inner = self._children[place]
        own = (self._spans[place].start, self._spans[place].end) if place != TOP else (0.0, 0.0)
        self._reach[place] = (
            min([own[0], *(self._reach[child][0] for child in inner)]),
            max([own[1], *(self._reach[child][1] for child in inner)]),
        )
        if not inner:
            return
        shares = self._is_packed[inner[0]]
        found = shared_lanes([self._reach[child] for child in inner]) if shares else range(len(inner))
        lanes = dict(zip(inner, found, strict=True))
        heights = [0] * (max(lanes.values()) + 1)
        for child, lane in lanes.items():
            heights[lane] = max(heights[lane], self._height[child])
        starts = [self._height[place]]
        for height in heights:
            starts.append(starts[-1] + height)
        for child, lane in lanes.items():
            self._offset[child] = starts[lane]
            self._lane[child] = lane + 1 if shares else 0
        self._height[place] = starts[-1]

    def _row(self, place: int, span: Span) -> Row:
        if not self._is_packed[place]:
            return Row(owner=place, depth=span.depth)
        top = place
        while span.parent != TOP and self._is_packed[span.parent]:
            top, span = span.parent, self._spans[span.parent]
        return Row(owner=span.parent, depth=span.depth, lane=self._lane[top], is_inner=top != place)


def shared_lanes(reaches: list[tuple[float, float]]) -> list[int]:
    """Return a lane for each start and end: the first that is free, so there are as many as overlap at most."""
    lanes = [0] * len(reaches)
    free: list[int] = []
    busy: list[tuple[float, int]] = []
    for place in sorted(range(len(reaches)), key=lambda place: reaches[place]):
        start, end = reaches[place]
        while busy and busy[0][0] <= start:
            heapq.heappush(free, heapq.heappop(busy)[1])
        lanes[place] = heapq.heappop(free) if free else len(busy)
        heapq.heappush(busy, (end, lanes[place]))
    return lanes
