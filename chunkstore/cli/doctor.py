"""`chunkstore doctor`."""

from __future__ import annotations

import os
import sys
from collections.abc import Iterable
from typing import TYPE_CHECKING, Annotated

import msgspec
import typer

from chunkstore.backends.objects.place import Place, is_url
from chunkstore.cli.options import ConfigOption, JsonOption, StoreOption, open_chosen_store
from chunkstore.cli.output import PROBLEMS, console, escaped, print_json
from chunkstore.maintenance.doctor.buckets.prices import PRICES, prices_of
from chunkstore.maintenance.doctor.report import BAD, CAUTION, GOOD, TOLD, DoctorReport

if TYPE_CHECKING:
    from rich.console import Console

_MARKS = {GOOD: "[green]✔[/]", CAUTION: "[yellow]![/]", BAD: "[bold red]✘[/]", TOLD: "[dim]·[/]"}


def examine_folder(
    folder: Annotated[
        str | None,
        typer.Argument(
            metavar="WHERE",
            help="A folder, or the closest above it that exists, or the URL of a bucket. Default: where the runs are.",
            show_default=False,
        ),
    ] = None,
    store: StoreOption = None,
    config: ConfigOption = None,
    engine: Annotated[
        str | None,
        typer.Option(
            "--with",
            metavar="ENGINE",
            help="Let workers try it with this process: of `processes`, `dask:ADDRESS`, `ray:ADDRESS`, `slurm`, "
            "`module:executor`, or of a command that starts them, 'srun -n4'.",
            show_default=False,
        ),
    ] = None,
    timeout: Annotated[float, typer.Option(help="Seconds to wait for workers.", min=0.1)] = 30.0,
    prices: Annotated[
        str | None,
        typer.Option(
            metavar="PRICES",
            help=f"Of a bucket, what requests cost: {', '.join(PRICES)}, or a JSON file. Default: as its URL says.",
            show_default=False,
        ),
    ] = None,
    json: JsonOption = False,
) -> None:
    """Try what the file system of a folder or a bucket does, and say what holds there.

    A laptop's disk, a network mount and a container differ. This makes real
    files in a hidden folder, lets processes get in each other's way, kills
    some, and removes everything again; it takes some seconds. The exit code is
    1 if something does not hold that chunkstore relies on.

    Of a bucket, s3://bucket/prefix, it tries with some processes and about
    2,500 requests what the server does: whether conditions hold when clients
    race, whether listings are complete, how long each takes; and says what
    recording costs there. All objects are deleted again.

    With an engine, its workers say whether they see this folder, and this
    process what they write there, whether locks exclude each other, and how
    well clocks and versions agree: a line for each. The command is run with
    `python -m …` behind it, if it does not end with a python of its own.
    """
    if engine is not None:
        _examine_workers(folder, store, config, engine, timeout, json=json)
        return
    report = _examined(folder, store, config, prices, is_told=sys.stderr.isatty() and not json)
    if json:
        print_json(report)
    else:
        _print_report(console(), report)
    if not report.holds:
        raise typer.Exit(PROBLEMS)


def _examined(
    folder: str | None, store: str | None, config: str | None, prices: str | None, *, is_told: bool
) -> DoctorReport:
    from chunkstore.maintenance.doctor.buckets.examination import examine_bucket  # noqa: PLC0415 - as below
    from chunkstore.maintenance.doctor.examination import examine  # noqa: PLC0415 - other commands need none of it

    place = _bucket(folder, store, config)
    where = str(place) if place else _log_folder(store, config) if folder is None else folder
    chosen = prices_of(prices) if prices is not None else None
    if is_told:
        what = "" if place else "the file system of "
        console(to_errors=True).print(f"[dim]Trying what {what}{escaped(where)} does …[/]")
    return examine_bucket(place, prices=chosen) if place else examine(where)


def _bucket(folder: str | None, store: str | None, config: str | None) -> Place | None:
    """Return where the bucket is, if one is meant."""
    if folder is not None and not is_url(folder):
        return None
    place = getattr(open_chosen_store(folder or store, config).backend, "place", None)
    return place if isinstance(place, Place) else None


def _examine_workers(
    folder: str | None, store: str | None, config: str | None, engine: str, timeout: float, *, json: bool
) -> None:
    from chunkstore.cli.chosen_engine import chosen_engine  # noqa: PLC0415 - as above
    from chunkstore.cli.worker_table import print_engine_report  # noqa: PLC0415 - as above
    from chunkstore.maintenance.workers import check_engine  # noqa: PLC0415 - as above

    opened = open_chosen_store(
        store if folder is None else folder if is_url(folder) else f"chunked-fs:{folder}", config
    )
    with chosen_engine(engine) as (workers, name):
        report = msgspec.structs.replace(check_engine(opened, workers, timeout=timeout), engine=name)
        # While the engine is there: to end one whose workers hang may take long.
        print_json(report) if json else print_engine_report(report)
        sys.stdout.flush()
    if not report.holds:
        raise typer.Exit(PROBLEMS)


def _log_folder(store: str | None, config: str | None) -> str:
    opened = open_chosen_store(store, config)
    if not opened.backend.shared_between_processes:
        raise typer.BadParameter(
            "This store is in memory and has no folder. Name a folder to examine.", param_hint="WHERE"
        )
    return os.path.abspath(opened.backend.location)


def _print_report(printer: Console, report: DoctorReport) -> None:
    kind = f"{report.file_system}, {report.description}" if report.file_system else report.description
    printer.print(f"[bold]{escaped(report.folder)}[/]  {escaped(kind)}", soft_wrap=True)
    _print_rows(printer, "What it does", ((check.result, check.title, check.detail) for check in report.checks))
    promises = ((one.result, one.promise, one.reason) for one in report.guarantees)
    _print_rows(printer, "What holds there", promises)
    _print_settings(printer, report)
    _print_costs(printer, report)
    bad = sum(check.result == BAD for check in report.checks)
    if bad:
        what = "one thing does" if bad == 1 else f"{bad} things do"
        printer.print(f"\n[bold red]Do not record runs here:[/] {what} not hold that chunkstore relies on.")
    else:
        printer.print("\n[green]Everything holds that chunkstore relies on.[/]")


def _print_rows(printer: Console, title: str, rows: Iterable[tuple[str, str, str]]) -> None:
    from rich.table import Table  # noqa: PLC0415 - `--json` needs none of it

    printer.print(f"\n[bold]{title}[/]")
    if not printer.is_terminal:
        for result, what, detail in rows:  # a line each, for `grep`
            printer.print(f"  {result:<7}  {escaped(what)}{': ' if detail else ''}{escaped(detail)}", soft_wrap=True)
        return
    table = Table.grid(padding=(0, 2, 0, 0))
    table.add_column(width=1)
    table.add_column(ratio=1)
    table.add_column(ratio=1)
    for result, what, detail in rows:
        table.add_row(_MARKS[result], escaped(what), f"[dim]{escaped(detail)}[/]")
    from rich.padding import Padding  # noqa: PLC0415 - not for JSON

    printer.print(Padding(table, (0, 0, 0, 2)))


def _print_costs(printer: Console, report: DoctorReport) -> None:
    if not report.costs:
        return
    printer.print("\n[bold]What it takes[/]" + (f"  [dim]{escaped(report.prices)}[/]" if report.prices else ""))
    wide = max(len(cost.action) for cost in report.costs)
    for cost in report.costs:
        kinds = (("put", cost.puts), ("get", cost.gets), ("list", cost.lists), ("delete", cost.deletes))
        requests = ", ".join(f"{number:,.0f} {kind}{'s' * (number != 1)}" for kind, number in kinds if number)
        price = "" if cost.dollars is None else f"  ${cost.dollars:,.8f}".rstrip("0")
        printer.print(f"  {escaped(cost.action):<{wide}}  {requests:<28}[dim]{price}[/]".rstrip(), soft_wrap=True)


def _print_settings(printer: Console, report: DoctorReport) -> None:
    printer.print("\n[bold]What to configure[/]")
    wide = max(len(setting.key) + len(setting.value) for setting in report.settings) + 2
    for setting in report.settings:
        pair = f"{setting.key}: {setting.value}"
        printer.print(f"  {escaped(pair):<{wide}}  [dim]# {escaped(setting.reason)}[/]", soft_wrap=True)
