"""What the files of a run hold, and how they are named after it."""

from __future__ import annotations

from collections.abc import Iterable
from typing import Any

import msgspec
from msgspec import field

from chunkstore.backends.base import Backend
from chunkstore.clock import clock
from chunkstore.errors import CorruptChunkError
from chunkstore.names import (
    BRANCH,
    BRANCH_UPDATE,
    RUN_FILE,
    STEP,
    STEP_UPDATE,
    ChunkName,
    chunk_file,
    encode_for_file,
    parameter_file,
    parse_chunk_file,
    unescape_segment,
)
from chunkstore.records import codec, overlay
from chunkstore.records.base import Record
from chunkstore.records.decoding import RecordCodec
from chunkstore.records.integrity import without_checksum
from chunkstore.records.models import FAIL, SUCCESS, BranchLog, RunLog, StepLog

#: The kind and the internal name of a record.
Key = tuple[str, str]

#: Digits of a time in nanoseconds, from 2001 on.
_USUAL_DIGITS = 19

TYPE_OF: dict[str, type[StepLog | BranchLog]] = {STEP: StepLog, BRANCH: BranchLog}
KIND_OF: dict[type[Record], str] = {StepLog: STEP, BranchLog: BRANCH}
_UPDATE_KIND_OF = {STEP: STEP_UPDATE, BRANCH: BRANCH_UPDATE}
UPDATE_KINDS = frozenset(_UPDATE_KIND_OF.values())


def key_of(record: StepLog | BranchLog) -> Key:
    """Return what tells a record from all others of its run."""
    return KIND_OF[type(record)], record.internal_name


class _Status(msgspec.Struct):
    status: str = ""


def has_ended(body: bytes) -> bool:
    """Tell whether a step or branch, as JSON, surely says that it has ended.

    Where files are not removed only if they are unchanged, the file of such a record is replaced by nobody any more.
    """
    try:
        return codec.decoder_of(_Status).decode(body).status in (SUCCESS, FAIL)
    except (msgspec.DecodeError, UnicodeDecodeError, RecursionError):
        return False


class Parameters(Record, kw_only=True):
    """The parameters of one scope, as `Parameter-….json` holds them."""

    FREE = ("parameters",)
    SCALARS = (("branch", str),)

    branch: str = ""
    parameters: dict[str, Any] = field(default_factory=dict)

    @classmethod
    def read(cls, data: bytes, file: str) -> Parameters:
        """Return what a file holds.

        Raises:
            CorruptChunkError: it holds no parameters, or those of a scope whose file has another name.
        """
        found = RecordCodec.of(cls).decode(data, file)
        if parameter_file(found.branch) != file:
            raise codec.corrupt(file, 0, f"it holds the parameters of {found.branch!r}, and is not the file for those")
        return found


class Update(msgspec.Struct, kw_only=True, forbid_unknown_fields=True):
    """What others than its owner changed of a record, as `StepUpdate-…` and `BranchUpdate-…` hold it.

    Attributes:
        internal_name: the record.
        over: the file that the change lies over; it counts for no other.
        change: see `overlay`.
    """

    internal_name: str
    over: str
    change: overlay.Change


def is_of_owner(body: bytes) -> bool:
    """Tell whether nobody but the owner of a record has changed it, going by the JSON in the file of its changes."""
    try:
        change = read_update(body).change
    except CorruptChunkError:
        return False
    return change == overlay.Change(own=change.own)


def read_update(data: bytes) -> Update:
    """Return what a file of changes holds, with its checksum or without.

    Raises:
        CorruptChunkError: it holds something else.
    """
    try:
        update: Update = codec.decode(without_checksum(data, ""), "", codec.decoder_of(Update))
    except msgspec.ValidationError as error:
        raise codec.corrupt("", 0, str(error)) from None
    return update


def observe_all(files: Iterable[str]) -> None:
    """Write later timestamps from now on than those in the names of some files, as far as they can be believed."""
    latest = ""
    for file in files:
        digits = file[file.rfind("-") + 1 :].partition(".")[0]
        if len(digits) == _USUAL_DIGITS and digits > latest and parse_chunk_file(file):
            latest = digits
    if latest:
        clock.observe(int(latest))


def update_file(chunk: ChunkName, internal_name: str) -> str:
    """Return the name of the file for changes over a chunk: after its timestamp, so that each has one at most."""
    return chunk_file(_UPDATE_KIND_OF[chunk.kind], internal_name, chunk.timestamp)


def read_run_file(backend: Backend, run_id: str) -> RunLog:
    """Return a run's own record.

    Raises:
        MissingError: there is no such run.
        CorruptChunkError: it cannot be read.
    """
    return checked_run_log(backend.load(run_id, RUN_FILE), run_id)


def names_of_files(internal_name: str) -> tuple[str, ...]:
    """Return what the file of a record may be named after: other tools take the last segment of its name alone."""
    last = internal_name.rpartition(".")[2]
    return tuple(dict.fromkeys((internal_name, last, unescape_segment(last))))


def check_is_file_of(internal_name: str, chunk: ChunkName) -> None:
    """Raise `CorruptChunkError` if a record stands in a file that is named after another one."""
    if chunk.encoded == internal_name:
        return
    for name in names_of_files(internal_name):
        if name and chunk.encoded == encode_for_file(name):
            return
    raise codec.corrupt(chunk.file, 0, f"it holds {internal_name!r}, and is not the file for that")


def checked_run_log(data: bytes, run_id: str) -> RunLog:
    """Return the run's own record that these bytes hold, and no other run's.

    Raises:
        CorruptChunkError: they hold something else.
    """
    log = RecordCodec.of(RunLog).decode(without_checksum(data, RUN_FILE), RUN_FILE)
    if log.run_id != run_id:
        raise codec.corrupt(RUN_FILE, 0, f"it holds the run {log.run_id!r}, not {run_id!r}")
    return log
