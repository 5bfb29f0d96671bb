"""Reading the chunks of one run: what each file holds, which of several counts, and what cannot be read."""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Mapping
from itertools import takewhile
from typing import Any, TypeVar

from chunkstore.backends.errors import MissingError
from chunkstore.backends.reader import FolderReader
from chunkstore.clock import clock
from chunkstore.forks import ComputedOnce
from chunkstore.names import (
    BRANCH,
    BRANCH_UPDATE,
    METRIC,
    RUN_FILE,
    STEP,
    STEP_UPDATE,
    ChunkName,
    encode_for_file,
    inner_prefixes,
    is_meant,
    is_parameter_file,
    parameter_file,
)
from chunkstore.records import codec, overlay
from chunkstore.records.assemble import assemble, bare, flatten_inside, flatten_steps
from chunkstore.records.decoding import RecordCodec
from chunkstore.records.late import LateRecords
from chunkstore.records.models import CONTENTS, SUMMING, BranchLog, Problem, RunLog, StepLog
from chunkstore.stores.chunk_files import (
    KIND_OF,
    TYPE_OF,
    Key,
    Parameters,
    check_is_file_of,
    checked_run_log,
    key_of,
    names_of_files,
)
from chunkstore.stores.contents import Contents
from chunkstore.stores.packed import PackedFile, unpack
from chunkstore.stores.reading.listing import Listing
from chunkstore.stores.reading.metric_lines import MetricLine, add_lines, lines_of_steps, metric_lines
from chunkstore.stores.reading.order import in_order
from chunkstore.stores.reading.problems import UNREADABLE, Problems, as_error
from chunkstore.stores.reading.run_files import RunFiles
from chunkstore.stores.reading.seen_changes import changes_seen
from chunkstore.stores.reading.unfinished import without_unfinished
from chunkstore.stores.reading.update_reader import UpdateReader

_R = TypeVar("_R", bound=StepLog | BranchLog)

#: The status of a run whose own record cannot be read.
UNKNOWN = "UNKNOWN"

_CODEC_OF = {kind: RecordCodec.of(record_type) for kind, record_type in TYPE_OF.items()}
_KINDS = (STEP, BRANCH, STEP_UPDATE, BRANCH_UPDATE, METRIC)


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
        self._problems = Problems()
        self._files = RunFiles(reader, listing, self._problems.report, keep=keep)
        if packed is not None:
            self._files.reuse(packed)
        # By `id` of a record, the file that it was read from, and the change that was laid over it.
        self._origins: dict[int, ChunkName] = {}
        self._changes: dict[int, overlay.Change] = {}
        #: What others have changed.
        self.updates = UpdateReader(self._files, self._problems)
        self._with_bodies = with_bodies
        #: By `id`, which it keeps to itself, what has a file for itself, and its bytes.
        self.bodies: dict[int, tuple[object, bytes]] = {}
        #: Tells what came after the end of the run; `metadata` sets it.
        self.late: LateRecords | None = None
        # Parameters that stand in records, where other tools put them; files of parameters come before them.
        self._inner_parameters: dict[str, dict[str, Any]] = {}
        # By file, records that were decoded together with others.
        self._decoded: dict[str, StepLog | BranchLog] = {}

    @property
    def problems(self) -> list[Problem]:
        """What could not be read so far."""
        return self._problems.all()

    @ComputedOnce
    def _names(self) -> list[str]:
        return self._files.names()

    @ComputedOnce
    def _chunks(self) -> list[ChunkName]:
        return self._in_order(self._names)

    def _in_order(self, files: Iterable[str]) -> list[ChunkName]:
        """Return the chunks among some files in order of execution; times beyond reason are a problem."""
        chunks = in_order(files)
        horizon = clock.horizon()
        early = list(takewhile(lambda chunk: chunk.timestamp > horizon, chunks))
        for file in [*(chunk.file for chunk in early), *self._files.beyond_reason]:
            self._problems.add("time", file, "its name has a time far ahead of now: it counts as older than all others")
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
            found = self._files.find(RUN_FILE, is_listed=False)
            log = checked_run_log(found if isinstance(found, bytes) else unpack(found), self._run_id)
        except FileNotFoundError:
            if not self._chunks:
                raise
            self._problems.add("missing", RUN_FILE, "the run's own record is missing")
        except UNREADABLE as error:
            self._problems.report(RUN_FILE, error)
        else:
            if not is_meant(self._run_id, log.incarnation):
                raise MissingError(self._run_id)
            if not isinstance(found, bytes):
                self._problems.add("missing", RUN_FILE, "the run's own record is missing: this is it as it was sealed")
            self._files.sums = {} if {CONTENTS, SUMMING} & log.notes.keys() else None
            self.late = LateRecords.of(log)
            return log
        return RunLog(run_id=str(self._run_id), status=UNKNOWN)

    # --- the whole run -----------------------------------------------------------------------------------------------

    def whole(self) -> RunLog:
        """Return the whole run.

        Raises:
            FileNotFoundError: there is no such run.
        """
        metadata = self.metadata()
        records = self.records_of(metadata)
        return self.assembled(metadata, records)

    def assembled(self, metadata: RunLog, records: Iterable[StepLog | BranchLog]) -> RunLog:
        """Return the whole run, put together from what was read of it."""
        parameters = self.parameters()
        self._find_lost(metadata)
        log = assemble(metadata, records, parameters, self.problems)
        return without_unfinished(log, self._reader, self._names)

    def _find_lost(self, metadata: RunLog) -> None:
        for kind, message in self._files.lost(metadata, self._packable(), self._problems.damaged()):
            self._problems.add(kind, RUN_FILE, message)

    def _packable(self) -> list[str]:
        return [*(chunk.file for chunk in self._chunks), *filter(is_parameter_file, self._names)]

    def contents(self) -> Contents | None:
        """Return what the chunks hold, summed up; None if some cannot be read."""
        contents, damaged = self._files.contents(self._packable())
        return None if damaged or self._problems.damaged() else contents

    # --- steps and branches ------------------------------------------------------------------------------------------

    def records(self, inside: str | None = None) -> list[StepLog | BranchLog]:
        """Return the steps and branches that count, in order of execution.

        Args:
            inside: an internal name: only those inside the record of that name; None for all.
        """
        chunks = self._chunks if inside is None else self._chunks_inside(inside)
        updates = self.updates.over_all(chunks)
        if inside is None and not self._with_bodies:
            for kind, cls in TYPE_OF.items():
                self._decoded.update(self._files.decode_sealed(f"{kind}-", cls))
        newest: dict[Key, StepLog | BranchLog] = {}
        for chunk in chunks:
            if chunk.kind in TYPE_OF and (outer := self._record(chunk, updates.get(chunk.file))) is not None:
                for record in self._flat(outer):
                    if inside is not None and not record.internal_name.startswith(f"{inside}."):
                        continue  # a shortened name in the file name did not tell
                    # Later ones replace earlier ones, and take their place in the order of execution.
                    key = key_of(record)
                    newest.pop(key, None)
                    newest[key] = record
        metrics = [chunk for chunk in chunks if chunk.kind == METRIC]
        if metrics:
            self._add_series(metrics, {name: record for (kind, name), record in newest.items() if kind == STEP})
        for record in newest.values() if self.late else ():
            self._tell_if_late(record)
        return list(newest.values())

    def _tell_if_late(self, record: _R) -> _R:
        change = self._changes.get(id(record))
        if self.late is not None and self.late.tell(record, overlay.set_by(change)):
            self.bodies.pop(id(record), None)
        return record

    def stream(self) -> Iterator[StepLog | BranchLog]:
        """Yield the steps and branches that count, in order of execution, each without what is inside it."""
        groups: dict[tuple[str, str], int] = {}
        for chunk in self._chunks:
            key = (chunk.kind, chunk.encoded)
            groups[key] = groups.get(key, 0) + 1
        updates = self.updates.over_all(self._chunks)
        superseded = self._superseded({key for key, count in groups.items() if count > 1})
        for chunk in self._chunks:
            if chunk.kind not in TYPE_OF or chunk.file in superseded:
                continue
            record = self._record(chunk, updates.get(chunk.file))
            if record is None:
                continue
            if isinstance(record, StepLog) and (METRIC, chunk.encoded) in groups:
                self._add_series(self._chunks_of(METRIC, chunk.encoded), {record.internal_name: record})
            yield from (bare(self._tell_if_late(flat)) for flat in self._flat(record))
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
            if chunk.kind in TYPE_OF and (chunk.kind, chunk.encoded) in groups:
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
        found = [record, *flatten_inside(record, self._inner_parameters)]
        for nested in found[1:]:
            self._note_origin(nested, *self.origin(record))
        if len(found) > 1:
            self.bodies.pop(id(record), None)
        return found

    def records_of(self, log: RunLog) -> list[StepLog | BranchLog]:
        """Return the records that count, those in the run's own record first: other tools keep steps there."""
        parameters: dict[str, dict[str, Any]] = {}
        inner = {key_of(record): record for record in flatten_steps(log.steps, parameters)}
        records = self.records()
        for record in records if inner else ():
            inner.pop(key_of(record), None)
            inner[key_of(record)] = record
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
        for name in names_of_files(internal_name):  # the name inside decides
            encoded = encode_for_file(name)
            for chunk in reversed(self._chunks_of(KIND_OF[kind], encoded)):
                update = self.updates.over(chunk, internal_name, strict=strict)
                record = self._record(chunk, update, strict=True)
                if isinstance(record, kind) and record.internal_name == internal_name:
                    if isinstance(record, StepLog) and with_series:
                        self._add_series(self._chunks_of(METRIC, encoded), {internal_name: record})
                    return self._tell_if_late(record)
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
        change = self.updates.over(chunk, record.internal_name, strict=True)
        return record if change is None else self._record(chunk, change, strict=True)

    def files_of(self, records: Iterable[StepLog | BranchLog]) -> dict[Key, ChunkName]:
        """Return the files that records were read from, by kind and internal name."""
        origins = ((record, self._origins.get(id(record))) for record in records)
        return {key_of(record): chunk for record, chunk in origins if chunk}

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
            check_is_file_of(record.internal_name, chunk)
        except FileNotFoundError:
            return None  # removed since it was listed
        except (*UNREADABLE, RecursionError) as error:
            if strict:
                raise as_error(chunk.file, error) from None
            self._problems.report(chunk.file, error)
            return None
        self._note_origin(record, chunk, change)
        if is_ours and self._with_bodies:  # what other tools write may lack fields
            self.bodies[id(record)] = record, data
        return record

    # --- metrics -----------------------------------------------------------------------------------------------------

    def _add_series(self, chunks: Iterable[ChunkName], steps: Mapping[str, StepLog | BranchLog]) -> None:
        """Put the points of metric files, the `chunks`, into their steps."""
        files = {chunk.file: self._metric_lines(chunk) for chunk in chunks}
        for step, lines in lines_of_steps(files, steps, self._problems):
            file = self._origins[id(step)].file
            add_lines(step, (line for line in lines if line.over in ("", file)))
            self.bodies.pop(id(step), None)  # those are without the points

    def _metric_lines(self, chunk: ChunkName) -> Iterator[MetricLine]:
        return metric_lines(self._files.load, chunk.file, self._problems)

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
        except UNREADABLE as error:
            self._problems.report(file, error)
            return None
        if self._with_bodies:
            self.bodies[id(found.parameters)] = found.parameters, data
        return found
