"""Records as files hold them, as readers of those files get them, and whether they may be written to."""

from __future__ import annotations

import reprlib
from typing import Any, TypeVar

import msgspec

from chunkstore.errors import UnsupportedFormatError
from chunkstore.records.base import Record
from chunkstore.records.codec import decode
from chunkstore.records.decoding import RecordCodec
from chunkstore.records.encoding import encode_record
from chunkstore.records.integrity import with_checksum
from chunkstore.records.models import FAIL, FORMAT, PACKED_FORMAT, SUCCESS, RunLog, is_format
from chunkstore.version import __version__

_AnyRecord = TypeVar("_AnyRecord", bound=Record)


def as_stored(record: _AnyRecord) -> _AnyRecord:
    """Return what a reader of the written record will get: values converted, nothing shared with the caller."""
    return RecordCodec.of(type(record)).decode(encode_record(record))


def as_json(record: Record) -> Any:
    """Return a record as plain JSON values, with floats that JSON lacks still marked; see `overlay`."""
    return decode(encode_record(record))


def as_file(body: bytes, *, pretty: bool) -> bytes:
    """Return the bytes of a file that holds some compact JSON; for people who use `cat`, JSON and nothing else."""
    return msgspec.json.format(body, indent=4) if pretty else with_checksum(body)


def check_format(log: RunLog) -> None:
    """Raise `UnsupportedFormatError` if a newer version wrote this run in a way that this version may not add to."""
    number = log.notes.get("format", FORMAT)
    if not is_format(number) or number > PACKED_FORMAT:
        raise UnsupportedFormatError(
            f"Cannot write to run {log.run_id!r}: its format is {reprlib.repr(number)}, and chunkstore {__version__} "
            f"knows formats up to {PACKED_FORMAT}. Install a newer chunkstore; reading works with this one.",
            run_id=log.run_id,
            format=number,
        )


def is_finished(log: RunLog) -> bool:
    """Tell whether a run has ended, however it did."""
    return log.status in (SUCCESS, FAIL) or "finished" in log.notes
