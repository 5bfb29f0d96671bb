"""The catalog in the store that has the runs, where that keeps data, too: in a bucket.

Whose data a folder holds its name says: `<run id>~<identity>`. So nobody has to be asked, and no two runs meet. In
there `<name>` is what was put last, as on the disk, and `.by-hash/<SHA-256>` all that was. The version is there first.
 What does not fit in memory is sent under a name that nobody looks for, as its hash is known at the end alone,
and copied from there by the server.
"""

from __future__ import annotations

import hashlib
from collections.abc import Iterable, Iterator
from typing import BinaryIO

from chunkstore.backends.data import PART, DataFiles, StoredData
from chunkstore.backends.disk.temporary_names import temporary_names
from chunkstore.backends.entries import Entry
from chunkstore.errors import ChunkstoreError, StoreIOError
from chunkstore.names import data_folders
from chunkstore.recording.catalog.catalog import Catalog, Found, Output, Version
from chunkstore.recording.catalog.data_names import BY_HASH, VERSIONS, refused, too_long
from chunkstore.recording.catalog.output_in_store import OutputInStore, printed_parts
from chunkstore.recording.catalog.retrieval import is_hash
from chunkstore.recording.catalog.versions import hash_of
from chunkstore.records.models import DataCatalog

#: In there, for each folder of another name than its run's, an object for each run that keeps it, and one that says
#: which of them has made it.
_KEEPERS, _MAKER = ".runs", "made-by"
_MODE, _DIGEST, _INCARNATION = "mode", "sha256", "incarnation"
_USUAL_MODE = 0o644
#: How often a large file is sent, if the connection breaks.
_ATTEMPTS = 3
_PERMISSIONS = 0o777


class CatalogInStore(Catalog, frozen=True, kw_only=True):
    """The catalog of one run in the store of the run.

    Attributes:
        files: where the bytes are.
    """

    files: DataFiles

    # --- whose is what -----------------------------------------------------------------------------------------------

    def folders(self) -> list[str]:
        """See `Catalog.folders`; whether anything is in there is not looked at."""
        distinct, *usual = data_folders(self.run_id, self.incarnation)
        return [distinct, *(usual if self.is_unclaimed else ())]

    def own_folders(self) -> list[str]:
        """See `Catalog.own_folders`."""
        return self.folders()

    def has_folder(self, folder: str) -> bool:
        """See `Catalog.has_folder`."""
        return next(self.files.below(folder), None) is not None

    def folder_to_put(self) -> str:
        """See `Catalog.folder_to_put`."""
        return data_folders(self.run_id, self.incarnation)[0]

    def keep(self, folder: str) -> None:
        """See `Catalog.keep`."""
        self.files.put(f"{_KEEPERS}/{folder}/{self.incarnation}", b"{}", {})

    def claim(self, folder: str) -> bool:
        """See `Catalog.claim`."""
        if folder in self.folders():
            return True
        if not (self._has_made(folder) or self._make(folder)):
            return False
        self.keep(folder)
        return True

    def _make(self, folder: str) -> bool:
        """Say that this run has made a folder that nobody has; tell whether it has."""
        if self.has_folder(folder):
            return False
        maker = f"{_KEEPERS}/{folder}/{_MAKER}"
        return self.files.put_if_new(maker, self.incarnation.encode(), {}) or self._has_made(folder)

    def _has_made(self, folder: str) -> bool:
        found = self.files.open(f"{_KEEPERS}/{folder}/{_MAKER}")
        return found is not None and found.read() == self.incarnation.encode()

    def remove(self) -> None:
        """See `Catalog.remove`."""
        kept = [entry.name.removeprefix(f"{_KEEPERS}/") for entry in self.files.below(_KEEPERS)]
        keepers: dict[str, set[str]] = {}
        for folder, _, who in (path.rpartition("/") for path in kept):
            keepers.setdefault(folder, set()).add(who)
        for folder, names in keepers.items():
            if {self.incarnation, _MAKER} <= names and self._has_made(folder):
                self._give_up(folder, sorted(names - {self.incarnation, _MAKER}))
        mine = [
            f"{_KEEPERS}/{folder}/{self.incarnation}" for folder, names in keepers.items() if self.incarnation in names
        ]
        self.files.delete(mine)
        for folder in self.folders():
            if not keepers.get(folder, set()) - {self.incarnation}:
                self.files.delete([entry.name for entry in self.files.below(folder)])

    def _give_up(self, folder: str, keepers: list[str]) -> None:
        """Leave a folder that this run has made to somebody who keeps it, or delete it."""
        maker = f"{_KEEPERS}/{folder}/{_MAKER}"
        if keepers:
            self.files.put(maker, keepers[0].encode(), {})
        else:
            self.files.delete([entry.name for entry in self.files.below(folder)])
            self.files.delete([maker])

    # --- data --------------------------------------------------------------------------------------------------------

    def put_content(self, relative: str, name: str, content: BinaryIO, mode: int) -> str:
        """See `Catalog.put_content`."""
        self._check_key(relative, name)
        return self._put(relative, content, mode)

    def _put(self, relative: str, content: BinaryIO, mode: int) -> str:
        first = _read_part(content)
        if len(first) < PART:
            digest = hashlib.sha256(first).hexdigest()
            attributes = self._attributes(mode, digest)
            self.files.put(_version_of(relative, digest), first, attributes)
            self.files.put(relative, first, attributes)
            return digest
        return self._put_large(relative, first, content, mode)

    def _put_large(self, relative: str, first: bytes, content: BinaryIO, mode: int) -> str:
        temporary = f"{relative.partition('/')[0]}/{temporary_names.next()}"
        place = content.tell()
        digest, size = hashlib.sha256(), 0

        def parts() -> Iterator[bytes]:
            nonlocal digest, size
            digest, size = hashlib.sha256(), 0
            content.seek(place)
            part = first
            while part:
                digest.update(part)
                size += len(part)
                yield part
                part = _read_part(content)

        try:
            for attempt in range(1, _ATTEMPTS + 1):
                try:
                    self.files.put_parts(temporary, parts(), _size_of(content), self._attributes(mode))
                    break
                except StoreIOError:
                    if attempt == _ATTEMPTS:
                        raise
            version = _version_of(relative, digest.hexdigest())
            if self.files.size_of(version) != size:
                self.files.copy(temporary, version)
            self.files.copy(temporary, relative)
        finally:
            self._discard(temporary)
        return digest.hexdigest()

    def _discard(self, key: str) -> None:
        try:
            self.files.delete([key])
        except ChunkstoreError:
            pass  # `gc --data` finds it

    def newest(self, relative: str) -> Found | None:
        """See `Catalog.newest`."""
        return _found(self.files.open(relative))

    def version(self, relative: str, digest: str) -> Found | None:
        """See `Catalog.version`."""
        if is_hash(digest):
            for folder in (BY_HASH, VERSIONS):  # the second if the folder was copied up from a disk
                if kept := self.files.open(f"{relative.partition('/')[0]}/{folder}/{digest}"):
                    return _found(kept)
        return self.newest(relative)

    def take(self, entry: DataCatalog, own: str, inner: str, relative: str) -> bool:
        """See `Catalog.take`; the server copies."""
        for source in (f"{own}/{BY_HASH}/{entry.data_hash}", f"{own}/{VERSIONS}/{entry.data_hash}", f"{own}/{inner}"):
            found = _found(self.files.open(source))
            if found is None:
                continue
            with found.content as content:
                if (found.digest or hash_of(content)) != entry.data_hash:
                    continue
            version = _version_of(relative, entry.data_hash)
            if self.files.copy(source, version) and self.files.copy(version, relative):
                return True
        return False

    def _check_key(self, relative: str, name: str) -> None:
        if len(relative.encode()) > self.files.longest_key:
            raise too_long(name)
        if any(part.endswith(VERSIONS) for part in relative.split("/")[:-1]):
            raise refused(name, f"some servers hide what lies in a folder whose name ends in {VERSIONS}")
        # To some servers, a backslash is a slash.
        if any(letter < " " or letter in "\x7f\\" for letter in name):
            raise refused(name, "an object in a bucket cannot be called so: backslashes and control characters are out")

    def _attributes(self, mode: int, digest: str = "") -> dict[str, str]:
        known = {_DIGEST: digest} if digest else {}
        return {_INCARNATION: self.incarnation, _MODE: f"{mode:o}", **known}

    def sync(self, synced: set[Version] | None = None) -> set[Version]:
        """See `Catalog.sync`: what was put survives."""
        return synced or set()

    def sync_entries(self, entries: Iterable[DataCatalog]) -> None:
        """See `Catalog.sync_entries`: what was put survives."""

    # --- what steps print --------------------------------------------------------------------------------------------

    def begin_output(self, relative: str) -> Output:
        """See `Catalog.begin_output`."""
        return OutputInStore(self, relative)

    def put_output(self, relative: str, content: BinaryIO) -> str:
        """Keep what a step has printed; that has one name alone, unless another attempt has printed before.

        Args:
            relative: where in the catalog.
            content: what was printed.

        Returns:
            The SHA-256.
        """
        content.seek(0)
        first = _read_part(content)
        if len(first) < PART:
            digest = hashlib.sha256(first).hexdigest()
            if self.files.put_if_new(relative, first, self._attributes(_USUAL_MODE, digest)):
                return digest
        before = self.newest(relative)
        if before is not None:
            with before.content:
                digest = before.digest or hash_of(before.content)
            self.files.copy(relative, _version_of(relative, digest))
        content.seek(0)
        return self._put(relative, content, _USUAL_MODE)

    def is_seen(self, relative: str) -> bool:
        """See `Catalog.is_seen`."""
        return self.files.size_of(relative) is not None or bool(printed_parts(self.files, relative))

    def read_on(self, relative: str, place: int) -> Iterator[bytes]:
        """See `Catalog.read_on`."""
        parts = printed_parts(self.files, relative)
        if not parts:
            size = self.files.size_of(relative)
            found = self.files.open(relative, place) if size is not None and size > place else None
            while found is not None and (block := found.read(PART)):
                yield block
            return
        for part in parts:
            if part.end > place and (found := self.files.open(part.key)) is not None:
                found.seek(max(place - part.start, 0))
                while block := found.read(PART):
                    place += len(block)
                    yield block

    # --- what lies there ---------------------------------------------------------------------------------------------

    def entries(self, folder: str) -> list[Entry]:
        """See `Catalog.entries`."""
        return self.files.entries(folder)

    def remove_left_over(self, folder: str, name: str) -> None:
        """See `Catalog.remove_left_over`."""
        self.files.delete([f"{folder}/{name}" if folder else name])

    def versions_in(self, folder: str) -> str:
        """See `Catalog.versions_in`."""
        return f"{folder}/{BY_HASH}"

    def space_of(self, folder: str) -> int:
        """See `Catalog.space_of`."""
        return sum(entry.space for entry in self.files.below(folder))


def _version_of(relative: str, digest: str) -> str:
    return f"{relative.partition('/')[0]}/{BY_HASH}/{digest}"


def _found(stored: StoredData | None) -> Found | None:
    if stored is None:
        return None
    told = stored.attributes.get(_MODE, "")
    mode = int(told, 8) if told.isdigit() and not set(told) & set("89") else _USUAL_MODE
    digest = stored.attributes.get(_DIGEST, "")
    return Found(stored, mode & _PERMISSIONS, stored.identity, digest if is_hash(digest) else "")  # type: ignore[arg-type]  # a raw file


def _read_part(content: BinaryIO) -> bytes:
    """Read a whole part, if there is so much: raw files give what they like."""
    pieces, missing = [], PART
    while missing and (piece := content.read(missing)):
        pieces.append(piece)
        missing -= len(piece)
    return b"".join(pieces)


def _size_of(content: BinaryIO) -> int:
    """Return how many bytes there are, as far as can be told before they are read."""
    place = content.tell()
    size = content.seek(0, 2)
    content.seek(place)
    return size
