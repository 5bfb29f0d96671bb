"""The stores that users name in a configuration: a layout over a backend."""

from __future__ import annotations

import os
import reprlib
import threading
from collections.abc import Mapping, Sequence
from typing import Any, NamedTuple

from chunkstore.backends.base import DURABILITY_LEVELS, Backend
from chunkstore.backends.disk.directory import DirectoryBackend
from chunkstore.backends.memory import MemoryBackend
from chunkstore.backends.objects import open_backend
from chunkstore.backends.objects.place import Place, is_url, without_secrets
from chunkstore.backends.objects.settings import is_secret, option_names, usual_name, why_unusable
from chunkstore.errors import ConfigurationError
from chunkstore.stores.base import Store
from chunkstore.stores.chunked import ChunkedStore
from chunkstore.stores.document import DocumentStore
from chunkstore.stores.options import CONTAINERS, JOURNAL, ClientOptions, StoreOptions

MEMORY, FOLDER, BUCKET = "memory", "folder", "bucket"


class _NamedStore(NamedTuple):
    layout: type[Store]
    place: str


_STORES = {
    # In memory a document would be encoded whole for every step; chunks cost the same however long the run is.
    "buffered": _NamedStore(ChunkedStore, MEMORY),
    "file-system": _NamedStore(DocumentStore, FOLDER),
    "chunked-fs": _NamedStore(ChunkedStore, FOLDER),
    "chunked-object": _NamedStore(ChunkedStore, BUCKET),
}

STORE_TYPES = tuple(_STORES)
DEFAULT_STORE_TYPE = "chunked-fs"
#: The type of a store that is named by a URL alone.
OBJECT_STORE_TYPE = "chunked-object"

#: Options that mean nothing to a store that is elsewhere.
_ELSEWHERE = {
    MEMORY: {"log_folder", "durability", "url", "client"},
    FOLDER: {"url", "client"},
    BUCKET: {"log_folder"},
}
#: Options that mean nothing to a store that does not cut its runs into files.
_ONLY_CHUNKED = {"container", "seal_finished_runs"}
_ALL_OPTIONS = StoreOptions.__struct_fields__
_CHOICES = {"durability": DURABILITY_LEVELS, "container": CONTAINERS}
#: In a bucket a run of any number of chunks is sealed when it finishes: each chunk is a request of every reader.
_SEALED_IN_BUCKETS = 0
#: What holds options of clients in the configurations of other tools.
_CLIENT_OPTIONS = ("client", "client_options")


def make_store(store_type: str, settings: dict[str, Any], *, source: str = "") -> Store:
    """Return a store of a named type.

    Args:
        store_type: one of `STORE_TYPES`, or the URL of a bucket.
        settings: values for `StoreOptions`, and of a bucket for its client; None stands for the default.
        source: the configuration file, for messages.

    Raises:
        ConfigurationError: the type, a key or a value is not known; the message names the closest right one.
    """
    if is_url(store_type):
        if settings.get("url") not in (None, store_type):
            raise _wrong("url", settings["url"], f"left out, as the store is named by {store_type}", source)
        store_type, settings = OBJECT_STORE_TYPE, {**settings, "url": store_type}
    named = _STORES.get(store_type) if isinstance(store_type, str) else None  # type: ignore[redundant-expr]  # YAML
    if named is None:
        raise unknown_option("store type", store_type, STORE_TYPES, "type", source)
    options = _checked_options(store_type, named, settings, source)
    backend: Backend
    if named.place == FOLDER:
        _check_working_folder(options.log_folder, source)
        _check_log_folder(options.log_folder, source)
        backend = DirectoryBackend(options.log_folder, durability=options.durability, lock_timeout=options.lock_timeout)
    elif named.place == BUCKET:
        backend = open_backend(Place(options.url, options.client), lock_timeout=options.lock_timeout)
    else:
        backend = MemoryBackend(lock_timeout=options.lock_timeout)
    return named.layout(backend, options)


def _checked_options(store_type: str, named: _NamedStore, settings: dict[str, Any], source: str) -> StoreOptions:
    excluded = _ELSEWHERE[named.place]
    if named.layout is not ChunkedStore or named.place == MEMORY:
        excluded = excluded | _ONLY_CHUNKED
    allowed = [name for name in _ALL_OPTIONS if name not in excluded]
    options = StoreOptions()
    if named.place == BUCKET:
        settings = _without_client(options, settings, allowed, source)
    for key, value in settings.items():
        if key not in allowed:
            raise unknown_option(f"key for a {store_type!r} store", key, allowed, str(key), source)
        if value is None:
            continue  # as in `log_folder:` with nothing behind it
        setattr(options, key, _checked_value(key, value, source))
    if options.pretty and options.container == JOURNAL:
        raise _wrong(
            "pretty", True, "false where the container is 'journal', which has one line for each chunk", source
        )
    return options


def _without_client(
    options: StoreOptions, settings: dict[str, Any], allowed: Sequence[str], source: str
) -> dict[str, Any]:
    """Take what is for the client of a bucket, and return the other settings."""
    url = settings.get("url")
    try:
        place = Place(url) if url is not None else None
    except ValueError as error:
        raise _wrong("url", without_secrets(url), str(error), source) from None
    if place is None:
        raise _wrong("url", "nothing", "the URL of a bucket, as in s3://bucket/prefix", source)
    options.url = str(place)
    options.seal_finished_runs = _SEALED_IN_BUCKETS
    known = option_names(place.url.scheme)
    left = {key: value for key, value in settings.items() if key != "url"}
    given: dict[str, Any] = {}
    client = ClientOptions()
    for group in _CLIENT_OPTIONS:
        inner = left.pop(group, None)
        if inner is not None and not isinstance(inner, Mapping):
            raise _wrong(group, inner, "a mapping", source)
        given.update(inner or {})
    given.update({key: left.pop(key) for key in list(left) if key not in allowed})
    for key, value in given.items():
        name = usual_name(place.url.scheme, key)
        if not name:
            names = [each for each in allowed if each != "client"]
            raise unknown_option(f"key for a store in {place}", key, names, str(key), source, others=known)
        if value is None:
            continue
        if expected := why_unusable(name, value):
            raise _wrong(key, "a secret" if is_secret(name) else value, expected, source)
        client[name] = value
    options.client = client
    if left.get("container") == JOURNAL:
        raise _wrong("container", JOURNAL, "'files': nothing can be added to an object in a bucket", source)
    return left


def _checked_value(key: str, value: Any, source: str) -> Any:
    if key in _CHOICES:
        if value not in _CHOICES[key]:
            raise unknown_option(key, value, _CHOICES[key], key, source)
        return value
    if key == "seal_finished_runs":
        if value is False or (isinstance(value, int) and not isinstance(value, bool) and value >= 0):
            return None if value is False else value
        raise _wrong(key, value, "a number of chunks, or false", source)
    if key == "pretty":
        if isinstance(value, bool):
            return value
        raise _wrong(key, value, "true or false", source)
    if key == "lock_timeout":
        if isinstance(value, (int, float)) and not isinstance(value, bool) and 0 <= value <= threading.TIMEOUT_MAX:
            return float(value)
        raise _wrong(key, value, f"a number of seconds from 0 to {threading.TIMEOUT_MAX:.0f}", source)
    if isinstance(value, (str, os.PathLike)) and os.fspath(value) and "\0" not in str(value):
        return str(os.fspath(value))
    raise _wrong(key, value, "the path of a folder", source)


def _check_working_folder(folder: str, source: str) -> None:
    try:
        os.path.abspath(folder)
    except FileNotFoundError:
        raise _wrong("log_folder", folder, "an absolute path, as the working folder is gone", source) from None


def _check_log_folder(folder: str, source: str) -> None:
    if os.path.lexists(folder) and not os.path.isdir(folder):
        raise ConfigurationError(
            f"Cannot use log_folder {folder!r}{_in(source)}: it is no folder. Choose a folder, or a path where none "
            "exists yet.",
            file=source,
            key="log_folder",
            expected="the path of a folder",
        )


def closest(word: str, right: Sequence[str], cutoff: float) -> list[str]:
    """Return the one of `right` that a word may have been meant for, if there is one.

    Args:
        word: any text.
        right: what there is.
        cutoff: how alike they must be, from 0 to 1.
    """
    import difflib  # noqa: PLC0415 - for messages alone

    return difflib.get_close_matches(word, right, n=1, cutoff=cutoff)


def unknown_option(
    what: str, value: Any, right: Sequence[str], key: str, source: str = "", *, others: Sequence[str] = ()
) -> ConfigurationError:
    """Return the error for something in a configuration that nobody knows; it names the closest right one.

    Args:
        what: what kind of thing it is.
        value: what the configuration says.
        right: what it could say.
        key: where it says so.
        source: the configuration file.
        others: what it could also say, which is too much for a message.
    """
    close = closest(value if isinstance(value, str) else "", [*right, *others], cutoff=0.4)
    hint = f"Did you mean {close[0]!r}? " if close else ""
    known = ", ".join(map(repr, right)) + (
        f", and {len(others)} of the client, such as {others[0]!r}" if others else ""
    )
    return ConfigurationError(
        f"Unknown {what} {shown(value)}{_in(source)}. {hint}Known: {known}.",
        file=source,
        key=key,
        expected=[*right, *others],
    )


def _wrong(key: str, value: Any, expected: str, source: str) -> ConfigurationError:
    return ConfigurationError(
        f"Cannot use {shown(value)} for {key}{_in(source)}: it must be {expected}.",
        file=source,
        key=key,
        expected=expected,
    )


def shown(value: Any) -> str:
    """Return a value as text of bounded length."""
    try:
        return reprlib.repr(value)
    except ValueError:
        return "a number of thousands of digits"  # Python refuses to write those


def _in(source: str) -> str:
    return f" in {source}" if source else ""
