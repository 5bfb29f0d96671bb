"""`chunkstore ls`."""

from __future__ import annotations

from chunkstore.cli.options import ConfigOption, JsonOption, StoreOption, open_chosen_store
from chunkstore.cli.output import print_json


def list_runs(store: StoreOption = None, config: ConfigOption = None, json: JsonOption = False) -> None:
    """List runs, the newest first."""
    opened = open_chosen_store(store, config)
    for run in opened.list_runs():
        print_json(run)
