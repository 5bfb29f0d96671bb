"""What the log keeps of the values that functions take and return, so that a run which is resumed knows them again."""

from __future__ import annotations

import math
from typing import Any, NamedTuple

from msgspec import UNSET, UnsetType

from chunkstore.records import codec

#: Larger results are not kept in the log: a step that gives one runs again.
_MAX_RESULT_BYTES = 1 << 20


def _is_number(value: Any) -> bool:
    try:
        return getattr(value, "ndim", 0) == 0 and (bool(value == value.item()) or math.isnan(value))
    except (TypeError, ValueError):
        return False


class KeptResult(NamedTuple):
    """What the log keeps of a result, with nothing shared with whoever holds the result.

    Attributes:
        value: the result; UNSET if it is not kept.
        converted: True if JSON gives another value back than the one it was made of; else UNSET.
    """

    value: Any
    converted: bool | UnsetType


def kept_result(value: Any) -> KeptResult:
    """Return what the log keeps of a function's result: the result as it is now, if it is JSON of some size."""
    try:
        kept = comes_back(value)
        copied = UNSET if kept is None else _copied_if_short(value)
    except Exception:  # noqa: BLE001 - it is no JSON, or whatever a strange value raises
        copied = UNSET
    return KeptResult(copied, UNSET if copied is UNSET or kept else True)


def comes_back(value: Any, depth: int = 0) -> bool | None:
    """Tell whether JSON gives a value back: True for the very value, False for one that equals it, a list for a tuple.

    None for all else: an enum that is text, too, would come back as text.
    """
    kind = type(value)
    if value is None or kind in {str, bool, int, float}:
        return True
    if depth > codec.MAX_DEPTH:
        return None
    if kind is list or kind is tuple:
        parts = [comes_back(item, depth + 1) for item in tuple(value)]
    elif kind is dict:
        parts = [comes_back(item, depth + 1) if type(key) is str else None for key, item in value.copy().items()]
    else:
        # A scalar of numpy is the number, or the text, that it prints as.
        is_scalar = kind.__module__ == "numpy" and hasattr(value, "item") and _is_number(value)
        return False if is_scalar and type(value.item()) in {bool, int, float, str} else None
    if None in parts:
        return None
    return kind is not tuple and all(parts)


def _copied_if_short(value: Any) -> Any:
    plain = codec.plain(value, "result")
    return codec.revive(plain) if len(codec.encode(plain)) <= _MAX_RESULT_BYTES else UNSET
