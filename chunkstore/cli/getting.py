"""`chunkstore get`."""

from __future__ import annotations

import sys
from typing import Annotated

import typer

from chunkstore.cli.options import ConfigOption, JsonOption, RunArgument, StoreOption, chosen_run, open_chosen_store
from chunkstore.cli.output import print_json
from chunkstore.maintenance.getting_data import got_data
from chunkstore.views.texts import printable


def get(
    run: RunArgument,
    name: Annotated[str, typer.Argument(metavar="NAME", help="What the data is called; `show --data` lists it.")],
    step: Annotated[
        str | None,
        typer.Option(
            "--step",
            metavar="STEP",
            help="The step that has put it: its name, or the end of it. Default: the last that has put this name.",
            show_default=False,
        ),
    ] = None,
    attempt: Annotated[
        int | None,
        typer.Option(
            "--attempt",
            metavar="N",
            help="Which attempt of that step. Default: the one that counts.",
            show_default=False,
        ),
    ] = None,
    to: Annotated[
        str | None,
        typer.Option(
            "--to",
            metavar="PATH",
            help="Where to copy it: a file or a folder. Default: its name in the working folder.",
            show_default=False,
        ),
    ] = None,
    store: StoreOption = None,
    config: ConfigOption = None,
    json: JsonOption = False,
) -> None:
    """Copy data of a run out of the catalog, as a step has put it, whatever was put under its name since.

    The copy has the bytes that were recorded, or there is none.
    """
    opened = open_chosen_store(store, config)
    got = got_data(opened, chosen_run(opened, run), name, step=step, attempt=attempt, to=to)
    if json:
        print_json(got)
    else:
        sys.stdout.write(f"{printable(got.file)}\n")
