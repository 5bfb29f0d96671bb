"""Arguments that several commands share, and from them a store and a run."""

from __future__ import annotations

import os
from typing import Annotated

import typer

from chunkstore.backends.objects.place import is_url
from chunkstore.config import open_store
from chunkstore.errors import ChunkstoreError
from chunkstore.names import DOCUMENT_SUFFIX, RUN_FILE
from chunkstore.stores.base import Store
from chunkstore.stores.named import OBJECT_STORE_TYPE, STORE_TYPES
from chunkstore.stores.run_lookup import LATEST, find_run, runs_starting_with

#: The runs are looked up where the command line says, and without that as `chunkstore.open_store` does.
StoreOption = Annotated[
    str | None,
    typer.Option(
        "--store",
        "-s",
        metavar="[TYPE:]FOLDER",
        help="The folder of the runs; its type is told from what is in it. Or the URL of a bucket: s3://bucket/prefix, "
        "gs://… or az://…. Default: as configured, else chunked-fs:.run_log_store.",
        show_default=False,
    ),
]
ConfigOption = Annotated[
    str | None,
    typer.Option(
        "--config",
        "-c",
        metavar="FILE",
        help="A YAML file that configures the store. Default: $CHUNKSTORE_CONFIGURATION_FILE, else chunkstore.yaml.",
        show_default=False,
    ),
]
JsonOption = Annotated[bool, typer.Option("--json", help="Print JSON instead; `chunkstore schema` describes it.")]


def open_chosen_store(store: str | None, config: str | None) -> Store:
    """Return the store that the options of the command line name.

    Raises:
        ChunkstoreError: there is no such store.
        typer.BadParameter: the options contradict each other.
    """
    if store is None:
        return open_store(config=config)
    if is_url(store):
        _check_alone(config)
        return open_store(store)
    store_type, _, folder = store.partition(":")
    if store_type not in STORE_TYPES:
        store_type, folder = _type_of(store), store
    if not folder:
        raise typer.BadParameter(f"{store!r} names no folder. Write {store_type}:FOLDER.", param_hint="--store")
    _check_alone(config)
    if store_type == OBJECT_STORE_TYPE:
        return open_store(store_type, url=folder)
    return open_store(store_type, log_folder=folder)


def _check_alone(config: str | None) -> None:
    if config is not None:
        raise typer.BadParameter("--store and --config exclude each other. Give one of them.", param_hint="--store")


def _type_of(folder: str) -> str:
    """Return the type of the store in a folder: documents lie at its top, chunks in folders of their own."""
    try:
        with os.scandir(folder) as entries:
            for entry in entries:
                if entry.is_dir(follow_symlinks=False) and os.path.lexists(os.path.join(entry.path, RUN_FILE)):
                    return "chunked-fs"
                if entry.name.endswith(DOCUMENT_SUFFIX) and entry.is_file(follow_symlinks=False):
                    return "file-system"
    except OSError:
        pass  # whoever opens the store says what is wrong
    return "chunked-fs"


def _complete_run(context: typer.Context, incomplete: str) -> list[str]:
    try:
        store = open_chosen_store(context.params.get("store"), context.params.get("config"))
        found = [run.run_id for run in runs_starting_with(store, incomplete) if run.run_id.isprintable()]
    except (ChunkstoreError, typer.BadParameter):
        return []
    return [*([LATEST] if LATEST.startswith(incomplete) else []), *found]


RunArgument = Annotated[
    str,
    typer.Argument(metavar="RUN", help="A run's id, the beginning of one, or `latest`.", autocompletion=_complete_run),
]
OptionalRunArgument = Annotated[
    str | None,
    typer.Argument(
        metavar="RUN",
        help="A run's id, the beginning of one, or `latest`.",
        autocompletion=_complete_run,
        show_default=False,
    ),
]


def chosen_run(store: Store, text: str) -> str:
    """Return the id of the run that somebody means.

    Raises:
        RunLogNotFoundError: no run is meant, or more than one.
    """
    return find_run(store, text)
