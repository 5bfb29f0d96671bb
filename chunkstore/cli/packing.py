"""`chunkstore seal` and `chunkstore unseal`."""

from __future__ import annotations

from collections.abc import Iterator
from typing import Annotated

import msgspec
import typer

from chunkstore.cli.options import (
    ConfigOption,
    JsonOption,
    OptionalRunArgument,
    RunArgument,
    StoreOption,
    chosen_run,
    open_chosen_store,
)
from chunkstore.cli.output import PROBLEMS, console, escaped, print_error, print_json
from chunkstore.cli.run_progress import shown_progress
from chunkstore.errors import ChunkstoreError, RunLogNotFoundError
from chunkstore.stores.base import Store
from chunkstore.views.texts import counted


class Sealed(msgspec.Struct, frozen=True, kw_only=True):
    """A run that `seal` or `unseal` has looked at.

    Attributes:
        run_id: the run.
        chunks: how many chunks are in its sealed file now.
        problem: why nothing could be done; empty if it was.
    """

    run_id: str
    chunks: int = 0
    problem: str = ""


def seal(
    run: OptionalRunArgument = None,
    all_runs: Annotated[bool, typer.Option("--all", help="Seal all runs that have finished.")] = False,
    store: StoreOption = None,
    config: ConfigOption = None,
    json: JsonOption = False,
) -> None:
    """Pack the files of a finished run into one, which is read faster; nothing else changes."""
    opened = open_chosen_store(store, config)
    if (run is None) == (not all_runs):
        raise typer.BadParameter("Name a run, or say --all for all that have finished.", param_hint="RUN")
    chosen = [chosen_run(opened, run)] if run is not None else list(_finished(opened))
    _print(list(_sealed(opened, chosen)), "sealed", json=json)


def _finished(store: Store) -> Iterator[str]:
    return (summary.run_id for summary in store.list_runs() if summary.is_over and not summary.problem)


def _sealed(store: Store, run_ids: list[str]) -> Iterator[Sealed]:
    with shown_progress("Sealing") as show:
        for number, run_id in enumerate(run_ids):
            show(number, len(run_ids))
            try:
                yield Sealed(run_id=run_id, chunks=store.seal(run_id))
            except RunLogNotFoundError:
                if len(run_ids) == 1:
                    raise
                # it was deleted since it was listed
            except ChunkstoreError as error:
                yield Sealed(run_id=run_id, problem=str(error))


def unseal(
    run: RunArgument,
    store: StoreOption = None,
    config: ConfigOption = None,
    json: JsonOption = False,
) -> None:
    """Give a sealed run its files back, byte for byte."""
    opened = open_chosen_store(store, config)
    run_id = chosen_run(opened, run)
    was_packed = opened.get_run_log(run_id, full=False).is_packed
    opened.unseal(run_id)
    if not was_packed and not json:
        console().print(f"{escaped(run_id)} is as it was: it was not sealed")
        return
    _print([Sealed(run_id=run_id)], "unsealed", json=json)


def _print(runs: list[Sealed], done: str, *, json: bool) -> None:
    if json:
        print_json(runs)
    else:
        out = console()
        for run in runs:
            if run.problem:
                print_error(run.problem)
            else:
                chunks = f": {counted(run.chunks, 'chunk')} in one file" if run.chunks else ""
                nothing = ": there was nothing to pack" if done == "sealed" and not run.chunks else ""
                out.print(f"{escaped(run.run_id)} {done if not nothing else 'is as it was'}{chunks}{nothing}")
    if any(run.problem for run in runs):
        raise typer.Exit(PROBLEMS)
