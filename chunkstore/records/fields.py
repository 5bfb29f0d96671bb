"""The fields of a record: what it declares of them, and the records inside it.

A record declares its fields as msgspec does, and which of them hold values of users, further records, or scalars.
Fields of a document that a record does not declare are kept in `extra` and written again after the known ones.
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from functools import cache
from typing import Any, ClassVar

import msgspec
from msgspec import UNSET, UnsetType, field

#: Fields that may hold any JSON; the other fields of users are objects.
ANY_JSON = frozenset({"result", "item", "result_types"})
#: Fields that hold records by name; other fields of records are lists.
IN_DICTS = frozenset({"steps", "branches"})


class ExtraFields(dict[str, Any]):
    """The fields of a document that this version does not know."""


class RecordFields(msgspec.Struct, kw_only=True, forbid_unknown_fields=True, gc=False):
    """What all records declare."""

    #: Fields that hold values of users.
    FREE: ClassVar[tuple[str, ...]] = ()
    #: Fields that hold further records, in a list or in a dict.
    NESTED: ClassVar[Mapping[str, type[RecordFields]]] = {}
    #: Fields that hold one further record, or null, or are not set.
    SINGLE: ClassVar[Mapping[str, type[RecordFields]]] = {}
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


def _rebuild(cls: type[RecordFields], fields: dict[str, Any]) -> RecordFields:
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


@cache
def fields_of(cls: type[RecordFields]) -> tuple[msgspec.structs.FieldInfo, ...]:
    """Return the fields of a type of record, in the order of the documents."""
    return msgspec.structs.fields(cls)


def has_extra(record: RecordFields) -> bool:
    """Tell whether a record, or one inside it, has fields that it does not declare."""
    if record.extra is not UNSET:
        return True
    return any(map(has_extra, inner_records(record)))


def inner_records(record: RecordFields) -> Iterator[RecordFields]:
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


def as_dict(record: RecordFields) -> dict[str, Any]:
    """Return `record` as the dict that its JSON is, unknown fields after the known ones."""
    result: dict[str, Any] = {}
    for info in fields_of(type(record)):
        value = getattr(record, info.name)
        if value is UNSET or info.name == "extra":
            continue
        if info.name in record.NESTED:
            value = (
                {name: as_dict(item) for name, item in value.items()}
                if isinstance(value, dict)
                else [as_dict(item) for item in value]
            )
        elif isinstance(value, RecordFields):
            value = as_dict(value)
        result[info.encode_name] = value
    if record.extra is not UNSET:
        result.update(record.extra)
    return result
