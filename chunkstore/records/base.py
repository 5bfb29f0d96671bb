"""What every record of a run log can do: become JSON and come back, exactly."""

from __future__ import annotations

from collections.abc import Mapping
from typing import TYPE_CHECKING, Any, ClassVar

import msgspec

from chunkstore.records import codec
from chunkstore.records.decoding import RecordCodec
from chunkstore.records.encoding import encode_record
from chunkstore.records.fields import RecordFields, as_dict, has_extra

if TYPE_CHECKING:
    from typing_extensions import Self  # for annotations alone: no dependency


class Record(RecordFields, kw_only=True):
    """What all records share: exact JSON, and care for unknown fields."""

    NESTED: ClassVar[Mapping[str, type[Record]]] = {}
    SINGLE: ClassVar[Mapping[str, type[Record]]] = {}

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
        return as_dict(self) if has_extra(self) else msgspec.to_builtins(self)

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
