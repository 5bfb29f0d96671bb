"""Measure chunkstore against the bare system calls and against other places for the same records.

    python -m benchmarks [--quick] [--only NAME] [--folder DIR]

The sides of each scenario take turns, in another order each round, so that a noisy machine slows all of them. After
each turn the records are counted. Peers that take too long are stopped; how many operations they did is shown.
"""

from __future__ import annotations

import argparse
import tempfile
from collections.abc import Sequence
from dataclasses import replace
from pathlib import Path

from benchmarks.environment import environment
from benchmarks.measure import Settings
from benchmarks.plot import save_plot
from benchmarks.report import new_console, scenario_list
from benchmarks.scenarios import ALL
from benchmarks.session import measure_all

_INTERRUPTED = 130


def main(arguments: Sequence[str] | None = None) -> int:
    """Measure what is asked for, show it, and write it to the folder for output.

    Args:
        arguments: those of the command line.

    Returns:
        The exit code: 1 if one of our own records is missing; a target that is missed changes nothing.
    """
    parser = _parser()
    asked = parser.parse_args(arguments)
    if asked.list:
        new_console().print(scenario_list(ALL))
        return 0
    chosen = [scenario for scenario in ALL if not asked.only or scenario.name in asked.only]
    try:
        asked.folder.mkdir(parents=True, exist_ok=True)
        asked.output.mkdir(parents=True, exist_ok=True)
    except OSError as error:
        parser.error(str(error))
    try:
        settings = _settings(asked)
        found = environment(settings.folder)
        document, results = measure_all(chosen, settings, found, asked.output, as_json=asked.json)
    except KeyboardInterrupt:
        new_console(stderr=True).print("interrupted")
        return _INTERRUPTED
    try:
        save_plot(asked.output / "results.png", results, found)
    except ImportError:
        new_console(stderr=True).print("No plot: matplotlib is not installed.")
    return 0 if document["correct"] else 1


def _parser() -> argparse.ArgumentParser:
    names = list(dict.fromkeys(scenario.name for scenario in ALL))
    parser = argparse.ArgumentParser(
        prog="python -m benchmarks", description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("--folder", type=Path, default=Path(tempfile.gettempdir()), help="chooses the file system")
    parser.add_argument("--output", type=Path, default=Path("benchmark-results"), help="where JSON and plot are put")
    parser.add_argument("--only", action="append", choices=names, metavar="NAME", help="a scenario; can be repeated")
    parser.add_argument("--rounds", type=_positive_int, help="how often each side runs (default: 1 to 5)")
    parser.add_argument(
        "--quick", action="store_true", help="a tenth of the records, one round, no slow peers: less than a minute"
    )
    parser.add_argument("--list", action="store_true", help="show the scenarios")
    parser.add_argument("--json", action="store_true", help="print JSON instead of tables")
    parser.add_argument("--scale", type=float, help=argparse.SUPPRESS)  # for tests
    return parser


def _positive_int(text: str) -> int:
    number = int(text)
    if number < 1:
        raise argparse.ArgumentTypeError("it must be at least 1")
    return number


def _settings(asked: argparse.Namespace) -> Settings:
    settings = Settings(folder=asked.folder, rounds=asked.rounds)
    if asked.quick:
        settings = replace(settings, most_rounds=1, scale=0.1, limit=0.2, slow_too=False)
    return replace(settings, scale=asked.scale or settings.scale)


if __name__ == "__main__":
    raise SystemExit(main())
