"""Reading the chunks of one run: what each file holds, which of several counts, and what cannot be read."""

from __future__ import annotations

import copy
from collections.abc import Iterable, Iterator
from functools import cached_property
from typing import Any, NamedTuple, TypeVar

import msgspec
from msgspec import UNSET, field

from chunkstore import codec, overlay
from chunkstore.backends.base import FolderReader, UnreadableFileError
from chunkstore.clock import clock
from chunkstore.errors import CorruptChunkError
from chunkstore.models import BranchLog, MetricPoint, Problem, Record, RecordCodec, RunLog, StepLog, revived_point
from chunkstore.names import (
    BRANCH,
    BRANCH_UPDATE,
    METRIC,
    RUN_FILE,
    STEP,
    STEP_UPDATE,
    ChunkName,
    encode_for_file,
    is_parameter_file,
    is_shortened,
    parameter_file,
    parse_chunk_file,
)

_R = TypeVar("_R", bound=StepLog | BranchLog)

_Series = dict[str, list[MetricPoint]] | msgspec.UnsetType

#: The status of a run whose own record cannot be read.
UNKNOWN = "UNKNOWN"

_TYPE_OF: dict[str, type[StepLog | BranchLog]] = {STEP: StepLog, BRANCH: BranchLog}
_KIND_OF: dict[type[Record], str] = {StepLog: STEP, BranchLog: BRANCH}
_UPDATE_KIND_OF: dict[type[Record], str] = {StepLog: STEP_UPDATE, BranchLog: BRANCH_UPDATE}


class Parameters(Record, kw_only=True):
    """The parameters of one scope, as `Parameter-….json` holds them."""

    FREE = ("parameters",)
    SCALARS = (("branch", str),)

    branch: str = ""
    parameters: dict[str, Any] = field(default_factory=dict)

    @classmethod
    def read(cls, data: bytes, scope: str | None, file: str) -> Parameters:
        """Return what a file holds; `scope` is whose it should be, None for anybody's."""
        found = RecordCodec.of(cls).decode(data, file)
        if scope is not None and found.branch != scope:
            raise codec.corrupt(file, 0, f"it holds the parameters of {found.branch!r}, not of {scope!r}")
        return found


class Update(msgspec.Struct, kw_only=True):
    """What others than its owner changed of a record, as `StepUpdate-…` and `BranchUpdate-…` hold it.

    Attributes:
        internal_name: the record.
        over: the file that the change lies over; it counts for no other.
        change: see `overlay`.
    """

    internal_name: str
    over: str
    change: overlay.Change


class MetricLine(msgspec.Struct, kw_only=True):
    """One line of `Metric-….jsonl`.

    Attributes:
        internal_name: the step.
        over: the chunk of the step whose owner logged this; empty where somebody else did.
        points: lists of step number, value and time, by the metric's name.
    """

    internal_name: str
    over: str = ""
    points: dict[str, list[MetricPoint]]


_update_decoder = msgspec.json.Decoder(Update)
_line_decoder = msgspec.json.Decoder(MetricLine)


class _Origin(NamedTuple):
    chunk: ChunkName
    change: overlay.Change | None


class ChunkReader:
    """The chunks of one run, listed once.

    Args:
        run_id: the run.
        reader: its folder, opened for this read.

    Attributes:
        problems: what could not be read so far.
    """

    def __init__(self, run_id: str, reader: FolderReader) -> None:
        self._run_id = run_id
        self._reader = reader
        self._origins: dict[int, _Origin] = {}
        # The series that a step's own chunk holds, before those of metric files were added.
        self._own_series: dict[int, Any] = {}
        self.problems: list[Problem] = []

    @cached_property
    def _files(self) -> list[str]:
        return self._reader.names()

    @cached_property
    def _chunks(self) -> list[ChunkName]:
        """The chunks in order of execution; equal timestamps are ordered by name."""
        chunks = [chunk for chunk in map(parse_chunk_file, self._files) if chunk]
        chunks.sort(key=lambda chunk: (chunk.timestamp, chunk.file))
        if chunks:
            clock.observe(chunks[-1].timestamp)
        return chunks

    # --- the run's own record ----------------------------------------------------------------------------------------

    def metadata(self) -> RunLog:
        """Return the run's own record; if that cannot be read but chunks can, one that says so.

        To be called first: a run that says it has finished shall show everything that came before.

        Raises:
            FileNotFoundError: there is neither.
        """
        try:
            return checked_run_log(self._reader.load(RUN_FILE), self._run_id, RUN_FILE)
        except FileNotFoundError:
            if not self._chunks:
                raise
            self.problems.append(Problem("missing", RUN_FILE, "the run's own record is missing"))
        except CorruptChunkError as error:
            self._report(RUN_FILE, error)
        return RunLog(run_id=self._run_id, status=UNKNOWN)

    # --- steps and branches ------------------------------------------------------------------------------------------

    def records(self, inside: str | None = None) -> list[StepLog | BranchLog]:
        """Return the steps and branches that count, in order of execution.

        Args:
            inside: an internal name: only that record and those that may be inside it; None for all.
        """
        chunks = self._chunks
        if inside is not None:
            encoded = encode_for_file(inside)
            chunks = [chunk for chunk in chunks if chunk.encoded == encoded or _may_be_inside(chunk, encoded)]
        updates = self._updates(chunks)
        newest: dict[tuple[str, str], tuple[ChunkName, StepLog | BranchLog]] = {}
        for chunk in chunks:
            if chunk.kind in _TYPE_OF and (record := self._record(chunk, updates)) is not None:
                if inside is not None and not f"{record.internal_name}.".startswith(f"{inside}."):
                    continue  # a shortened name in the file name did not tell
                # Later ones replace earlier ones, and take their place in the order of execution.
                key = (chunk.kind, record.internal_name)
                newest.pop(key, None)
                newest[key] = (chunk, record)
        self._add_series(chunks, {name: found for (kind, name), found in newest.items() if kind == STEP})
        return [record for _, record in newest.values()]

    def newest(self, kind: type[_R], internal_name: str, *, strict: bool = False) -> _R | None:
        """Return the record of one name that counts, or None.

        Args:
            kind: `StepLog` or `BranchLog`.
            internal_name: compared whole.
            strict: whether an unreadable change of it raises; else it is a problem.
        """
        encoded = encode_for_file(internal_name)
        named_so = [chunk for chunk in self._chunks if chunk.encoded == encoded]
        found = self._newest_of(named_so, kind, internal_name, strict)
        if found is None:
            # Another tool may have named the file in its own way; the name inside decides.
            found = self._newest_of(self._chunks, kind, internal_name, strict)
        if isinstance(found, StepLog):
            self._add_series(named_so, {internal_name: (self._origins[id(found)].chunk, found)})
        return found

    def _newest_of(self, chunks: list[ChunkName], kind: type[_R], internal_name: str, strict: bool) -> _R | None:
        candidates = [chunk for chunk in chunks if chunk.kind == _KIND_OF[kind]]
        if not candidates:
            return None
        updates = self._updates([chunk for chunk in chunks if chunk.kind == _UPDATE_KIND_OF[kind]], strict=strict)
        for chunk in reversed(candidates):
            record = self._record(chunk, updates)
            if isinstance(record, kind) and record.internal_name == internal_name:
                return record
        return None

    def origin(self, record: StepLog | BranchLog) -> tuple[ChunkName, overlay.Change | None]:
        """Return the file that a record was read from, and the change that was laid over it."""
        return self._origins[id(record)]

    def may_hold_others_inside(self, internal_name: str) -> bool:
        """Tell whether any chunk may belong inside the record of that name."""
        encoded = encode_for_file(internal_name)
        return any(chunk.kind in _TYPE_OF and _may_be_inside(chunk, encoded) for chunk in self._chunks)

    def _record(self, chunk: ChunkName, updates: dict[str, tuple[ChunkName, Update]]) -> StepLog | BranchLog | None:
        update = updates.get(chunk.file)
        record_codec = RecordCodec.of(_TYPE_OF[chunk.kind])
        try:
            data = self._reader.load(chunk.file)
            if update:
                data = codec.encode(overlay.apply(update[1].change, codec.decode(data, chunk.file)))
            record = record_codec.decode(data, chunk.file)
        except FileNotFoundError:
            return None  # removed since it was listed
        except (CorruptChunkError, RecursionError) as error:
            self._report(chunk.file, error)
            return None
        self._origins[id(record)] = _Origin(chunk, update[1].change if update else None)
        return record

    def _updates(self, chunks: Iterable[ChunkName], *, strict: bool = False) -> dict[str, tuple[ChunkName, Update]]:
        """Return the newest change over each file."""
        found: dict[str, tuple[ChunkName, Update]] = {}
        for chunk in chunks:
            if chunk.kind not in (STEP_UPDATE, BRANCH_UPDATE):
                continue
            try:
                update = codec.decode(self._reader.load(chunk.file), chunk.file, _update_decoder)
            except FileNotFoundError:
                continue
            except (CorruptChunkError, msgspec.ValidationError) as error:
                if strict:
                    raise self._as_corrupt(chunk.file, error) from None
                self._report(chunk.file, error)
                continue
            found[update.over] = (chunk, update)
        return found

    # --- metrics -----------------------------------------------------------------------------------------------------

    def _add_series(self, chunks: Iterable[ChunkName], steps: dict[str, tuple[ChunkName, Any]]) -> None:
        """Put the points of metric files into their steps."""
        for chunk in chunks:
            if chunk.kind != METRIC:
                continue
            for line in self._metric_lines(chunk):
                found = steps.get(line.internal_name)
                if found is None:
                    self.problems.append(Problem("orphan", chunk.file, f"there is no step {line.internal_name}"))
                    break
                step_chunk, step = found
                if line.over in ("", step_chunk.file):
                    own = self._own_series.setdefault(id(step), copy.deepcopy(step.metric_series))
                    step.metric_series = joined_series(step.metric_series, line.points, own)

    def without_series(self, step: StepLog) -> None:
        """Take out of a step what metric files added to it."""
        if id(step) in self._own_series:
            step.metric_series = self._own_series[id(step)]

    def _metric_lines(self, chunk: ChunkName) -> Iterator[MetricLine]:
        try:
            data = self._reader.load(chunk.file)
        except FileNotFoundError:
            return
        except UnreadableFileError as error:
            self._report(chunk.file, error)
            return
        # What stands after the last line break is a write that was cut off, and so was not acknowledged.
        for line in data.split(b"\n")[:-1]:
            try:
                metric_line = codec.decode(line, chunk.file, _line_decoder)
            except (CorruptChunkError, msgspec.ValidationError) as error:
                self._report(chunk.file, error)
                continue
            if codec.may_hold_marks(line):
                metric_line.points = {
                    name: [revived_point(point) for point in points] for name, points in metric_line.points.items()
                }
            yield metric_line

    # --- parameters --------------------------------------------------------------------------------------------------

    def parameters(self) -> dict[str, dict[str, Any]]:
        """Return the parameters of all scopes."""
        result: dict[str, dict[str, Any]] = {}
        for file in self._files:
            if is_parameter_file(file) and (found := self._parameters(file, None)) is not None:
                result[found.branch] = found.parameters
        return result

    def parameters_of(self, scope: str) -> dict[str, Any]:
        """Return the parameters of one scope; empty if it has none."""
        file = parameter_file(scope)
        found = self._parameters(file, scope) if file in self._files else None
        return found.parameters if found else {}

    def _parameters(self, file: str, scope: str | None) -> Parameters | None:
        try:
            return Parameters.read(self._reader.load(file), scope, file)
        except FileNotFoundError:
            return None
        except CorruptChunkError as error:
            self._report(file, error)
            return None

    # --- problems ----------------------------------------------------------------------------------------------------

    def _report(self, file: str, error: Exception) -> None:
        if isinstance(error, UnreadableFileError):
            self.problems.append(Problem("unreadable", file, error.reason))
        else:
            corrupt = self._as_corrupt(file, error)
            self.problems.append(Problem("corrupt", file, f"{corrupt.reason} (byte {corrupt.offset})"))

    @staticmethod
    def _as_corrupt(file: str, error: Exception) -> CorruptChunkError:
        return error if isinstance(error, CorruptChunkError) else codec.corrupt(file, 0, str(error))


def checked_run_log(data: bytes, run_id: str, file: str) -> RunLog:
    """Return the run's own record that these bytes hold, and no other run's.

    Raises:
        CorruptChunkError: they hold something else.
    """
    log = RecordCodec.of(RunLog).decode(data, file)
    if log.run_id != run_id:
        raise codec.corrupt(file, 0, f"it holds the run {log.run_id!r}, not {run_id!r}")
    return log


def joined_series(series: _Series, more: _Series, own: _Series | None = None) -> _Series:
    """Return metric series with more points at their ends.

    Args:
        series: what there is; its lists are extended.
        more: what is added.
        own: points that a copied record brought along, and that are not added a second time; None for all of `series`.
    """
    if more is UNSET:
        return series
    joined = {} if series is UNSET else series
    own = joined if own is None else own
    for name, points in more.items():
        known = set() if own is UNSET else set(map(_point_key, own.get(name, ())))
        joined.setdefault(name, []).extend(point for point in points if _point_key(point) not in known)
    return joined


def _point_key(point: MetricPoint) -> tuple[str, str, str]:
    # The repr tells 1 from true, takes a NaN for itself, and can be looked up however long a series is.
    return repr(point.step), repr(point.value), point.time


def _may_be_inside(chunk: ChunkName, encoded: str) -> bool:
    """Tell from the name of a file whether it may hold a record inside that of a name; shortened names always may."""
    return chunk.encoded.startswith(f"{encoded}.") or is_shortened(chunk.encoded) or is_shortened(encoded)
