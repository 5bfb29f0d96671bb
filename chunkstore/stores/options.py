"""What a store can be configured with."""

from __future__ import annotations

import msgspec

from chunkstore.backends.base import AT_THE_END

FILES, JOURNAL = "files", "journal"
CONTAINERS = (FILES, JOURNAL)


class StoreOptions(msgspec.Struct, kw_only=True, forbid_unknown_fields=True):
    """What a store can be configured with.

    Attributes:
        log_folder: the folder that holds the runs.
        durability: what a returned call survives: `process`, `run` or `step`.
        pretty: whether JSON is written with line breaks and indents, for people who read it with `cat`.
        catalog_folder: the folder for data; empty for `.catalog` beside the log folder.
        lock_timeout: seconds to wait for a lock.
        container: what holds the chunks of a run: `files`, one for each, or `journal`, one that each writer appends to.
        seal_finished_runs: a run of more chunks than that is sealed when it finishes; None for never.
    """

    log_folder: str = ".run_log_store"
    durability: str = AT_THE_END
    pretty: bool = False
    catalog_folder: str = ""
    lock_timeout: float = 60.0
    container: str = FILES
    seal_finished_runs: int | None = None
