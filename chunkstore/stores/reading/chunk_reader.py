"""Reading the chunks of one run: what each file holds, which of several counts, and what cannot be read."""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Mapping
from functools import cached_property
from itertools import islice, takewhile
from typing import Any, TypeVar

import msgspec
from msgspec import UNSET, field

from chunkstore.backends.base import FolderReader, MissingError, UnreadableFileError
from chunkstore.clock import clock
from chunkstore.errors import ChunkstoreError, CorruptChunkError, StoreIOError
from chunkstore.names import (
    BRANCH,
    BRANCH_UPDATE,
    METRIC,
    RUN_FILE,
    STEP,
    STEP_UPDATE,
    TEMPORARY_PREFIX,
    ChunkName,
    chunk_file,
    encode_for_file,
    inner_prefixes,
    is_meant,
    is_parameter_file,
    parameter_file,
    parse_chunk_file,
    unescape_segment,
)
from chunkstore.records import codec, overlay
from chunkstore.records.assemble import bare, flatten_branches, flatten_steps
from chunkstore.records.base import Record, RecordCodec
from chunkstore.records.integrity import has_checksum, without_checksum
from chunkstore.records.models import BranchLog, Problem, RunLog, StepLog
from chunkstore.stores.packed.packed_file import PackedFile
from chunkstore.stores.reading.listing import Listing
from chunkstore.stores.reading.metric_lines import MetricLine, joined
from chunkstore.stores.reading.run_files import RunFiles

_R = TypeVar("_R", bound=StepLog | BranchLog)

_MOST_SEEN = 100_000
#: The status of a run whose own record cannot be read.
UNKNOWN = "UNKNOWN"

#: What is wrong with one file, and does not keep the others from being read.
_UNREADABLE = (CorruptChunkError, StoreIOError)

_TYPE_OF: dict[str, type[StepLog | BranchLog]] = {STEP: StepLog, BRANCH: BranchLog}
_CODEC_OF = {kind: RecordCodec.of(record_type) for kind, record_type in _TYPE_OF.items()}
_KIND_OF: dict[type[Record], str] = {StepLog: STEP, BranchLog: BRANCH}
_UPDATE_KIND_OF = {STEP: STEP_UPDATE, BRANCH: BRANCH_UPDATE}
_UPDATE_KINDS = frozenset(_UPDATE_KIND_OF.values())
_KINDS = (STEP, BRANCH, STEP_UPDATE, BRANCH_UPDATE, METRIC)


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


class ChangesSeen:
    """Chunks that somebody in this process has seen with what others have changed of them.

    Only for those the owner has to find out whether the record that it writes again has such a change in it.
    """

    def __init__(self) -> None:
        self._files: dict[str, None] = {}

    def __contains__(self, file: str) -> bool:
        return file in self._files

    def add(self, file: str) -> None:
        """Note a chunk; beyond a number of them, those are forgotten that were noted first."""
        self._files[file] = None
        if len(self._files) > _MOST_SEEN:
            for oldest in list(islice(self._files, _MOST_SEEN // 10)):
                self._files.pop(oldest, None)


changes_seen = ChangesSeen()


class _Named(msgspec.Struct):
    """What any record says first."""

    internal_name: str = ""


class ChunkReader:
    """The chunks of one run, listed once.

    Args:
        run_id: the run.
        reader: its folder, opened for this read.
        listing: what is in the folder; None to list it when that is needed.
        keep: see `RunFiles`.
        packed: packed files that an earlier read has looked through; further ones are added to them.
        with_bodies: whether `bodies` are kept.
    """

    def __init__(
        self,
        run_id: str,
        reader: FolderReader,
        listing: Listing | None = None,
        *,
        keep: bool = True,
        packed: dict[str, PackedFile] | None = None,
        with_bodies: bool = False,
    ) -> None:
        self._run_id = run_id
        self._reader = reader
        self._files = RunFiles(reader, listing, self._report, keep=keep)
        if packed is not None:
            self._files.reuse(packed)
        # By `id` of a record, the file that it was read from, and the change that was laid over it.
        self._origins: dict[int, ChunkName] = {}
        self._changes: dict[int, overlay.Change] = {}
        self._with_bodies = with_bodies
        #: By `id`, records and parameters that have a file for themselves, and its bytes. What is kept here keeps its
        #: `id` to itself.
        self.bodies: dict[int, tuple[object, bytes]] = {}
        # Parameters that stand in records, where other tools put them; files of parameters come before them.
        self._inner_parameters: dict[str, dict[str, Any]] = {}
        self._problems: dict[Problem, None] = {}
        # By file, records that were decoded together with others.
        self._decoded: dict[str, StepLog | BranchLog] = {}

    @property
    def problems(self) -> list[Problem]:
        """What could not be read so far."""
        return list(self._problems)

    def without_unfinished(self, log: RunLog) -> RunLog:
        """Take what is on its way out of the problems of a log.

        Records inside another one are written before it. What has no outer record is no problem as long as that lies
        beside it in a temporary file: it is being written, or will never be since its writer was killed.
        """
        if log.found_orphans is not UNSET:
            to_come = self._names_to_come()
            log.found_problems = [
                problem
                for problem in log.problems
                if problem.kind != "orphan" or not any(f"{problem.file}.".startswith(start) for start in to_come)
            ] or UNSET
        return log

    def _names_to_come(self) -> list[str]:
        """Return what the names of records begin with that may be on their way; every name does with an empty one."""
        found = []
        known = set(self._names)
        for file in self._reader.all_entries():
            if file.startswith(TEMPORARY_PREFIX) or (file not in known and parse_chunk_file(file)):
                try:
                    name = codec.decoder_of(_Named).decode(self._reader.load(file)).internal_name
                except FileNotFoundError:
                    found.append("")  # it has got its name since
                except (OSError, ChunkstoreError, msgspec.DecodeError, UnicodeDecodeError, RecursionError):
                    pass  # it is not even written: nothing inside it is there
                else:
                    found.append(f"{name}.")
        return found

    @cached_property
    def _names(self) -> list[str]:
        return self._files.names()

    @cached_property
    def _chunks(self) -> list[ChunkName]:
        """All chunks in order of execution."""
        return self._in_order(self._names)

    def _in_order(self, files: Iterable[str]) -> list[ChunkName]:
        """Return the chunks among some files in order of execution; times beyond reason are a problem."""
        chunks = in_order(files)
        horizon = clock.horizon()
        early = list(takewhile(lambda chunk: chunk.timestamp > horizon, chunks))
        for file in [*(chunk.file for chunk in early), *self._files.beyond_reason]:
            self._add_problem("time", file, "its name has a time far ahead of now: it counts as older than all others")
        return chunks

    def _chunks_of(self, kind: str, encoded: str) -> list[ChunkName]:
        """Return the chunks of one kind and encoded name, in order of execution."""
        files = self._files.starting_with(f"{kind}-{encoded}-")
        return [chunk for chunk in self._in_order(files) if chunk.encoded == encoded]

    def _chunks_inside(self, internal_name: str) -> list[ChunkName]:
        """Return the chunks that may belong inside the record of a name, in order of execution."""
        prefixes = inner_prefixes(internal_name)
        return self._in_order(
            {file for kind in _KINDS for start in prefixes for file in self._files.starting_with(f"{kind}-{start}")}
        )

    # --- the run's own record ----------------------------------------------------------------------------------------

    def metadata(self) -> RunLog:
        """Return the run's own record; if that cannot be read but chunks can, one that says so.

        To be called first: a run that says it has finished shall show everything that came before.

        Raises:
            FileNotFoundError: there is neither.
        """
        try:
            log = checked_run_log(self._files.load(RUN_FILE, is_listed=False), self._run_id, RUN_FILE)
        except FileNotFoundError:
            if not self._chunks:
                raise
            self._add_problem("missing", RUN_FILE, "the run's own record is missing")
        except _UNREADABLE as error:
            self._report(RUN_FILE, error)
        else:
            if not is_meant(self._run_id, log.incarnation):
                raise MissingError(self._run_id)
            return log
        return RunLog(run_id=str(self._run_id), status=UNKNOWN)

    # --- steps and branches ------------------------------------------------------------------------------------------

    def records(self, inside: str | None = None) -> list[StepLog | BranchLog]:
        """Return the steps and branches that count, in order of execution.

        Args:
            inside: an internal name: only those inside the record of that name; None for all.
        """
        chunks = self._chunks if inside is None else self._chunks_inside(inside)
        updates = self._updates(chunks)
        if inside is None and not self._with_bodies:
            for kind, cls in _TYPE_OF.items():
                self._decoded.update(self._files.decode_sealed(f"{kind}-", cls))
        newest: dict[tuple[str, str], StepLog | BranchLog] = {}
        for chunk in chunks:
            if chunk.kind in _TYPE_OF and (outer := self._record(chunk, updates.get(chunk.file))) is not None:
                for record in self._flat(outer):
                    if inside is not None and not record.internal_name.startswith(f"{inside}."):
                        continue  # a shortened name in the file name did not tell
                    # Later ones replace earlier ones, and take their place in the order of execution.
                    key = (STEP if isinstance(record, StepLog) else BRANCH, record.internal_name)
                    newest.pop(key, None)
                    newest[key] = record
        metrics = [chunk for chunk in chunks if chunk.kind == METRIC]
        if metrics:
            self._add_series(metrics, {name: record for (kind, name), record in newest.items() if kind == STEP})
        return list(newest.values())

    def stream(self) -> Iterator[StepLog | BranchLog]:
        """Yield the steps and branches that count, in order of execution, each without what is inside it."""
        groups: dict[tuple[str, str], int] = {}
        for chunk in self._chunks:
            key = (chunk.kind, chunk.encoded)
            groups[key] = groups.get(key, 0) + 1
        updates = self._updates(self._chunks)
        superseded = self._superseded({key for key, count in groups.items() if count > 1})
        for chunk in self._chunks:
            if chunk.kind not in _TYPE_OF or chunk.file in superseded:
                continue
            record = self._record(chunk, updates.get(chunk.file))
            if record is None:
                continue
            if isinstance(record, StepLog) and (METRIC, chunk.encoded) in groups:
                self._add_series(self._chunks_of(METRIC, chunk.encoded), {record.internal_name: record})
            yield from map(bare, self._flat(record))
            self._origins.clear()
            self._changes.clear()

    def _superseded(self, groups: set[tuple[str, str]]) -> set[str]:
        """Return the files that do not count, as there are newer ones for the same record.

        Args:
            groups: kinds and encoded names of which there are several files.
        """
        newest: dict[tuple[str, str], str] = {}
        superseded: set[str] = set()
        for chunk in self._chunks:
            if chunk.kind in _TYPE_OF and (chunk.kind, chunk.encoded) in groups:
                record = self._record(chunk, None)
                if record is not None:
                    older = newest.get((chunk.kind, record.internal_name))
                    superseded.update((older,) if older else ())
                    newest[chunk.kind, record.internal_name] = chunk.file
        return superseded

    def _flat(self, record: StepLog | BranchLog) -> list[StepLog | BranchLog]:
        """Return a record and those inside it: other tools write whole branches into one file."""
        if isinstance(record, StepLog) and not record.branches:
            return [record]
        inner: Iterable[StepLog | BranchLog]
        if isinstance(record, StepLog):
            inner = flatten_branches(record.branches, self._inner_parameters)
        else:
            inner = flatten_steps(record.steps, self._inner_parameters)
            if record.parameters:
                self._inner_parameters[record.internal_name] = record.parameters
        found = [record, *inner]
        for nested in found[1:]:
            self._note_origin(nested, *self.origin(record))
        if len(found) > 1:
            self.bodies.pop(id(record), None)
        return found

    def records_of(self, log: RunLog) -> list[StepLog | BranchLog]:
        """Return the records that count, those in the run's own record first: other tools keep steps there."""
        parameters: dict[str, dict[str, Any]] = {}
        inner = {(type(record), record.internal_name): record for record in flatten_steps(log.steps, parameters)}
        records = self.records()
        for record in records if inner else ():
            inner.pop((type(record), record.internal_name), None)
            inner[type(record), record.internal_name] = record
        self._inner_parameters = {"": log.parameters, **parameters, **self._inner_parameters}
        return list(inner.values()) or records

    def newest(
        self, kind: type[_R], internal_name: str, *, strict: bool = False, with_series: bool = True
    ) -> _R | None:
        """Return the record of one name that counts, or None.

        Args:
            kind: `StepLog` or `BranchLog`.
            internal_name: compared whole.
            strict: whether an unreadable change of it raises; else it is a problem.
            with_series: whether the points of metric files are put into a step.

        Raises:
            CorruptChunkError: the newest file of that name cannot be read; an older one must not pass for it. Or there
                is none, and a file in which it may be packed cannot be read.
        """
        # Other tools name the file after the last segment alone; the name inside decides.
        last = internal_name.rpartition(".")[2]
        for name in dict.fromkeys((internal_name, last, unescape_segment(last))):
            encoded = encode_for_file(name)
            for chunk in reversed(self._chunks_of(_KIND_OF[kind], encoded)):
                update = self._update_over(chunk, internal_name, strict=strict)
                record = self._record(chunk, update, strict=True)
                if isinstance(record, kind) and record.internal_name == internal_name:
                    if isinstance(record, StepLog) and with_series:
                        self._add_series(self._chunks_of(METRIC, encoded), {internal_name: record})
                    return record
        if self._files.unreadable is not None:
            raise self._files.unreadable
        return None

    def origin(self, record: StepLog | BranchLog) -> tuple[ChunkName, overlay.Change | None]:
        """Return the file that a record was read from, and the change that was laid over it."""
        return self._origins[id(record)], self._changes.get(id(record))

    def record_in(self, chunk: ChunkName) -> StepLog | BranchLog | None:
        """Return the record in one file, with what others have changed of it, or None if the file is gone.

        Raises:
            CorruptChunkError: it cannot be read.
        """
        record = self._record(chunk, None, strict=True)
        if record is None:
            return None
        change = self._update_over(chunk, record.internal_name, strict=True)
        return record if change is None else self._record(chunk, change, strict=True)

    def file_changed_by(self, update: ChunkName) -> ChunkName | None:
        """Return the chunk that a file of changes lies over.

        Raises:
            CorruptChunkError: the file cannot be read.
        """
        found = self._update(update.file, strict=True)
        return parse_chunk_file(found.over) if found else None

    def files_of(self, records: Iterable[StepLog | BranchLog]) -> dict[tuple[str, str], ChunkName]:
        """Return the files that records were read from, by kind and internal name."""
        origins = ((record, self._origins.get(id(record))) for record in records)
        return {(_KIND_OF[type(record)], record.internal_name): chunk for record, chunk in origins if chunk}

    def _note_origin(self, record: StepLog | BranchLog, chunk: ChunkName, change: overlay.Change | None) -> None:
        self._origins[id(record)] = chunk
        if change is not None:
            self._changes[id(record)] = change
            changes_seen.add(chunk.file)

    def _record(
        self, chunk: ChunkName, change: overlay.Change | None, *, strict: bool = False
    ) -> StepLog | BranchLog | None:
        data, is_ours = b"", False
        decoded = self._decoded.pop(chunk.file, None) if self._decoded and change is None else None
        try:
            if decoded is None:
                data, is_ours = self._files.content(chunk.file)
                if change is not None:
                    data = codec.encode(overlay.apply(change, codec.decode(data, chunk.file)))
                decoded = _CODEC_OF[chunk.kind].decode(data, chunk.file)
            record = decoded
            _check_is_file_of(record.internal_name, chunk)
        except FileNotFoundError:
            return None  # removed since it was listed
        except (*_UNREADABLE, RecursionError) as error:
            if strict:
                raise self._as_error(chunk.file, error) from None
            self._report(chunk.file, error)
            return None
        self._note_origin(record, chunk, change)
        if is_ours and self._with_bodies:  # what other tools write may lack fields
            self.bodies[id(record)] = record, data
        return record

    def _updates(self, chunks: Iterable[ChunkName]) -> dict[str, overlay.Change]:
        """Return the newest change over each file."""
        found: dict[str, overlay.Change] = {}
        for chunk in chunks:
            if chunk.kind in _UPDATE_KINDS and (update := self._update(chunk.file)) is not None:
                over = parse_chunk_file(update.over)
                if over and over.kind in _TYPE_OF and update_file(over, update.internal_name) == chunk.file:
                    found[update.over] = update.change
                else:
                    self._report(chunk.file, codec.corrupt(chunk.file, 0, "it is not the file for what it changes"))
        return found

    def _update_over(self, chunk: ChunkName, internal_name: str, *, strict: bool) -> overlay.Change | None:
        """Return the change over one file; its name tells where it is, so that no listing can miss it."""
        update = self._update(update_file(chunk, internal_name), is_listed=False, strict=strict)
        return update.change if update is not None and update.over == chunk.file else None

    def _update(self, file: str, *, is_listed: bool = True, strict: bool = False) -> Update | None:
        try:
            body, _ = self._files.content(file, is_listed=is_listed)
            update: Update = codec.decode(body, file, codec.decoder_of(Update))
        except FileNotFoundError:
            return None
        except (*_UNREADABLE, msgspec.ValidationError) as error:
            if strict:
                raise self._as_error(file, error) from None
            self._report(file, error)
            return None
        return update

    # --- metrics -----------------------------------------------------------------------------------------------------

    def _add_series(self, chunks: Iterable[ChunkName], steps: Mapping[str, StepLog | BranchLog]) -> None:
        """Put the points of metric files, the `chunks`, into their steps."""
        lines: dict[str, list[MetricLine]] = {}
        for chunk in chunks:
            for line in self._metric_lines(chunk):
                if line.internal_name not in steps:
                    self._add_problem("orphan", chunk.file, f"there is no step {line.internal_name}")
                    break
                lines.setdefault(line.internal_name, []).append(line)
        for name, of_step in lines.items():
            step = steps[name]
            assert isinstance(step, StepLog)
            file = self._origins[id(step)].file
            step.metric_series = joined(step, (line for line in of_step if line.over in ("", file)))

    def _metric_lines(self, chunk: ChunkName) -> Iterator[MetricLine]:
        try:
            data = self._files.load(chunk.file)
        except FileNotFoundError:
            return
        except _UNREADABLE as error:
            self._report(chunk.file, error)
            return
        *lines, rest = data.split(b"\n")
        # What stands after the last line break is a write that was cut off, and so was not acknowledged. Unless it is
        # whole but for the line break itself.
        if has_checksum(rest[:-1] + b"\n"):
            lines.append(rest)
        elif rest and not rest.startswith(b"{"):
            self._report(chunk.file, codec.corrupt(chunk.file, len(data) - len(rest), "it ends in something else"))
        for line in lines:
            if not line:
                self._add_problem("corrupt", chunk.file, "it holds empty lines")
                continue
            try:
                whole = without_checksum(line + b"\n", chunk.file)
                metric_line = codec.decode(whole, chunk.file, codec.decoder_of(MetricLine))
            except (CorruptChunkError, msgspec.ValidationError) as error:
                self._report(chunk.file, error)
                continue
            yield metric_line

    # --- parameters --------------------------------------------------------------------------------------------------

    def parameters(self) -> dict[str, dict[str, Any]]:
        """Return the parameters of all scopes; to be called after `records`, as those may hold some."""
        result = dict(self._inner_parameters)
        for file in self._names:
            if is_parameter_file(file) and (found := self._parameters(file, is_listed=True)) is not None:
                result[found.branch] = found.parameters
        return result

    def parameters_inside(self, records: Iterable[StepLog | BranchLog]) -> dict[str, dict[str, Any]]:
        """Return the parameters of the branches among some records."""
        names = [record.internal_name for record in records if isinstance(record, BranchLog)]
        return {name: self.parameters_of(name) for name in names}

    def parameters_of(self, scope: str) -> dict[str, Any]:
        """Return the parameters of one scope; empty if it has none."""
        found = self._parameters(parameter_file(scope), is_listed=False)
        return found.parameters if found else self._inner_parameters.get(scope, {})

    def _parameters(self, file: str, *, is_listed: bool) -> Parameters | None:
        try:
            data, _ = self._files.content(file, is_listed=is_listed)
            found = Parameters.read(data, file)
        except FileNotFoundError:
            return None
        except _UNREADABLE as error:
            self._report(file, error)
            return None
        if self._with_bodies:
            self.bodies[id(found.parameters)] = found.parameters, data
        return found

    # --- problems ----------------------------------------------------------------------------------------------------

    def _report(self, file: str, error: Exception) -> None:
        known = self._as_error(file, error)
        if isinstance(known, UnreadableFileError):
            self._add_problem("unreadable", file, known.reason)
        elif isinstance(known, CorruptChunkError):
            self._add_problem("corrupt", file, f"{known.reason} (byte {known.offset})")
        else:
            self._add_problem("unreadable", file, str(known))

    def _add_problem(self, kind: str, file: str, message: str) -> None:
        """Note a problem, once: some files are looked at more than once in a read."""
        # The name of a file may be any bytes, and the log of which this becomes a part is UTF-8.
        shown = file.encode(errors="backslashreplace").decode()
        self._problems[Problem(kind, shown, message)] = None

    @staticmethod
    def _as_error(file: str, error: Exception) -> ChunkstoreError:
        return error if isinstance(error, ChunkstoreError) else codec.corrupt(file, 0, str(error))


def checked_run_log(data: bytes, run_id: str, file: str) -> RunLog:
    """Return the run's own record that these bytes hold, and no other run's.

    Raises:
        CorruptChunkError: they hold something else.
    """
    log = RecordCodec.of(RunLog).decode(without_checksum(data, file), file)
    if log.run_id != run_id:
        raise codec.corrupt(file, 0, f"it holds the run {log.run_id!r}, not {run_id!r}")
    return log


def _check_is_file_of(internal_name: str, chunk: ChunkName) -> None:
    """Raise `CorruptChunkError` if a record stands in a file that is named after another one.

    Other tools name files after the last segment alone.
    """
    if chunk.encoded == internal_name:
        return
    last = internal_name.rpartition(".")[2]
    for name in (internal_name, last, unescape_segment(last)):
        if name and chunk.encoded == encode_for_file(name):
            return
    raise codec.corrupt(chunk.file, 0, f"it holds {internal_name!r}, and is not the file for that")


def update_file(chunk: ChunkName, internal_name: str) -> str:
    """Return the name of the file for changes over a chunk: after its timestamp, so that each has one at most."""
    return chunk_file(_UPDATE_KIND_OF[chunk.kind], internal_name, chunk.timestamp)


def newest_listed(listing: Listing | RunFiles, kind: type[_R], internal_name: str) -> ChunkName | None:
    """Return the newest of the files that are named after a record, or None."""
    encoded = encode_for_file(internal_name)
    files = listing.starting_with(f"{_KIND_OF[kind]}-{encoded}-")
    return next((chunk for chunk in reversed(in_order(files)) if chunk.encoded == encoded), None)


def _place(chunk: ChunkName) -> tuple[int, str]:
    """Return what chunks are ordered by; equal timestamps are ordered by name."""
    return chunk.timestamp, chunk.file


def in_order(files: Iterable[str]) -> list[ChunkName]:
    """Return the chunks among some files in order of execution; whoever asks writes later timestamps from now on.

    A time that nobody believes must not hide what is recorded from now on. So such chunks come before all others.
    """
    chunks = [chunk for chunk in map(parse_chunk_file, files) if chunk]
    if not chunks:
        return chunks
    chunks.sort(key=_place)
    horizon = clock.horizon()
    if chunks[-1].timestamp > horizon:
        end = next(place for place, chunk in enumerate(chunks) if chunk.timestamp > horizon)
        chunks = chunks[end:] + chunks[:end]
    clock.observe(chunks[-1].timestamp)
    return chunks
