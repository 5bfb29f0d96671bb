"""What the bytes of a single file say about whether it is damaged. Pure: no I/O of its own."""

from __future__ import annotations

import json
from collections.abc import Callable

import msgspec

from chunkstore.backends.errors import UnreadableFileError
from chunkstore.errors import CorruptChunkError
from chunkstore.names import (
    BRANCH,
    BRANCH_UPDATE,
    METRIC,
    STEP,
    STEP_UPDATE,
    is_journal_file,
    is_parameter_file,
    is_sealed_file,
    parse_chunk_file,
)
from chunkstore.records import codec
from chunkstore.records.base import Record
from chunkstore.records.decoding import RecordCodec
from chunkstore.records.integrity import without_checksum
from chunkstore.records.models import BranchLog, RunLog, StepLog
from chunkstore.stores.chunk_files import Parameters, Update
from chunkstore.stores.reading.metric_lines import MetricLine

_TYPES: dict[str, type[Record]] = {STEP: StepLog, BRANCH: BranchLog}
_UPDATES = {STEP_UPDATE, BRANCH_UPDATE}
#: How a run's document begins, whoever wrote it: other files of JSON may lie in the same folder.
_RUN_ID = b'"run_id"'
_BEGINNING = 64


def is_damaged_chunk(file: str, load: Callable[[], bytes]) -> bool:
    """Tell whether nothing can be read of a file in a run's folder, so that nothing is lost if it is moved.

    On the run's own record, too much depends for it to be moved; of packed files, what is whole can be read.

    Args:
        file: its name.
        load: loads it.

    Raises:
        FileNotFoundError: it is gone.
        StoreIOError: the disk gave no bytes; that says nothing about the file.
    """
    chunk = parse_chunk_file(file)
    is_packed = is_sealed_file(file) or is_journal_file(file)
    if chunk is None and not is_parameter_file(file) and not is_packed:
        return False
    try:
        data = load()
    except UnreadableFileError as error:
        return not _is_denied(error)
    if is_packed:
        return False  # what is whole in it can be read
    # Other tools' records with NaN in them can be imported.
    return not has_bare_constants(data) and _is_damaged(file, "" if chunk is None else chunk.kind, data)


def _is_damaged(file: str, kind: str, data: bytes) -> bool:
    """Tell whether the bytes of a chunk of a kind, or of parameters, hold nothing that can be read."""
    if kind == METRIC:
        return all(_is_damaged_line(line, file) for line in data.splitlines(keepends=True))
    if kind in _UPDATES:
        return _fails(lambda: codec.decode(without_checksum(data, file), file, codec.decoder_of(Update)))
    record_codec: RecordCodec[Record] = RecordCodec.of(_TYPES.get(kind, Parameters))
    return _fails(lambda: record_codec.decode(without_checksum(data, file), file))


def is_damaged_document(file: str, load: Callable[[], bytes]) -> bool:
    """Tell whether a file was surely a run's document, or an empty one, and nothing can be read of it.

    As `is_damaged_chunk`.
    """
    try:
        data = load()
    except UnreadableFileError:
        return False  # a link may be somebody's way of keeping documents elsewhere
    if not data.strip(b"\0"):
        return True
    is_of_a_run = _RUN_ID in data[:_BEGINNING] and not has_bare_constants(data)
    return is_of_a_run and _fails(lambda: RecordCodec.of(RunLog).decode(without_checksum(data, file), file))


def _is_damaged_line(line: bytes, file: str) -> bool:
    return _fails(lambda: codec.decode(without_checksum(line, file), file, codec.decoder_of(MetricLine)))


def _fails(decode: Callable[[], object]) -> bool:
    try:
        decode()
    except (CorruptChunkError, msgspec.ValidationError, RecursionError):
        return True
    return False


def has_bare_constants(data: bytes) -> bool:
    """Tell whether bytes are what Python takes for JSON, with NaN or infinities in it, and nobody else does."""
    found: list[str] = []
    try:
        json.loads(data, parse_constant=found.append)
    except (ValueError, RecursionError):
        return False
    return bool(found)


def _is_denied(error: UnreadableFileError) -> bool:
    """Tell whether it is only we who may not read a file."""
    return "permission" in error.reason or "larger" in error.reason
