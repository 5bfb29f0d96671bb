"""The data of runs in an object store: sent and got in parts, so that no file has to fit in memory."""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Mapping
from typing import Any

from chunkstore.backends.data import PART, DataFiles, Part, StoredData
from chunkstore.backends.entries import FILE, FOLDER, Entry
from chunkstore.backends.errors import MissingError
from chunkstore.backends.objects.client import ConflictingPutError, Listed, ObjectClient, Version, _listed
from chunkstore.backends.objects.failures import failure_of
from chunkstore.backends.objects.place import Place
from chunkstore.backends.objects.processes import check_process
from chunkstore.errors import ChunkstoreError

#: Where the data is, below the prefix; no run can be called so.
FOLDER_OF_DATA = ".catalog"
#: Parts that are sent at once, which bounds the memory that takes.
_AT_ONCE = 4
#: Servers take no more parts of one object; with a margin, as a file may grow.
_MOST_PARTS = 9_000
#: S3 copies no larger object with one request.
_LARGEST_COPY = 5 << 30
#: What all servers allow.
_LONGEST_KEY = 1_024


class ObjectData(DataFiles):
    """The data of runs below a prefix of a bucket.

    Args:
        place: the prefix.
    """

    def __init__(self, place: Place) -> None:
        self._place = place
        self._client = _DataClient(place)
        self.location = f"{place}/{FOLDER_OF_DATA}"
        self.longest_key = _LONGEST_KEY - len(f"{place.url.prefix}/{FOLDER_OF_DATA}/".encode())

    def __repr__(self) -> str:
        return f"<data in {self.location}>"

    def __reduce__(self) -> tuple[Any, ...]:
        return ObjectData, (self._place,)

    def put(self, key: str, data: bytes, attributes: Mapping[str, str]) -> None:
        """See `DataFiles.put`."""
        self._client.put(_key(key), data, attributes)

    def put_if_new(self, key: str, data: bytes, attributes: Mapping[str, str]) -> bool:
        """See `DataFiles.put_if_new`."""
        try:
            self._client.put_new(_key(key), data, attributes)
        except ConflictingPutError:
            return False
        return True

    def put_parts(self, key: str, parts: Iterable[bytes], size: int, attributes: Mapping[str, str]) -> None:
        """See `DataFiles.put_parts`."""
        self._client.put_parts(_key(key), parts, size, attributes)

    def open(self, key: str, place: int = 0) -> StoredData | None:
        """See `DataFiles.open`."""
        return self._client.open(_key(key), place)

    def size_of(self, key: str) -> int | None:
        """See `DataFiles.size_of`."""
        try:
            return self._client.head(_key(key)).size
        except MissingError:
            return None

    def copy(self, source: str, target: str) -> bool:
        """See `DataFiles.copy`."""
        size = self.size_of(source)
        if size is None:
            return False
        if size <= _LARGEST_COPY:
            return self._client.copy(_key(source), _key(target))
        found = self.open(source)
        if found is None:
            return False
        self.put_parts(target, iter(lambda: found.read(PART) or b"", b""), size, found.attributes)
        return True

    def entries(self, folder: str) -> list[Entry]:
        """See `DataFiles.entries`."""
        objects, folders = self._client.one_level(_key(folder))
        found = [Entry(each.key.rpartition("/")[2], FILE, each.size, each.modified_at) for each in objects]
        return found + [Entry(name, FOLDER) for name in folders]

    def below(self, folder: str) -> Iterator[Entry]:
        """See `DataFiles.below`."""
        for each in self._client.listed(_key(folder)):
            yield Entry(each.key.removeprefix(f"{FOLDER_OF_DATA}/"), FILE, each.size, each.modified_at)

    def delete(self, keys: Iterable[str]) -> None:
        """See `DataFiles.delete`."""
        self._client.delete([_key(key) for key in keys])


def _key(key: str) -> str:
    return f"{FOLDER_OF_DATA}/{key}" if key else FOLDER_OF_DATA


class _DataClient(ObjectClient):
    """Makes the requests that only data needs."""

    def put_parts(self, key: str, parts: Iterable[bytes], size: int, attributes: Mapping[str, str]) -> None:
        """Put an object in parts; one that was put by half does not exist."""
        import obstore  # noqa: PLC0415 - an extra

        check_process(self.location)
        failures: list[BaseException] = []

        def given() -> Iterator[bytes]:
            try:
                yield from parts
            except BaseException as error:
                failures.append(error)
                raise

        try:
            # They cannot be had twice: what fails is tried again part by part, by the client.
            client = self.place.connect(retries=True)
            with self.place.turn():
                obstore.put(
                    client,
                    key,
                    given(),
                    attributes=dict(attributes),
                    use_multipart=True,
                    chunk_size=max(PART, -(-size // _MOST_PARTS)),
                    max_concurrency=_AT_ONCE,
                )
        except BaseException as error:
            if failures:
                raise failures[0] from None
            if isinstance(error, Exception) and not self._is_there(key):
                raise failure_of(error).as_error(f"write {key}", self.location) from None
            if not isinstance(error, Exception):
                raise

    def _is_there(self, key: str) -> bool:
        """Tell whether an object is there after all, of which the last answer was lost: then all of it is."""
        try:
            self.head(key)
        except (MissingError, ChunkstoreError):
            return False
        return True

    def open(self, key: str, place: int) -> StoredData | None:
        """Open an object: its first part is got, the others when they are read, all of the same state of it."""
        import obstore  # noqa: PLC0415 - an extra

        def get(client: Any) -> tuple[bytes, Any, Mapping[str, str]]:
            try:
                found = obstore.get(client, key, options={"range": (place, place + PART)})
            except Exception:
                meta = obstore.head(client, key)  # it may have nothing from there on
                if meta["size"] > place:
                    raise
                return b"", meta, {}
            return found.bytes().to_bytes(), found.meta, found.attributes

        try:
            first, meta, attributes = self._again_and_again(get, f"read {key}")
        except MissingError:
            return None
        e_tag = Version.of(meta).as_condition()["e_tag"]

        def load(start: int, size: int) -> bytes:
            def get_part(client: Any) -> bytes:
                options: Any = {"range": (start, start + size), "if_match": e_tag}
                return obstore.get(client, key, options=options).bytes().to_bytes()

            return self._again_and_again(get_part, f"read {key}")

        told = {str(name).lower(): str(value) for name, value in attributes.items()}
        return StoredData(load, Part(place, first), meta["size"], told, e_tag)

    def copy(self, source: str, target: str) -> bool:
        """Copy an object; tell whether it is there."""
        import obstore  # noqa: PLC0415 - an extra

        try:
            self._again_and_again(lambda client: obstore.copy(client, source, target), f"copy {source}")
        except MissingError:
            return False
        return True

    def one_level(self, folder: str) -> tuple[list[Listed], list[str]]:
        """Return the objects in a folder, and the names of the folders in it."""
        import obstore  # noqa: PLC0415 - an extra

        found = self._again_and_again(
            lambda client: obstore.list_with_delimiter(client, folder or None), f"list {folder or 'the top'}"
        )
        names = [path.rstrip("/").rpartition("/")[2] for path in found["common_prefixes"]]
        return [_listed(meta) for meta in found["objects"]], names
