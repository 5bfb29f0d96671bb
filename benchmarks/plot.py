"""All results in one picture: how many times as much each side takes as chunkstore."""

from __future__ import annotations

import math
from collections.abc import Sequence
from pathlib import Path
from typing import Any

from benchmarks.measure import Role, ScenarioResult
from benchmarks.results import outcome, ratio_text

_COLOURS: dict[Role, str] = {"ours": "#1f6f8b", "floor": "#9aa5b1", "peer": "#e08e45"}
_COLUMNS = 3
_BAR_INCHES = 0.24
_PANEL_INCHES = 1.0
_NAMES_INCHES = 1.6
_WIDTH_INCHES = 18


def save_plot(path: Path, results: Sequence[ScenarioResult], environment: dict[str, str]) -> None:
    """Draw a panel per scenario, with a bar per side on a logarithmic scale.

    Args:
        path: the PNG to write.
        results: what was measured.
        environment: where.

    Raises:
        ImportError: matplotlib is not installed.
    """
    from matplotlib.backends.backend_agg import FigureCanvasAgg  # noqa: PLC0415 - an optional dependency
    from matplotlib.figure import Figure  # noqa: PLC0415 - perhaps not installed

    panels = [(result, bars) for result in results if len(bars := _bars(result)) > 1]
    rows = [panels[start : start + _COLUMNS] for start in range(0, len(panels), _COLUMNS)]
    heights = [_PANEL_INCHES + _BAR_INCHES * max(len(bars) for _, bars in row) for row in rows]
    height = sum(heights) + _PANEL_INCHES
    figure = Figure(figsize=(_WIDTH_INCHES, height))
    FigureCanvasAgg(figure)
    figure.suptitle(
        "What each side takes, chunkstore = 1 (less is better)\n"
        f"{environment['CPU']}, {environment['cores']} cores, {environment['file system'].partition(' ')[0]}, "
        f"{environment['system']}, Python {environment['Python'].split()[-1]}",
        fontsize=12,
        y=1 - 0.2 / height,
    )
    # Room for the names of the sides, and below each panel for its numbers and the title of the next.
    grid = figure.add_gridspec(
        max(1, len(rows)),
        _COLUMNS,
        height_ratios=heights or [1],
        left=_NAMES_INCHES / _WIDTH_INCHES,
        right=0.99,
        wspace=_NAMES_INCHES * _COLUMNS / (_WIDTH_INCHES - _NAMES_INCHES * _COLUMNS),
        top=1 - _PANEL_INCHES / height,
        bottom=0.5 / height,
        hspace=0.35,
    )
    for row, in_row in enumerate(rows):
        for column, (result, bars) in enumerate(in_row):
            _draw(figure.add_subplot(grid[row, column]), result, bars)
    figure.savefig(path, dpi=110)


def _bars(result: ScenarioResult) -> list[tuple[str, float]]:
    """Return the sides that were measured, and how many times as much as ours each takes."""
    ours = next((name for name, side in result.sides.items() if side.side.role == "ours" and side.samples), None)
    if ours is None:
        return []
    ratios = [(name, result.ratio(name, ours)) for name in result.sides]
    return [(name, ratio) for name, ratio in ratios if ratio is not None and ratio > 0 and math.isfinite(ratio)]


def _draw(axes: Any, result: ScenarioResult, bars: list[tuple[str, float]]) -> None:
    names = [name for name, _ in bars]
    ratios = [ratio for _, ratio in bars]
    colours = [_COLOURS[result.sides[name].side.role] for name in names]
    # Bars begin at 1: to the left of it are those that take less.
    axes.barh(range(len(bars)), [ratio - 1 for ratio in ratios], left=1, color=colours, height=0.7)
    axes.set_xscale("log")
    axes.minorticks_off()
    axes.set_yticks(range(len(bars)), names, fontsize=8)
    axes.invert_yaxis()
    axes.axvline(1, color="#333333", linewidth=0.8)
    # Room on both sides for what is written beside the bars.
    axes.set_xlim(min(*ratios, 1) / 4, max(*ratios, 1) * 30)
    for place, (name, ratio) in enumerate(bars):
        side = result.sides[name]
        text = ratio_text(ratio) if side.correct else f"{ratio_text(ratio)}  {outcome(side).partition(';')[0][:40]}"
        axes.text(
            max(ratio, 1) * 1.1, place, text, va="center", fontsize=8, color="black" if side.correct else "#b00020"
        )
    axes.set_title(result.scenario.title, fontsize=10, loc="left")
    axes.tick_params(axis="x", labelsize=7)
    axes.spines[["top", "right"]].set_visible(False)
