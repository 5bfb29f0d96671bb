"""From a configuration to a store: YAML files, an environment variable, defaults."""

from __future__ import annotations

import os
from pathlib import Path
from typing import Any

import msgspec

from chunkstore.errors import ConfigurationError
from chunkstore.stores.base import Store
from chunkstore.stores.named import DEFAULT_STORE_TYPE, OBJECT_STORE_TYPE, closest, make_store, shown
from chunkstore.stores.options import StoreOptions

#: Names the configuration file where `open_store` gets none.
ENVIRONMENT_VARIABLE = "CHUNKSTORE_CONFIGURATION_FILE"
#: Read from the working folder if nothing else is given.
DEFAULT_FILE = "chunkstore.yaml"

_SECTION = "run_log_store"
_KEYS = ("type", "config")
_MAX_BYTES = 1_000_000
#: PyYAML expands aliases: a few lines can stand for billions of values.
_MAX_ALIASED = 10_000


def open_store(type: str | None = None, *, config: str | os.PathLike[str] | None = None, **options: Any) -> Store:  # noqa: A002 - the key of the configuration
    """Open a run log store.

    With a `type`, the other arguments are its configuration. Without, the configuration is read from the file
    `config`, else from the file that the environment variable CHUNKSTORE_CONFIGURATION_FILE names, else from
    `chunkstore.yaml` in the working folder; if there is none, it is `chunked-fs` in `.run_log_store`. Nothing is
    created before something is recorded.

    Args:
        type: `buffered`, `file-system`, `chunked-fs` or `chunked-object`; or the URL of a bucket: `s3://bucket/prefix`,
            `gs://bucket/prefix`, `az://container/prefix`; `memory://name` is one in memory, for tests.
        config: a YAML file.
        options: see `chunkstore.StoreOptions`; they come before what the file says. For a bucket also what its client
            is told, as `endpoint`, `region` or `access_key_id`.

    Raises:
        ConfigurationError: a file cannot be read, or a type, key or value is not known.
    """
    if type is not None and config is not None:
        raise ConfigurationError(
            "Cannot open a store from both a type and a configuration file. Give one of them.",
            file=os.fspath(config),
            key="type",
            expected="type or config",
        )
    if type is not None:
        return make_store(type, options)
    source = _find_file(config)
    if source is None:
        return make_store(OBJECT_STORE_TYPE if "url" in options else DEFAULT_STORE_TYPE, options)
    store_type, settings = read_configuration(source)
    return make_store(store_type, {**settings, **options}, source=source)


def _find_file(config: str | os.PathLike[str] | None) -> str | None:
    if config is not None:
        return os.fspath(config)
    named = os.environ.get(ENVIRONMENT_VARIABLE)
    if named:
        return named
    return DEFAULT_FILE if Path(DEFAULT_FILE).exists() else None


def read_configuration(file: str) -> tuple[str, dict[str, Any]]:
    """Return the type of store that a configuration file names, and its settings.

    A file may hold sections for other tools; they are ignored. Without a section `run_log_store` (or
    `run-log-store`), the default type is meant.

    Raises:
        ConfigurationError: the file cannot be read, or its section is not right.
    """
    content = _load_yaml(file)
    if content is None:
        return DEFAULT_STORE_TYPE, {}
    if not isinstance(content, dict):
        raise _wrong(file, "", f"a mapping with the key {_SECTION}", content)
    section = _section(file, content)
    if section is None:
        return DEFAULT_STORE_TYPE, {}
    if not isinstance(section, dict):
        raise _wrong(file, _SECTION, "a mapping with the keys type and config", section)
    for key in section:
        if key in StoreOptions.__struct_fields__:
            raise ConfigurationError(
                f"Cannot use the configuration {file}: {key!r} belongs under config, not beside it.",
                file=file,
                key=f"{_SECTION}.{key}",
                expected=f"{_SECTION}.config.{key}",
            )
        if key not in _KEYS:
            raise _unknown_key(file, key, _KEYS, f"{_SECTION}.{_text(key)}")
    settings = section.get("config")
    if settings is None:
        settings = {}
    if not isinstance(settings, dict):
        raise _wrong(file, f"{_SECTION}.config", "a mapping", settings)
    return section.get("type") or DEFAULT_STORE_TYPE, {_text(key): value for key, value in settings.items()}


def _section(file: str, content: dict[Any, Any]) -> Any:
    names = [key for key in content if _text(key).replace("-", "_") == _SECTION]
    if len(names) > 1:
        raise _wrong(file, _SECTION, "given once", content)
    if names:
        return content[names[0]]
    for key in _KEYS:
        if key in content:
            raise ConfigurationError(
                f"Cannot use the configuration {file}: {key!r} stands alone. It belongs under {_SECTION}.",
                file=file,
                key=key,
                expected=f"{_SECTION}.{key}",
            )
    misspelt = closest(_SECTION, [_text(key).replace("-", "_") for key in content], cutoff=0.8)
    if misspelt:
        raise _unknown_key(file, misspelt[0], (_SECTION,), misspelt[0])
    return None


def _load_yaml(file: str) -> Any:
    path = Path(file)
    try:
        if path.exists() and not path.is_file():
            raise _unreadable(file, "it is no file")
        if path.stat().st_size > _MAX_BYTES:
            raise _unreadable(file, f"it is larger than {_MAX_BYTES:,} bytes")
        data = path.read_bytes()
    except (OSError, ValueError) as error:
        if isinstance(error, ConfigurationError):
            raise
        reason = (error.strerror if isinstance(error, OSError) else "") or str(error)
        raise _unreadable(file, reason) from None
    try:
        if b"*" in data and _aliased_values(data) > _MAX_ALIASED:
            raise _unreadable(file, "its aliases stand for too many values")
        return msgspec.yaml.decode(data)
    except ConfigurationError:
        raise
    except ImportError:
        raise ConfigurationError(
            f"Cannot read the configuration {file}: PyYAML is not installed. Run `pip install 'chunkstore[yaml]'`.",
            file=file,
            key="",
            expected="PyYAML",
        ) from None
    except (msgspec.MsgspecError, ValueError, LookupError, RecursionError, TypeError, AttributeError) as error:
        raise _unreadable(file, f"it is no YAML: {' '.join(str(error).split())}") from None


def _aliased_values(data: bytes) -> int:
    """Return for how many values the aliases of a document stand, those inside of others counted each time.

    Raises:
        RecursionError: a value holds itself.
    """
    import yaml  # noqa: PLC0415 - an extra

    sizes: dict[str | None, int] = {}
    around: list[tuple[str | None, int]] = []  # the collections that are open: their anchors, and their sizes so far
    total = 0
    try:
        for event in yaml.parse(data, Loader=getattr(yaml, "CSafeLoader", yaml.SafeLoader)):
            if isinstance(event, yaml.CollectionStartEvent):
                around.append((event.anchor, 1))
                continue
            if isinstance(event, yaml.CollectionEndEvent):
                anchor, size = around.pop()
            elif isinstance(event, yaml.ScalarEvent):
                anchor, size = event.anchor, 1
            elif isinstance(event, yaml.AliasEvent):
                if any(event.anchor == anchor for anchor, _ in around):
                    raise RecursionError(f"the value {event.anchor} holds itself")
                anchor, size = None, sizes.get(event.anchor, 1)
                total += size
            else:
                continue
            sizes[anchor] = size
            if around:
                around[-1] = around[-1][0], around[-1][1] + size
    except yaml.YAMLError:
        return 0  # whoever decodes it says what is wrong
    return total


def _unreadable(file: str, reason: str) -> ConfigurationError:
    return ConfigurationError(
        f"Cannot read the configuration {file}: {reason}. Correct the file, or name another one with `config` or "
        f"{ENVIRONMENT_VARIABLE}.",
        file=file,
        key="",
        expected="a readable YAML file",
    )


def _wrong(file: str, key: str, expected: str, value: Any) -> ConfigurationError:
    where = f"{key} in {file}" if key else file
    return ConfigurationError(
        f"Cannot use the configuration: {where} must be {expected}, not {type_name(value)}.",
        file=file,
        key=key,
        expected=expected,
    )


def _unknown_key(file: str, key: Any, right: tuple[str, ...], path: str) -> ConfigurationError:
    close = closest(_text(key), right, cutoff=0.3)
    return ConfigurationError(
        f"Unknown key {shown(key)} in {file}. Did you mean {close[0] if close else right[0]!r}?",
        file=file,
        key=path,
        expected=list(right),
    )


def _text(key: Any) -> str:
    return key if isinstance(key, str) else shown(key)


def type_name(value: Any) -> str:
    """Return what a value of YAML is called there."""
    names = {dict: "a mapping", list: "a list", str: "text", bool: "true or false", int: "a number", float: "a number"}
    return names.get(type(value), "nothing" if value is None else type(value).__name__)
