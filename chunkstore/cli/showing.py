"""`chunkstore show`."""

from __future__ import annotations

from collections.abc import Iterable
from typing import TYPE_CHECKING, Annotated

import typer

from chunkstore.cli.options import ConfigOption, JsonOption, RunArgument, StoreOption, chosen_run, open_chosen_store
from chunkstore.cli.output import PROBLEMS, console, escaped, print_json, print_table
from chunkstore.records.models import PROCESSING, BranchLog, RunLog, StepLog
from chunkstore.stores.base import Store
from chunkstore.stores.runs.liveness import LIVE, Liveness
from chunkstore.stores.runs.run_list import summary_of
from chunkstore.views.formats import style_of
from chunkstore.views.pages.run_page import RunPage, heading, run_page
from chunkstore.views.pages.run_values import Values, data_of_run, metrics_of_run, parameters_of_run
from chunkstore.views.pages.step_lookup import find_record
from chunkstore.views.pages.step_page import step_heading, step_sections, tracebacks
from chunkstore.views.pages.tree import (
    DATA,
    DETAIL,
    DRAWING,
    MESSAGE,
    METRIC,
    NAME,
    Folding,
    Line,
    branch_lines,
    subtree_lines,
    tree_lines,
)
from chunkstore.views.texts import middle_left_out, printable

if TYPE_CHECKING:
    from rich.console import Console
    from rich.text import Text

_STYLES = {DRAWING: "dim", NAME: "bold", DETAIL: "dim", MESSAGE: "red", METRIC: "cyan", DATA: "blue"}
_ALL = 10**9
#: Hashes are shown whole on lines of so many characters.
_WIDE = 160


def show(
    run: RunArgument = "latest",
    step: Annotated[
        str | None, typer.Option("--step", metavar="NAME", help="Show all that was recorded of this step.")
    ] = None,
    params: Annotated[bool, typer.Option("--params", help="Show all parameters instead of the tree.")] = False,
    metrics: Annotated[bool, typer.Option("--metrics", help="Show all metrics instead of the tree.")] = False,
    data: Annotated[bool, typer.Option("--data", help="Show all data with hashes instead of the tree.")] = False,
    unfolded: Annotated[bool, typer.Option("--all", "-a", help="Leave nothing out.")] = False,
    store: StoreOption = None,
    config: ConfigOption = None,
    json: JsonOption = False,
) -> None:
    """Show a run as a tree: status, durations, attempts, metrics, data, and why what failed did.

    The exit code is 1 if some of the run could not be read.
    """
    opened = open_chosen_store(store, config)
    run_id = chosen_run(opened, run)
    page = read_page(opened, run_id)
    tables = [
        view for wanted, view in ((params, parameters_of_run), (metrics, metrics_of_run), (data, data_of_run)) if wanted
    ]
    if step is not None:
        found = find_record(page.log, step)
        if isinstance(found, BranchLog) and len(found.steps) == 1:
            (found,) = found.steps.values()  # the usual branch runs one function
        if json:
            print_json(found)
        elif isinstance(found, BranchLog):
            print_lines(console(), branch_lines(found, folding_of(page, unfolded=unfolded)))
        else:
            _print_step(found, folding_of(page, unfolded=unfolded), unfolded=unfolded)
    elif tables:
        values = [view(page.log) for view in tables]
        if json:
            print_json({each.title: each.as_json() for each in values})
        else:
            _print_values(values)
    elif json:
        print_json(page)
    else:
        print_page(page, folding_of(page, unfolded=unfolded))
    if page.log.problems:
        raise typer.Exit(PROBLEMS)


def read_page(store: Store, run_id: str) -> RunPage:
    """Return a run, and whether somebody still records it."""
    log = store.get_run_log(run_id)
    return run_page(log, liveness_of(store, log) or _recorded_again(store, log))


def _recorded_again(store: Store, log: RunLog) -> Liveness | None:
    """Return that somebody records into a run which has ended, if that is so."""
    if log.problems or not store.backend.shared_between_processes:
        return None
    if store.looks_are_dear:
        return None
    liveness = store.liveness(log.run_id)
    return liveness if liveness.state == LIVE else None


def liveness_of(store: Store, log: RunLog) -> Liveness | None:
    """Return whether somebody still records a run; None if it is over."""
    return None if summary_of(log).is_over else store.liveness(log.run_id)


def folding_of(page: RunPage, *, unfolded: bool) -> Folding:
    """Return how a run's tree is folded, and what its steps that have not ended are."""
    unended = page.status if page.liveness is not None and page.liveness.state != LIVE else PROCESSING
    if unfolded:
        return Folding(most_branches=_ALL, most_steps=_ALL, most_failed=_ALL, unended=unended)
    return Folding(unended=unended)


def styled(line: Line) -> Text:
    """Return a line in colour."""
    from rich.text import Text  # noqa: PLC0415 - not for JSON

    return Text.assemble(*((printable(part.text), _STYLES.get(part.role) or style_of(part.role)) for part in line))


def print_lines(out: Console, lines: Iterable[Line]) -> None:
    """Print lines, cut to the width of a terminal."""
    for line in lines:
        out.print(styled(line), no_wrap=True, overflow="ellipsis", crop=True)


def print_page(page: RunPage, folding: Folding) -> None:
    """Print a run: what is to say of all of it, and its tree."""
    out = console()
    for line in heading(page):
        out.print(styled(line))
    print_lines(out, tree_lines(page.log, folding))


def _print_step(step: StepLog, folding: Folding, *, unfolded: bool) -> None:
    out = console()
    for line in step_heading(step, folding.unended):
        out.print(styled(line))
    for section in step_sections(step):
        out.print(f"\n[bold]{section.title}[/]")
        print_table(section.columns, section.rows)
    for number, text in tracebacks(step):
        out.print(f"\n[bold]attempt {number} failed[/]")
        out.print(
            escaped(text if unfolded else middle_left_out(text, hint="; --all shows them"), lines=True), soft_wrap=True
        )
    if step.branches:
        out.print("\n[bold]branches[/]")
        print_lines(out, subtree_lines(step, folding))


def _print_values(values: list[Values]) -> None:
    out = console()
    for each in values:
        if each.rows:
            print_table(each.columns, [each.texts(row, is_brief=out.width < _WIDE) for row in each.rows])
        else:
            out.print(f"[dim]There are no {each.title}.[/]")
