"""JSON bytes to values and back, exactly.

What JSON (RFC 8259) holds round-trips unchanged: integers up to 4,300 digits, every finite float, any text. Floats that
JSON lacks are written as ``{"$float": "NaN"}``, ``"Infinity"`` or ``"-Infinity"``; an object of a user that looks
like that gets one more ``$``, which reading takes off again. Common Python values are converted on the way in (see
`plain`); everything else is an error, so nothing is lost in silence.
"""

from __future__ import annotations

import collections
import dataclasses
import enum
import math
import os
import re
import sys
import types
import uuid
from collections.abc import Callable, Mapping
from collections.abc import Set as AbstractSet
from datetime import date, datetime, time, timedelta
from decimal import Decimal
from functools import cache
from pathlib import PurePath
from typing import Any

import msgspec
import orjson

from chunkstore.errors import CorruptChunkError, InvalidValueError

#: Deepest nesting of lists and objects in a value. Deeper input could exhaust the stack of a reader.
MAX_DEPTH = 128
#: Largest file that is read or written, in bytes.
MAX_BYTES = 512 * 1024 * 1024
#: Python and msgspec refuse to print or parse longer integers (CVE-2020-10735); the sign counts as a digit.
MAX_DIGITS = 4299

FLOAT_KEY = "$float"
_FLOAT_MARK = b'$float"'
_ESCAPED_KEY = re.compile(r"\$+float\Z")
_BY_TEXT = {"NaN": math.nan, "Infinity": math.inf, "-Infinity": -math.inf}
_MAX_BITS = 14_280  # every integer of so many bits has fewer than MAX_DIGITS digits
_USUAL_RECURSION_LIMIT = 3_000
_ORJSON_DEPTH_REASON = "depth limit"


@cache
def decoder_of(kind: Any) -> msgspec.json.Decoder[Any]:
    """Return a decoder for values of a type; making one takes its time, so it is made when it is needed."""
    return msgspec.json.Decoder(kind)


_encoder = msgspec.json.Encoder()
_decoder: msgspec.json.Decoder[Any] = msgspec.json.Decoder()


# --- values -> plain JSON values -------------------------------------------------------------------------------------


def plain(value: Any, key: str = "value", depth: int = 0) -> Any:
    """Return `value` made of dicts with text keys, lists, text, numbers, booleans and None alone.

    Converted: tuples, sets (sorted), deques, mappings, dataclasses, pydantic models, msgspec structs, enums (to their
    values), numpy scalars and arrays, datetimes, dates and times (ISO 8601), timedeltas (``0:00:01.500000``), Decimal,
    UUID and paths (to text).

    Args:
        value: anything.
        key: the path to the value, for messages.
        depth: how many containers surround the value.

    Raises:
        InvalidValueError: the value cannot be recorded without loss.
    """
    kind = type(value)
    if kind is str or kind is bool or value is None:
        return value
    if kind is float:
        return value if math.isfinite(value) else {FLOAT_KEY: _float_text(value)}
    if kind is int:
        if value.bit_length() > _MAX_BITS and abs(value) >= 10**MAX_DIGITS:
            raise _invalid(key, f"the integer has more than {MAX_DIGITS} digits", "Store it as text.")
        return value
    if depth > MAX_DEPTH:
        raise _invalid(key, f"it is nested more than {MAX_DEPTH} deep or contains itself", "Flatten it.")
    if kind is dict:
        return _plain_dict(value, key, depth)
    if kind is list or kind is tuple:
        # Of a list or dict that another thread changes, a copy made in one go.
        return [plain(item, f"{key}[{index}]", depth + 1) for index, item in enumerate(tuple(value))]
    return plain(_convert(value, key), key, depth + 1)


def is_plain_number(value: int | float) -> bool:  # noqa: PYI041 - they are two kinds of numbers here
    """Tell whether `plain` leaves a number, and not a boolean, surely as it is."""
    return value.bit_length() <= _MAX_BITS if isinstance(value, int) else math.isfinite(value)


def is_flat(value: dict[Any, Any]) -> bool:
    """Tell whether an object holds nothing but scalars that `plain` leaves as they are."""
    for name, item in value.items():
        if type(name) is not str:
            return False
        kind = type(item)
        if kind is float or kind is int:
            if not is_plain_number(item):
                return False
        elif kind is not str and kind is not bool and item is not None:
            return False
    return True


def _float_text(value: float) -> str:
    if math.isnan(value):
        return "NaN"
    return "Infinity" if value > 0 else "-Infinity"


def _plain_dict(value: dict[Any, Any], key: str, depth: int) -> dict[str, Any]:
    result: dict[str, Any] = {}
    for name, item in value.copy().items():
        text = name if type(name) is str else key_text(name, key)
        if text in result:
            raise _invalid(f"{key}.{text}", "two keys become the same text", "Rename one.")
        result[text] = plain(item, f"{key}.{text}", depth + 1)
    if len(result) == 1 and _ESCAPED_KEY.match(text):
        return {f"${text}": result[text]}
    return result


def key_text(name: Any, key: str) -> str:
    """Return a key of a dict as text, as JSON has no other keys.

    Raises:
        InvalidValueError: the key has no text that tells it from others.
    """
    if isinstance(name, enum.Enum):
        name = name.value
    elif _is_numpy(name):
        name = name.item()
    if isinstance(name, str):
        return str(name)
    if isinstance(name, (int, float)) and not isinstance(name, bool):
        return repr(name)
    if isinstance(name, (PurePath, uuid.UUID, date)):
        return str(name)
    raise _invalid(key, f"a key of type {type(name).__name__} ({name!r}) cannot become text", "Use text as keys.")


def _convert(value: Any, key: str) -> Any:
    """Return `value`, of none of JSON's own types, one step nearer to them."""
    if isinstance(value, enum.Enum):
        return value.value
    if _is_numpy(value):
        return _from_numpy(value, key)
    for kind, conversion in _CONVERSIONS:
        if isinstance(value, kind):
            return conversion(value)
    if dataclasses.is_dataclass(value) and not isinstance(value, type):
        return {field.name: getattr(value, field.name) for field in dataclasses.fields(value)}
    if isinstance(value, msgspec.Struct):
        return msgspec.structs.asdict(value)
    if not isinstance(value, type) and hasattr(type(value), "model_dump") and hasattr(type(value), "model_fields"):
        return value.model_dump()
    hint = "Convert it to text, numbers, lists or dicts; put files into the catalog with put_data."
    raise _invalid(key, f"a value of type {type(value).__module__}.{type(value).__qualname__} is no JSON", hint)


def _sorted_set(value: AbstractSet[Any]) -> list[Any]:
    try:
        return sorted(value)
    except TypeError:
        return sorted(value, key=repr)


#: In this order, as some types derive from others (datetime from date, numbers' subclasses from numbers).
_CONVERSIONS: tuple[tuple[type | tuple[type, ...], Callable[[Any], Any]], ...] = (
    (str, str),
    (int, int),
    (float, float),
    (dict, dict),
    ((list, tuple, collections.deque), list),
    ((datetime, date, time), lambda value: value.isoformat()),
    ((timedelta, Decimal, uuid.UUID), str),
    (PurePath, os.fspath),
    (AbstractSet, _sorted_set),
    ((types.MappingProxyType, Mapping), dict),
)


def _is_numpy(value: Any) -> bool:
    # Looked up by name: a value of numpy's can only exist where numpy is imported already.
    numpy = sys.modules.get("numpy")
    return numpy is not None and isinstance(value, (numpy.generic, numpy.ndarray))


def _from_numpy(value: Any, key: str) -> Any:
    if value.dtype.kind in "mM":  # dates and durations: .item() would give bare numbers for some units
        return value.astype(str).tolist()
    converted = value.tolist()
    if type(converted) is type(value):
        raise _invalid(key, f"a numpy {value.dtype} has no JSON form without loss", "Convert it to float64 or text.")
    return converted


def _invalid(key: str, reason: str, hint: str) -> InvalidValueError:
    return InvalidValueError(f"Cannot record {key}: {reason}. {hint}", key=key, reason=reason)


# --- plain JSON values -> values -------------------------------------------------------------------------------------


def revive(value: Any) -> Any:
    """Return a decoded JSON value with its marked floats as floats; lists and dicts are changed in place."""
    kind = type(value)
    if kind is dict:
        if is_marked(value):
            (name,) = value
            return _revive_marked(name, value[name])
        for name, item in value.items():
            value[name] = revive(item)
    elif kind is list:
        for index, item in enumerate(value):
            value[index] = revive(item)
    return value


def _revive_marked(name: str, item: Any) -> Any:
    if name == FLOAT_KEY:
        marked = _BY_TEXT.get(item) if isinstance(item, str) else None
        return {name: revive(item)} if marked is None else marked
    return {name[1:]: revive(item)}


def is_marked(value: dict[str, Any]) -> bool:
    """Tell whether an encoded object stands for a float, or for an object that could be taken for one."""
    return len(value) == 1 and _ESCAPED_KEY.match(next(iter(value))) is not None


def may_hold_marks(data: bytes) -> bool:
    """Tell whether `revive` could change anything in what these bytes decode to."""
    return _FLOAT_MARK in data


def is_plain(data: bytes) -> bool:
    """Tell whether bytes can be decoded without a second look at them, before or after."""
    return _FLOAT_MARK not in data and len(data) <= MAX_BYTES and sys.getrecursionlimit() <= _USUAL_RECURSION_LIMIT


# --- bytes -----------------------------------------------------------------------------------------------------------


def encode(value: Any, *, indent: int | None = None) -> bytes:
    """Return plain JSON values, or structs of them, as UTF-8.

    Args:
        value: what `plain` returns, or a struct that holds such values.
        indent: spaces per level, or None for the compact form.

    Raises:
        InvalidValueError: a text holds half of a surrogate pair, or all is too large to be read again.
    """
    try:
        data = _encoder.encode(value)
    except UnicodeEncodeError as error:
        key = _find_surrogate(msgspec.to_builtins(value), "value")
        raise _invalid(
            key, f"the text holds half of a surrogate pair at position {error.start}", "Encode it."
        ) from None
    except (TypeError, ValueError, RecursionError) as error:
        raise _invalid("value", str(error), "Use text, numbers, lists and dicts.") from None
    if len(data) > MAX_BYTES:
        raise _invalid("value", f"it takes {len(data):,} bytes, the limit is {MAX_BYTES:,}", "Use put_data.")
    return data if indent is None else msgspec.json.format(data, indent=indent)


def json_text(prepared: Any, *, is_sorted: bool = False) -> str:
    """Return a value as the JSON that people know: floats that JSON lacks are `NaN`, `Infinity` and `-Infinity` there.

    Args:
        prepared: what `plain` returned for the value; marked floats in it may be revived.
        is_sorted: whether the keys of objects are put in order.

    Raises:
        InvalidValueError: a text holds half of a surrogate pair, or all is too large to be recorded.
    """
    data = encode(prepared)
    if may_hold_marks(data):
        import json  # noqa: PLC0415 - few values need it

        return json.dumps(revive(prepared), ensure_ascii=False, separators=(",", ":"), sort_keys=is_sorted)
    return (msgspec.json.encode(prepared, order="sorted") if is_sorted else data).decode()


def _find_surrogate(value: Any, key: str) -> str:
    """Return the path to the first text that UTF-8 cannot hold."""
    if isinstance(value, str):
        return key if not _is_utf8(value) else ""
    if isinstance(value, dict):
        for name, item in value.items():
            if not _is_utf8(str(name)):
                return f"{key}.{name!r}"
            if found := _find_surrogate(item, f"{key}.{name}"):
                return found
    if isinstance(value, (list, tuple)):
        for index, item in enumerate(value):
            if found := _find_surrogate(item, f"{key}[{index}]"):
                return found
    return ""


def _is_utf8(text: str) -> bool:
    try:
        text.encode()
    except UnicodeEncodeError:
        return False
    return True


def decode(data: bytes, file: str = "", decoder: msgspec.json.Decoder[Any] = _decoder) -> Any:
    """Return what JSON bytes hold, with floats still marked (see `revive`).

    Args:
        data: UTF-8.
        file: where the bytes come from, for messages.
        decoder: for values of a certain type.

    Raises:
        CorruptChunkError: the bytes are not JSON.
        msgspec.ValidationError: they are JSON, but not of the decoder's type.
    """
    if not data:
        raise corrupt(file, 0, "the file is empty")
    if len(data) > MAX_BYTES:
        raise corrupt(file, MAX_BYTES, f"it is larger than {MAX_BYTES:,} bytes")
    if sys.getrecursionlimit() > _USUAL_RECURSION_LIMIT:
        _guard_stack(data, file)
    try:
        return decoder.decode(data)
    except msgspec.ValidationError as error:
        if str(error).startswith(("Integer value out of range", "Number out of range")):
            raise corrupt(file, 0, str(error)) from None
        raise
    except msgspec.DecodeError as error:
        raise corrupt(file, *_place(str(error), data)) from None
    except RecursionError:
        raise corrupt(file, 0, "it is nested too deep") from None
    except (ValueError, OverflowError) as error:
        raise corrupt(file, 0, str(error)) from None


def _guard_stack(data: bytes, file: str) -> None:
    """Refuse input nested so deep that it would crash an interpreter whose recursion limit was raised.

    orjson counts levels itself and gives up at a fixed depth, whatever the limit of the interpreter is.
    """
    try:
        orjson.loads(data)
    except orjson.JSONDecodeError as error:
        if _ORJSON_DEPTH_REASON in str(error):
            raise corrupt(file, error.pos, "it is nested too deep") from None


def _place(message: str, data: bytes) -> tuple[int, str]:
    """Return the offset and the reason that a message of the decoder tells."""
    match = re.search(r" \(byte (\d+)\)", message)
    return (int(match.group(1)), message.replace(match.group(), "")) if match else (len(data), message)


def corrupt(file: str, offset: int, reason: str) -> CorruptChunkError:
    """Return the error for a file that holds no readable record."""
    return CorruptChunkError(
        f"Cannot read {file or 'the text'}: {reason} (byte {offset}). The rest of the run is not affected; restore "
        "the file from a backup, or move it out of the folder.",
        file=file,
        offset=offset,
        reason=reason,
    )
