"""Moving damaged files into `quarantine/`: nothing is deleted, and nothing that can be read is moved."""

from __future__ import annotations

import msgspec

from chunkstore.backends.capabilities import Quarantining
from chunkstore.backends.errors import MissingError
from chunkstore.errors import ChunkstoreError
from chunkstore.maintenance.checking.damage import is_damaged_chunk, is_damaged_document
from chunkstore.maintenance.checking.findings import CORRUPT, KINDS, UNREADABLE, Finding, as_text
from chunkstore.records.models import PACKED_FORMAT
from chunkstore.stores.base import Store
from chunkstore.stores.chunked import ChunkedStore

_STAYS = "It stays where it is, as others may be able to read it. Restore it from a backup, or try `chunkstore import`."
_MOVED = "See what can be saved from it, or restore it from a backup; nothing else of the run was touched."


def repair(store: Store, found: Finding) -> Finding:
    """Move the file of a finding into quarantine, if nothing in it can be read; it is looked at again under the lock.

    It is moved within its folder, so that it stays with its run. A run's own record and packed files stay in any case,
    as does all of a run that a newer version wrote.

    Args:
        store: where the file is.
        found: what is wrong with it.

    Returns:
        The finding, with where the file is now if it was moved.
    """
    if found.kind not in (CORRUPT, UNREADABLE) or not found.run_id:
        return found
    if isinstance(store, ChunkedStore):
        folder, _, file = found.file.partition("/")
        is_damaged = is_damaged_chunk
    else:
        folder, file = "", found.file
        is_damaged = is_damaged_document

    backend = store.backend

    def move() -> str:
        if _is_of_newer_format(store, found.run_id) or not isinstance(backend, Quarantining):
            return ""
        return backend.quarantine(folder, file, lambda load: is_damaged(file, load))

    try:
        moved = store.while_locked(found.run_id, move) if file and isinstance(backend, Quarantining) else ""
    except (ChunkstoreError, MissingError) as error:
        return msgspec.structs.replace(found, advice=f"It could not be moved: {error}")
    if not moved:
        is_usual = found.advice == KINDS[found.kind][1]
        return msgspec.structs.replace(found, advice=_STAYS) if is_usual else found
    where = as_text(f"{folder}/{moved}" if folder else moved)
    return msgspec.structs.replace(found, moved_to=where, advice=_MOVED)


def _is_of_newer_format(store: Store, run_id: str) -> bool:
    try:
        number = store.get_run_log(run_id, full=False).notes.get("format", PACKED_FORMAT)
    except ChunkstoreError:
        return False
    return not isinstance(number, int) or number > PACKED_FORMAT
