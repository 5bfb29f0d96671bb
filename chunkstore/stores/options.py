"""What a store can be configured with."""

from __future__ import annotations

from typing import Any

import msgspec

from chunkstore.backends.base import AT_THE_END
from chunkstore.backends.objects.settings import shown_options

FILES, JOURNAL = "files", "journal"
CONTAINERS = (FILES, JOURNAL)


class ClientOptions(dict[str, Any]):
    """What the client of an object store is told; who prints it sees no secrets."""

    def __repr__(self) -> str:
        return f"{{{shown_options(self)}}}"

    __str__ = __repr__


class StoreOptions(msgspec.Struct, kw_only=True, forbid_unknown_fields=True):
    """What a store can be configured with.

    Attributes:
        log_folder: the folder that holds the runs.
        durability: what a returned call survives: `process`, `run` or `step`.
        pretty: whether JSON is written with line breaks and indents, for people who read it with `cat`.
        catalog_folder: the folder for data; empty for `.catalog` beside the log folder, or in the bucket.
        lock_timeout: seconds to wait for a lock; in a bucket, to try a change again that others are ahead of.
        container: what holds the chunks of a run: `files`, one for each, or `journal`, one that each writer appends to.
        seal_finished_runs: a run of more chunks than that is sealed when it finishes; None for never, in a bucket for
            every run; False for never.
        url: a bucket, and what the keys of all runs begin with: `s3://bucket/prefix`, `gs://…`, `az://…`.
        client: what the client of the object store is told, by name: `endpoint`, `region`, `access_key_id` and so on.
    """

    log_folder: str = ".run_log_store"
    durability: str = AT_THE_END
    pretty: bool = False
    catalog_folder: str = ""
    lock_timeout: float = 60.0
    container: str = FILES
    seal_finished_runs: int | None = None
    url: str = ""
    client: dict[str, Any] | None = None
