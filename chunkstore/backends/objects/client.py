"""Requests to an object store, each done for sure or not at all, as far as that can be found out."""

from __future__ import annotations

import secrets
from collections.abc import Callable, Iterator, Mapping, Sequence
from typing import TYPE_CHECKING, Any, NamedTuple, TypeVar

from chunkstore.backends.errors import MissingError
from chunkstore.backends.objects.failures import CHANGED, EXISTS, MISSING, NO_CREDENTIALS, Failure, failure_of
from chunkstore.backends.objects.listing import Listing
from chunkstore.backends.objects.processes import check_process
from chunkstore.backends.objects.waits import Waits
from chunkstore.errors import ChunkstoreError

if TYPE_CHECKING:
    from datetime import datetime

    from chunkstore.backends.objects.place import Client, Place

_T = TypeVar("_T")

#: What is kept with an object: which incarnation of its run it belongs to; and who has put it, and those before it.
INCARNATION, WRITERS = "incarnation", "writers"
#: Where lies what belongs to no run; no run can have this name.
OWN_FOLDER = ".chunkstore"
#: Letters of one writer, and how many of them are kept: servers take 2,000 bytes of such things.
_WRITER = 8
_MOST_WRITERS = 120
#: Seconds for which requests that fail are made anew.
_PATIENCE = 20.0
#: How many objects are deleted with one request.
_DELETED_AT_ONCE = 250


class Version(NamedTuple):
    """What tells one state of an object from all others: servers differ in which of the two they go by.

    Attributes:
        e_tag: without quotes, which some have in their listings, and others have not.
        number: of the version; None where there is none.
    """

    e_tag: str
    number: str | None = None

    @classmethod
    def of(cls, meta: Any) -> Version:
        """Return what an answer says."""
        return cls((meta["e_tag"] or "").strip('"'), meta["version"])

    def is_as(self, other: Version) -> bool:
        """Tell whether another version is the same, as far as both say: some listings say less."""
        return self.e_tag == other.e_tag and (None in {self.number, other.number} or self.number == other.number)

    def as_condition(self) -> dict[str, str]:
        """Return the same as the condition of a put; None means something else there than that it is left out."""
        return {"e_tag": f'"{self.e_tag}"', **({} if self.number is None else {"version": self.number})}


class Found(NamedTuple):
    """An object as it was got.

    Attributes:
        data: its bytes.
        version: see there.
        incarnation: of the run that it belongs to; empty if nobody has said.
        writers: who has put it, and those before, the latest first.
        modified_at: when it was put, in nanoseconds, by the server's clock.
        attributes: what else is kept with it.
    """

    data: bytes
    version: Version
    incarnation: str
    writers: str
    modified_at: int
    attributes: Mapping[str, str]

    def has_been_put_by(self, writer: str) -> bool:
        """Tell whether somebody has put this object, or one in whose place it is."""
        return any(self.writers[at : at + _WRITER] == writer for at in range(0, len(self.writers), _WRITER))


class Listed(NamedTuple):
    """An object as it is listed.

    Attributes:
        key: its key.
        size: in bytes.
        version: see there.
        modified_at: when it was put, in nanoseconds, by the server's clock.
    """

    key: str
    size: int
    version: Version
    modified_at: int


#: Stands for a version of which nothing is known but that there is a later one.
_OVERWRITTEN = Version("overwritten")


class ConflictingPutError(Exception):
    """An object is not as the condition of a put says; what it is instead, if that is known.

    Args:
        found: it; None if it is gone.
    """

    def __init__(self, found: Found | None) -> None:
        super().__init__("another one has been put")
        self.found = found


class ObjectClient:
    """Makes requests.

    Args:
        place: where the objects are; keys are below that.
        patience: for how many seconds requests that fail are made anew.
    """

    def __init__(self, place: Place, *, patience: float = _PATIENCE) -> None:
        self.place = place
        self.location = str(place)
        self._patience = patience
        self._connected: Client | None = None
        self._has_worked = False

    @property
    def _client(self) -> Client:
        check_process(self.location)
        # Once looked at: other threads may find that the credentials have expired.
        self._connected = connected = self._connected or self.place.connect()
        return connected

    # --- looking -----------------------------------------------------------------------------------------------------

    def get(self, key: str) -> Found:
        """Get an object.

        Raises:
            MissingError: there is none.
        """
        return self._again_and_again(lambda client: _got(client, key), f"read {key}")

    def get_or_none(self, key: str) -> Found | None:
        """Get an object, or nothing if there is none."""
        try:
            return self.get(key)
        except MissingError:
            return None

    def look(self, key: str) -> Found | None:
        """Get what is known of an object, but not its bytes; nothing if there is none."""
        try:
            return self._again_and_again(lambda client: _got(client, key, whole=False), f"look at {key}")
        except MissingError:
            return None

    def get_part(self, key: str, start: int, size: int) -> bytes:
        """Get up to `size` bytes of an object, from the byte `start` on.

        Raises:
            MissingError: there is none.
        """
        if size <= 0:
            return b""

        def get(client: Client) -> bytes:
            import obstore  # noqa: PLC0415 - an extra

            return bytes(obstore.get_range(client, key, start=start, length=size))

        return self._again_and_again(get, f"read {key}")

    def head(self, key: str) -> Listed:
        """Look at an object without getting it.

        Raises:
            MissingError: there is none.
        """

        def head(client: Client) -> Listed:
            import obstore  # noqa: PLC0415 - an extra

            return _listed(obstore.head(client, key))

        return self._again_and_again(head, f"look at {key}")

    def has(self, key: str) -> bool:
        """Tell whether there is an object."""
        try:
            self.head(key)
        except MissingError:
            return False
        return True

    def listed(self, folder: str, *, after: str = "") -> Iterator[Listed]:
        """List the objects below a folder, also in further folders in that; those of one folder come together.

        Args:
            folder: the folder, without a slash at its end.
            after: a key; only those come that are sorted behind it.
        """
        listing = Listing(folder, after)
        while (page := self._again_and_again(listing.next_page, f"list {folder or 'the top'}")) is not None:
            yield from map(_listed, page)

    def folders(self, folder: str = "") -> list[str]:
        """Return the names of the folders in a folder; a thousand with one request."""

        def list_them(client: Client) -> list[str]:
            import obstore  # noqa: PLC0415 - an extra

            found = obstore.list_with_delimiter(client, folder or None)
            return [path.rpartition("/")[2] for path in found["common_prefixes"]]

        return self._again_and_again(list_them, f"list {folder or 'the top'}")

    # --- changing ----------------------------------------------------------------------------------------------------

    def put(self, key: str, data: bytes, attributes: Mapping[str, str]) -> Version:
        """Put an object, whatever is there."""
        return self._again_and_again(lambda client: _put(client, key, data, "overwrite", attributes), f"write {key}")

    def try_put(self, key: str, data: bytes, attributes: Mapping[str, str], version: Version | None) -> bool:
        """Put an object once on a condition, as `put_new` or `put_over`, and tell whether the server has let that pass.

        This is for finding out what the server does, with a condition that is known not to be met.
        """

        def put(client: Client) -> bool:
            try:
                _put(client, key, data, "create" if version is None else version.as_condition(), attributes)
            except Exception as error:
                if _failure(error).outcome in (EXISTS, CHANGED, MISSING):
                    return False
                raise
            return True

        return self._again_and_again(put, f"write {key}")

    def put_new(
        self, key: str, data: bytes, attributes: Mapping[str, str], *, give_way: Callable[[], None] | None = None
    ) -> Found:
        """Put an object that is not there yet.

        Args:
            key: its key.
            data: its bytes.
            attributes: what is kept with it.
            give_way: see `put_over`.

        Raises:
            ConflictingPutError: there is one.
        """
        return self._put_on_condition(key, data, attributes, None, "", give_way)

    def put_over(
        self,
        key: str,
        data: bytes,
        attributes: Mapping[str, str],
        version: Version,
        writers: str = "",
        *,
        give_way: Callable[[], None] | None = None,
    ) -> Found:
        """Put an object in the place of one that is still as it was.

        Args:
            key: its key.
            data: its bytes.
            attributes: what is kept with it.
            version: what it was.
            writers: who had put that, and those before.
            give_way: is called when somebody else has been faster, before it is looked what is there instead.

        Raises:
            ConflictingPutError: it is another one by now, or gone.
        """
        return self._put_on_condition(key, data, attributes, version, writers, give_way)

    def _put_on_condition(  # noqa: PLR0917 - see `put_over`
        self,
        key: str,
        data: bytes,
        attributes: Mapping[str, str],
        version: Version | None,
        before: str,
        give_way: Callable[[], None] | None,
    ) -> Found:
        writer = secrets.token_urlsafe(_WRITER * 3 // 4)
        told = {**attributes, WRITERS: (writer + before)[: _WRITER * _MOST_WRITERS]}
        mode: Any = "create" if version is None else version.as_condition()
        waits, may_be_there = Waits(self._patience), False
        while True:
            try:
                client = self._client
                with self.place.turn():
                    put = _put(client, key, data, mode, told)
                self._has_worked = True
                return Found(data, put, told.get(INCARNATION, ""), told[WRITERS], 0, told)
            except Exception as error:  # noqa: BLE001 - of many types, without a base of their own
                failure = self._failure(error)
            may_be_there = may_be_there or failure.is_in_doubt
            # Who is told to come more slowly does not look: should it have arrived all the same, the next put meets it.
            if failure.outcome in (EXISTS, CHANGED, MISSING) or (may_be_there and not failure.is_too_fast):
                if give_way is not None and not may_be_there:
                    give_way()
                found = self._found_after(key, failure)
                if found is not None and found.writers.startswith(writer):
                    if found.data == data:
                        return found
                    version = found.version  # a server has taken half of it for the whole
                    mode = version.as_condition()
                elif found is not None and found.has_been_put_by(writer):
                    return found._replace(version=_OVERWRITTEN)
                elif (None if found is None else found.version) != version:
                    if may_be_there and not _tells_of_all(found, before):
                        raise failure.as_error(f"write {key}", self.location, may_be_there=True)
                    raise ConflictingPutError(found)
            elif not failure.may_pass:
                raise failure.as_error(f"write {key}", self.location)
            if not waits.is_worth_it():
                raise failure.as_error(f"write {key}", self.location, may_be_there=may_be_there)

    def _found_after(self, key: str, failure: Failure) -> Found | None:
        """Return what is there after a put of which nobody knows what came of it."""
        try:
            return self.get_or_none(key)
        except ChunkstoreError:
            raise failure.as_error(f"write {key}", self.location, may_be_there=True) from None

    def delete(self, keys: Sequence[str]) -> None:
        """Delete objects, those of them that are there, many with one request."""
        for start in range(0, len(keys), _DELETED_AT_ONCE):
            self._delete(list(keys[start : start + _DELETED_AT_ONCE]))

    def _delete(self, keys: list[str]) -> None:
        def delete(client: Client) -> None:
            import obstore  # noqa: PLC0415 - an extra

            obstore.delete(client, keys)

        try:
            self._again_and_again(delete, f"delete {keys[0]}{' and others' if len(keys) > 1 else ''}")
        except MissingError:
            # Of several, others may be there still.
            for key in keys if len(keys) > 1 else ():
                self._delete([key])

    def server_time(self) -> int:
        """Return what time it is by the server's clock, in nanoseconds, as it notes when objects are put."""
        key = f"{OWN_FOLDER}/clock/{secrets.token_hex(8)}"
        self.put(key, b"", {})
        try:
            return self.get(key).modified_at
        finally:
            self.delete([key])

    def _failure(self, error: Exception) -> Failure:
        """Return what an exception of a request says."""
        failure = _failure(error)
        if failure.is_about_access:
            self._connected = None  # the next request finds credentials that were renewed meanwhile
        if failure.code == NO_CREDENTIALS and not self._has_worked:
            raise failure.as_error("use what is", self.location)
        return failure

    # --- again -------------------------------------------------------------------------------------------------------

    def _again_and_again(self, request: Callable[[Client], _T], tried: str) -> _T:
        """Return what a request returns that may be made any number of times."""
        waits = Waits(self._patience)
        while True:
            client = self._client  # also where a handler of a signal has forked meanwhile
            try:
                with self.place.turn():
                    result = request(client)
            except Exception as error:  # noqa: BLE001 - of many types, without a base of their own
                failure = self._failure(error)
            else:
                self._has_worked = True
                return result
            if failure.outcome == MISSING:
                raise MissingError(tried)
            if not (failure.may_pass or failure.is_in_doubt) or not waits.is_worth_it():
                raise failure.as_error(tried, self.location)


def _tells_of_all(found: Found | None, before: str) -> bool:
    """Tell whether an object tells of all who have put one since that which was put by the first of some."""
    if found is None:
        return True  # then it does not matter any more
    if before and found.has_been_put_by(before[:_WRITER]):
        return True
    return len(found.writers) < _WRITER * _MOST_WRITERS and not (before and not found.writers)


def _failure(error: Exception) -> Failure:
    if isinstance(error, ChunkstoreError):
        raise error
    return failure_of(error)


def _got(client: Client, key: str, *, whole: bool = True) -> Found:
    import obstore  # noqa: PLC0415 - an extra

    result = obstore.get(client, key, options={} if whole else {"head": True})
    data = result.bytes().to_bytes() if whole else b""
    meta, attributes = result.meta, result.attributes
    told = {str(name).lower(): str(value) for name, value in attributes.items()}
    return Found(
        data,
        Version.of(meta),
        told.get(INCARNATION, ""),
        told.get(WRITERS, ""),
        _nanoseconds(meta["last_modified"]),
        told,
    )


def _put(client: Client, key: str, data: bytes, mode: Any, attributes: Mapping[str, str]) -> Version:
    import obstore  # noqa: PLC0415 - an extra

    return Version.of(obstore.put(client, key, data, mode=mode, attributes=dict(attributes), use_multipart=False))


def _listed(meta: Any) -> Listed:
    return Listed(meta["path"], meta["size"], Version.of(meta), _nanoseconds(meta["last_modified"]))


def _nanoseconds(moment: datetime) -> int:
    return int(moment.timestamp()) * 1_000_000_000 + moment.microsecond * 1_000
