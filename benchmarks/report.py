"""Tables for people, and what they see while they wait."""

from __future__ import annotations

from collections.abc import Iterable, Iterator
from contextlib import contextmanager

from rich.console import Console, Group
from rich.progress import BarColumn, MofNCompleteColumn, Progress, TextColumn, TimeElapsedColumn
from rich.table import Table
from rich.text import Text

from benchmarks.measure import PROCESSOR, Scenario, ScenarioResult, SideResult, Target
from benchmarks.results import operations, outcome, ratio_text

#: Columns of a table that goes to a file.
_WIDTH = 150
#: Of what single operations took.
_SHOWN = ("median", "p95", "p99", "max")
_STYLES = {"ours": "bold", "floor": "dim", "peer": ""}


def new_console(*, stderr: bool = False) -> Console:
    """Return a console, wide enough for the tables where it is no terminal."""
    console = Console(stderr=stderr, highlight=False)
    return console if console.is_terminal else Console(stderr=stderr, highlight=False, width=_WIDTH)


# --- while it runs ---------------------------------------------------------------------------------------------------


class ProgressBar:
    """A bar on standard error, or a line per scenario where that is no terminal.

    It has no thread of its own, as the processes that are measured are forked.

    Args:
        total: how many times `advance` is going to be called.
    """

    def __init__(self, total: int) -> None:
        self._console = new_console(stderr=True)
        self._bar = Progress(
            BarColumn(),
            MofNCompleteColumn(),
            TimeElapsedColumn(),
            TextColumn("{task.description}"),
            console=self._console,
            auto_refresh=False,
            transient=True,
            redirect_stdout=False,
            redirect_stderr=False,
        )
        self._task = self._bar.add_task("", total=total)
        self._scenario = ""

    def advance(self, text: str) -> None:
        """Show what is done next."""
        if self._console.is_terminal:
            self._bar.update(self._task, description=text, advance=1, refresh=True)
        elif (scenario := text.partition(":")[0]) != self._scenario:
            self._scenario = scenario
            self._console.print(scenario, markup=False)

    def __enter__(self) -> ProgressBar:
        self._show()
        return self

    def __exit__(self, *_: object) -> None:
        self._bar.stop()

    @contextmanager
    def paused(self) -> Iterator[None]:
        """Leave the terminal to others for a while."""
        self._bar.stop()
        yield
        self._show()

    def _show(self) -> None:
        if self._console.is_terminal:
            self._bar.start()


# --- results ---------------------------------------------------------------------------------------------------------


def environment_table(environment: dict[str, str]) -> Table:
    """Return the environment as a table."""
    table = Table(show_header=False, box=None, padding=(0, 2, 0, 0))
    for key, value in environment.items():
        table.add_row(Text(key, style="dim"), value)
    return table


def scenario_report(result: ScenarioResult) -> Group:
    """Return what all sides of a scenario gave, and below it which targets are reached."""
    scenario = result.scenario
    title = Text.assemble((scenario.title, "bold"), f": {scenario.work}; {result.count:,} {scenario.counted}")
    targets = [_target_line(result, target) for target in scenario.targets]
    return Group("", title, _sides_table(result), *targets)


def _sides_table(result: ScenarioResult) -> Table:
    scenario = result.scenario
    ours = next((name for name, side in result.sides.items() if side.side.role == "ours"), "")
    floor = next((name for name, side in result.sides.items() if side.side.role == "floor"), "")
    table = Table()
    table.add_column("side", overflow="fold")
    for name in ("operations", *_SHOWN, scenario.costs, PROCESSOR):
        table.add_column(name, justify="right", no_wrap=True)
    others = [name for name in (floor, ours) if name]
    for name in others:
        table.add_column(f"x {name}", justify="right", no_wrap=True)
    table.add_column("records", overflow="fold")
    for name, side in result.sides.items():
        table.add_row(
            name,
            f"{operations(side):,}" if side.samples else "",
            *(amount(side.number(measure), "seconds") for measure in _SHOWN),
            amount(side.number("cost"), scenario.unit),
            amount(side.number(PROCESSOR), "seconds"),
            *(ratio_text(result.ratio(name, other)) for other in others),
            Text(outcome(side), style=_outcome_style(side)),
            style=_STYLES[side.side.role],
        )
    return table


def _outcome_style(side: SideResult) -> str:
    if side.skipped:
        return "dim"
    return "green" if side.correct else "bold red"


def _target_line(result: ScenarioResult, target: Target) -> Text:
    number, reached = result.reached(target)
    if number is None:
        return Text(f"- {target.text}: not measured", style="dim")
    mark, style = ("✔", "green") if reached else ("✘ missed:", "red")
    return Text(f"{mark} {target.text}: {_measured(number, target)}", style=style)


def _measured(number: float | None, target: Target) -> str:
    if target.unit:
        return amount(number, target.unit)
    return f"{number:g}" if target.how == "value" and number is not None else ratio_text(number)


def amount(number: float | None, unit: str) -> str:
    """Return seconds or bytes in the unit in which people read them best."""
    if number is None:
        return ""
    if unit == "bytes":
        return f"{number / 1e6:,.1f} MB"
    for factor, name in ((1, "s"), (1e3, "ms"), (1e6, "µs")):
        if abs(number) * factor >= 1:
            return f"{number * factor:,.3g} {name}"
    return f"{number * 1e9:,.0f} ns"


def summary_table(results: Iterable[ScenarioResult], where: str) -> Table:
    """Return all targets in one table.

    Args:
        results: what was measured.
        where: what the targets are for.
    """
    table = Table(title=f"targets, {where}", title_justify="left")
    for name in ("scenario", "target", "measured", "reached"):
        table.add_column(name)
    for result in results:
        for target in result.scenario.targets:
            number, reached = result.reached(target)
            word = {None: Text("not measured", style="dim"), True: Text("yes", "green"), False: Text("no", "red")}
            table.add_row(result.scenario.title, target.text, _measured(number, target), word[reached])
    return table


def scenario_list(scenarios: Iterable[Scenario]) -> Table:
    """Return what there is to be measured."""
    table = Table()
    for name in ("name", "case", "work", "size", "targets"):
        table.add_column(name)
    for scenario in scenarios:
        targets = "\n".join(target.text for target in scenario.targets)
        table.add_row(scenario.name, scenario.case, scenario.work, f"{scenario.count:,} {scenario.counted}", targets)
    return table
