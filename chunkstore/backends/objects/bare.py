"""Requests one by one, without a second try or anything else that would hide what a server does: for trying it."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from concurrent.futures import ThreadPoolExecutor
from contextlib import contextmanager
from datetime import datetime
from typing import TYPE_CHECKING, Any, NamedTuple, TypeVar

from chunkstore.backends.errors import MissingError
from chunkstore.backends.objects.failures import CHANGED, EXISTS, MISSING, failure_of

if TYPE_CHECKING:
    from obstore.store import ObjectStore

    from chunkstore.backends.objects.place import Place

_T = TypeVar("_T")

#: Requests that are made at once where there are many.
AT_ONCE = 32


class RefusedError(Exception):
    """The server says that the condition of a put is not met."""


class Version(NamedTuple):
    """What tells one state of an object from the next: both are passed back, as servers differ in which they want."""

    e_tag: str | None
    version: str | None


class Found(NamedTuple):
    """An object as it was got.

    Attributes:
        data: its bytes.
        version: which state that is.
        attributes: what else was kept with it.
        modified: when it was put, by the server's clock.
    """

    data: bytes
    version: Version
    attributes: Mapping[str, str]
    modified: datetime


class Listed(NamedTuple):
    """An object as it is listed.

    Attributes:
        version: which state is listed.
        modified: when it was put, by the server's clock.
    """

    version: Version
    modified: datetime


class BareBucket:
    """A client, with connections of its own, of some folder of its own in a bucket.

    All methods raise a `ChunkstoreError` where the server denies something, fails, or cannot be reached.

    Args:
        client: obstore's.
        folder: what all keys begin with; no slash at the end.
        location: what the bucket is called in errors.

    Attributes:
        names: of all objects that it has put, whatever came of it.
    """

    def __init__(self, client: ObjectStore, folder: str, location: str) -> None:
        self._client = client
        self._location = location
        self._folder = folder
        self.names: set[str] = set()

    @classmethod
    def at(cls, place: Place, folder: str) -> BareBucket:
        """Return a new client; nothing is tried a second time.

        Args:
            place: where.
            folder: see above.

        Raises:
            ConfigurationError: obstore is not installed, or does not take the options.
        """
        return cls(place.connect(retries=False), folder, str(place))

    def put(self, name: str, data: bytes, attributes: Mapping[str, str] | None = None) -> Version:
        """Put an object, whatever is there; return its version."""
        return self._put(name, data, "overwrite", attributes)

    def create(self, name: str, data: bytes, attributes: Mapping[str, str] | None = None) -> Version:
        """Put an object if there is none; return its version.

        Raises:
            RefusedError: there is one.
        """
        return self._put(name, data, "create", attributes)

    def change(self, name: str, data: bytes, seen: Version, attributes: Mapping[str, str] | None = None) -> Version:
        """Put an object if the one there is still the one that was seen; return its version.

        Raises:
            RefusedError: it is another one, or none.
        """
        condition = {key: value for key, value in seen._asdict().items() if value is not None}
        return self._put(name, data, condition, attributes)

    def _put(self, name: str, data: bytes, mode: Any, attributes: Mapping[str, str] | None) -> Version:
        import obstore  # noqa: PLC0415 - an extra

        self.names.add(name)
        with self._trying("put"):
            result = obstore.put(
                self._client,
                self._key(name),
                data,
                mode=mode,
                attributes=dict(attributes) if attributes else None,
                use_multipart=False,
            )
        return Version(result["e_tag"], result["version"])

    def get(self, name: str) -> Found | None:
        """Get an object; None if there is none."""
        import obstore  # noqa: PLC0415 - an extra

        try:
            with self._trying("get"):
                result = obstore.get(self._client, self._key(name))
                data = bytes(result.bytes())
        except MissingError:
            return None
        meta = result.meta
        attributes = {str(key): str(value) for key, value in result.attributes.items()}
        return Found(data, Version(meta["e_tag"], meta["version"]), attributes, meta["last_modified"])

    def get_all(self, names: Sequence[str]) -> list[Found | None]:
        """Get many objects, some at once."""
        return _at_once(self.get, names)

    def put_all(self, names: Sequence[str], data: bytes) -> None:
        """Put many objects, some at once."""
        _at_once(lambda name: self.put(name, data), names)

    def put_in_parts(self, name: str, parts: Iterable[bytes]) -> None:
        """Put a large object in parts, as data goes up."""
        import obstore  # noqa: PLC0415 - an extra

        self.names.add(name)
        with self._trying("put the parts of"):
            obstore.put(self._client, self._key(name), iter(parts), use_multipart=True)

    def listed(self, after: str = "") -> dict[str, Listed]:
        """List all objects.

        Args:
            after: only those whose names come after this.
        """
        import obstore  # noqa: PLC0415 - an extra

        offset = self._key(after) if after else None
        with self._trying("list"):
            pages = obstore.list(self._client, prefix=self._folder, offset=offset).collect()
        return {
            meta["path"].removeprefix(f"{self._folder}/"): Listed(
                Version(meta["e_tag"], meta["version"]), meta["last_modified"]
            )
            for meta in pages
        }

    def delete(self, names: Sequence[str]) -> None:
        """Delete objects, as many with one request as the server takes."""
        import obstore  # noqa: PLC0415 - an extra

        with self._trying("delete"):
            obstore.delete(self._client, [self._key(name) for name in names])

    @contextmanager
    def _trying(self, verb: str) -> Iterator[None]:
        """Raise what an error of obstore means."""
        try:
            yield
        except Exception as error:
            failure = failure_of(error)
            if failure.outcome == MISSING:
                raise MissingError(f"an object of the doctor in {self._location}") from error
            if failure.outcome in (EXISTS, CHANGED) and not failure.is_in_doubt:
                raise RefusedError(failure.reason) from error
            raise failure.as_error(f"{verb} an object", self._location) from None

    def _key(self, name: str) -> str:
        return f"{self._folder}/{name}"


def _at_once(action: Callable[[str], _T], names: Sequence[str]) -> list[_T]:
    with ThreadPoolExecutor(AT_ONCE, thread_name_prefix="chunkstore-doctor") as pool:
        return list(pool.map(action, names))
