"""How much of the disk runs take."""

from __future__ import annotations

from typing import Protocol

from chunkstore.backends.entries import FOLDER, Entry
from chunkstore.backends.errors import MissingError
from chunkstore.errors import ChunkstoreError
from chunkstore.maintenance.data_places import at_another_place, data_of_run
from chunkstore.names import DOCUMENT_SUFFIX, incarnation_of
from chunkstore.recording.catalog import catalog_of
from chunkstore.stores.base import Store
from chunkstore.stores.chunked import ChunkedStore


class Folders(Protocol):
    """What has folders of entries: a back end, or a catalog."""

    def entries(self, folder: str) -> list[Entry]:
        """Return what lies in a folder, which may be one inside another; "" is the top."""

    def remove_left_over(self, folder: str, name: str) -> None:
        """Remove, if it is there, what somebody has left who was stopped."""


class SpaceOfRuns:
    """Tells how many bytes of the disk are free again when a run is deleted.

    Args:
        store: where the runs are.
        with_data: whether their data is counted too.
    """

    def __init__(self, store: Store, *, with_data: bool) -> None:
        self._store = store
        self._with_data = with_data
        self._documents: dict[str, int] | None = None

    def of(self, run_id: str) -> int:
        """Return how much a run takes; what cannot be looked at takes nothing."""
        data = self._of_data(run_id) if self._with_data else 0
        if isinstance(self._store, ChunkedStore):
            return data + _space_of_folder(self._store.backend, run_id)
        if self._documents is None:
            self._documents = {entry.name: entry.space for entry in _entries(self._store.backend, "")}
        return data + self._documents.get(f"{run_id}{DOCUMENT_SUFFIX}", 0)

    def _of_data(self, run_id: str) -> int:
        usual = catalog_of(self._store, run_id, incarnation_of(run_id))
        others = [at_another_place(usual, path) for path in data_of_run(self._store, run_id).elsewhere]
        return sum(catalog.space_of(folder) for catalog in (usual, *others) for folder in catalog.folders())


def space_in(folders: Folders, folder: str, entry: Entry) -> int:
    """Return how much an entry of a folder takes, with all that is in it."""
    path = f"{folder}/{entry.name}" if folder else entry.name
    return entry.space + (_space_of_folder(folders, path) if entry.kind == FOLDER else 0)


def _space_of_folder(folders: Folders, folder: str) -> int:
    return sum(space_in(folders, folder, entry) for entry in _entries(folders, folder))


def _entries(folders: Folders, folder: str) -> list[Entry]:
    try:
        return folders.entries(folder)
    except (ChunkstoreError, MissingError):
        return []
