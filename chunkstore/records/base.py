"""What every record of a run log can do: become JSON and come back, exactly.

A record declares its fields as msgspec does, and which of them hold values of users, further records, or scalars.
Fields of a document that a record does not declare are kept in `extra` and written again after the known ones.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator
from functools import cache, cached_property
from typing import TYPE_CHECKING, Any, ClassVar, Generic, TypeVar

import msgspec
from msgspec import UNSET, UnsetType, field

from chunkstore.errors import CorruptChunkError, InvalidNameError, InvalidValueError
from chunkstore.records import codec

if TYPE_CHECKING:
    from typing_extensions import Self  # for annotations alone: no dependency

_Self = TypeVar("_Self", bound="Record")


class ExtraFields(dict[str, Any]):
    """The fields of a document that this version does not know."""


class Record(msgspec.Struct, kw_only=True, forbid_unknown_fields=True, gc=False):
    """What all records share: exact JSON, and care for unknown fields."""

    #: Fields that hold values of users.
    FREE: ClassVar[tuple[str, ...]] = ()
    #: Fields that hold further records, in a list or in a dict.
    NESTED: ClassVar[dict[str, type[Record]]] = {}
    #: Fields that hold one further record, or null, or are not set.
    SINGLE: ClassVar[dict[str, type[Record]]] = {}
    #: Fields that hold one scalar, and its type.
    SCALARS: ClassVar[tuple[tuple[str, type], ...]] = ()
    #: Scalars that are left out where they are not set, and their type.
    OPTIONAL: ClassVar[tuple[tuple[str, type], ...]] = ()
    #: Scalars that may be null.
    NULLABLE: ClassVar[frozenset[str]] = frozenset()

    # No JSON decodes to this type, so a decoder that meets the name treats it as any unknown field.
    extra: ExtraFields | UnsetType = field(default=UNSET, name="$extra")

    def __reduce__(self) -> tuple[Any, ...]:
        # Without what is not set: to find where UNSET comes from, pickle goes through all modules there are.
        values = zip(self.__struct_fields__, msgspec.structs.astuple(self), strict=True)
        return _rebuild, (type(self), {name: value for name, value in values if value is not UNSET})

    def to_json(self, indent: int | None = None) -> str:
        """Return the record as JSON text.

        Args:
            indent: spaces per level, as the documents of `runnable` have 4; None for the compact form.

        Raises:
            InvalidValueError: a value cannot be recorded without loss.
        """
        return encode_record(self, indent=indent).decode()

    def to_dict(self) -> dict[str, Any]:
        """Return the record as dicts and lists, shaped as its JSON is; nothing is converted or copied deep."""
        return _as_dict(self) if _has_extra(self) else msgspec.to_builtins(self)

    @classmethod
    def from_json(cls, text: str | bytes) -> Self:
        """Return the record that JSON text holds.

        Raises:
            CorruptChunkError: the text is no JSON, or no record of this type.
        """
        try:
            data = text if isinstance(text, bytes) else text.encode()
        except UnicodeEncodeError as error:
            raise codec.corrupt("", error.start, "half of a surrogate pair") from None
        return RecordCodec.of(cls).decode(data)


def _rebuild(cls: type[Record], fields: dict[str, Any]) -> Record:
    return cls(**fields)


class MetricPoint(msgspec.Struct, array_like=True, frozen=True):
    """One value of a metric that was logged with a step number; in JSON a list of three.

    Attributes:
        step: the step number.
        value: any value, mostly a number.
        time: UTC, as in `StepAttempt`.
    """

    step: int | float
    value: Any
    time: str = ""


#: Fields that may hold any JSON; the other fields of users are objects.
_ANY_JSON = frozenset({"result", "item"})
#: Fields that hold records by name; other fields of records are lists.
_IN_DICTS = frozenset({"steps", "branches"})


# --- records -> bytes ------------------------------------------------------------------------------------------------


def encode_record(record: Record, *, indent: int | None = None) -> bytes:
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
        return codec.encode(_as_dict(prepared) if _has_extra(prepared) else prepared, indent=indent)
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


def _is_plain(record: Record) -> bool:
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


def _checks_for(cls: type[Record], types: tuple[type, ...]) -> _Checks | None:
    """Return what else to look at in values of these types, or None if one of them is to be converted."""
    scalars = dict(cls.SCALARS + cls.OPTIONAL)
    checks: list[tuple[int, _Check]] = []
    for place, (info, kind) in enumerate(zip(_fields(cls), types, strict=True)):
        name = info.name
        check: _Check | None = None
        if kind is UnsetType and name not in dict(cls.SCALARS):
            continue
        if name in scalars:
            if kind is not scalars[name]:
                return None
            check = codec.is_plain_number if kind is int else None
        elif name in cls.NESTED and kind is (dict if name in _IN_DICTS else list):
            check = _all_plain(cls.NESTED[name], kind)
        elif name in cls.FREE and kind is dict:
            check = codec.is_flat if name not in _ANY_JSON and name != "metric_series" else _never
        elif name in _ANY_JSON and kind in {int, float}:
            check = codec.is_plain_number
        elif not (name in _ANY_JSON and kind in {str, bool, type(None)}):
            return None
        if check is not None:
            checks.append((place, check))
    return tuple(checks)


def _all_plain(kind: type[Record], container: type) -> _Check:
    def check(items: Any) -> bool:
        for item in items.values() if container is dict else items:
            if type(item) is not kind or not _is_plain(item):
                return False
        return True

    return check


def _never(_value: Any) -> bool:
    return False


def _prepare(record: _Self, key: str) -> _Self:
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
        if not isinstance(value, dict if name in _IN_DICTS else (list, tuple)):
            raise _wrong_type(_join(key, name), "a dict" if name in _IN_DICTS else "a list", value)
        if value:
            changes[name] = _prepare_nested(value, kind, _join(key, name))
    for name in record.SINGLE:
        value = getattr(record, name)
        if value is not UNSET and value is not None:
            changes[name] = _prepare(_as_record(value, record.SINGLE[name], _join(key, name)), _join(key, name))
    if record.extra is not UNSET:
        changes["extra"] = _checked_extra(record, key)
    return msgspec.structs.replace(record, **changes) if changes else record


def _changed_scalars(record: Record, key: str) -> dict[str, Any]:
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


def _checked_extra(record: Record, key: str) -> ExtraFields:
    extra = ExtraFields(_plain_dict(record.extra, _join(key, "extra")))
    for info in _fields(type(record)):
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
    if name in _ANY_JSON:
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
    for name, item in value.items():
        text = name if type(name) is str else codec.key_text(name, key)
        if text in result:
            reason = "two keys become the same text"
            raise InvalidValueError(f"Cannot record {key}.{text}: {reason}. Rename one.", key=key, reason=reason)
        result[text] = codec.plain(item, f"{key}.{text}", 1)
    return result


def _prepare_nested(value: Any, kind: type[Record], key: str) -> Any:
    if isinstance(value, dict):
        return {name: _prepare(_as_record(item, kind, key), f"{key}.{name}") for name, item in value.items()}
    return [_prepare(_as_record(item, kind, key), f"{key}[{index}]") for index, item in enumerate(value)]


def _as_record(item: Any, kind: type[Record], key: str) -> Record:
    if isinstance(item, kind):
        return item
    raise _wrong_type(key, kind.__name__, item)


def _has_extra(record: Record) -> bool:
    if record.extra is not UNSET:
        return True
    return any(map(_has_extra, _inner(record)))


def _inner(record: Record) -> Iterator[Record]:
    """Yield the records that stand directly in a record."""
    for name in record.NESTED:
        collection = getattr(record, name)
        if collection is UNSET:
            continue
        yield from collection.values() if isinstance(collection, dict) else collection
    for name in record.SINGLE:
        value = getattr(record, name)
        if value is not UNSET and value is not None:
            yield value


def _as_dict(record: Record) -> dict[str, Any]:
    """Return `record` as the dict that its JSON is, unknown fields after the known ones."""
    result: dict[str, Any] = {}
    for info in _fields(type(record)):
        value = getattr(record, info.name)
        if value is UNSET or info.name == "extra":
            continue
        if info.name in record.NESTED:
            value = (
                {name: _as_dict(item) for name, item in value.items()}
                if isinstance(value, dict)
                else [_as_dict(item) for item in value]
            )
        elif isinstance(value, Record):
            value = _as_dict(value)
        result[info.encode_name] = value
    if record.extra is not UNSET:
        result.update(record.extra)
    return result


@cache
def _fields(cls: type[Record]) -> tuple[msgspec.structs.FieldInfo, ...]:
    return msgspec.structs.fields(cls)


# --- bytes -> records ------------------------------------------------------------------------------------------------

_R = TypeVar("_R", bound=Record)
_AnyR = TypeVar("_AnyR", bound=Record)

#: By type of record.
_codecs: dict[type[Record], RecordCodec[Any]] = {}


class RecordCodec(Generic[_R]):
    """Decodes one type of record: fast where all fields are known, with care where some are not."""

    def __init__(self, cls: type[_R]) -> None:
        self._cls = cls

    @cached_property
    def _decoder(self) -> msgspec.json.Decoder[_R]:
        return msgspec.json.Decoder(self._cls)

    @staticmethod
    def of(record_type: type[_AnyR]) -> RecordCodec[_AnyR]:
        """Return the codec of a type of record; there is one for each."""
        found = _codecs.get(record_type)
        if found is None:
            found = _codecs[record_type] = RecordCodec(record_type)
        return found

    def decode(self, data: bytes, file: str = "") -> _R:
        """Return the record that JSON bytes hold.

        Args:
            data: UTF-8.
            file: where the bytes come from, for messages.

        Raises:
            CorruptChunkError: the bytes are no JSON, or no record of this type.
        """
        try:
            if codec.is_plain(data):
                try:
                    return self._decoder.decode(data)
                except (msgspec.DecodeError, ValueError, OverflowError):
                    pass  # what is wrong with it, the way that takes care will tell
            record = self.decode_marked(data, file)
            if codec.may_hold_marks(data):
                _revive(record)
        except RecursionError:
            raise codec.corrupt(file, 0, "it is nested too deep") from None
        return record

    def decode_marked(self, data: bytes, file: str = "") -> _R:
        """Return the record that JSON bytes hold, with floats that JSON lacks still marked; see `decode`."""
        try:
            record: _R = codec.decode(data, file, self._decoder)
        except (msgspec.ValidationError, InvalidNameError):
            return self._decode_with_unknown_fields(data, file)
        return record

    def _decode_with_unknown_fields(self, data: bytes, file: str) -> _R:
        return self.convert(codec.decode(data, file), file)

    def convert(self, raw: Any, file: str = "") -> _R:
        """Return the record that decoded JSON holds, with its values as they are.

        Args:
            raw: dicts, lists and scalars.
            file: where they come from, for messages.

        Raises:
            CorruptChunkError: they are no record of this type.
        """
        unknown: list[tuple[tuple[str | int, ...], ExtraFields]] = []
        try:
            record = msgspec.convert(_known_part(self._cls, raw, (), unknown), self._cls)
        except (msgspec.ValidationError, InvalidNameError) as error:
            raise _no_record(self._cls, file, str(error)) from None
        except RecursionError:
            raise codec.corrupt(file, 0, "it is nested too deep") from None
        for path, extra in unknown:
            target: Any = record
            for part in path:
                target = getattr(target, str(part)) if isinstance(target, Record) else target[part]
            target.extra = extra
        return record


def _no_record(cls: type[Record], file: str, reason: str) -> CorruptChunkError:
    return codec.corrupt(file, 0, f"it is JSON, but no {cls.__name__}: {reason}")


def _known_part(
    cls: type[Record],
    raw: Any,
    path: tuple[str | int, ...],
    unknown: list[tuple[tuple[str | int, ...], ExtraFields]],
) -> Any:
    """Return `raw` without the fields that `cls` does not know; those go to `unknown` with their paths."""
    if not isinstance(raw, dict):
        return raw
    infos = {info.encode_name: info for info in _fields(cls) if info.name != "extra"}
    known: dict[str, Any] = {}
    extra = ExtraFields()
    for key, value in raw.items():
        info = infos.get(key)
        if info is None:
            extra[key] = value
        elif single := cls.SINGLE.get(info.name):
            known[key] = _known_part(single, value, (*path, info.name), unknown)
        elif nested := cls.NESTED.get(info.name):
            known[key] = _known_parts(nested, value, (*path, info.name), unknown)
        else:
            known[key] = value
    if extra:
        unknown.append((path, extra))
    return known


def _known_parts(
    cls: type[Record],
    raw: Any,
    path: tuple[str | int, ...],
    unknown: list[tuple[tuple[str | int, ...], ExtraFields]],
) -> Any:
    """Do `_known_part` for every record in a list or dict."""
    if isinstance(raw, dict):
        return {name: _known_part(cls, item, (*path, name), unknown) for name, item in raw.items()}
    if isinstance(raw, list):
        return [_known_part(cls, item, (*path, index), unknown) for index, item in enumerate(raw)]
    return raw


def _revive(record: Record) -> None:
    for name in record.FREE:
        value = getattr(record, name)
        if value is not UNSET:
            setattr(record, name, _revived_field(name, value))
    if record.extra is not UNSET:
        _revive_items(record.extra)
    for inner in _inner(record):
        _revive(inner)


def _revived_field(name: str, value: Any) -> Any:
    if name in _ANY_JSON:
        return codec.revive(value)
    if name == "metric_series":
        return {key: [revived_point(point) for point in points] for key, points in value.items()}
    return _revive_items(value)


def _revive_items(fields: dict[str, Any]) -> dict[str, Any]:
    for key, item in fields.items():
        fields[key] = codec.revive(item)
    return fields


def revived_point(point: MetricPoint) -> MetricPoint:
    """Return a decoded point with a marked float as a float."""
    return MetricPoint(point.step, codec.revive(point.value), point.time)
