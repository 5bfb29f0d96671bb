"""Bars of block characters, to half a character."""

from __future__ import annotations

import itertools
from typing import NamedTuple

from chunkstore.records.models import FAIL, PROCESSING, SUCCESS
from chunkstore.views.formats import LOST, UNKNOWN, style_of

#: Text, and how rich shows it.
Piece = tuple[str, str]
Line = list[Piece]

#: How rich shows what is not to stand out.
QUIET = "dim"


class Glyphs(NamedTuple):
    """What bars are drawn with: whole cells, and cells of which only the left or right half is filled."""

    critical: tuple[str, str, str]
    other: tuple[str, str, str]
    waiting: str
    failed: str
    running: str
    tick: str
    more: str
    arrow: str
    levels: str


BLOCKS = Glyphs(("█", "▌", "▐"), ("━", "╸", "╺"), "·", "✘", "▶", "│", "…", "→", " ▁▂▃▄▅▆▇█")
ASCII = Glyphs(("#", "#", "#"), ("=", "=", "="), ".", "x", ">", "|", "...", ">", " .:-=+*#@")

#: What half a cell shows; of two, the later in this order.
NOTHING, WAITING, OTHER, CRITICAL = range(4)
#: Where two share a cell, what went wrong is shown.
_RANKS = {"": 0, SUCCESS: 1, PROCESSING: 2, UNKNOWN: 3, LOST: 4, FAIL: 5}


class Bar:
    """The cells of one row, each of two halves.

    Args:
        width: how many cells.
        total: how many seconds they stand for.
        glyphs: what to draw with.
    """

    def __init__(self, width: int, total: float, glyphs: Glyphs) -> None:
        self._halves = [NOTHING] * (2 * width)
        self._statuses = [""] * (2 * width)
        self._marks: dict[int, tuple[str, str]] = {}
        self._scale = 2 * width / total if total else 0.0
        self._glyphs = glyphs
        self.drawn: set[str] = set()

    def cells(self, seconds: float) -> float:
        """Return how many cells a duration is wide."""
        return seconds * self._scale / 2

    def fill(self, start: float, end: float, fill: int, status: str) -> None:
        """Draw from one time to another; what took no time is half a cell wide."""
        first = min(round(start * self._scale), len(self._halves) - 1)
        for half in range(first, max(min(round(end * self._scale), len(self._halves)), first + 1)):
            self._halves[half] = max(self._halves[half], fill)
            if _RANKS.get(status, 0) > _RANKS.get(self._statuses[half], 0):
                self._statuses[half] = status

    def mark(self, end: float, glyph: str, status: str) -> None:
        """Draw a character over the last cell before a time."""
        half = max(min(round(end * self._scale), len(self._halves)) - 1, 0)
        self._marks[half // 2] = (glyph, status)

    def pieces(self) -> Line:
        """Return the cells, those of one style together."""
        cells = [self._cell(place) for place in range(len(self._halves) // 2)]
        self.drawn = {glyph for glyph, _ in cells}
        return [
            ("".join(glyph for glyph, _ in group), style)
            for style, group in itertools.groupby(cells, key=lambda cell: cell[1])
        ]

    def _cell(self, place: int) -> Piece:
        if place in self._marks:
            glyph, status = self._marks[place]
            return glyph, style_of(status)
        left, right = self._halves[2 * place : 2 * place + 2]
        fill = max(left, right)
        if fill <= WAITING:
            return (self._glyphs.waiting, QUIET) if fill else (" ", "")
        whole, left_half, right_half = self._glyphs.critical if fill == CRITICAL else self._glyphs.other
        glyph = whole if left == right else left_half if left > right else right_half
        statuses = self._statuses[2 * place : 2 * place + 2]
        return glyph, style_of(max(statuses, key=lambda status: _RANKS.get(status, 0)))
