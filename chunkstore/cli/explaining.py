"""`chunkstore why`: why a step of a resumed run ran again, or where it was taken over from."""

from __future__ import annotations

from collections.abc import Iterator
from typing import TYPE_CHECKING, Annotated

import typer

from chunkstore.cli.comparing import reading
from chunkstore.cli.options import ConfigOption, JsonOption, StoreOption, chosen_run, open_chosen_store
from chunkstore.cli.output import console, escaped, print_json
from chunkstore.cli.unread import end_of
from chunkstore.errors import RunLogNotFoundError
from chunkstore.names import readable_name
from chunkstore.records.models import RunLog
from chunkstore.stores.base import Store
from chunkstore.stores.run_lookup import LATEST
from chunkstore.views.compare.differences import Change
from chunkstore.views.compare.reuse import (
    Alike,
    Explanation,
    Verdict,
    alike,
    earlier_run_of,
    explain,
    may_rest_on_parameters,
    summary_of,
)
from chunkstore.views.formats import style_of
from chunkstore.views.pages.step_lookup import find_record
from chunkstore.views.recorded_values import short_hash, value_text
from chunkstore.views.texts import counted

if TYPE_CHECKING:  # importing rich takes its time, and `--json` needs none
    from rich.console import Console

#: More branches with one verdict are counted, not named.
_MOST_BRANCHES = 10
#: Longer chains of runs that resume one another are not followed, as they are not when a run is resumed.
_LONGEST_CHAIN = 100


def why(
    step: Annotated[
        str, typer.Argument(metavar="STEP", help="A step or branch: its internal name, or the end of it if that tells.")
    ],
    run: Annotated[
        str, typer.Option("--run", "-r", metavar="RUN", help="A run's id, the beginning of one, or `latest`.")
    ] = LATEST,
    everything: Annotated[bool, typer.Option("--all", "-a", help="Name each branch of a map.")] = False,
    store: StoreOption = None,
    config: ConfigOption = None,
    json: JsonOption = False,
) -> None:
    """Tell why a step of a resumed run ran again, or where it was taken over from.

    Both runs' records are compared by the rules of resuming: what succeeded
    is taken over if its result was kept, if its arguments and its code are
    the same, and if the data that it put is still there. The exit code is 1
    if some of the resumed run could not be read.
    """
    opened = open_chosen_store(store, config)
    run_id = chosen_run(opened, run)
    with reading(quiet=json):
        log = opened.get_run_log(run_id)
        explanation = explain(log, find_record(log, step), _earlier_runs(opened, log))
    if json:
        print_json(explanation)  # without what is not set
    else:
        _print_explanation(explanation, None if everything else _MOST_BRANCHES)
    end_of(log)


def _earlier_runs(store: Store, log: RunLog) -> Iterator[RunLog]:
    """Yield the run that a run resumed, the one that that one resumed, and so on."""
    seen = {log.run_id}
    while (run_id := earlier_run_of(log)) and run_id not in seen and len(seen) <= _LONGEST_CHAIN:
        seen.add(run_id)
        try:
            log = store.get_run_log(run_id)
        except RunLogNotFoundError:
            return  # deleted since
        yield log


def _print_explanation(explanation: Explanation, most: int | None) -> None:
    out = console()
    step, branches = explanation.step, explanation.branches
    style = style_of(step.status)
    status = f"[{style}]{escaped(step.status)}[/]" if style else escaped(step.status)
    verdict = escaped(summary_of(step))
    if branches and not step.taken_over_from:
        taken = sum(bool(branch.taken_over_from) for branch in branches)
        verdict = f"{counted(len(branches), 'branch')}: {taken:,} taken over, {len(branches) - taken:,} ran"
    out.print(f"[bold]{escaped(readable_name(step.where))}[/]  {status}  {verdict}", soft_wrap=True)
    if step.taken_over_from:
        _print_not_seen(out, explanation)
        return
    if not branches:
        _print_indented(out, [*_reasons(step), *_beside(step)])
    for group in alike(branches):
        _print_group(out, group, most)
    if explanation.parameters and may_rest_on_parameters(explanation):
        out.print(f"\nParameters of the run that changed since run {escaped(explanation.resumed)}:", soft_wrap=True)
        _print_indented(out, [_change_text(change) for change in explanation.parameters])
    _print_not_seen(out, explanation)


def _print_not_seen(out: Console, explanation: Explanation) -> None:
    if explanation.not_seen:
        out.print()
        _print_indented(out, [f"[dim]Not compared: {', '.join(explanation.not_seen)}.[/]"], 0)


def _print_group(out: Console, group: Alike, most: int | None) -> None:
    out.print(f"\n[bold]{len(group.verdicts):,}[/] {escaped(group.what)}", soft_wrap=True)
    _print_indented(out, list(map(escaped, group.texts)))
    if not any(verdict.reasons for verdict in group.verdicts) and most is not None:
        return  # names of what was taken over tell nothing more
    shown = group.verdicts[:most]
    more = len(group.verdicts) - len(shown)
    hint = f"[dim]… and {more:,} more; --all names them[/]" if more else ""
    if group.texts and most is not None and not any(verdict.parameters or verdict.data for verdict in shown):
        names = ", ".join(f"[cyan]{escaped(readable_name(verdict.where))}[/]" for verdict in shown)
        _print_indented(out, [f"{names} {hint}".rstrip()])
        return
    for verdict in shown:
        _print_indented(out, [f"[cyan]{escaped(readable_name(verdict.where))}[/]"])
        _print_indented(out, [*(() if group.texts else _reasons(verdict)), *_beside(verdict)], 4)
    if hint:
        _print_indented(out, [hint])


def _print_indented(out: Console, lines: list[str], columns: int = 2) -> None:
    """Print lines so that what is wrapped stands below what it belongs to."""
    from rich.table import Table  # noqa: PLC0415 - see above

    table = Table.grid(padding=0)
    table.add_column(width=columns)
    table.add_column(overflow="fold")
    for line in lines:
        table.add_row("", line)
    out.print(table, end="")


def _reasons(verdict: Verdict) -> list[str]:
    return [escaped(reason.text) for reason in verdict.reasons]


def _beside(verdict: Verdict) -> Iterator[str]:
    """Yield what differs too, though it does not decide."""
    for change in verdict.parameters:
        yield f"[dim]parameter[/] {_change_text(change)}"
    for data in verdict.data:
        old, new = (short_hash(digest) if isinstance(digest, str) else "nothing" for digest in (data.old, data.new))
        yield f"[dim]got data[/] {escaped(data.name)}: {escaped(old)} → {escaped(new)}"


def _change_text(change: Change) -> str:
    old, new = (value_text(value) or "not set" for value in (change.old, change.new))
    return f"{escaped(change.name)}: {escaped(old)} → {escaped(new)}"
