"""Which catalog holds the data of which run."""

from __future__ import annotations

import hashlib

from chunkstore.backends.base import STEP
from chunkstore.recording.catalog.catalog import Catalog
from chunkstore.recording.catalog.in_store import CatalogInStore
from chunkstore.recording.catalog.on_disk import CatalogOnDisk
from chunkstore.stores.base import Store


def catalog_of(store: Store, run_id: str, incarnation: str) -> Catalog:
    """Return the catalog of a run.

    Args:
        store: where the run is.
        run_id: the run.
        incarnation: what tells it from every other of its id; empty if nobody noted that, as of runs of other tools:
            then it is told from those of other stores.
    """
    is_durable = store.options.durability == STEP
    is_unclaimed = not incarnation
    if is_unclaimed:
        place = f"{store.backend.location}\0{run_id}"
        incarnation = hashlib.sha256(place.encode(errors="surrogateescape")).hexdigest()[:16]
    if store.data_files is not None:
        return CatalogInStore(
            path=store.catalog_path,
            location=store.catalog_path,
            run_id=str(run_id),
            sync_writes=is_durable,
            incarnation=incarnation,
            is_unclaimed=is_unclaimed,
            files=store.data_files,
        )
    return CatalogOnDisk(store.catalog_path, store.catalog_folder, str(run_id), is_durable, incarnation, is_unclaimed)


def catalog_in_folder(path: str, run_id: str, incarnation: str) -> Catalog:
    """Return the catalog of a run in any folder, where it must be noted that the run has made what is to be its own.

    Args:
        path: the absolute path of the folder.
        run_id: the run.
        incarnation: what tells it from every other of its id.
    """
    return CatalogOnDisk(path, path, str(run_id), sync_writes=False, incarnation=incarnation)
