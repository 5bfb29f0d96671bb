"""`chunkstore import`."""

from __future__ import annotations

from typing import Annotated

import typer

from chunkstore.cli.options import ConfigOption, JsonOption, StoreOption, open_chosen_store
from chunkstore.cli.output import PROBLEMS, console, escaped, print_json
from chunkstore.cli.run_progress import shown_progress
from chunkstore.maintenance.importing import import_runs
from chunkstore.views.texts import counted


def import_folder(
    folder: Annotated[str, typer.Argument(metavar="FOLDER", help="The folder that holds the runs.")],
    store: StoreOption = None,
    config: ConfigOption = None,
    json: JsonOption = False,
) -> None:
    """Record the runs of a folder that runnable or chunkstore wrote; runs that are there already are left alone.

    The folder is only read. The exit code is 1 if something in it could not be read.
    """
    opened = open_chosen_store(store, config)
    with shown_progress("Importing") as show:
        report = import_runs(folder, opened, progress=lambda _run, done, total: show(done, total))
    if json:
        print_json(report)
    else:
        out = console()
        for problem in report.problems:
            out.print(f"[bold red]✘[/] {escaped(problem.file)}: {escaped(problem.message)}", soft_wrap=True)
        told = [f"{counted(len(report.imported), 'run')} imported into {escaped(opened.backend.location)}"]
        if present := len(report.present):
            told.append(f"{present:,} {'was' if present == 1 else 'were'} there already")
        if report.problems:
            told.append(counted(len(report.problems), "problem"))
        out.print(", ".join(told))
    if report.problems:
        raise typer.Exit(PROBLEMS)
