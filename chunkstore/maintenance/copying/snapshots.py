"""What a run holds at one moment, as far as it is to be copied."""

from __future__ import annotations

import hashlib
import threading
from collections.abc import Callable, Iterable, Iterator, Mapping
from contextlib import contextmanager, nullcontext
from typing import Protocol

import msgspec
from msgspec import UNSET, field

from chunkstore.backends.errors import MissingError, UnreadableFileError
from chunkstore.backends.reader import FolderReader
from chunkstore.clock import parse_time
from chunkstore.errors import ChunkstoreError, CorruptChunkError, RunLogNotFoundError
from chunkstore.names import (
    RUN_FILE,
    chunk_file,
    is_journal_file,
    is_meant,
    is_packable,
    is_sealed_file,
    parameter_file,
    parse_chunk_file,
)
from chunkstore.records.assemble import flatten
from chunkstore.records.base import Record
from chunkstore.records.encoding import encode_record
from chunkstore.records.integrity import split_checksum
from chunkstore.records.models import BranchLog, RunLog, StepLog
from chunkstore.stores.base import Store
from chunkstore.stores.chunk_files import Key, Parameters, checked_run_log, key_of
from chunkstore.stores.contents import contents_of, with_contents
from chunkstore.stores.packed import is_line_file
from chunkstore.stores.reading import RunFiles
from chunkstore.stores.stored import as_file, is_finished

_STATE_DIGITS = 32
#: Of runs whose packed files have more bytes together, only one is read at once.
_LARGE = 16 * 1024 * 1024
_one_large = threading.Lock()
#: In 2001, in nanoseconds: stands in the names of chunks of a run that nobody knows the time of.
_SOME_TIME = 10**18


class SourceGoneError(Exception):
    """The run that is to be copied was deleted, or another one has its id by now."""


def digest_of(data: bytes) -> bytes:
    """Return what tells the bytes of a file from others."""
    return hashlib.sha256(data).digest()


def state_of(record: bytes, sums: Mapping[str, bytes]) -> str:
    """Return what tells everything that a run holds from what it holds at other moments."""
    whole = hashlib.sha256(digest_of(record))
    for name in sorted(sums):
        whole.update(b"%b\n%b" % (name.encode(errors="surrogateescape"), sums[name]))
    return whole.hexdigest()[:_STATE_DIGITS]


class Snapshot(msgspec.Struct, kw_only=True):
    """What a run holds at one moment.

    Attributes:
        log: its own record, without what lies in chunks.
        record: the bytes of that, as far as they tell one moment from another.
        sums: by chunk, what tells its bytes from others.
        kept: the bytes of chunks, as far as memory is meant to go.
        is_all_in_record: whether the record tells of chunks, too.
        is_sealed: whether chunks are packed in a sealed file.
        left_out: files that are none of chunkstore's.
        problems: what cannot be read.
    """

    log: RunLog
    record: bytes
    sums: dict[str, bytes] = field(default_factory=dict)
    kept: dict[str, bytes] = field(default_factory=dict)
    is_all_in_record: bool = False
    is_sealed: bool = False
    left_out: list[str] = field(default_factory=list)
    problems: list[str] = field(default_factory=list)

    @property
    def has_ended(self) -> bool:
        """Whether the run has ended."""
        return is_finished(self.log)

    @property
    def state(self) -> str:
        """What tells all this from what the run holds at other moments."""
        return state_of(self.record, {} if self.is_all_in_record else self.sums)


class Source(Protocol):
    """A run that is to be copied."""

    def record(self) -> tuple[RunLog, bytes]:
        """Return the run's own record, and bytes that tell it from what it is at other moments."""

    def look(self, names: Iterable[str], most: int) -> Snapshot:
        """Return what the run holds now.

        Args:
            names: what chunks the copy has.
            most: how many bytes of chunks are kept.
        """

    @contextmanager
    def opened(self) -> Iterator[Callable[[str], bytes]]:
        """Yield what loads chunks that were not kept, or may have changed since."""


@contextmanager
def _of_source() -> Iterator[None]:
    try:
        yield
    except (MissingError, RunLogNotFoundError):
        raise SourceGoneError from None


class ChunkedSource:
    """A run that lies in chunks: they are copied byte for byte, under their names."""

    def __init__(self, store: Store, run_id: str) -> None:
        self._backend = store.backend
        self._run_id = run_id

    def record(self) -> tuple[RunLog, bytes]:
        """See `Source`."""
        with _of_source():
            return self._checked(self._backend.load(self._run_id, RUN_FILE))

    def _checked(self, record: bytes) -> tuple[RunLog, bytes]:
        log = checked_run_log(record, str(self._run_id))
        if not is_meant(self._run_id, log.incarnation):
            raise MissingError(self._run_id)
        return log, record

    def look(self, names: Iterable[str], most: int) -> Snapshot:  # noqa: ARG002 - chunks keep their names
        """See `Source`."""
        with _of_source(), self._backend.reader(self._run_id) as reader:
            # The record is read first: if it says that the run has ended, everything is there.
            log, record = self._checked(reader.load(RUN_FILE))
            found = Snapshot(log=log, record=record)
            with _room_for(reader):
                self._look(RunFiles(reader), found, most)
        return found

    @staticmethod
    def _look(files: RunFiles, found: Snapshot, most: int) -> None:
        listed = files.names()
        found.is_sealed = any(map(is_sealed_file, files.packed_files()))
        found.left_out = sorted(name for name in listed if _is_foreign(name))
        chunks = sorted(filter(is_packable, listed))
        files.expect(chunks)
        size = 0
        for name in chunks:
            try:
                data = files.load(name)
            except UnreadableFileError as error:
                found.problems.append(f"{name} is not copied: {error.reason}")
                continue
            except FileNotFoundError:
                continue  # removed since it was listed
            found.sums[name] = digest_of(data)
            size += len(data)
            if size <= most:
                found.kept[name] = data
            if problem := _damage(name, data):
                found.problems.append(f"{name} is damaged, and copied as it is: {problem}")

    @contextmanager
    def opened(self) -> Iterator[Callable[[str], bytes]]:
        """See `Source`."""
        with _of_source(), self._backend.reader(self._run_id) as reader:
            self._checked(reader.load(RUN_FILE))
            with _room_for(reader):
                yield RunFiles(reader).load


@contextmanager
def _room_for(reader: FolderReader) -> Iterator[None]:
    """Have one thread alone hold large packed files in memory."""
    with _one_large if _size_of_packed(reader) > _LARGE else nullcontext():
        yield


def _size_of_packed(reader: FolderReader) -> int:
    size = 0
    for name in reader.names():
        if is_sealed_file(name) or is_journal_file(name):
            try:
                size += reader.size(name)
            except MissingError:
                pass  # it is being sealed or unsealed
    return size


def _is_foreign(name: str) -> bool:
    is_ours = name == RUN_FILE or is_packable(name) or is_sealed_file(name) or is_journal_file(name)
    return not is_ours and not name.startswith(".")


def _damage(name: str, data: bytes) -> str:
    """Return what its checksums say is wrong with a chunk."""
    try:
        for part in data.splitlines(keepends=True) if is_line_file(name) else [data]:
            split_checksum(part, name)
    except CorruptChunkError as error:
        return error.reason
    return ""


class RecordSource:
    """A run of a store that keeps runs in another way: its records are copied.

    Args:
        store: where it is.
        run_id: the run.
        pretty: whether chunks that are made of it are for people who use `cat`.
    """

    def __init__(self, store: Store, run_id: str, *, pretty: bool) -> None:
        self._store = store
        self._run_id = run_id
        self._pretty = pretty
        self._kept: dict[str, bytes] = {}

    def record(self) -> tuple[RunLog, bytes]:
        """See `Source`."""
        log = self.log()
        return log, _whole(log)

    def log(self) -> RunLog:
        """Return the whole run."""
        with _of_source():
            return self._store.get_run_log(self._run_id)

    def look(self, names: Iterable[str], most: int) -> Snapshot:  # noqa: ARG002 - it is in memory in any case
        """See `Source`; a record that the copy has gets the name that its chunk has there."""
        log = self.log()
        known = {(chunk.kind, chunk.encoded): chunk.file for chunk in map(parse_chunk_file, names) if chunk}
        records, parameters = flatten(log)
        times = _times_in_names(log)
        files = {}
        for record in records:
            file = chunk_file(*key_of(record), times[key_of(record)])
            chunk = parse_chunk_file(file)
            assert chunk is not None
            files[known.get((chunk.kind, chunk.encoded), file)] = self._as_file(record)
        for scope, values in parameters.items():
            if values:
                files[parameter_file(scope)] = self._as_file(Parameters(branch=scope, parameters=values))
        self._kept = files
        noted = with_contents(log, contents_of(files) if is_finished(log) else None)
        bare = msgspec.structs.replace(noted, steps={}, parameters={}, found_orphans=UNSET, found_problems=UNSET)
        return Snapshot(
            log=bare,
            record=_whole(log),
            is_all_in_record=True,
            sums={name: digest_of(data) for name, data in files.items()},
            kept=files,
            problems=unread(log),
        )

    def _as_file(self, record: Record) -> bytes:
        return as_file(encode_record(record), pretty=self._pretty)

    @contextmanager
    def opened(self) -> Iterator[Callable[[str], bytes]]:
        """See `Source`."""
        yield self._kept.__getitem__


def _times_in_names(log: RunLog) -> dict[Key, int]:
    """Return what stands in the names of chunks for its time, by record: the same for all who copy the run at once.

    It tells the order of the steps of a run or branch, and of the branches of a step.
    """
    created = parse_time(str(log.notes.get("created", "")))
    first = int(created.timestamp()) * 1_000_000_000 if created else _SOME_TIME
    times: dict[Key, int] = {}
    waiting: list[Iterable[StepLog | BranchLog]] = [
        log.steps.values(),
        log.orphans.steps.values(),
        log.orphans.branches.values(),
    ]
    while waiting:
        for place, record in enumerate(waiting.pop()):
            times[key_of(record)] = first + place
            waiting.append((record.branches if isinstance(record, StepLog) else record.steps).values())
    return times


def _whole(log: RunLog) -> bytes:
    return encode_record(msgspec.structs.replace(log, found_problems=UNSET))


def unread(log: RunLog) -> list[str]:
    """Return what could not be read of a run."""
    return [f"{problem.file}: {problem.message}" for problem in log.problems if problem.kind != "orphan"]


def reason_of(error: Exception) -> str:
    """Return what an error says to somebody who copies runs."""
    return str(error) if isinstance(error, ChunkstoreError) else f"{type(error).__name__}: {error}"
