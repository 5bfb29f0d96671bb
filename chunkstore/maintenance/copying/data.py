"""The data of a run that is copied: each file that its records name, under the same name, checked by its hash."""

from __future__ import annotations

import os
from collections.abc import Iterable

from chunkstore.errors import ChunkstoreError
from chunkstore.maintenance.data_places import catalogs, holding, put_among, put_by
from chunkstore.names import DELETED_PREFIX, TEMPORARY_PREFIX, UNSYNCED_FILE, is_data_folder
from chunkstore.recording.catalog import BY_HASH, VERSIONS, Catalog, Found, catalog_of, hash_of, is_hash
from chunkstore.records.models import DataCatalog, JobLog, RunLog
from chunkstore.stores.base import Store

#: No data that somebody has put lies at such a place: what a record says may be anything.
_NOT_DATA = ("", ".", "..", VERSIONS, BY_HASH, UNSYNCED_FILE)


class DataOfCopy:
    """Brings the data of one run from the catalogs of its store into that of another.

    Args:
        source: the store that the run is in.
        target: the store that its copy is in.
        run_id: the run.

    Attributes:
        sent: how many files were sent.
        problems: what could not be copied, and why.
    """

    def __init__(self, source: Store, target: Store, run_id: str) -> None:
        self.sent = 0
        self.problems: list[str] = []
        self._source, self._target = source, target
        self._run_id = run_id

    def named(self, log: RunLog) -> list[DataCatalog]:
        """Return what the records of the run say that was put; the last of several equal ones counts.

        Args:
            log: the run's own record.
        """
        entries = [entry for _, entry in put_by(self._source.iter_records(self._run_id))]
        if isinstance(log.job, JobLog):
            entries += put_among(log.job.data_catalog)
        found: dict[tuple[str, str], DataCatalog] = {}
        for entry in entries:
            key = entry.catalog_relative_path, entry.data_hash
            found.pop(key, None)
            found[key] = entry
        return list(found.values())

    def bring(self, log: RunLog, entries: Iterable[DataCatalog], incarnation: str) -> None:
        """Bring data into the catalog of the target, unless it is there.

        Args:
            log: the own record of the run.
            entries: what its records say.
            incarnation: the identity of the copy, which is there by now.
        """
        entries = list(entries)
        places = catalogs(self._source, str(self._run_id), log.incarnation, entries)
        goal = catalog_of(self._target, str(self._run_id), incarnation)
        kept: set[str] = set()
        newest = {entry.catalog_relative_path: entry for entry in entries}
        for entry in entries:
            try:
                self._bring(entry, holding(places, entry), goal, kept, newest)
            except (ChunkstoreError, OSError) as error:
                self.problems.append(f"data {entry.name!r} is not copied: {error}")

    def _bring(
        self,
        entry: DataCatalog,
        place: Catalog | None,
        goal: Catalog,
        kept: set[str],
        newest: dict[str, DataCatalog],
    ) -> None:
        folder, *parts = entry.catalog_relative_path.split("/")
        is_odd = any(part in _NOT_DATA or part.startswith((TEMPORARY_PREFIX, DELETED_PREFIX)) for part in parts)
        if not parts or is_odd or "\0" in entry.catalog_relative_path or not is_data_folder(folder, self._run_id):
            self.problems.append(f"data {entry.name!r} is not copied: its record names no place of data of this run")
        elif place is None:
            self.problems.append(f"data {entry.name!r} is not copied: no catalog has it any more")
        elif _is_same(place.path, goal.path) or self._is_there(entry, goal, newest):
            _keep(goal, folder, kept)
        elif not goal.claim(folder):
            self.problems.append(
                f"data {entry.name!r} is not copied: the folder {folder} of the catalog {goal.path} is that of another "
                "run. Delete that run with its data, or let the target have a catalog of its own."
            )
        else:
            kept.add(folder)
            self._send(entry, place, goal)

    @staticmethod
    def _is_there(entry: DataCatalog, goal: Catalog, newest: dict[str, DataCatalog]) -> bool:
        """Tell whether the catalog has the bytes; those that were put last also under their own name."""
        folder = entry.catalog_relative_path.partition("/")[0]
        if not is_hash(entry.data_hash) or not goal.is_seen(f"{goal.versions_in(folder)}/{entry.data_hash}"):
            return False
        is_newest = newest[entry.catalog_relative_path] is entry
        return not is_newest or _hash(goal.newest(entry.catalog_relative_path)) == entry.data_hash

    def _send(self, entry: DataCatalog, place: Catalog, goal: Catalog) -> None:
        if _hash(place.version(entry.catalog_relative_path, entry.data_hash)) != entry.data_hash:
            self.problems.append(f"data {entry.name!r} is not copied: it is gone, or was changed since it was recorded")
            return
        found = place.version(entry.catalog_relative_path, entry.data_hash)
        if found is None:
            self.problems.append(f"data {entry.name!r} is not copied: it is gone")
            return
        with found.content:
            digest = goal.put_content(entry.catalog_relative_path, entry.name, found.content, found.mode)
        if digest != entry.data_hash:
            self.problems.append(f"data {entry.name!r} was changed while it was copied")
        else:
            self.sent += 1


def _hash(found: Found | None) -> str:
    if found is None:
        return ""
    with found.content:
        return hash_of(found.content)


def _keep(goal: Catalog, folder: str, kept: set[str]) -> None:
    """Keep others from deleting the data of the copy with that of another run."""
    if folder not in kept and folder not in goal.own_folders() and not goal.claim(folder):
        goal.keep(folder)
    kept.add(folder)


def _is_same(one: str, other: str) -> bool:
    return one == other or ("://" not in one + other and os.path.realpath(one) == os.path.realpath(other))
