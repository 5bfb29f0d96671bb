"""Torture a store: `python -m tests.proofs.torture --minutes 30 [--folder DIR] [--only NAME] [--on KIND] [--seed N]`.

Each round of a scenario has a seed of its own, which is printed, so that a failure can be tried again. In the end a
table shows what was done and what was found; the exit code is 1 if any promise was not kept. Run it from the top of
the repository; mounting file systems and cutting their power needs root.
"""

from __future__ import annotations

import argparse
import dataclasses
import json
import os
import platform
import random
import sys
import tempfile
import time
import traceback
from collections.abc import Iterable, Iterator, Mapping, Sequence
from contextlib import contextmanager
from pathlib import Path

import chunkstore

from .figures import Figures
from .filesystems import KINDS, mounted, why_not
from .scenarios import HERE, SCENARIOS, Scenario

_COLUMNS = (
    "kills",
    "cuts",
    "crash_states",
    "faults",
    "reads",
    "acknowledged",
    "lost",
    "torn",
    "missed",
    "broken",
    "seconds",
)

#: A scenario on a file system.
Row = tuple[str, str]


def main(arguments: Sequence[str] | None = None, scenarios: Mapping[str, Scenario] = SCENARIOS) -> int:
    """Run rounds until the time is over; return the exit code."""
    options = _parse(arguments, scenarios)
    options.folder.mkdir(parents=True, exist_ok=True)
    rows = list(_rows(options, scenarios))
    missing = [(row, reason) for row in rows if row[1] != HERE and (reason := why_not(row[1]))]
    for (name, kind), reason in missing:
        print(f"{name} on {kind} is left out: {reason}")
    rows = [row for row in rows if row not in dict(missing)]
    totals = {row: Figures() for row in rows}
    deadline = time.monotonic() + 60 * options.minutes
    seed = random.SystemRandom().getrandbits(31) if options.seed is None else options.seed
    first = True
    try:
        while rows and (first or time.monotonic() < deadline):
            for row in rows:
                if first or time.monotonic() < deadline:
                    _report(row, seed, options.folder, totals[row], _round(scenarios, row, options.folder, seed))
                    seed += 1
            first = False
    except KeyboardInterrupt:
        print("interrupted; what has been done until now:")
    _print_table(totals)
    if options.json:
        options.json.write_text(json.dumps(_as_json(totals, missing), indent=2) + "\n")
    # What was not tried is not known to be right.
    tried = not first and not (missing and os.environ.get("CHUNKSTORE_NO_SKIPS"))
    return 0 if tried and not any(figures.wrong for figures in totals.values()) else 1


def _parse(arguments: Sequence[str] | None, scenarios: Iterable[str]) -> argparse.Namespace:
    parser = argparse.ArgumentParser(
        prog="python -m tests.proofs.torture", description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("--minutes", type=float, default=30, help="how long; each scenario runs at least once")
    parser.add_argument("--folder", type=Path, default=Path(tempfile.gettempdir()), help="for logs and for images")
    parser.add_argument("--only", action="append", choices=list(scenarios), help="a scenario; may be given again")
    parser.add_argument("--on", action="append", choices=[HERE, *KINDS], help="a file system; may be given again")
    parser.add_argument("--seed", type=int, help="of the first round; the next ones count up")
    parser.add_argument("--json", type=Path, help="a file for the figures")
    return parser.parse_args(arguments)


def _rows(options: argparse.Namespace, scenarios: Mapping[str, Scenario]) -> Iterator[Row]:
    for name, scenario in scenarios.items():
        for kind in scenario.file_systems:
            if (not options.only or name in options.only) and (not options.on or kind in options.on):
                yield name, kind


def _round(scenarios: Mapping[str, Scenario], row: Row, folder: Path, seed: int) -> Figures:
    name, kind = row
    scenario = scenarios[name]
    began = time.monotonic()
    try:
        with _place(kind, folder) as place:
            figures = scenario.function(place, seed, scenario.size)
    except Exception:
        figures = Figures()
        figures.complain("broken", f"the scenario itself failed: {traceback.format_exc()}")
    figures.seconds = time.monotonic() - began
    return figures


@contextmanager
def _place(kind: str, folder: Path) -> Iterator[str | os.PathLike[str]]:
    if kind == HERE:
        with tempfile.TemporaryDirectory(prefix="torture-", dir=folder) as place:
            yield place
    else:
        with mounted(kind, folder) as disk:
            yield disk


def _report(row: Row, seed: int, folder: Path, total: Figures, figures: Figures) -> None:
    name, kind = row
    result = f"{figures.wrong} WRONG" if figures.wrong else "ok"
    print(f"seed {seed:<12}{name} on {kind}: {result}, {figures.acknowledged:,} acknowledged, {figures.seconds:.1f} s")
    for complaint in figures.complaints:
        print(f"    {complaint}")
    if figures.wrong:
        again = f"--only {name} --on {kind} --seed {seed} --minutes 0 --folder {folder}"
        print(f"    again: python -m tests.proofs.torture {again}")
    sys.stdout.flush()
    total.add(figures)


def _print_table(totals: Mapping[Row, Figures]) -> None:
    heads = ["scenario", "file system", *(column.replace("_", " ") for column in _COLUMNS)]
    lines = [[*row, *(f"{getattr(figures, column):,.0f}" for column in _COLUMNS)] for row, figures in totals.items()]
    whole = Figures()
    for figures in totals.values():
        whole.add(figures)
    lines.append(["all", "", *(f"{getattr(whole, column):,.0f}" for column in _COLUMNS)])
    print(_environment())
    try:
        from rich.console import Console
        from rich.table import Table
    except ImportError:
        widths = [max(len(line[index]) for line in [heads, *lines]) for index in range(len(heads))]
        for line in [heads, *lines]:
            print("  ".join(cell.rjust(width) for cell, width in zip(line, widths, strict=True)))
        return
    table = Table()
    for index, head in enumerate(heads):
        table.add_column(head, justify="left" if index < 2 else "right", overflow="fold")
    for line in lines:
        table.add_row(*line)
    # As wide as it is, also where the output goes to a file.
    console = Console()
    Console(width=max(console.width, 160) if not console.is_terminal else None).print(table)


def _as_json(totals: Mapping[Row, Figures], missing: Iterable[tuple[Row, str]]) -> dict[str, object]:
    rows = [
        {"scenario": name, "file_system": kind, **dataclasses.asdict(figures)}
        for (name, kind), figures in totals.items()
    ]
    left_out = [{"scenario": name, "file_system": kind, "reason": reason} for (name, kind), reason in missing]
    return {"environment": _environment(), "rows": rows, "left_out": left_out}


def _environment() -> str:
    system = f"{platform.system()} {platform.release()}, {os.cpu_count()} CPUs"
    return f"chunkstore {chunkstore.__version__}, Python {platform.python_version()}, {system}"


if __name__ == "__main__":
    sys.exit(main())
