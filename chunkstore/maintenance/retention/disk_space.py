"""How much of the disk runs take."""

from __future__ import annotations

from chunkstore.backends.base import Backend
from chunkstore.backends.disk.directory import DirectoryBackend
from chunkstore.backends.entries import FOLDER, Entry
from chunkstore.backends.errors import MissingError
from chunkstore.errors import ChunkstoreError
from chunkstore.names import DOCUMENT_SUFFIX, incarnation_of
from chunkstore.recording.catalog import catalog_of
from chunkstore.stores.base import Store
from chunkstore.stores.chunked import ChunkedStore


class SpaceOfRuns:
    """Tells how many bytes of the disk are free again when a run is deleted.

    Args:
        store: where the runs are.
        with_data: whether their data is counted too.
    """

    def __init__(self, store: Store, *, with_data: bool) -> None:
        self._store = store
        self._catalog = DirectoryBackend(store.catalog_path) if with_data else None
        self._documents: dict[str, int] | None = None

    def of(self, run_id: str) -> int:
        """Return how much a run takes; what cannot be looked at takes nothing."""
        data = 0
        if self._catalog:
            folders = catalog_of(self._store, run_id, incarnation_of(run_id)).folders()
            data = sum(_space_of_folder(self._catalog, folder) for folder in folders)
        if isinstance(self._store, ChunkedStore):
            return data + _space_of_folder(self._store.backend, run_id)
        if self._documents is None:
            self._documents = {entry.name: entry.space for entry in _entries(self._store.backend, "")}
        return data + self._documents.get(f"{run_id}{DOCUMENT_SUFFIX}", 0)


def space_in(backend: Backend, folder: str, entry: Entry) -> int:
    """Return how much an entry of a folder takes, with all that is in it."""
    path = f"{folder}/{entry.name}" if folder else entry.name
    return entry.space + (_space_of_folder(backend, path) if entry.kind == FOLDER else 0)


def _space_of_folder(backend: Backend, folder: str) -> int:
    return sum(space_in(backend, folder, entry) for entry in _entries(backend, folder))


def _entries(backend: Backend, folder: str) -> list[Entry]:
    try:
        return backend.entries(folder)
    except (ChunkstoreError, MissingError):
        return []
