"""A whole run as JSON, put together from the bytes of its chunks instead of being encoded anew."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

import msgspec
from msgspec import Raw

from chunkstore.records.base import Record
from chunkstore.records.codec import decoder_of, encode
from chunkstore.records.encoding import encode_record
from chunkstore.records.models import BranchLog, RunLog, StepLog

#: By `id`, what was read and the bytes that it was read from.
Chunks = Mapping[int, tuple[object, bytes]]


def join_chunks(log: RunLog, chunks: Chunks) -> bytes:
    """Return what `log.to_json()` would, apart from white space and the order of fields.

    Args:
        log: a whole run.
        chunks: the bytes that steps, branches and parameters in it were read from, if they are as those say.
    """
    fields = _fields_of(msgspec.structs.replace(log, steps={}))
    fields["steps"] = _steps(log.steps, chunks)
    return encode(fields)


def _steps(steps: Mapping[str, StepLog], chunks: Chunks) -> dict[str, Any]:
    return {name: _step(step, chunks) for name, step in steps.items()}


def _step(step: StepLog, chunks: Chunks) -> Any:
    chunk = _bytes_of(step, chunks)
    if not step.branches:
        return Raw(encode_record(step) if chunk is None else chunk)
    fields = _fields_of(msgspec.structs.replace(step, branches={}) if chunk is None else chunk)
    fields["branches"] = {name: _branch(branch, chunks) for name, branch in step.branches.items()}
    return fields


def _branch(branch: BranchLog, chunks: Chunks) -> dict[str, Any]:
    chunk = _bytes_of(branch, chunks)
    fields = _fields_of(msgspec.structs.replace(branch, steps={}) if chunk is None else chunk)
    fields["steps"] = _steps(branch.steps, chunks)
    if branch.parameters:
        source = _bytes_of(branch.parameters, chunks)
        parameters = RunLog(run_id="", parameters=branch.parameters) if source is None else source
        fields["parameters"] = _fields_of(parameters)["parameters"]
    return fields


def _bytes_of(read: object, chunks: Chunks) -> bytes | None:
    found = chunks.get(id(read))
    if found is None or (isinstance(read, StepLog | BranchLog) and not found[1].startswith(_beginning(read))):
        return None
    return found[1]


def _beginning(record: StepLog | BranchLog) -> bytes:
    """Return what the bytes of a record begin with, as `encode_record` writes them: others may leave out fields."""
    names = ("name", "internal_name") if isinstance(record, StepLog) else ("internal_name",)
    fields = (b'"%s":%s' % (name.encode(), encode(getattr(record, name))) for name in names)
    return b'{%s,"status":' % b",".join(fields)


def _fields_of(record: Record | bytes) -> dict[str, Any]:
    return {**decoder_of(dict[str, Raw]).decode(record if isinstance(record, bytes) else encode_record(record))}
