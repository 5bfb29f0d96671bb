"""The stores that users name in a configuration: a layout over a backend."""

from __future__ import annotations

import os
import reprlib
import threading
from collections.abc import Sequence
from typing import Any, NamedTuple

from chunkstore.backends.base import DURABILITY_LEVELS
from chunkstore.backends.capabilities import FullBackend as Backend
from chunkstore.backends.disk.directory import DirectoryBackend
from chunkstore.backends.memory import MemoryBackend
from chunkstore.errors import ConfigurationError
from chunkstore.stores.base import Store
from chunkstore.stores.chunked import ChunkedStore
from chunkstore.stores.document import DocumentStore
from chunkstore.stores.options import CONTAINERS, JOURNAL, StoreOptions


class _NamedStore(NamedTuple):
    layout: type[Store]
    persistent: bool


_STORES = {
    # In memory a document would be encoded whole for every step; chunks cost the same however long the run is.
    "buffered": _NamedStore(ChunkedStore, persistent=False),
    "file-system": _NamedStore(DocumentStore, persistent=True),
    "chunked-fs": _NamedStore(ChunkedStore, persistent=True),
}

STORE_TYPES = tuple(_STORES)
DEFAULT_STORE_TYPE = "chunked-fs"

#: Options that mean nothing to a store in memory.
_ONLY_PERSISTENT = {"log_folder", "durability"}
#: Options that mean nothing to a store that does not cut its runs into files.
_ONLY_CHUNKED = {"container", "seal_finished_runs"}
_ALL_OPTIONS = StoreOptions.__struct_fields__


def make_store(store_type: str, settings: dict[str, Any], *, source: str = "") -> Store:
    """Return a store of a named type.

    Args:
        store_type: one of `STORE_TYPES`.
        settings: values for `StoreOptions`; None stands for the default.
        source: the configuration file, for messages.

    Raises:
        ConfigurationError: the type, a key or a value is not known; the message names the closest right one.
    """
    named = _STORES.get(store_type) if isinstance(store_type, str) else None  # type: ignore[redundant-expr]  # YAML
    if named is None:
        raise unknown_option("store type", store_type, STORE_TYPES, "type", source)
    options = _checked_options(store_type, named, settings, source)
    backend: Backend
    if named.persistent:
        _check_working_folder(options.log_folder, source)
        _check_log_folder(options.log_folder, source)
        backend = DirectoryBackend(options.log_folder, durability=options.durability, lock_timeout=options.lock_timeout)
    else:
        backend = MemoryBackend(lock_timeout=options.lock_timeout)
    return named.layout(backend, options)


def _checked_options(store_type: str, named: _NamedStore, settings: dict[str, Any], source: str) -> StoreOptions:
    excluded = set() if named.persistent else _ONLY_PERSISTENT
    if named.layout is not ChunkedStore or not named.persistent:
        excluded = excluded | _ONLY_CHUNKED
    allowed = [name for name in _ALL_OPTIONS if name not in excluded]
    options = StoreOptions()
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


def _checked_value(key: str, value: Any, source: str) -> Any:
    if key == "durability":
        if value not in DURABILITY_LEVELS:
            raise unknown_option("durability", value, DURABILITY_LEVELS, key, source)
        return value
    if key == "container":
        if value not in CONTAINERS:
            raise unknown_option("container", value, CONTAINERS, key, source)
        return value
    if key == "seal_finished_runs":
        if isinstance(value, int) and not isinstance(value, bool) and value >= 0:
            return value
        raise _wrong(key, value, "a number of chunks", source)
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


def unknown_option(what: str, value: Any, right: Sequence[str], key: str, source: str = "") -> ConfigurationError:
    """Return the error for something in a configuration that nobody knows; it names the closest right one.

    Args:
        what: what kind of thing it is.
        value: what the configuration says.
        right: what it could say.
        key: where it says so.
        source: the configuration file.
    """
    close = closest(value if isinstance(value, str) else "", right, cutoff=0.4)
    hint = f"Did you mean {close[0]!r}? " if close else ""
    known = ", ".join(map(repr, right))
    return ConfigurationError(
        f"Unknown {what} {shown(value)}{_in(source)}. {hint}Known: {known}.",
        file=source,
        key=key,
        expected=list(right),
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
