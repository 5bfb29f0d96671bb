"""A timeline as lines of text: a bar for each step, lanes for wide maps, the critical path in heavy bars."""

from __future__ import annotations

import itertools
import math
import sys
from collections.abc import Iterator
from datetime import datetime, timedelta

from chunkstore.names import readable_name
from chunkstore.records.models import FAIL, PROCESSING, SUCCESS, RunLog
from chunkstore.views.formats import LOST, UNKNOWN, format_seconds, mark_of, style_of
from chunkstore.views.texts import counted, printable, shown_message
from chunkstore.views.timeline.bars import ASCII, BLOCKS, CRITICAL, OTHER, QUIET, WAITING, Bar, Glyphs, Line, Piece
from chunkstore.views.timeline.concurrency import concurrency, most_at_once
from chunkstore.views.timeline.from_log import timeline_of
from chunkstore.views.timeline.lanes import MOST_BRANCHES, MOST_STEPS, Row, rows_of
from chunkstore.views.timeline.spans import BRANCH, TOP, Span, Timeline
from chunkstore.views.timeline.summary import summarize
from chunkstore.views.timeline.text_width import columns_of, cut
from chunkstore.views.timeline.time_axis import tick_step, tick_text

#: Columns where nobody says how many there are.
DEFAULT_WIDTH = 120
#: Most branches with rows of their own, and how deep rows may be nested: less and less, until all rows fit.
_FOLDS = (
    (MOST_BRANCHES, sys.maxsize),
    (MOST_BRANCHES // 2, sys.maxsize),
    (MOST_BRANCHES // 2, 1),
    (2, 1),
    (0, 1),
    (0, 0),
)
_MOST_LANES = 16
#: Lines around the chart.
_LINES_AROUND = 10
_LEAST_LABEL, _LEAST_CHART = 12, 14
_TIME_WIDTH = 11
_TICK_WIDTH = 10
_TITLE_WIDTH = 15
_MOST_NAMES = 5
_DEEPEST_INDENT = 8
_LEVEL_STYLE = "cyan"
_PLAIN_MARKS = {SUCCESS: "+", FAIL: "x", PROCESSING: ">", LOST: "!", UNKNOWN: "?"}


def render_timeline(
    log: RunLog,
    *,
    width: int = DEFAULT_WIDTH,
    until: datetime | None = None,
    show_all: bool = False,
    ascii_only: bool = False,
) -> str:
    """Return a run log as a chart of what ran when: a bar for each step, heavy bars for the critical path.

    Args:
        log: a whole run log.
        width: characters in a line.
        until: when what has not ended ends in the chart: now, for a run that goes on. None for the last time in the
            log.
        show_all: whether every step has a row of its own; wide maps are folded into lanes otherwise.
        ascii_only: whether to do without block characters.

    Returns:
        Lines of text, the last one without a line break.
    """
    lines = gantt_lines(timeline_of(log, until=until), width=width, show_all=show_all, ascii_only=ascii_only)
    return "\n".join("".join(text for text, _ in line).rstrip() for line in lines)


def gantt_lines(
    timeline: Timeline, *, width: int, height: int | None = None, show_all: bool = False, ascii_only: bool = False
) -> list[Line]:
    """Return a timeline as lines of styled text.

    Args:
        timeline: what to draw.
        width: characters in a line.
        height: lines to fold wide maps to, as far as that is possible; None for no limit.
        show_all: whether every step has a row of its own.
        ascii_only: whether to do without block characters.
    """
    return list(_Gantt(timeline, width, ASCII if ascii_only else BLOCKS).lines(height, show_all=show_all))


class _Gantt:
    def __init__(self, timeline: Timeline, width: int, glyphs: Glyphs) -> None:
        self._timeline = timeline
        self._spans = timeline.spans
        self._width = width
        self._glyphs = glyphs
        self._drawn: set[str] = set()

    def lines(self, height: int | None, *, show_all: bool) -> Iterator[Line]:
        yield self._heading()
        if self._spans:
            rows, hidden = self._rows(height, show_all=show_all)
            labels = [self._label(row) for row in rows]
            longest = max(columns_of(name) + columns_of(note) for name, note, _ in labels)
            most = max(_LEAST_LABEL, self._width // 3)
            label_width = min(max(longest, _LEAST_LABEL), most)
            chart_width = max(self._width - label_width - _TIME_WIDTH - 2, _LEAST_CHART)
            yield [(" " * (label_width + 1), ""), (self._axis(chart_width), QUIET)]
            yield from self._at_once(label_width, chart_width)
            for row, label in zip(rows, labels, strict=True):
                yield [*self._fitted(label, label_width), (" ", ""), *self._bar(row, chart_width), self._time(row)]
            if hidden:
                yield [(f"{self._glyphs.more} {hidden:,} more rows; --all shows them", QUIET)]
        yield from self._closing()

    def _rows(self, height: int | None, *, show_all: bool) -> tuple[list[Row], int]:
        """Return the rows that fit, and how many do not."""
        if show_all:
            return rows_of(self._timeline, most_branches=len(self._spans), most_steps=len(self._spans)), 0
        most = max(height - _LINES_AROUND, 3) if height else sys.maxsize
        rows, hidden = [], 0
        for most_branches, deepest in _FOLDS:
            found = rows_of(self._timeline, most_branches=most_branches, most_steps=MOST_STEPS)
            outer = [row for row in found if not row.is_inner]
            rows = [row for row in outer if row.lane <= _MOST_LANES and row.depth <= deepest]
            hidden = len(outer) - len(rows)
            if len(rows) <= most:
                break
        return rows[:most], hidden + len(rows[most:])

    # --- what stands left and right of the bars ------------------------------------------------------------------

    def _heading(self) -> Line:
        timeline = self._timeline
        parts = [format_seconds(timedelta(seconds=timeline.wall_seconds)) if self._spans else ""]
        parts += [f"tag {printable(timeline.tag)}" if timeline.tag else "", printable(shown_message(timeline.message))]
        text = "  ".join(filter(None, parts))
        status = f"{self._mark(timeline.status)} {printable(timeline.status)}"
        used = columns_of(timeline.run_id) + columns_of(status) + 6
        return [
            (printable(timeline.run_id), "bold"),
            ("  ", ""),
            (status, style_of(timeline.status)),
            (f"  {cut(text, max(self._width - used, 8), self._glyphs.more)}", ""),
        ]

    def _mark(self, status: str) -> str:
        return _PLAIN_MARKS.get(status, "?") if self._glyphs is ASCII else mark_of(status)[:1]

    def _label(self, row: Row) -> tuple[str, str, Row]:
        """Return the label of a row: what it is, and a note that is cut off first."""
        indent = "  " * min(row.depth, _DEEPEST_INDENT)
        if row.lane:
            kind = "branch" if self._spans[row.spans[0]].kind == BRANCH else "step"
            return f"{indent}lane {row.lane}", f"  {counted(len(row.spans), kind)}", row
        span = self._spans[row.owner]
        failed = f"{span.failed_branches:,} of {span.branches:,} failed" if span.failed_branches else ""
        notes = [failed or (counted(span.branches, "branch") if span.branches else "")]
        notes += [f"{len(span.attempts)} attempts" if len(span.attempts) > 1 else ""]
        notes += ["taken over" if span.taken_over_from else "", "late" if span.late else ""]
        note = ", ".join(filter(None, notes))
        return f"{indent}{self._mark(span.status)} {printable(span.name)}", f"  {note}" if note else "", row

    def _fitted(self, label: tuple[str, str, Row], width: int) -> Line:
        name, note, row = label
        name = cut(name, width, self._glyphs.more)
        note = cut(note, width - columns_of(name), self._glyphs.more)
        padding = " " * (width - columns_of(name) - columns_of(note))
        if row.lane:
            return [(name + note + padding, QUIET)]
        span = self._spans[row.owner]
        start = len(name) - len(name.lstrip())
        style = "bold" if span.is_critical else ""
        return [
            (name[: start + 1], style_of(span.status)),
            (name[start + 1 :], style),
            (note + padding, QUIET),
        ]

    def _time(self, row: Row) -> Piece:
        if not row.lane:
            text = format_seconds(timedelta(seconds=self._spans[row.owner].seconds))
        else:
            start, end = self._reach(row)
            busy = math.fsum(self._spans[place].seconds for place in row.spans)
            text = f"{busy / (end - start):.0%} busy" if end > start else ""
        return f" {text:>{_TIME_WIDTH}}", QUIET if row.lane else ""

    def _reach(self, row: Row) -> tuple[float, float]:
        """Return how long a lane could have been in use."""
        if row.owner == TOP:
            return 0.0, self._timeline.wall_seconds
        owner = self._spans[row.owner]
        return min(owner.start, self._spans[row.spans[0]].start), max(owner.end, self._spans[row.spans[-1]].end)

    # --- bars ----------------------------------------------------------------------------------------------------

    def _axis(self, width: int) -> str:
        total = self._timeline.wall_seconds
        step = tick_step(total, max(width // _TICK_WIDTH, 1))
        cells = [" "] * width
        for number in itertools.count():
            at = int(number * step / total * width) if total else 0
            text = f"{self._glyphs.tick}{tick_text(number * step, step)}"
            if at + len(text) > width:
                break
            cells[at : at + len(text)] = text
            if not total:
                break
        return "".join(cells)

    def _at_once(self, label_width: int, width: int) -> Iterator[Line]:
        """Yield a line that tells how many steps went on at once, unless it was one at most."""
        most = most_at_once(self._timeline)
        if most <= 1:
            return
        levels = self._glyphs.levels
        counts = concurrency(self._timeline, width)
        cells = [levels[min(math.ceil(count / most * (len(levels) - 1)), len(levels) - 1)] for count in counts]
        label = f"{cut('at once', label_width, self._glyphs.more):<{label_width}} "
        yield [(label, QUIET), ("".join(cells), _LEVEL_STYLE), (f" {f'up to {most:,}':>{_TIME_WIDTH}}", QUIET)]

    def _bar(self, row: Row, width: int) -> Line:
        bar = Bar(width, self._timeline.wall_seconds, self._glyphs)
        for place in row.spans:
            self._draw(bar, self._spans[place], is_alone=not row.lane)
        pieces = bar.pieces()
        self._drawn |= bar.drawn
        return pieces

    def _draw(self, bar: Bar, span: Span, *, is_alone: bool) -> None:
        # Many short ones in a lane would make a pattern without a meaning.
        is_heavy = span.is_critical and (is_alone or bar.cells(span.seconds) >= 1)
        fill = CRITICAL if is_heavy else OTHER
        if is_alone and span.waited:
            bar.fill(span.start - span.waited, span.start, WAITING, "")
        if len(span.attempts) > 1:
            bar.fill(span.start, span.end, WAITING, "")
            for attempt in span.attempts:
                bar.fill(attempt.start, attempt.end, fill, attempt.status)
                if attempt.status == FAIL:
                    bar.mark(attempt.end, self._glyphs.failed, FAIL)
        else:
            bar.fill(span.start, span.end, fill, span.status)
            if span.status == FAIL and not is_alone:
                bar.mark(span.end, self._glyphs.failed, FAIL)
        if span.is_running:
            bar.mark(span.end, self._glyphs.running, span.status)

    # --- below ---------------------------------------------------------------------------------------------------

    def _closing(self) -> Iterator[Line]:
        if not self._spans:
            yield (
                [("No step of this run has begun.", "")]
                if not self._timeline.undated
                else [("Nobody recorded when the steps of this run began.", "")]
            )
        else:
            yield []
            yield from self._summary()
        if self._timeline.undated:
            names = [printable(readable_name(undated.internal_name)) for undated in self._timeline.undated]
            yield from self._titled("without times", [f"{len(names):,}: {self._listed(names)}"], "")
        if self._timeline.problems:
            text = counted(self._timeline.problems, "problem")
            yield from self._titled("not readable", [f"{text}; `chunkstore verify` tells them"], "red")
        if self._spans:
            yield from self._legend()

    def _summary(self) -> Iterator[Line]:
        summary = summarize(self._timeline)
        glyphs = self._glyphs
        path = [printable(self._spans[place].name) for place in summary.critical_path]
        shown = path if len(path) <= 2 * _MOST_NAMES else [*path[:_MOST_NAMES], glyphs.more, *path[-_MOST_NAMES:]]
        seconds = format_seconds(timedelta(seconds=summary.critical_seconds))
        separator = f" {glyphs.arrow} "
        yield from self._titled("critical path", [f"{seconds}: ", *_joined(shown, separator)], "")
        longest = [
            f"{printable(readable_name(span.internal_name))} {format_seconds(timedelta(seconds=span.seconds))}"
            for span in (self._spans[place] for place in summary.longest)
        ]
        yield from self._titled("longest", _joined(longest, ", "), "")
        work = format_seconds(timedelta(seconds=summary.work_seconds))
        wall = format_seconds(timedelta(seconds=summary.wall_seconds))
        words = [f"{work} of work ", f"in {wall}: ", f"{summary.parallelism:.1f} steps at once on average"]
        yield from self._titled("in all", words, "")

    def _titled(self, title: str, words: list[str], style: str) -> Iterator[Line]:
        """Yield words beside a title, in as many lines as they need."""
        for line in self._wrapped(words, max(self._width - _TITLE_WIDTH, _LEAST_CHART)):
            yield [(f"{title:<{_TITLE_WIDTH}}", QUIET), (line, style)]
            title = ""

    def _wrapped(self, words: list[str], width: int) -> Iterator[str]:
        line = ""
        for word in words:
            if line and columns_of(line) + columns_of(word.rstrip()) > width:
                yield line.rstrip()
                line = ""
            line += cut(word, width, self._glyphs.more)
        yield line.rstrip()

    def _listed(self, names: list[str]) -> str:
        return ", ".join(names[:_MOST_NAMES]) + (f", {self._glyphs.more}" if len(names) > _MOST_NAMES else "")

    def _legend(self) -> Iterator[Line]:
        glyphs = self._glyphs
        meanings = [
            (glyphs.critical[0], "critical path"),
            (glyphs.other[0], "other"),
            (glyphs.waiting, "waiting"),
            (glyphs.failed, "failed"),
            (glyphs.running, "not ended"),
        ]
        words = [f"{glyph} {text}   " for glyph, text in meanings if glyph in self._drawn]
        return ([(line, QUIET)] for line in self._wrapped(words, self._width))


def _joined(words: list[str], separator: str) -> list[str]:
    return [*(f"{word}{separator}" for word in words[:-1]), *words[-1:]]
