"""What the files of a run hold, whoever wrote them."""

from __future__ import annotations

import json
from typing import Any, TypeVar

from chunkstore.backends.reader import FolderReader
from chunkstore.errors import CorruptChunkError
from chunkstore.records.base import Record
from chunkstore.records.codec import corrupt
from chunkstore.records.decoding import RecordCodec
from chunkstore.records.encoding import encode_record
from chunkstore.records.models import RunLog

_AnyRecord = TypeVar("_AnyRecord", bound=Record)


def parsed(reader: FolderReader, file: str) -> Any:
    """Return what a file holds; runnable writes NaN and infinities as Python does, which is no JSON."""
    try:
        return json.loads(reader.load(file))
    except CorruptChunkError:
        raise
    except ValueError as error:
        raise corrupt(file, getattr(error, "pos", 0), getattr(error, "msg", str(error))) from None


def as_record(kind: type[_AnyRecord], raw: Any, file: str) -> _AnyRecord:
    """Return a record that can be recorded again.

    Raises:
        ChunkstoreError: it cannot.
    """
    record = RecordCodec.of(kind).convert(raw, file)
    encode_record(record)  # what cannot be recorded is a problem of this file, and not of the whole run
    return record


def run_log_in(raw: Any, run_id: str, file: str) -> RunLog:
    """Return a run's own record, which must be that of the run."""
    log = as_record(RunLog, raw, file)
    if log.run_id != run_id:
        raise corrupt(file, 0, f"it holds the run {log.run_id!r}, not {run_id!r}")
    return log
