"""Records to JSON bytes, exactly."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any, TypeVar

import msgspec
from msgspec import UNSET, UnsetType

from chunkstore.errors import InvalidValueError
from chunkstore.records import codec
from chunkstore.records.fields import (
    ANY_JSON,
    IN_DICTS,
    ExtraFields,
    MetricPoint,
    RecordFields,
    as_dict,
    fields_of,
    has_extra,
)

_R = TypeVar("_R", bound=RecordFields)


def encode_record(record: RecordFields, *, indent: int | None = None) -> bytes:
    """Return `record` as JSON; the record itself is not changed.

    Args:
        record: its values may be anything that `codec.plain` converts.
        indent: spaces per level, or None for the compact form.

    Raises:
        InvalidValueError: a value cannot be recorded without loss; `key` says which.
    """
    try:
        if _is_plain(record):
            return codec.encode(record, indent=indent)
        prepared = _prepare(record, "")
        return codec.encode(as_dict(prepared) if has_extra(prepared) else prepared, indent=indent)
    except RecursionError:
        reason = "it is nested too deep, or the program is"
        raise InvalidValueError(
            f"Cannot record the {type(record).__name__}: {reason}.", key="", reason=reason
        ) from None


#: What to look at in a field's value; by the types of all values of a record, with the places of the fields.
_Check = Callable[[Any], bool]
_Checks = tuple[tuple[int, _Check], ...]

_checks: dict[tuple[type, ...], _Checks | None] = {}
_MOST_SIGNATURES = 1_000


def _is_plain(record: RecordFields) -> bool:
    """Tell whether every value in a record is surely such that `_prepare` would change nothing.

    Records of one kind mostly have values of the same types: what to look at, beyond those, is found out once.
    """
    values = msgspec.structs.astuple(record)
    signature = (type(record), *map(type, values))
    try:
        checks = _checks[signature]
    except KeyError:
        if len(_checks) >= _MOST_SIGNATURES:
            _checks.clear()
        checks = _checks[signature] = _checks_for(type(record), signature[1:])
    if checks is None:
        return False
    for place, check in checks:
        value = values[place]
        if value and not check(value):  # an empty collection or zero of these types is plain
            return False
    return True


def _checks_for(cls: type[RecordFields], types: tuple[type, ...]) -> _Checks | None:
    """Return what else to look at in values of these types, or None if one of them is to be converted."""
    scalars = dict(cls.SCALARS + cls.OPTIONAL)
    checks: list[tuple[int, _Check]] = []
    for place, (info, kind) in enumerate(zip(fields_of(cls), types, strict=True)):
        name = info.name
        check: _Check | None = None
        if kind is UnsetType and name not in dict(cls.SCALARS):
            continue
        if name in scalars:
            if kind is not scalars[name]:
                return None
            check = codec.is_plain_number if kind is int else None
        elif name in cls.NESTED and kind is (dict if name in IN_DICTS else list):
            check = _all_plain(cls.NESTED[name], kind)
        elif name in cls.FREE and kind is dict:
            check = codec.is_flat if name not in ANY_JSON and name != "metric_series" else _never
        elif name in ANY_JSON and kind in {int, float}:
            check = codec.is_plain_number
        elif not (name in ANY_JSON and kind in {str, bool, type(None)}):
            return None
        if check is not None:
            checks.append((place, check))
    return tuple(checks)


def _all_plain(kind: type[RecordFields], container: type) -> _Check:
    def check(items: Any) -> bool:
        for item in items.values() if container is dict else items:
            if type(item) is not kind or not _is_plain(item):
                return False
        return True

    return check


def _never(_value: Any) -> bool:
    return False


def _prepare(record: _R, key: str) -> _R:
    """Return `record`, or a copy of it, in which every value is plain and of the declared type."""
    changes = _changed_scalars(record, key)
    for name in record.FREE:
        value = getattr(record, name)
        if value is UNSET or (type(value) is dict and not value):
            continue
        changes[name] = _plain_field(name, value, _join(key, name))
    for name, kind in record.NESTED.items():
        value = getattr(record, name)
        if value is UNSET:
            continue
        if not isinstance(value, dict if name in IN_DICTS else (list, tuple)):
            raise _wrong_type(_join(key, name), "a dict" if name in IN_DICTS else "a list", value)
        if value:
            changes[name] = _prepare_nested(value, kind, _join(key, name))
    for name in record.SINGLE:
        value = getattr(record, name)
        if value is not UNSET and value is not None:
            changes[name] = _prepare(_as_record(value, record.SINGLE[name], _join(key, name)), _join(key, name))
    if record.extra is not UNSET:
        changes["extra"] = _checked_extra(record, key)
    return msgspec.structs.replace(record, **changes) if changes else record


def _changed_scalars(record: RecordFields, key: str) -> dict[str, Any]:
    """Return the scalars of a record that are not of the declared type, converted to it."""
    changes: dict[str, Any] = {}
    for name, kind in record.SCALARS:
        value = getattr(record, name)
        if type(value) is not kind and not (value is None and name in record.NULLABLE):
            changes[name] = _scalar(value, kind, _join(key, name))
    for name, kind in record.OPTIONAL:
        value = getattr(record, name)
        if value is not UNSET and type(value) is not kind:
            changes[name] = _scalar(value, kind, _join(key, name))
    return changes


def _checked_extra(record: RecordFields, key: str) -> ExtraFields:
    extra = ExtraFields(_plain_dict(record.extra, _join(key, "extra")))
    for info in fields_of(type(record)):
        if info.name != "extra" and info.encode_name in extra:
            where, reason = _join(key, f"extra.{info.encode_name}"), "it is the name of a known field"
            raise InvalidValueError(f"Cannot record {where}: {reason}. Set the field itself.", key=where, reason=reason)
    return extra


def _join(key: str, name: str) -> str:
    return f"{key}.{name}" if key else name


def _scalar(value: Any, kind: type, key: str) -> Any:
    converted = codec.plain(value, key)
    if type(converted) is not kind:
        raise _wrong_type(key, kind.__name__, value)
    return converted


def _wrong_type(key: str, expected: str, value: Any) -> InvalidValueError:
    reason = f"it must be {expected}, not {type(value).__name__}"
    return InvalidValueError(f"Cannot record {key}: {reason}.", key=key, reason=reason)


def _plain_field(name: str, value: Any, key: str) -> Any:
    if name in ANY_JSON:
        return codec.plain(value, key)
    if name == "metric_series":
        if not isinstance(value, dict):
            raise _wrong_type(key, "a dict of lists of MetricPoint", value)
        return {
            codec.key_text(metric, key): [
                _plain_point(point, f"{key}.{metric}[{index}]") for index, point in enumerate(points)
            ]
            for metric, points in value.items()
        }
    return _plain_dict(value, key)


def _plain_point(point: Any, key: str) -> MetricPoint:
    if not isinstance(point, MetricPoint):
        raise _wrong_type(key, "a MetricPoint", point)
    step = codec.plain(point.step, f"{key}.step")
    if isinstance(step, bool) or not isinstance(step, (int, float)):
        raise _wrong_type(f"{key}.step", "a finite number", point.step)
    if not isinstance(point.time, str):
        raise _wrong_type(f"{key}.time", "text", point.time)
    return MetricPoint(step, codec.plain(point.value, f"{key}.value"), point.time)


def _plain_dict(value: Any, key: str) -> dict[str, Any]:
    """Convert a field that is an object in every document: its own keys are never taken for a marked float."""
    if not isinstance(value, dict):
        raise _wrong_type(key, "a dict", value)
    result: dict[str, Any] = {}
    for name, item in dict(value).items():
        text = name if type(name) is str else codec.key_text(name, key)
        if text in result:
            reason = "two keys become the same text"
            raise InvalidValueError(f"Cannot record {key}.{text}: {reason}. Rename one.", key=key, reason=reason)
        result[text] = codec.plain(item, f"{key}.{text}", 1)
    return result


def _prepare_nested(value: Any, kind: type[RecordFields], key: str) -> Any:
    if isinstance(value, dict):
        return {name: _prepare(_as_record(item, kind, key), f"{key}.{name}") for name, item in value.items()}
    return [_prepare(_as_record(item, kind, key), f"{key}[{index}]") for index, item in enumerate(value)]


def _as_record(item: Any, kind: type[RecordFields], key: str) -> RecordFields:
    if isinstance(item, kind):
        return item
    raise _wrong_type(key, kind.__name__, item)
