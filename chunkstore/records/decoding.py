"""JSON bytes to records, exactly: fast where all fields are known, with care where some are not."""

from __future__ import annotations

from typing import Any, Generic, TypeVar

import msgspec
from msgspec import UNSET

from chunkstore.errors import CorruptChunkError, InvalidNameError
from chunkstore.forks import ComputedOnce
from chunkstore.records import codec
from chunkstore.records.fields import ANY_JSON, ExtraFields, MetricPoint, RecordFields, fields_of, inner_records

_R = TypeVar("_R", bound=RecordFields)
_AnyR = TypeVar("_AnyR", bound=RecordFields)

#: By type of record.
_codecs: dict[type[RecordFields], RecordCodec[Any]] = {}


class RecordCodec(Generic[_R]):
    """Decodes one type of record."""

    def __init__(self, cls: type[_R]) -> None:
        self._cls = cls

    @ComputedOnce
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
            return self.convert(codec.decode(data, file), file)  # there are fields that the type does not know
        return record

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
        except UnicodeEncodeError as error:  # from JSON that others read, which may hold what is no text
            raise codec.corrupt(file, 0, f"a text holds half of a surrogate pair at position {error.start}") from None
        except RecursionError:
            raise codec.corrupt(file, 0, "it is nested too deep") from None
        for path, extra in unknown:
            target: Any = record
            for part in path:
                target = getattr(target, str(part)) if isinstance(target, RecordFields) else target[part]
            target.extra = extra
        return record


def _no_record(cls: type[RecordFields], file: str, reason: str) -> CorruptChunkError:
    return codec.corrupt(file, 0, f"it is JSON, but no {cls.__name__}: {reason}")


def _known_part(
    cls: type[RecordFields],
    raw: Any,
    path: tuple[str | int, ...],
    unknown: list[tuple[tuple[str | int, ...], ExtraFields]],
) -> Any:
    """Return `raw` without the fields that `cls` does not know; those go to `unknown` with their paths."""
    if not isinstance(raw, dict):
        return raw
    infos = {info.encode_name: info for info in fields_of(cls) if info.name != "extra"}
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
    cls: type[RecordFields],
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


def _revive(record: RecordFields) -> None:
    for name in record.FREE:
        value = getattr(record, name)
        if value is not UNSET:
            setattr(record, name, _revived_field(name, value))
    if record.extra is not UNSET:
        _revive_items(record.extra)
    for inner in inner_records(record):
        _revive(inner)


def _revived_field(name: str, value: Any) -> Any:
    if name in ANY_JSON:
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
