"""What a run's own record says of its chunks: whether they may be packed, so that readers have to look for them."""

from __future__ import annotations

import msgspec

from chunkstore.backends.capabilities import FullBackend as Backend
from chunkstore.names import RUN_FILE
from chunkstore.records.encoding import encode_record
from chunkstore.records.models import FORMAT, NOTES, PACKED_FORMAT, RunLog
from chunkstore.stores.chunk_files import checked_run_log
from chunkstore.stores.packed import unpack
from chunkstore.stores.reading import RunFiles
from chunkstore.stores.stored import as_file


def say_packed(backend: Backend, run_id: str, *, pretty: bool) -> bytes | None:
    """Make the run's record say that chunks may be packed; return what it was before, as far as is known.

    To be called under the run's lock.
    """
    current = backend.load(run_id, RUN_FILE)
    log = checked_run_log(current, run_id)
    if not log.is_packed:
        backend.replace_as_read(run_id, RUN_FILE, _with_format(log, PACKED_FORMAT, pretty=pretty), durable=True)
        return current
    before = sealed_record(backend, run_id)
    return before if before is not None and _is_marked(before, current, run_id, pretty=pretty) else None


def say_unpacked(backend: Backend, run_id: str, before: bytes | None, *, pretty: bool) -> None:
    """Make the run's record say that no chunk is packed; to be called under the run's lock.

    Args:
        backend: where the run is.
        run_id: the run.
        before: what it was before it said that chunks may be packed, as far as is known.
        pretty: whether JSON is written for people who use `cat`.
    """
    current = backend.load(run_id, RUN_FILE)
    if before is None or not _is_marked(before, current, run_id, pretty=pretty):
        before = _with_format(checked_run_log(current, run_id), FORMAT, pretty=pretty)
    backend.replace_as_read(run_id, RUN_FILE, before, durable=True)


def sealed_record(backend: Backend, run_id: str) -> bytes | None:
    """Return what `RunLog.json` was before the run was sealed, if a sealed file holds that."""
    with backend.reader(run_id) as reader:
        files = RunFiles(reader)
        files.names()
        return unpack(files.packed_lines(RUN_FILE)) or None


def _is_marked(before: bytes, current: bytes, run_id: str, *, pretty: bool) -> bool:
    """Tell whether nothing has changed in a run's record but that chunks may be packed."""
    return _with_format(checked_run_log(before, run_id), PACKED_FORMAT, pretty=pretty) == current


def _with_format(log: RunLog, number: int, *, pretty: bool) -> bytes:
    """Return the bytes of a run's record that says that the run is of a format."""
    marked = msgspec.structs.replace(log, run_config={**log.run_config, NOTES: {**log.notes, "format": number}})
    return as_file(encode_record(marked), pretty=pretty)
