"""The catalog in a folder: every verb of `Catalog` on the disk."""

from __future__ import annotations

import errno
import os
from collections import Counter
from collections.abc import Iterable, Iterator
from typing import BinaryIO, NamedTuple, NoReturn

from chunkstore.backends.disk.directory import DirectoryBackend
from chunkstore.backends.disk.folder import Folder
from chunkstore.backends.disk.freshness import looked_at_afresh
from chunkstore.backends.disk.listing import BLOCK
from chunkstore.backends.disk.os_errors import os_error
from chunkstore.backends.disk.syncing import sync_way_to
from chunkstore.backends.disk.syscalls import SYSTEM
from chunkstore.backends.disk.temporary_names import temporary_names
from chunkstore.backends.disk.writing import discard
from chunkstore.backends.entries import Entry
from chunkstore.errors import DataNotFoundError
from chunkstore.recording.catalog.catalog import Found, Output, Version
from chunkstore.recording.catalog.claims import ClaimsOnDisk
from chunkstore.recording.catalog.data_names import VERSIONS
from chunkstore.recording.catalog.files import sync_folder, sync_path
from chunkstore.recording.catalog.places import NOT_THERE, SETTING, catalog_error, inner_folder, open_folder
from chunkstore.recording.catalog.retrieval import newest, version
from chunkstore.recording.catalog.versions import (
    add_copy,
    hash_of,
    kept_current,
    make_newest,
    permissions_of,
    put_version,
    take,
)
from chunkstore.records.models import DataCatalog

_BLOCK = 1 << 20
#: What is printed goes to a new file, which is read again at the end.
_NEW = os.O_CREAT | os.O_EXCL | os.O_RDWR | os.O_APPEND | os.O_NOFOLLOW


class CatalogOnDisk(ClaimsOnDisk, frozen=True):
    """The catalog of one run in a folder; for its attributes see `Catalog`."""

    def put_content(self, relative: str, name: str, content: BinaryIO, mode: int) -> str:
        """See `Catalog.put_content`."""
        try:
            top, folder, file = self.open_folder_of(relative)
            digest = put_version(top, folder, file, content, mode=mode, sync=self.sync_writes)
            if self.sync_writes:
                self._sync_names(relative, digest)
        except OSError as error:
            raise catalog_error(error, self.path, relative, name) from error
        return digest

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

    def newest(self, relative: str) -> Found | None:
        """See `Catalog.newest`."""
        return _found(newest(self.path, relative))

    def version(self, relative: str, digest: str) -> Found | None:
        """See `Catalog.version`."""
        return _found(version(self.path, relative, digest))

    def take(self, entry: DataCatalog, own: str, inner: str, relative: str) -> bool:
        """Make data of another run this run's, by another name where that goes; see `Catalog.take`."""
        try:
            if not self._take(entry, own, inner, relative):
                return False
            if self.sync_writes:
                self._sync_names(relative, entry.data_hash, with_bytes=True)
        except OSError as error:
            if error.errno == errno.ENOENT or isinstance(error, DataNotFoundError):
                return False  # it was deleted just now
            raise catalog_error(error, self.path, relative, entry.name) from error
        return True

    def _take(self, entry: DataCatalog, own: str, inner: str, relative: str) -> bool:
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

    def has_folder(self, folder: str) -> bool:
        """See `Catalog.has_folder`."""
        return os.path.isdir(os.path.join(looked_at_afresh(self.path), folder))

    def is_seen(self, relative: str) -> bool:
        """See `Catalog.is_seen`."""
        folder, name = os.path.split(os.path.join(self.path, relative))
        return os.path.lexists(os.path.join(looked_at_afresh(folder), name))

    def begin_output(self, relative: str) -> Output:
        """See `Catalog.begin_output`."""
        top, folder, name = self.open_folder_of(relative)
        try:
            fd = SYSTEM.open(name, _NEW, folder.fd)
        except FileExistsError:
            with kept_current(top, folder, name, sync=self.sync_writes):
                fd = _open_anew(folder, name)
        return OutputOnDisk(self, relative, fd)

    def read_on(self, relative: str, place: int) -> Iterator[bytes]:
        """See `Catalog.read_on`."""
        *folders, name = relative.split("/")
        folder = open_folder(self.path, folders)
        while block := folder.load_part(name, place, _BLOCK):
            place += len(block)
            yield block

    def entries(self, folder: str) -> list[Entry]:
        """See `Catalog.entries`."""
        return DirectoryBackend(self.path).entries(folder)

    def remove_left_over(self, folder: str, name: str) -> None:
        """See `Catalog.remove_left_over`."""
        DirectoryBackend(self.path).remove_left_over(folder, name)

    def versions_in(self, folder: str) -> str:
        """See `Catalog.versions_in`."""
        return f"{folder}/{VERSIONS}"

    def space_of(self, folder: str) -> int:
        """See `Catalog.space_of`; a file with several names takes room if all of them are in there."""
        names: Counter[tuple[int, int]] = Counter()
        space = 0
        top = os.path.join(self.path, folder)
        for inner, _, files in os.walk(top):
            for path in (inner, *(os.path.join(inner, file) for file in files)):
                try:
                    status = os.lstat(path)
                except OSError:
                    continue  # removed since it was listed
                names[status.st_dev, status.st_ino] += 1
                if path == inner or names[status.st_dev, status.st_ino] == status.st_nlink:
                    space += status.st_blocks * BLOCK
        return space


def _open_anew(folder: Folder, name: str) -> int:
    temporary = temporary_names.next()
    try:
        fd = SYSTEM.open(temporary, _NEW, folder.fd)
        SYSTEM.rename(temporary, name, folder.fd)  # before anything is written
    except BaseException:
        discard(folder, temporary)
        raise
    return fd


class OutputOnDisk(NamedTuple):
    """What a step prints, in a file of the catalog; see `Output`."""

    catalog: CatalogOnDisk
    relative: str
    fd: int

    def discard(self) -> None:
        """See `Output.discard`."""
        _, folder, name = self.catalog.open_folder_of(self.relative)
        discard(folder, name)

    def end(self, *, is_still: bool, is_whole: bool) -> str:
        """See `Output.end`."""
        sync = self.catalog.sync_writes
        with os.fdopen(self.fd, "rb", buffering=0, closefd=False) as content:
            if sync and is_whole:
                SYSTEM.fsync(self.fd)
                sync_way_to(SYSTEM, os.path.join(self.catalog.path, self.relative))
            if is_still and SYSTEM.fstat(self.fd).st_nlink:
                return hash_of(content)
            # Somebody goes on writing, or another process has taken its place.
            top, _, _ = self.catalog.open_folder_of(self.relative)
            return add_copy(top, content, sync=sync)


def _found(content: BinaryIO | None) -> Found | None:
    if content is None:
        return None
    status = os.fstat(content.fileno())
    return Found(content, permissions_of(content.fileno()), (status.st_dev, status.st_ino))


def _refuse(error: OSError) -> NoReturn:
    raise error
