"""What the log keeps of the values that functions return, so that a run which is resumed knows them again."""

from __future__ import annotations

import math
from typing import Any

from msgspec import UNSET

from chunkstore.errors import InvalidValueError
from chunkstore.records import codec

#: Larger results are not kept in the log: a step that gives one runs again.
_MAX_RESULT_BYTES = 1 << 20


def _is_json(value: Any, depth: int = 0) -> bool:
    """Tell whether a value comes back from JSON as it was, tuples as lists."""
    if value is None or isinstance(value, (bool, str)) or type(value) in (int, float):
        return True
    if depth > codec.MAX_DEPTH:
        return False
    if type(value) in (list, tuple):
        return all(_is_json(item, depth + 1) for item in value)
    if type(value) is dict:
        return all(isinstance(key, str) and _is_json(item, depth + 1) for key, item in value.items())
    # A scalar of numpy is the number that it prints as.
    return type(value).__module__ == "numpy" and hasattr(value, "item") and _is_number(value)


def _is_number(value: Any) -> bool:
    try:
        return getattr(value, "ndim", 0) == 0 and (bool(value == value.item()) or math.isnan(value))
    except (TypeError, ValueError):
        return False


def kept_result(value: Any) -> Any:
    """Return what the log keeps of a function's result: the result if it is JSON of some size, else UNSET."""
    if not _is_json(value):
        return UNSET
    try:
        return value if len(codec.encode(codec.plain(value, "result"))) <= _MAX_RESULT_BYTES else UNSET
    except InvalidValueError:
        return UNSET
