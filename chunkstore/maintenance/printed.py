"""What steps printed, as the catalog keeps it."""

from __future__ import annotations

import errno
import os
import time
from collections.abc import Callable, Iterator
from typing import NamedTuple

from chunkstore.errors import ChunkstoreError, DataNotFoundError
from chunkstore.maintenance.data_places import catalogs
from chunkstore.names import encode_for_file
from chunkstore.recording.catalog import LOG_SUFFIX, Catalog, catalog_of, is_hash
from chunkstore.records.models import PROCESSING, DataCatalog, StepLog
from chunkstore.stores.base import Store

_POLL_SECONDS = 0.1


class KeptOutput(NamedTuple):
    """Where it is kept what a step printed.

    Attributes:
        catalog: the catalog.
        file: the path from there.
    """

    catalog: Catalog
    file: str

    def is_there(self) -> bool:
        """Tell whether there is such a file."""
        return self.catalog.is_seen(self.file)


def output_file(store: Store, run_id: str, step: StepLog) -> KeptOutput | None:
    """Return where in a catalog it is kept what a step printed; None if it is not.

    Args:
        store: where the run is.
        run_id: the run.
        step: its step.

    Raises:
        DataNotFoundError: its record leads out of the catalog.
    """
    for entry in step.data_catalog:
        if entry.name.endswith(LOG_SUFFIX) and "/" not in entry.name:
            return _recorded(store, run_id, _checked(entry.catalog_relative_path, run_id), entry)
    # It is recorded when the step ends; until then the file tells.
    if step.status != PROCESSING:
        return None
    name = f"{encode_for_file(step.internal_name)}{LOG_SUFFIX}"
    incarnation = store.get_run_log(run_id, full=False).incarnation
    catalog = catalog_of(store, run_id, incarnation)
    found = [KeptOutput(catalog, f"{folder}/{name}") for folder in catalog.folders()]
    return next(filter(KeptOutput.is_there, found), None)


def _recorded(store: Store, run_id: str, path: str, entry: DataCatalog) -> KeptOutput:
    """Return where a record says that it is kept, also if another step of that name has taken its place."""
    incarnation = store.get_run_log(run_id, full=False).incarnation
    folder = path.partition("/")[0]
    usual, *others = catalogs(store, run_id, incarnation, [entry])
    # Elsewhere, a file is shown only if it is noted there that the run has put it: records come from anywhere.
    catalog = next((each for each in (usual, *others) if folder in each.folders()), usual)
    version = KeptOutput(catalog, f"{catalog.versions_in(folder)}/{entry.data_hash}")
    return version if is_hash(entry.data_hash) and version.is_there() else KeptOutput(catalog, path)


def _checked(path: str, run_id: str) -> str:
    """Return a path that a record names, if it leads down: records come from anywhere."""
    parts = path.split("/")
    if not path or "\0" in path or any(part in {"", ".", ".."} for part in parts):
        raise DataNotFoundError(
            f"Cannot show what a step of run {run_id!r} printed: its record names the file {path!r}, which is outside "
            "of the catalog.",
            run_id=run_id,
            name=path,
        )
    return path


def printed(kept: KeptOutput, has_ended: Callable[[], bool] | None = None) -> Iterator[bytes]:
    """Yield what is in a file of the catalog, and what is added to it.

    Args:
        kept: where that is.
        has_ended: tells whether nothing more is going to be added; None to yield only what is there now.

    Raises:
        DataNotFoundError: there is no such file.
    """
    place = 0
    try:
        if not kept.is_there():
            raise FileNotFoundError(errno.ENOENT, os.strerror(errno.ENOENT))
        while True:
            is_last = has_ended is None or has_ended()
            for block in kept.catalog.read_on(kept.file, place):
                place += len(block)
                yield block
            if is_last:
                return
            time.sleep(_POLL_SECONDS)
    except (OSError, ChunkstoreError) as error:
        raise _gone(kept, error) from error


def _gone(kept: KeptOutput, error: Exception) -> DataNotFoundError:
    reason = (error.strerror if isinstance(error, OSError) else "") or str(error)
    return DataNotFoundError(
        f"Cannot read {kept.catalog.path}/{kept.file}: {reason}. It may have been deleted, or the catalog is "
        "elsewhere: name the configuration with --config.",
        run_id="",
        name=kept.file,
    )
