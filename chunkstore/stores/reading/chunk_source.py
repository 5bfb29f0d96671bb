"""The single chunks of a run, listed once: what each file holds, and what cannot be read."""

from __future__ import annotations

from collections.abc import Collection, Iterable, Iterator, Sequence
from itertools import takewhile
from typing import Any

from chunkstore.backends.reader import FolderReader
from chunkstore.clock import clock
from chunkstore.forks import ComputedOnce
from chunkstore.names import (
    BRANCH,
    BRANCH_UPDATE,
    METRIC,
    STEP,
    STEP_UPDATE,
    ChunkName,
    inner_prefixes,
    is_parameter_file,
)
from chunkstore.records import codec, overlay
from chunkstore.records.decoding import RecordCodec
from chunkstore.records.late import LateRecords
from chunkstore.records.models import BranchLog, Problem, StepLog
from chunkstore.stores.chunk_files import (
    TYPE_OF,
    UPDATE_KINDS,
    Key,
    Parameters,
    check_is_file_of,
    key_of,
)
from chunkstore.stores.packed import PackedFile
from chunkstore.stores.reading.listing import Listing
from chunkstore.stores.reading.metric_lines import MetricLine, metric_lines
from chunkstore.stores.reading.order import in_order
from chunkstore.stores.reading.problems import UNREADABLE, Problems, as_error
from chunkstore.stores.reading.run_files import RunFiles
from chunkstore.stores.reading.seen_changes import changes_seen
from chunkstore.stores.reading.update_reader import UpdateReader

_CODEC_OF = {kind: RecordCodec.of(record_type) for kind, record_type in TYPE_OF.items()}
_KINDS = (STEP, BRANCH, STEP_UPDATE, BRANCH_UPDATE, METRIC)


class ChunkSource:
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

    def _expect(self, chunks: Sequence[ChunkName], *kinds: Collection[str], with_parameters: bool = False) -> None:
        """Have chunks loaded ahead where that saves time: first changes, then those of some kinds, then of others."""
        if not self._reader.reads_ahead:
            return
        files = [chunk.file for some in (UPDATE_KINDS, *kinds) for chunk in chunks if chunk.kind in some]
        if with_parameters:
            files += filter(is_parameter_file, self._names)
        self._files.expect(file for file in files if not self._is_known(file))

    def _is_known(self, file: str) -> bool:
        """Tell whether a file need not be loaded."""
        return file in self._decoded

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

    def _metric_lines(self, chunk: ChunkName) -> Iterator[MetricLine]:
        return metric_lines(self._files.load, chunk.file, self._problems)

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
