"""What steps printed, as the catalog keeps it."""

from __future__ import annotations

import os
import time
from collections.abc import Callable, Iterator

from chunkstore.backends.disk.folder import Folder
from chunkstore.backends.disk.syscalls import SYSTEM
from chunkstore.errors import ChunkstoreError, DataNotFoundError
from chunkstore.names import encode_for_file
from chunkstore.recording.catalog import LOG_SUFFIX, VERSIONS, catalog_of, is_hash
from chunkstore.records.models import PROCESSING, DataCatalog, StepLog
from chunkstore.stores.base import Store

_BLOCK = 1 << 20
_POLL_SECONDS = 0.1


def output_file(store: Store, run_id: str, step: StepLog) -> str | None:
    """Return where in the catalog it is kept what a step printed, as a path from the catalog's top; None if it is not.

    Args:
        store: where the run is.
        run_id: the run.
        step: its step.

    Raises:
        DataNotFoundError: its record leads out of the catalog.
    """
    for entry in step.data_catalog:
        if entry.name.endswith(LOG_SUFFIX) and "/" not in entry.name:
            return _kept(store, _checked(entry.catalog_relative_path, run_id), entry)
    # It is recorded when the step ends; until then the file tells.
    if step.status != PROCESSING:
        return None
    name = f"{encode_for_file(step.internal_name)}{LOG_SUFFIX}"
    incarnation = store.get_run_log(run_id, full=False).incarnation
    paths = [f"{folder}/{name}" for folder in catalog_of(store, run_id, incarnation).folders()]
    return next((path for path in paths if os.path.isfile(os.path.join(store.catalog_path, path))), None)


def _kept(store: Store, path: str, entry: DataCatalog) -> str:
    """Return where it is kept what a step printed, if another process has taken its place in a step of that name."""
    version = f"{path.partition('/')[0]}/{VERSIONS}/{entry.data_hash}"
    is_kept = is_hash(entry.data_hash) and os.path.isfile(os.path.join(store.catalog_path, version))
    return version if is_kept else path


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


def printed(store: Store, file: str, has_ended: Callable[[], bool] | None = None) -> Iterator[bytes]:
    """Yield what is in a file of the catalog, and what is added to it.

    Args:
        store: whose catalog it is.
        file: a path from its top.
        has_ended: tells whether nothing more is going to be added; None to yield only what is there now.

    Raises:
        DataNotFoundError: there is no such file.
    """
    folder, name = _open_folder_of(store.catalog_path, file)
    place = 0
    try:
        while True:
            is_last = has_ended is None or has_ended()
            while block := folder.load_part(name, place, _BLOCK):
                place += len(block)
                yield block
            if is_last:
                return
            time.sleep(_POLL_SECONDS)
    except (OSError, ChunkstoreError) as error:
        raise _gone(folder.location, name, error) from error


def _open_folder_of(top: str, file: str) -> tuple[Folder, str]:
    """Open the folder that a file below another one is in; no link is followed on the way."""
    *folders, name = file.split("/")
    path = top
    try:
        folder = Folder(SYSTEM, path, follow=True)
        for each in folders:
            path = os.path.join(path, each)
            folder = Folder(SYSTEM, path)
    except OSError as error:
        raise _gone(path, name, error) from error
    return folder, name


def _gone(folder: str, file: str, error: Exception) -> DataNotFoundError:
    reason = (error.strerror if isinstance(error, OSError) else "") or str(error)
    return DataNotFoundError(
        f"Cannot read {os.path.join(folder, file)}: {reason}. It may have been deleted, or the catalog is elsewhere: "
        "name the configuration with --config.",
        run_id="",
        name=file,
    )
