"""What `chunkstore doctor --with` prints: a line for each worker of an engine, and what was found."""

from __future__ import annotations

import sys

from chunkstore.cli.output import console, escaped, print_table
from chunkstore.maintenance.doctor.report import BAD, CAUTION, GOOD
from chunkstore.maintenance.workers import EngineReport, WorkerReport

_WORDS = {GOOD: "yes", CAUTION: "nearly", BAD: "NO"}
_MARKS = {GOOD: "✔", CAUTION: "!", BAD: "✘"}
#: The checks in columns, and their heads.
_COLUMNS = {
    "folder": "folder",
    "locks": "locks",
    "data": "data",
    "clock": "time",
    "chunkstore": "chunkstore",
    "python": "python",
}


def print_engine_report(report: EngineReport) -> None:
    """Print what the workers of an engine see."""
    out = console()
    out.print(f"[bold]{escaped(report.folder)}[/]  as {escaped(report.driver)} sees it", soft_wrap=True)
    out.print(f"\n[bold]What the workers of {escaped(report.engine)} see[/]", soft_wrap=True)
    if report.workers:
        print_table(["worker", *_COLUMNS.values()], [_row(worker) for worker in report.workers])
    else:
        out.print("  [dim]no worker has answered[/]")
    cautions = [
        f"{worker}: {check.title}: {check.detail}"
        for worker in report.workers
        for check in worker.checks
        if check.result == CAUTION
    ]
    for text in cautions:
        out.print(f"\n[yellow]{escaped(text)}[/]", soft_wrap=True)
    for text in report.findings:
        out.print(f"\n[bold red]{escaped(text)}[/]", soft_wrap=True)
    if report.holds:
        out.print("\n[green]Everything holds that chunkstore relies on.[/]")
    else:
        out.print("\n[bold red]Do not record runs with these workers[/] before that is mended.")


def _row(worker: WorkerReport) -> list[str]:
    marks = _MARKS if sys.stdout.isatty() else _WORDS
    results = {check.name: check for check in worker.checks}
    cells = [marks[results[name].result] if name in results else "-" for name in _COLUMNS]
    cells[list(_COLUMNS).index("clock")] += f" {(worker.clock_low + worker.clock_high) / 2:+.3f} s"
    cells[list(_COLUMNS).index("chunkstore")] += f" {worker.version}"
    cells[list(_COLUMNS).index("python")] += f" {worker.python}"
    return [str(worker) + (f" ({worker.job})" if worker.job else ""), *cells]
