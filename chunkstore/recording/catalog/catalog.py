"""The catalog of one run: put data in, get it out, take it over from another run; wherever its bytes lie."""

from __future__ import annotations

import logging
import os
from collections.abc import Collection, Hashable, Iterable, Iterator, Sequence
from pathlib import Path, PurePosixPath
from typing import BinaryIO, NamedTuple, Protocol

import msgspec

from chunkstore.backends.entries import Entry
from chunkstore.errors import ChunkstoreError, DataNotFoundError
from chunkstore.names import is_data_folder, scopes_of
from chunkstore.recording.catalog.data_names import check_data_name, default_name, is_too_long, path_of, too_long
from chunkstore.recording.catalog.retrieval import copy_out, target_of
from chunkstore.recording.catalog.sources import files_below, is_folder, opened
from chunkstore.recording.catalog.versions import hash_of, permissions_of
from chunkstore.records.models import DataCatalog

logger = logging.getLogger("chunkstore")

PUT, GET = "put", "get"

#: What is another one when something in the catalog is replaced.
Version = tuple[int, ...]


class Found(NamedTuple):
    """Data of the catalog that can be read.

    Attributes:
        content: the bytes; whoever gets them closes it.
        mode: who may do what with a copy of them.
        identity: what tells them from other bytes of the catalog.
        digest: their SHA-256, where it is sure without reading them; else empty.
    """

    content: BinaryIO
    mode: int
    identity: Hashable
    digest: str = ""


class Output(Protocol):
    """Where it is kept what a step prints, from its first character to its last."""

    @property
    def fd(self) -> int:
        """An open file, to which that is added; whoever uses it closes it, after the end."""

    def discard(self) -> None:
        """Take back that there is something."""

    def end(self, *, is_still: bool, is_whole: bool) -> str:
        """Keep what was printed; return its SHA-256.

        Args:
            is_still: whether nobody writes to it any more.
            is_whole: whether all of it could be written.

        Raises:
            OSError: it cannot be kept.
        """


class Catalog(msgspec.Struct, frozen=True):
    """The catalog of one run.

    Attributes:
        path: where the catalog is: the absolute path of a folder, or a URL.
        location: the same as the configuration names it, for the records.
        run_id: the run.
        sync_writes: whether data survives a loss of power as soon as it is put.
        incarnation: what tells the run from every other of its id.
        is_unclaimed: whether a folder of the run may say nothing of who has made it.
    """

    path: str
    location: str
    run_id: str
    sync_writes: bool
    incarnation: str
    is_unclaimed: bool = False

    # --- what depends on where the bytes lie -------------------------------------------------------------------------

    def folders(self) -> list[str]:
        """Return the folders of the catalog that hold data of this run: mostly one, or none."""
        raise NotImplementedError

    def own_folders(self) -> list[str]:
        """Return those that this run has made: all that is in them it has put."""
        raise NotImplementedError

    def has_folder(self, folder: str) -> bool:
        """Tell whether the catalog has a folder, whosever it is."""
        raise NotImplementedError

    def folder_to_put(self) -> str:
        """Return the folder that data of this run is put into."""
        raise NotImplementedError

    def keep(self, folder: str) -> None:
        """Keep others from deleting a folder that this run's records refer to, though another run has made it.

        Raises:
            OSError: it cannot be noted.
        """
        raise NotImplementedError

    def claim(self, folder: str) -> bool:
        """Say that a folder is this run's, to put data into it that is called so in a run that this is a copy of.

        Args:
            folder: a folder of the catalog, which need not be there.

        Returns:
            Whether it is; False if another run has made it.
        """
        raise NotImplementedError

    def remove(self) -> None:
        """Delete the data of the run, but for what others keep."""
        raise NotImplementedError

    def put_content(self, relative: str, name: str, content: BinaryIO, mode: int) -> str:
        """Make some bytes the newest version of data, and keep all others; return the SHA-256.

        Args:
            relative: where in the catalog the data lies.
            name: what it is called, for messages.
            content: the bytes.
            mode: who may do what with a copy.
        """
        raise NotImplementedError

    def newest(self, relative: str) -> Found | None:
        """Return what was put last at a place in the catalog; None if there is nothing."""
        raise NotImplementedError

    def version(self, relative: str, digest: str) -> Found | None:
        """Return the bytes that a record names: its own version, or what older versions of this library have put.

        Whether they are what was recorded, only reading them tells.

        Args:
            relative: where in the catalog the newest version lies.
            digest: the SHA-256 of the bytes.
        """
        raise NotImplementedError

    def take(self, entry: DataCatalog, own: str, inner: str, relative: str) -> bool:
        """Make data of another run this run's; tell whether it is there.

        Args:
            entry: its record.
            own: the folder of the other run.
            inner: where in there the newest version lies.
            relative: where in the catalog it shall lie.
        """
        raise NotImplementedError

    def sync(self, synced: set[Version] | None = None) -> set[Version]:
        """Return when all data of the run would survive a loss of power.

        Args:
            synced: what an earlier call has returned: only what was put since is synced.

        Returns:
            What has been synced.

        Raises:
            StoreIOError: some of it cannot be made durable, or it cannot be found out what there is.
        """
        raise NotImplementedError

    def sync_entries(self, entries: Iterable[DataCatalog]) -> None:
        """Return when data that was put just now would survive a loss of power."""
        raise NotImplementedError

    def is_seen(self, relative: str) -> bool:
        """Tell whether there is something at a place in the catalog, as far as can be seen from here."""
        raise NotImplementedError

    def begin_output(self, relative: str) -> Output:
        """Make a new file for what a step prints, in place of what is there; that is kept as a version.

        Args:
            relative: where in the catalog.
        """
        raise NotImplementedError

    def read_on(self, relative: str, place: int) -> Iterator[bytes]:
        """Yield what is at a place in the catalog from a byte on, also while a step prints there.

        Raises:
            OSError: it is gone.
        """
        raise NotImplementedError

    def entries(self, folder: str) -> list[Entry]:
        """Return what lies in a folder of the catalog, which may be one inside another; "" is the top.

        Raises:
            MissingError: there is no such folder.
        """
        raise NotImplementedError

    def remove_left_over(self, folder: str, name: str) -> None:
        """Remove, if it is there, what somebody has left who was stopped."""
        raise NotImplementedError

    def versions_in(self, folder: str) -> str:
        """Return where in the catalog the versions lie, by their hashes, of what is in a folder of it."""
        raise NotImplementedError

    def space_of(self, folder: str) -> int:
        """Return how many bytes of the disk a folder of the catalog takes."""
        raise NotImplementedError

    # --- what does not -----------------------------------------------------------------------------------------------

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
            digest = self.put_content(relative, name, content, permissions_of(content.fileno()))
        return self.entry(name, digest, relative, PUT)

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
            if (found := self.newest(relative)) is not None:
                with found.content:
                    destination = target_of(name, target)
                    digest = copy_out(found.content, found.mode, destination)
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
        found = self.version(entry.catalog_relative_path, entry.data_hash)
        return self._copy_recorded(found, entry, {entry.data_hash}, target)

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
        return self._copy_recorded(self.newest(entry.catalog_relative_path), entry, hashes, target)

    def _copy_recorded(
        self, found: Found | None, entry: DataCatalog, hashes: Collection[str], to: str | os.PathLike[str] | None
    ) -> tuple[Path, DataCatalog]:
        if found is None:
            raise self.not_found(entry.name, self.run_id)

        def check(digest: str) -> None:
            if digest not in hashes:
                raise DataNotFoundError(
                    f"Cannot get {entry.name!r}: its bytes in {self.location} are not those that run {self.run_id!r} "
                    "has recorded. Somebody has changed the file there; restore it from a backup.",
                    run_id=self.run_id,
                    name=entry.name,
                )

        with found.content:
            target = target_of(entry.name, to)
            digest = copy_out(found.content, found.mode, target, check)
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
                found = self.version(entry.catalog_relative_path, entry.data_hash)
                if found is None:
                    return False
                with found.content:
                    if (found.digest or hash_of(found.content)) != entry.data_hash:
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
        if not self.take(entry, own, inner, relative):
            raise self.not_found(entry.name, run_id)  # it was deleted just now, or is not what was recorded
        return msgspec.structs.replace(entry, catalog_relative_path=relative, catalog_handler_location=self.location)

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

    def not_found(self, name: str, run_id: str, step: str = "") -> DataNotFoundError:
        """Return the error that says that a run, or a step of it, has no data of a name."""
        who = f"step {step!r} of run {run_id!r}" if step else f"run {run_id!r}"
        return DataNotFoundError(
            f"Cannot get {name!r}: {who} has no such data in {self.location}. Put it first with "
            "put_data; names are compared whole, folders included.",
            run_id=run_id,
            name=name,
        )


def _check_new_name(name: str) -> None:
    check_data_name(name)
    if is_too_long(name):
        raise too_long(name)
