"""Values without parts, and flat lists of them, as bytes: equal in every process, and others for other values."""

from __future__ import annotations

import hashlib
import marshal
import operator
import struct
from collections.abc import Collection
from typing import Any

#: Longer texts and bytes are told by their hash.
_LONGEST_TEXT = 256
_PLAIN = frozenset({type(None), bool, int, float, str, bytes})
_SINGLE: dict[type, dict[Any, bytes]] = {
    type(None): {None: b"N"},
    bool: {True: b"T", False: b"F"},
    type(Ellipsis): {Ellipsis: b"."},
    type(NotImplemented): {NotImplemented: b"!"},
}


def framed(tag: bytes, data: bytes) -> bytes:
    """Return some data with its kind and length, so that what follows is never taken for a part of it."""
    return tag + len(data).to_bytes(8, "little") + data


def token_of(value: Any) -> bytes | None:
    """Return the bytes for a value that has no parts; None for any other. Subclasses are other values."""
    kind = type(value)
    if kind is str:
        return _text(b"s", value.encode(errors="surrogatepass"))
    if kind is int:
        return framed(b"i", value.to_bytes(value.bit_length() // 8 + 1, "little", signed=True))
    if kind is float:
        return framed(b"f", float_bytes(value))
    if kind is bytes:
        return _text(b"b", value)
    if kind is complex:
        return framed(b"c", float_bytes(value.real) + float_bytes(value.imag))
    known = _SINGLE.get(kind)
    return None if known is None else known[value]


def _text(tag: bytes, data: bytes) -> bytes:
    return framed(tag, data) if len(data) <= _LONGEST_TEXT else framed(tag.upper(), hashlib.sha256(data).digest())


def float_bytes(value: float) -> bytes:
    """Return the bytes of a number; all that are not a number are the same, and -0.0 is not 0.0."""
    return struct.pack("<d", value) if value == value else b"nan"  # noqa: PLR0124 - NaN alone is not itself


def flat_bytes(values: Collection[Any]) -> bytes | None:
    """Return the bytes for values that have no parts, all at once; None if one of them does not allow that."""
    kinds = set(map(type, values))
    if not kinds <= _PLAIN or (float in kinds and any(map(operator.ne, values, values))):
        return None
    # Version 2 knows no references, so that nothing depends on which of the values are one object.
    return marshal.dumps(tuple(values), 2)
