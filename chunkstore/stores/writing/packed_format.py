"""What a run's own record says of its chunks: whether they may be packed, so that readers have to look for them."""

from __future__ import annotations

from typing import Any

import msgspec

from chunkstore.backends.base import Change
from chunkstore.names import RUN_FILE
from chunkstore.records.encoding import encode_record
from chunkstore.records.models import FORMAT, NOTES, PACKED_FORMAT, SEALED, RunLog
from chunkstore.stores.chunk_files import checked_run_log
from chunkstore.stores.packed import unpack
from chunkstore.stores.reading import RunFiles
from chunkstore.stores.stored import as_file


def say_packed(change: Change, run_id: str, *, pretty: bool) -> bytes | None:
    """Make the run's record say that chunks may be packed; return what it was before, as far as is known."""
    current = change.load(RUN_FILE)
    log = checked_run_log(current, run_id)
    if not log.is_packed:
        change.replace(RUN_FILE, with_format(log, PACKED_FORMAT, pretty=pretty), durable=True)
        return current
    before = sealed_record(change)
    return before if before is not None and _is_marked(before, current, run_id, pretty=pretty) else None


def say_sealed(change: Change, run_id: str, note: dict[str, Any], *, pretty: bool) -> None:
    """Make the run's record say that chunks may be packed, and what is noted of the file in which they are."""
    log = checked_run_log(change.load(RUN_FILE), run_id)
    change.replace(RUN_FILE, with_format(log, PACKED_FORMAT, pretty=pretty, sealed=note), durable=True)


def say_unpacked(change: Change, run_id: str, before: bytes | None, *, pretty: bool) -> None:
    """Make the run's record say that no chunk is packed.

    Args:
        change: of the run's folder.
        run_id: the run.
        before: what it was before it said that chunks may be packed, as far as is known.
        pretty: whether JSON is written for people who use `cat`.
    """
    current = change.load(RUN_FILE)
    if before is None or not _is_marked(before, current, run_id, pretty=pretty):
        before = with_format(checked_run_log(current, run_id), FORMAT, pretty=pretty)
    change.replace(RUN_FILE, before, durable=True)


def sealed_record(change: Change) -> bytes | None:
    """Return what `RunLog.json` was before the run was sealed, if a sealed file holds that."""
    with change.reader() as reader:
        files = RunFiles(reader)
        files.names()
        return unpack(files.packed_lines(RUN_FILE)) or None


def _is_marked(before: bytes, current: bytes, run_id: str, *, pretty: bool) -> bool:
    """Tell whether nothing has changed in a run's record but that chunks may be packed."""
    return with_format(checked_run_log(before, run_id), PACKED_FORMAT, pretty=pretty) == current


def with_format(log: RunLog, number: int, *, pretty: bool, sealed: dict[str, Any] | None = None) -> bytes:
    """Return the bytes of a run's record that says that the run is of a format, and what is noted of a sealed file."""
    notes = {**log.notes, "format": number}
    notes.pop(SEALED, None)
    if sealed is not None:
        notes[SEALED] = sealed
    marked = msgspec.structs.replace(log, run_config={**log.run_config, NOTES: notes})
    return as_file(encode_record(marked), pretty=pretty)
