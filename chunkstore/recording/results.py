"""What the log keeps of the values that functions take and return, so that a run which is resumed knows them again."""

from __future__ import annotations

import hashlib
import math
import pickle
from typing import Any

import msgspec
from msgspec import UNSET

from chunkstore.errors import InvalidValueError
from chunkstore.records import codec

#: Larger results are not kept in the log: a step that gives one runs again.
_MAX_RESULT_BYTES = 1 << 20
#: Larger items are not shown in the log; their hash is.
_MAX_ITEM_BYTES = 4096


def hash_of(value: Any) -> str | None:
    """Return the SHA-256 of a value; None for one that cannot be pickled, of which nothing is known then."""
    try:
        if _is_json(value):
            # With sorted keys, as equal dicts may have been filled in another order.
            data = msgspec.json.encode(codec.plain(value), order="sorted")
            return hashlib.sha256(data).hexdigest()
    except ValueError:
        pass  # text that UTF-8 cannot hold, or a number that is too long: pickles can
    try:
        data = pickle.dumps(value, protocol=4)
    except Exception:  # noqa: BLE001 - whatever a value's pickling raises
        return None
    return hashlib.sha256(data).hexdigest()


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
    return _if_short(value, "result", _MAX_RESULT_BYTES) if _is_json(value) else UNSET


def shown_item(value: Any) -> Any:
    """Return what the log shows of an item: the item if it has a short JSON form, else UNSET."""
    return UNSET if getattr(value, "nbytes", 0) > _MAX_ITEM_BYTES else _if_short(value, "item", _MAX_ITEM_BYTES)


def _if_short(value: Any, what: str, limit: int) -> Any:
    try:
        return value if len(codec.encode(codec.plain(value, what))) <= limit else UNSET
    except InvalidValueError:
        return UNSET
