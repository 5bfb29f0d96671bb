"""The catalog of one run: put data in, get it out, take it over from another run, bring it to stable storage."""

from __future__ import annotations

import hashlib
import os
from collections.abc import Iterable, Sequence
from pathlib import Path, PurePosixPath
from typing import NoReturn

import msgspec

from chunkstore.backends.base import STEP
from chunkstore.backends.disk.os_errors import os_error
from chunkstore.backends.disk.syncing import sync_way_to
from chunkstore.backends.disk.syscalls import SYSTEM
from chunkstore.backends.disk.temporary_names import temporary_names
from chunkstore.errors import InvalidNameError
from chunkstore.names import is_data_folder, scopes_of
from chunkstore.recording.catalog.claims import DataFolders
from chunkstore.recording.catalog.data_names import check_data_name, default_name, path_of
from chunkstore.recording.catalog.files import (
    Version,
    copy,
    discard,
    files_below,
    hash_of_file,
    make_folders,
    opened,
    sync_folder,
    sync_path,
)
from chunkstore.records.models import DataCatalog
from chunkstore.stores.base import Store

PUT, GET = "put", "get"


class Catalog(DataFolders, frozen=True):
    """The catalog of one run; for its attributes see `DataFolders`."""

    def put(self, source: str | os.PathLike[str], name: str | None, branch: str) -> list[DataCatalog]:
        """Copy a file, or every file below a folder, into the catalog.

        Args:
            source: the file or folder.
            name: what to call it; None for its path if that is relative, else its last part.
            branch: the branch that puts it; "" for the run.

        Returns:
            What was put, one entry per file.

        Raises:
            FileNotFoundError: there is no such file.
            InvalidNameError: the name would lead out of the catalog.
            StoreFullError: the disk is full; a copy that was there before is untouched.
        """
        chosen = default_name(source) if name is None else name
        check_data_name(chosen)
        path = Path(source)
        if path.exists() and not path.is_file() and not path.is_dir():
            raise InvalidNameError(
                f"Cannot put {os.fspath(source)!r} into the catalog: it is no file or folder. Put a file.",
                name=os.fspath(source),
                reason="it is no file or folder",
            )
        if not path.is_dir():
            return [self._put_file(path, chosen, branch)]
        files = files_below(path)
        names = [str(PurePosixPath(chosen, *file.relative_to(path).parts)) for file in files]
        for inner in names:
            check_data_name(inner)
        return [self._put_file(file, inner, branch) for file, inner in zip(files, names, strict=True)]

    def _put_file(self, source: Path, name: str, branch: str) -> DataCatalog:
        relative = self.relative_path(name, branch)
        with opened(source) as content:
            digest = copy(content, os.path.join(self.path, relative), sync=self.sync_writes)
        return self.entry(name, digest, relative, PUT)

    def get(self, name: str, target: str | os.PathLike[str] | None, branch: str) -> tuple[Path, DataCatalog]:
        """Copy data out of the catalog; the innermost branch that has put the name counts.

        Args:
            name: as it was put.
            target: where to copy it; None for its name in the working folder.
            branch: the branch that gets it; "" for the run.

        Returns:
            The path of the copy, and what was got.

        Raises:
            DataNotFoundError: nobody has put data of this name.
        """
        check_data_name(name)
        folders = self.folders()
        for relative in (path_of(folder, name, scope) for scope in scopes_of(branch) for folder in folders):
            source = Path(self.path, relative)
            if source.is_file() and not source.is_symlink():
                destination = Path(name if target is None else target)
                if destination.is_dir():
                    destination /= PurePosixPath(name).name
                with opened(source) as content:
                    digest = copy(content, os.path.abspath(destination), sync=False)
                return destination, self.entry(name, digest, relative, GET)
        raise self.not_found(name, self.run_id)

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

    def _adopt_file(self, entry: DataCatalog, run_id: str) -> DataCatalog:
        folder, _, inner = entry.catalog_relative_path.partition("/")
        if entry.stage != PUT or not is_data_folder(folder, run_id) or folder in self.folders():
            return entry
        source = Path(self.path, folder, inner)
        if ".." in source.parts or not source.is_file() or source.is_symlink():
            raise self.not_found(entry.name, run_id)
        relative = str(PurePosixPath(self.folder_to_put(), inner))
        target = os.path.join(self.path, relative)
        try:
            try:
                is_same = self._link(str(source), target, entry.data_hash)
            except OSError:  # no links on this file system, or too many
                if hash_of_file(source) != entry.data_hash:
                    raise self.not_found(entry.name, run_id) from None
                with opened(source) as content:
                    is_same = copy(content, target, sync=self.sync_writes) == entry.data_hash
        except FileNotFoundError:
            is_same = False  # it was deleted just now
        if not is_same:
            raise self.not_found(entry.name, run_id)  # a later step has put other data under the name
        return msgspec.structs.replace(entry, catalog_relative_path=relative, catalog_handler_location=self.location)

    def _link(self, source: str, target: str, digest: str) -> bool:
        """Give data, which is replaced but never changed, a second name; tell whether it is what was recorded."""
        folder = os.path.dirname(target)
        make_folders(folder)
        temporary = temporary_names.next()
        path = os.path.join(folder, temporary)
        fd = SYSTEM.open(folder, os.O_RDONLY | os.O_DIRECTORY)
        try:
            try:
                SYSTEM.link(source, temporary, fd)  # `source` is absolute: the folder is that of the new name
                if hash_of_file(Path(path)) != digest:
                    discard(path)
                    return False
                if self.sync_writes:
                    sync_path(path)  # whoever has put it need not have done that
                SYSTEM.rename(path, target)
                discard(path)  # a rename onto the same file leaves it
            except BaseException:
                discard(path)
                raise
        finally:
            SYSTEM.close(fd)
        if self.sync_writes:
            sync_way_to(SYSTEM, target)
        return True

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
                raise os_error(error, top) from error
        return done

    def sync_entries(self, entries: Iterable[DataCatalog]) -> None:
        """Return when data that was put just now would survive a loss of power."""
        for entry in entries:
            path = os.path.join(self.path, entry.catalog_relative_path)
            try:
                sync_path(path)
                sync_way_to(SYSTEM, path)
            except OSError as error:
                raise os_error(error, path) from error


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
