"""The catalog of one run: put data in, get it out, take it over from another run, bring it to stable storage."""

from __future__ import annotations

import errno
import hashlib
import logging
import os
from collections.abc import Collection, Iterable, Sequence
from pathlib import Path, PurePosixPath
from typing import BinaryIO, NoReturn

import msgspec

from chunkstore.backends.base import STEP
from chunkstore.backends.disk.folder import Folder
from chunkstore.backends.disk.os_errors import os_error
from chunkstore.backends.disk.syncing import sync_way_to
from chunkstore.backends.disk.syscalls import SYSTEM
from chunkstore.errors import ChunkstoreError, DataNotFoundError
from chunkstore.names import is_data_folder, scopes_of
from chunkstore.recording.catalog.claims import DataFolders
from chunkstore.recording.catalog.data_names import (
    VERSIONS,
    check_data_name,
    default_name,
    is_too_long,
    path_of,
    too_long,
)
from chunkstore.recording.catalog.files import Version, sync_folder, sync_path
from chunkstore.recording.catalog.places import NOT_THERE, SETTING, catalog_error, inner_folder, open_folder
from chunkstore.recording.catalog.retrieval import copy_out, newest, target_of, version
from chunkstore.recording.catalog.sources import files_below, is_folder, opened
from chunkstore.recording.catalog.versions import hash_of, make_newest, permissions_of, put_version, take
from chunkstore.records.models import DataCatalog
from chunkstore.stores.base import Store

logger = logging.getLogger("chunkstore")

PUT, GET = "put", "get"


class Catalog(DataFolders, frozen=True):
    """The catalog of one run; for its attributes see `DataFolders`."""

    def put(self, source: str | os.PathLike[str], name: str | None, branch: str) -> list[DataCatalog]:
        """Copy a file, or every file below a folder, into the catalog; what had the name before is kept.

        Args:
            source: the file or folder.
            name: what to call it; None for its path if that is relative, else its last part.
            branch: the branch that puts it; "" for the run.

        Returns:
            What was put, one entry per file.

        Raises:
            FileNotFoundError: there is no such file.
            InvalidNameError: the name would lead out of the catalog or is too long, or what is to be put is no file.
            StoreFullError: the disk is full; a copy that was there before is untouched.
        """
        chosen = default_name(source) if name is None else name
        _check_new_name(chosen)
        path = Path(source)
        if not is_folder(path):
            return [self._put_file(path, chosen, branch)]
        files = files_below(path)
        if not files:
            logger.warning("Nothing was put into the catalog: the folder %s holds no files.", path)
        names = [str(PurePosixPath(chosen, *file.relative_to(path).parts)) for file in files]
        for inner in names:
            _check_new_name(inner)
        return [self._put_file(file, inner, branch) for file, inner in zip(files, names, strict=True)]

    def _put_file(self, source: Path, name: str, branch: str) -> DataCatalog:
        relative = self.relative_path(name, branch)
        with opened(source) as content:
            mode = permissions_of(content.fileno())
            try:
                top, folder, file = self.open_folder_of(relative)
                digest = put_version(top, folder, file, content, mode=mode, sync=self.sync_writes)
                if self.sync_writes:
                    self._sync_names(relative, digest)
            except OSError as error:
                raise catalog_error(error, self.path, relative, name) from error
        return self.entry(name, digest, relative, PUT)

    def open_folder_of(self, relative: str) -> tuple[Folder, Folder, str]:
        """Open where data is put, which is made if it is not there.

        Args:
            relative: where the data lies, below the top of the catalog.

        Returns:
            The folder with the data of the run, that of the file, and the file's name in it.

        Raises:
            OSError: there is no such place.
        """
        own, *inner, file = relative.split("/")
        for is_last in (False, True):
            top = folder = open_folder(self.path, [own], make=True)
            try:
                for part in inner:
                    folder = inner_folder(folder, part, make=True)
            except FileNotFoundError:
                if is_last:
                    raise
                continue  # somebody removes the folders just now
            break
        return top, folder, file

    def get(self, name: str, target: str | os.PathLike[str] | None, branch: str) -> tuple[Path, DataCatalog]:
        """Copy data out of the catalog; the innermost branch that has put the name counts, and what it has put last.

        Args:
            name: as it was put.
            target: where to copy it; None for its name in the working folder.
            branch: the branch that gets it; "" for the run.

        Returns:
            The path of the copy, and what was got.

        Raises:
            DataNotFoundError: nobody has put data of this name.
            InvalidNameError: there can be no data of this name, or no such file to copy it to.
        """
        check_data_name(name)
        folders = [] if is_too_long(name) else self.folders()
        for relative in (path_of(folder, name, scope) for scope in scopes_of(branch) for folder in folders):
            if (content := newest(self.path, relative)) is not None:
                with content:
                    destination = target_of(name, target)
                    digest = copy_out(content, destination)
                return destination, self.entry(name, digest, relative, GET)
        raise self.not_found(name, self.run_id)

    def get_version(self, entry: DataCatalog, target: str | os.PathLike[str] | None) -> tuple[Path, DataCatalog]:
        """Copy the very bytes out of the catalog that a record of this run names, whatever was put since.

        Args:
            entry: the record of the data.
            target: as for `get`.

        Returns:
            The path of the copy, and what was got.

        Raises:
            DataNotFoundError: they are gone, or were changed.
        """
        check_data_name(entry.catalog_relative_path)
        content = version(self.path, entry.catalog_relative_path, entry.data_hash)
        return self._copy_recorded(content, entry, {entry.data_hash}, target)

    def get_newest(
        self, entry: DataCatalog, hashes: Collection[str], target: str | os.PathLike[str] | None
    ) -> tuple[Path, DataCatalog]:
        """Copy what was put last of some data that records name; for the rest see `get_version`.

        Args:
            entry: a record of it.
            hashes: what all records of it say, one of which the bytes must have.
            target: as for `get`.
        """
        check_data_name(entry.catalog_relative_path)
        return self._copy_recorded(newest(self.path, entry.catalog_relative_path), entry, hashes, target)

    def _copy_recorded(
        self, content: BinaryIO | None, entry: DataCatalog, hashes: Collection[str], to: str | os.PathLike[str] | None
    ) -> tuple[Path, DataCatalog]:
        if content is None:
            raise self.not_found(entry.name, self.run_id)

        def check(digest: str) -> None:
            if digest not in hashes:
                raise DataNotFoundError(
                    f"Cannot get {entry.name!r}: its bytes in {self.location} are not those that run {self.run_id!r} "
                    "has recorded. Somebody has changed the file there; restore it from a backup.",
                    run_id=self.run_id,
                    name=entry.name,
                )

        with content:
            target = target_of(entry.name, to)
            digest = copy_out(content, target, check)
        return target, msgspec.structs.replace(entry, data_hash=digest, stage=GET)

    def adopt(self, entries: Sequence[DataCatalog], run_id: str) -> list[DataCatalog]:
        """Give this run what another run of the same catalog has put, so that `get` finds it here too.

        Args:
            entries: what is recorded of the data; what was not put by that run is left as it is.
            run_id: the other run.

        Returns:
            The entries as they hold for this run.

        Raises:
            DataNotFoundError: some of the data is gone.
        """
        return [self._adopt_file(entry, run_id) for entry in entries]

    def has(self, entries: Iterable[DataCatalog], run_id: str) -> bool:
        """Tell whether `adopt` would find all of some data, as it was recorded."""
        for entry in entries:
            folder, _, inner = entry.catalog_relative_path.partition("/")
            if entry.stage != PUT or not is_data_folder(folder, run_id) or folder in self.folders():
                continue
            if not inner or any(part in ("", ".", "..") for part in inner.split("/")):
                return False
            try:
                content = version(self.path, entry.catalog_relative_path, entry.data_hash)
                if content is None:
                    return False
                with content:
                    if hash_of(content) != entry.data_hash:
                        return False
            except (OSError, ChunkstoreError):
                return False
        return True

    def _adopt_file(self, entry: DataCatalog, run_id: str) -> DataCatalog:
        own, _, inner = entry.catalog_relative_path.partition("/")
        if entry.stage != PUT or not is_data_folder(own, run_id) or own in self.folders():
            return entry
        if not inner or any(part in ("", ".", "..") for part in inner.split("/")):
            raise self.not_found(entry.name, run_id)
        relative = str(PurePosixPath(self.folder_to_put(), inner))
        try:
            if not self._take(entry, own, inner, relative):
                raise self.not_found(entry.name, run_id)  # what is there is not what was recorded
            if self.sync_writes:
                self._sync_names(relative, entry.data_hash, with_bytes=True)
        except OSError as error:
            if error.errno == errno.ENOENT or isinstance(error, DataNotFoundError):
                raise self.not_found(entry.name, run_id) from None  # it was deleted just now
            raise catalog_error(error, self.path, relative, entry.name) from error
        return msgspec.structs.replace(entry, catalog_relative_path=relative, catalog_handler_location=self.location)

    def _take(self, entry: DataCatalog, own: str, inner: str, relative: str) -> bool:
        """Make data of another run this run's, by another name where that goes; tell whether it is there."""
        top, folder, file = self.open_folder_of(relative)
        versions = inner_folder(top, VERSIONS, make=True)
        *parts, name = inner.split("/")
        for place, found in (([own, VERSIONS], entry.data_hash), ([own, *parts], name)):
            try:
                source = open_folder(self.path, place)
                digest = take(source, found, versions, sync=self.sync_writes)
            except OSError as error:
                if error.errno not in NOT_THERE:
                    raise
                continue
            if digest == entry.data_hash:
                make_newest(versions, digest, folder, file, sync=self.sync_writes)
                return True
        return False

    def relative_path(self, name: str, branch: str) -> str:
        """Return where data of this run is put in the catalog."""
        return path_of(self.folder_to_put(), name, branch)

    def entry(self, name: str, digest: str, relative: str, stage: str) -> DataCatalog:
        """Return the record of data."""
        return DataCatalog(
            name=name,
            data_hash=digest,
            catalog_relative_path=relative,
            catalog_handler_location=self.location,
            stage=stage,
        )

    def sync(self, synced: set[Version] | None = None) -> set[Version]:
        """Return when all data of the run would survive a loss of power.

        Args:
            synced: what an earlier call has returned: only what was put since is synced.

        Returns:
            What has been synced.

        Raises:
            StoreIOError: some of it cannot be made durable, or it cannot be found out what there is.
        """
        done: set[Version] = set(synced or ())
        for name in self.folders():
            top = os.path.join(self.path, name)
            if not os.path.isdir(top):
                continue
            try:
                before = len(done)
                for folder, _, _ in os.walk(top, onerror=_refuse):
                    sync_folder(folder, done)
                if len(done) > before:
                    sync_way_to(SYSTEM, top)
            except OSError as error:
                raise os_error(error, top, SETTING) from error
        return done

    def sync_entries(self, entries: Iterable[DataCatalog]) -> None:
        """Return when data that was put just now would survive a loss of power."""
        for entry in entries:
            try:
                self._sync_names(entry.catalog_relative_path, entry.data_hash, with_bytes=True)
            except OSError as error:
                raise os_error(error, os.path.join(self.path, entry.catalog_relative_path), SETTING) from error

    def _sync_names(self, relative: str, digest: str, *, with_bytes: bool = False) -> None:
        """Make the names of data durable; the folders may be new, and who made them need not have come to that."""
        for path in (f"{relative.partition('/')[0]}/{VERSIONS}/{digest}", relative):
            where = os.path.join(self.path, path)
            if with_bytes:
                try:
                    sync_path(where)
                except FileNotFoundError:
                    continue  # what a step printed has one name alone
            sync_way_to(SYSTEM, where)


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
    return Catalog(store.catalog_path, store.catalog_folder, str(run_id), is_durable, incarnation, is_unclaimed)


def _refuse(error: OSError) -> NoReturn:
    raise error


def _check_new_name(name: str) -> None:
    check_data_name(name)
    if is_too_long(name):
        raise too_long(name)
