"""Folders of files as objects whose keys begin with the folder's name, in a bucket of S3, GCS or Azure."""

from __future__ import annotations

import threading
import time
from collections.abc import Callable, Hashable, Iterable, Iterator, Mapping, Sequence
from concurrent.futures import Future, ThreadPoolExecutor
from contextlib import contextmanager
from typing import Any, NamedTuple

from chunkstore.backends.base import STEP, Data, Within
from chunkstore.backends.caching import Caching, Kept
from chunkstore.backends.data import DataFiles, KeepingData
from chunkstore.backends.entries import FILE, FOLDER, Entry
from chunkstore.backends.errors import MissingError
from chunkstore.backends.objects.client import (
    INCARNATION,
    OWN_FOLDER,
    ConflictingPutError,
    Found,
    ObjectClient,
    Version,
)
from chunkstore.backends.objects.conditions import CHECKED, mark_of, probe, try_with
from chunkstore.backends.objects.creation import check_folder, create
from chunkstore.backends.objects.data import ObjectData
from chunkstore.backends.objects.holding import HoldingInBucket
from chunkstore.backends.objects.left_overs import ClearingBucket
from chunkstore.backends.objects.place import Place
from chunkstore.backends.objects.reader import ObjectReader, Shared
from chunkstore.backends.objects.remembered import RememberedObjects
from chunkstore.backends.objects.tombstones import Deletion, delete_folder, is_tombstone
from chunkstore.backends.objects.which_runs import another_run_has, which_run_has
from chunkstore.backends.optimistic import ConflictError, Note, Optimistic, give_way
from chunkstore.backends.reader import FileVersion, FolderReader
from chunkstore.names import END_OF_TIME, RUN_FILE, is_incarnation

#: Which run has a name is looked at again after so many seconds; until then, what is written to one that somebody else
#: has deleted is left over.
LOOK_AGAIN = 30.0
#: Requests that are made at once.
AT_ONCE = 32
#: For so many seconds, what was in the way of a change is good enough to make the change anew.
_FRESH = 0.1
#: So many objects are known by the version in which they were put here last.
_MOST_PUT = 100_000
#: So many folders that were removed are asked for one by one, as long as they are listed.
_MOST_REMOVED = 32


class _Examined(NamedTuple):
    """What was found out about a folder.

    Attributes:
        answer: see `Backend.examined`.
        incarnation: what its objects say of it.
        until: when it is looked at again.
        which: which run had the name then, as far as this process has made and removed some.
    """

    answer: str
    incarnation: str
    until: float
    which: int


class ObjectBackend(Optimistic, Caching, KeepingData, HoldingInBucket, ClearingBucket):
    """A back end over an object store.

    Args:
        place: where the objects are.
        lock_timeout: for how many seconds a change that others overtake again and again is made anew.
    """

    shared_between_processes = True
    may_be_forked = False

    def __init__(self, place: Place, *, lock_timeout: float = 60.0) -> None:
        self.place = place
        self.location = str(place)
        self.durability = STEP
        self.lock_timeout = lock_timeout
        self.shared_between_processes = not place.is_in_memory
        self.client = ObjectClient(place)
        self._remembered = RememberedObjects()
        self._shared = Shared(self.client, self._remembered, self._start, self._incarnation_of, self._found_in_conflict)
        self._threads: ThreadPoolExecutor | None = None
        self._examined: dict[str, _Examined] = {}
        #: The deciding files of folders that were made here, and until when nobody need look at them.
        self._created: dict[str, tuple[Found, float]] = {}
        #: Folders that were removed here, and may be listed still.
        self._removed: set[str] = set()
        #: Until when folders need not be looked for that were there.
        self._present: dict[str, tuple[float, int]] = {}
        #: In which version objects were put that nobody else replaces.
        self._put: dict[str, Version] = {}
        #: What others change, too: what is known of it is likely to be old.
        self._contended: set[str] = set()
        self._conflicting: dict[tuple[str, int], tuple[float, Found]] = {}
        self._is_checked = place.is_in_memory
        self._mark = mark_of(place)

    def __reduce__(self) -> tuple[Any, ...]:
        return _made_again, (self.place, self.lock_timeout)

    def data(self) -> DataFiles:
        return ObjectData(self.place)

    # --- what is known -----------------------------------------------------------------------------------------------

    def _incarnation_of(self, folder: str) -> str | None:
        known = self._examined.get(folder)
        return None if known is None else known.incarnation

    def examined(self, folder: str, examine: Callable[[FolderReader], str]) -> str:
        known, which = self._examined.get(folder), which_run_has(self.location, folder)
        if known is None or time.monotonic() >= known.until or known.which != which:
            created, until = self._created.pop(folder, (None, 0.0))
            with self.reading(folder) as reader:
                if created is not None and time.monotonic() < until:
                    reader.take_for_granted(created)
                answer = examine(reader)
                found = reader.deciding()
            self._is_checked = self._is_checked or found.attributes.get(CHECKED) == self._mark
            known = _Examined(answer, found.incarnation, time.monotonic() + LOOK_AGAIN, which)
            self._examined[folder] = known
        return known.answer

    def _attributes(self, folder: str, within: Within, known: str = "") -> dict[str, str]:
        """Return what is kept with an object of a folder."""
        incarnation = within.incarnation if within is not None else known or self._incarnation_of(folder) or ""
        attributes = {INCARNATION: incarnation} if is_incarnation(incarnation) else {}
        if self._is_checked:
            attributes[CHECKED] = self._mark
        return attributes

    def _check_server(self) -> None:
        if not self._is_checked:
            probe(self.client)
            self._is_checked = True

    def _found_in_conflict(self, key: str) -> Found | None:
        """Return the object that was in the way just now of a change that this thread makes anew."""
        until, found = self._conflicting.pop((key, threading.get_ident()), (0.0, None))
        return found if time.monotonic() < until else None

    def _start(self, get: Callable[[], Found]) -> Future[Found] | None:
        if self._threads is None:
            self._threads = ThreadPoolExecutor(AT_ONCE, thread_name_prefix="chunkstore-objects")
        try:
            return self._threads.submit(get)
        except RuntimeError:
            return None  # the interpreter is ending

    # --- folders -----------------------------------------------------------------------------------------------------

    def folders(self) -> dict[str, int]:
        found = {folder: END_OF_TIME for folder in self.client.folders() if not folder.startswith(".")}
        # Some servers list a folder for a while after the last object in it is gone.
        self._removed &= found.keys()
        for folder in self._removed.copy():
            if not self.client.has(f"{folder}/{RUN_FILE}"):
                found.pop(folder, None)
        return found

    def create_folder(
        self, folder: str, files: Mapping[str, bytes], *, incarnation: str = "", durable: bool = False
    ) -> None:
        check_folder(folder)
        attributes = {INCARNATION: incarnation} if is_incarnation(incarnation) else {}
        attributes[CHECKED] = self._mark
        deciding, put = create(self.client, folder, files, attributes)
        if not self._is_checked:
            try_with(self.client, deciding, put, put.attributes)
            self._is_checked = True
        self._forget(folder)
        self._remembered.add(deciding, put)
        self._created[folder] = put, time.monotonic() + LOOK_AGAIN

    def remove_folder(self, folder: str) -> None:
        self._forget(folder)
        delete_folder(self.client, folder)
        self._note_removed(folder)

    def remove_folder_if_unchanged(self, folder: str, loaded: Iterable[tuple[str, FileVersion | None]]) -> None:
        self._forget(folder)
        version = dict(loaded).get(RUN_FILE)
        if version is None:
            self.remove_folder(folder)
            return
        e_tag, number, writers, incarnation = version
        deletion = Deletion(self.client, folder)
        try:
            deletion.mark(str(incarnation), Version(str(e_tag), _text(number)), str(writers))
        except ConflictingPutError as conflict:
            if conflict.found is None or is_tombstone(conflict.found):
                raise MissingError(folder) from None
            raise ConflictError(RUN_FILE) from None
        deletion.finish()
        self._note_removed(folder)

    def _note_removed(self, folder: str) -> None:
        if len(self._removed) < _MOST_REMOVED:
            self._removed.add(folder)

    def _forget(self, folder: str) -> None:
        another_run_has(self.location, folder)
        self._examined.pop(folder, None)
        self._created.pop(folder, None)

    @contextmanager
    def reading(self, folder: str, note: Callable[[str, Found | None], None] | None = None) -> Iterator[ObjectReader]:
        """Open a folder for one read, as `reader`."""
        reader = ObjectReader(self._shared, folder, note)
        try:
            yield reader
            reader.check()
            reader.check_at_the_end()
        finally:
            reader.close()

    @contextmanager
    def noting_reader(self, folder: str, note: Note) -> Iterator[FolderReader]:
        with self.reading(folder, lambda file, found: note(file, _noted(found))) as reader:
            yield reader

    @contextmanager
    def reader(self, folder: str) -> Iterator[FolderReader]:
        with self.reading(folder) as reader:
            yield reader

    def entries(self, folder: str) -> list[Entry]:
        found: dict[str, Entry] = {}
        for listed in self.client.listed(folder):
            name, slash, _ = listed.key[len(folder) + 1 if folder else 0 :].partition("/")
            found[name] = Entry(name, FOLDER) if slash else Entry(name, FILE, listed.size, listed.modified_at)
        if not found and folder:
            raise MissingError(folder)
        return list(found.values())

    # --- files -------------------------------------------------------------------------------------------------------

    def publish(self, folder: str, file: str, data: Data, *, durable: bool = False, within: Within = None) -> None:
        self._check_server()
        self._check_present(folder, within)
        key = _key(folder, file)
        content = data if isinstance(data, bytes) else b"".join(data)
        try:
            put = self.client.put_new(key, content, self._attributes(folder, within))
        except ConflictingPutError:
            raise FileExistsError(file) from None
        self._note_put(key, put)

    def replace(self, folder: str, file: str, data: bytes, *, durable: bool = False, within: Within = None) -> None:
        self._check_server()
        self._check_present(folder, within)
        key, attributes = _key(folder, file), self._attributes(folder, within)
        known = self._put.get(key)
        while True:
            try:
                if known is None:
                    version = self.client.put(key, data, attributes)
                    put = Found(data, version, attributes.get(INCARNATION, ""), "", 0, attributes)
                else:
                    # That a put which the server has delayed comes after a later one is kept out so.
                    put = self.client.put_over(key, data, attributes, known)
                break
            except ConflictingPutError as conflict:
                known = None if conflict.found is None else conflict.found.version
        self._note_put(key, put)

    def _check_present(self, folder: str, within: Within) -> None:
        """Check that there is a folder, and which, as far as that has not been looked at lately.

        Raises:
            MissingError: there is none, or another one than is meant.
        """
        if folder and within is not None:
            if self.examined(folder, within.examine) != within.incarnation:
                raise MissingError(folder)
        elif folder and not self._is_known(folder):
            which = which_run_has(self.location, folder)
            with self.reading(folder) as reader:
                reader.deciding()
            self._present[folder] = time.monotonic() + LOOK_AGAIN, which

    def _is_known(self, folder: str) -> bool:
        until, which = self._present.get(folder, (0.0, 0))
        return time.monotonic() < until and which == which_run_has(self.location, folder)

    def _note_put(self, key: str, put: Found) -> None:
        if len(self._put) >= _MOST_PUT:
            self._put.clear()
        self._put[key] = put.version
        self._remembered.add(key, put)

    def load_version(self, folder: str, file: str) -> tuple[bytes, FileVersion]:
        noted: list[Found | None] = []
        with self.reading(folder, lambda _file, found: noted.append(found)) as reader:
            data = reader.load(file)
        version = _noted(noted[-1])
        assert version is not None
        return data, version

    def known_version(self, folder: str, file: str) -> tuple[bytes, FileVersion] | None:
        key = _key(folder, file)
        found = None if key in self._contended else self._remembered.latest(key)
        version = None if found is None or is_tombstone(found) else _noted(found)
        return None if found is None or version is None else (found.data, version)

    def put_if_unchanged(
        self, folder: str, file: str, data: bytes, version: FileVersion | None, *, within: Within = None
    ) -> FileVersion:
        self._check_server()
        self._check_present(folder, within)
        key = _key(folder, file)
        try:
            if version is None:
                put = self._put_missing(folder, file, key, data, self._attributes(folder, within))
            else:
                e_tag, number, writers, incarnation = version
                attributes = self._attributes(folder, within, str(incarnation))
                if incarnation != attributes.get(INCARNATION, incarnation):
                    self._check_meant(folder, attributes[INCARNATION])
                known = Version(str(e_tag), _text(number))
                put = self.client.put_over(key, data, attributes, known, str(writers), give_way=give_way)
        except ConflictingPutError as conflict:
            self._remembered.forget(key)
            if len(self._contended) >= _MOST_PUT:
                self._contended.clear()
            self._contended.add(key)
            if conflict.found is not None:
                self._conflicting[key, threading.get_ident()] = time.monotonic() + _FRESH, conflict.found
            raise ConflictError(file) from None
        self._remembered.add(key, put)
        noted = _noted(put)
        assert noted is not None
        return noted

    def _check_meant(self, folder: str, incarnation: str) -> None:
        """Check which run has a name, where a file has been found that belongs to another one than is meant.

        Raises:
            MissingError: another one than is meant has it.
        """
        with self.reading(folder) as reader:
            found = reader.deciding().incarnation
        if found and found != incarnation:
            self._forget(folder)
            raise MissingError(folder)

    def _put_missing(self, folder: str, file: str, key: str, data: bytes, attributes: Mapping[str, str]) -> Found:
        try:
            return self.client.put_new(key, data, attributes, give_way=give_way)
        except ConflictingPutError as conflict:
            found, known = conflict.found, self._incarnation_of(folder)
            if file == RUN_FILE or found is None or not found.incarnation or not known or found.incarnation == known:
                raise
            # It is left over of another run that had this name.
            return self.client.put_over(key, data, attributes, found.version, found.writers)

    def remove(self, folder: str, file: str) -> None:
        key = _key(folder, file)
        self.client.head(key)
        self.client.delete([key])

    def remove_left_over(self, folder: str, name: str) -> None:
        keys = [listed.key for listed in self.client.listed(_key(folder, name))]
        self.client.delete(keys or [_key(folder, name)])

    def remove_all(self, folder: str, files: Iterable[str]) -> None:
        """Remove many files, those of them that are there."""
        self.client.delete([_key(folder, file) for file in files])

    def has(self, folder: str, file: str, *, within: Within = None) -> bool:
        with self.reading(folder) as reader:
            return reader.has(file)

    # --- what is kept beside the folders -----------------------------------------------------------------------------

    def kept(self) -> list[Kept]:
        start = len(OWN_FOLDER) + 1
        return [Kept(listed.key[start:], listed.modified_at) for listed in self.client.listed(OWN_FOLDER)]

    def load_kept(self, names: Sequence[str]) -> list[tuple[bytes, Hashable] | None]:
        with self.reading("") as reader:
            keys = [_key(OWN_FOLDER, name) for name in names]
            reader.expect(keys)
            found = [reader.found_or_none(key) for key in keys]
        return [None if each is None else (each.data, (each.version, each.writers)) for each in found]

    def keep(self, name: str, data: bytes, *, over: Hashable | None) -> bool:
        self._check_server()
        key = _key(OWN_FOLDER, name)
        try:
            if isinstance(over, tuple):
                self.client.put_over(key, data, {}, over[0], over[1])
            else:
                self.client.put_new(key, data, {})
        except ConflictingPutError:
            return False
        return True

    def drop(self, names: Iterable[str]) -> None:
        self.client.delete([_key(OWN_FOLDER, name) for name in names])

    # --- what is held open -------------------------------------------------------------------------------------------

    def close(self) -> None:
        threads, self._threads = self._threads, None
        if threads is not None:
            threads.shutdown(wait=False)
        self._examined.clear()
        self._present.clear()


def _key(folder: str, file: str) -> str:
    return f"{folder}/{file}" if folder else file


def _noted(found: Found | None) -> FileVersion | None:
    return None if found is None else (found.version.e_tag, found.version.number, found.writers, found.incarnation)


def _text(number: Hashable) -> str | None:
    return None if number is None else str(number)


def _made_again(place: Place, lock_timeout: float) -> ObjectBackend:
    return ObjectBackend(place, lock_timeout=lock_timeout)
