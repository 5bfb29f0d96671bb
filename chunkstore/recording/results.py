"""What the log keeps of the values that functions take and return, so that a run which is resumed knows them again."""

from __future__ import annotations

import math
from collections.abc import Callable
from typing import Any, NamedTuple

from msgspec import UNSET

from chunkstore.records import codec
from chunkstore.records.models import StepLog

#: Larger results are not kept in the log: a step that gives one runs again.
_MAX_RESULT_BYTES = 1 << 20
#: In the types of parts, what stands for all of them.
_EACH = "*"


class KeptResult(NamedTuple):
    """What the log keeps of a result, with nothing shared with whoever holds the result.

    Attributes:
        value: the result; UNSET if it is not kept.
        types: what JSON changes of it, see `StepLog.result_types`; UNSET if that is nothing.
    """

    value: Any
    types: Any


def kept_result(value: Any) -> KeptResult:
    """Return what the log keeps of a function's result: the result as it is now, if it is JSON of some size."""
    try:
        types = _types_of(value)
        kept = _copied_if_short(value)
        if types is not None:
            _check_short(codec.plain(types))
    except Exception:  # noqa: BLE001 - it is no JSON, or whatever a strange value raises
        return KeptResult(UNSET, UNSET)
    return KeptResult(kept, UNSET if types is None else types)


def result_of(step: StepLog) -> Any:
    """Return the very value that a step has recorded as its result, of which the caller may do what he likes.

    UNSET if none was kept, or if it cannot be had here, as a number of numpy's where that is missing.
    """
    if step.result is UNSET:
        return UNSET
    value = codec.revive(codec.plain(step.result))
    if step.result_types is UNSET:
        return value
    try:
        return _restored(value, step.result_types)
    except Exception:  # noqa: BLE001 - types that another version has recorded, or that somebody has changed
        return UNSET


def _types_of(value: Any, depth: int = 0) -> Any:
    """Return what JSON changes of a value; None if that is nothing.

    Raises:
        TypeError: JSON would change more of it than can be undone, as an enum that is text.
    """
    kind = type(value)
    if value is None or kind in {str, bool, int, float}:
        return None
    if depth > codec.MAX_DEPTH:
        raise TypeError
    if kind is list or kind is tuple:
        return _types_of_sequence(kind.__name__, [_types_of(item, depth + 1) for item in tuple(value)])
    if kind is dict:
        if any(type(key) is not str for key in value):
            raise TypeError
        parts = {key: _types_of(item, depth + 1) for key, item in value.copy().items()}
        changed = {key: types for key, types in parts.items() if types is not None}
        return {"dict": changed} if changed else None
    if kind.__module__ == "numpy" and _numpy_type(kind.__name__) is kind and _is_number(value):
        return f"numpy.{kind.__name__}"
    raise TypeError


def _types_of_sequence(kind: str, parts: list[Any]) -> Any:
    if not any(parts):
        return None if kind == "list" else kind
    if parts.count(parts[0]) == len(parts):
        return {kind: {_EACH: parts[0]}}
    return {kind: {str(place): types for place, types in enumerate(parts) if types is not None}}


def _is_number(value: Any) -> bool:
    """Tell whether a scalar of numpy is the very number, or the text, that it prints as."""
    plain = value.item()
    return type(plain) in {bool, int, float, str} and (bool(value == plain) or math.isnan(plain))


def _numpy_type(name: str) -> Any:
    import numpy as np  # noqa: PLC0415 - an extra, which whoever returns its numbers has

    kind = getattr(np, name)
    if not (isinstance(kind, type) and issubclass(kind, (np.number, np.bool_, np.str_))):
        raise TypeError
    return kind


def _restored(value: Any, types: Any) -> Any:
    """Return a value of JSON, which may be changed in place, with the types that JSON has not.

    Raises:
        Exception: the types are not those of this value, or cannot be had here.
    """
    if types == "tuple":
        return tuple(value)
    if isinstance(types, str):
        package, _, name = types.partition(".")
        if package != "numpy":
            raise TypeError
        return _numpy_type(name)(value)
    ((kind, parts),) = types.items()
    if kind == "dict":
        return value | {key: _restored(value[key], inner) for key, inner in parts.items()}
    if _EACH in parts:
        return _MADE_OF[kind](_restored(item, parts[_EACH]) for item in value)
    for place, inner in parts.items():
        value[int(place)] = _restored(value[int(place)], inner)
    return _MADE_OF[kind](value)


_MADE_OF: dict[str, Callable[[Any], Any]] = {"list": list, "tuple": tuple}


def _copied_if_short(value: Any) -> Any:
    plain = codec.plain(value, "result")
    _check_short(plain)
    return codec.revive(plain)


def _check_short(plain: Any) -> None:
    if len(codec.encode(plain)) > _MAX_RESULT_BYTES:
        raise ValueError
