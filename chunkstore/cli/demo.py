"""`chunkstore demo`."""

from __future__ import annotations

import sys
from contextlib import nullcontext, redirect_stdout
from typing import Annotated

import typer

from chunkstore.cli.options import ConfigOption, JsonOption, StoreOption, open_chosen_store
from chunkstore.cli.output import console, print_json, print_note
from chunkstore.cli.showing import folding_of, print_page, read_page
from chunkstore.records.models import SUCCESS


def demo(
    limit: Annotated[
        int,
        typer.Option(
            "--limit", "-n", min=0, metavar="N", help="Measure only so many files; 0 for all.", show_default=False
        ),
    ] = 0,
    store: StoreOption = None,
    config: ConfigOption = None,
    json: JsonOption = False,
) -> None:
    """Run a pipeline on real files in a pool of processes, and show the log that it leaves.

    It measures the files of Python's own standard library. One step fails once, on purpose, and is tried again.
    """
    from chunkstore.cli.demo_pipeline import measure_library  # noqa: PLC0415 - it imports what records

    opened = open_chosen_store(store, config)
    if not json:
        print_note(f"Measuring the standard library of this Python; the log goes to {opened.backend.location}.")
    with redirect_stdout(sys.stderr) if json else nullcontext():  # its steps print
        run_id = measure_library(opened, limit or None)
    page = read_page(opened, run_id)
    if json:
        print_json(page)
        return
    if page.log.status != SUCCESS:
        print_note("Some files of this Python do not parse: the log says which, and the others were measured.")
    print_page(page, folding_of(page, unfolded=False))
    where = "" if store is None and config is None else f" --store {store}" if store else f" --config {config}"
    out = console()
    out.print("\n[dim]`publish` failed once, on purpose, and was tried again: the log has both attempts.[/]\n")
    for command, meaning in (
        ("ls", "all runs"),
        ("show latest --step publish", "all that was recorded of a step: two attempts, data"),
        ("logs latest 'list files'", "what a step printed"),
        ("timeline latest", "what ran when, and what the run waited for"),
        ("timeline latest --html demo.html", "the same as a page for the browser"),
        ("verify", "whether every byte is as it was written"),
    ):
        line = f"chunkstore {command}{where}"
        out.print(f"[bold]{line:<44}[/]  [dim]{meaning}[/]")
