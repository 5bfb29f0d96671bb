"""Reading the chunks of one run: what each file holds, which of several counts, and what cannot be read."""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Mapping, Sequence
from typing import Any, TypeVar

from msgspec import UNSET

from chunkstore.backends.errors import MissingError
from chunkstore.names import (
    METRIC,
    RUN_FILE,
    ChunkName,
    encode_for_file,
    is_meant,
    is_parameter_file,
    names_around,
    parameter_file,
)
from chunkstore.records import overlay
from chunkstore.records.assemble import assemble, bare, flatten_inside, flatten_steps
from chunkstore.records.late import LateRecords
from chunkstore.records.models import CONTENTS, SUMMING, BranchLog, RunLog, StepLog
from chunkstore.records.starts import Accounts, Starts, start_of
from chunkstore.records.starts import Key as StartsKey
from chunkstore.stores.chunk_files import (
    KIND_OF,
    TYPE_OF,
    UPDATE_KINDS,
    checked_run_log,
    key_of,
    names_of_files,
)
from chunkstore.stores.contents import Contents, versions_sealed
from chunkstore.stores.packed import unpack
from chunkstore.stores.reading.chunk_source import ChunkSource
from chunkstore.stores.reading.metric_lines import add_lines, lines_of_steps
from chunkstore.stores.reading.problems import UNREADABLE
from chunkstore.stores.reading.records_found import RecordsFound, RepeatedChunks
from chunkstore.stores.reading.unfinished import without_unfinished

_R = TypeVar("_R", bound=StepLog | BranchLog)

#: The status of a run whose own record cannot be read.
UNKNOWN = "UNKNOWN"


class ChunkReader(ChunkSource):
    """The chunks of one run, listed once.

    Args:
        run_id: the run.
        reader: its folder, opened for this read.
        listing: what is in the folder; None to list it when that is needed.
        keep: see `RunFiles`.
        packed: packed files that an earlier read has looked through; further ones are added to them.
        with_bodies: whether `bodies` are kept.
    """

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
            self._files.versions_sealed = versions_sealed(log)
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
        if inside is None and not self._with_bodies:
            for kind, cls in TYPE_OF.items():
                self._decoded.update(self._files.decode_sealed(f"{kind}-", cls))
        self._expect(chunks, TYPE_OF, (METRIC,), with_parameters=inside is None)
        updates = self.updates.over_all(chunks)
        found = RecordsFound(self._accounts_of)
        for chunk in chunks:
            if chunk.kind in TYPE_OF and (outer := self._record(chunk, updates.get(chunk.file))) is not None:
                for record in self._flat(outer):
                    if inside is not None and not record.internal_name.startswith(f"{inside}."):
                        continue  # a shortened name in the file name did not tell
                    found.add(record)
        metrics = [chunk for chunk in chunks if chunk.kind == METRIC]
        if metrics:
            self._add_series(metrics, found.steps(), found.starts)
        records = found.all(may_be_inside_several=inside is not None and self._may_be_several(inside))
        for record in records if self.late else ():
            self._tell_if_late(record, found.account_of(record))
        return records

    def _tell_if_late(self, record: _R, account: StepLog | BranchLog) -> _R:
        """Have a record say so if it came after the end of the run.

        Args:
            record: what readers get; it is altered.
            account: what was read of it in the chunk that counts.
        """
        if self.late is not None and self.late.tell(record, overlay.set_by(self._changes.get(id(account)))):
            self.bodies.pop(id(record), None)
        return record

    def stream(self) -> Iterator[StepLog | BranchLog]:
        """Yield the steps and branches that count, in order of execution, each without what is inside it."""
        groups: dict[tuple[str, str], int] = {}
        for chunk in self._chunks:
            key = (chunk.kind, chunk.encoded)
            groups[key] = groups.get(key, 0) + 1
        if self._reader.reads_ahead:
            self._files.expect(self._in_order_of_stream(groups))
        updates = self.updates.over_all(self._chunks)
        repeated = RepeatedChunks(self._accounts_of)
        for chunk in self._chunks:
            if chunk.kind in TYPE_OF and groups[chunk.kind, chunk.encoded] > 1:
                record = self._record(chunk, updates.get(chunk.file))
                if record is not None:
                    repeated.add(record, chunk)
        are_of_several = repeated.are_of_several_starts
        for chunk in self._chunks:
            record = self._record(chunk, updates.get(chunk.file)) if chunk.kind in TYPE_OF else None
            files = repeated.joined_with(record, chunk) if record is not None else []
            if record is None or not files:
                continue
            if len(files) > 1:
                read = (self._record(file, updates.get(file.file)) for file in files)
                accounts = [account for account in read if account is not None]
            else:
                accounts = [record]
            if isinstance(record, StepLog) and (METRIC, chunk.encoded) in groups:
                self._add_series(
                    self._chunks_of(METRIC, chunk.encoded), {record.internal_name: accounts}, repeated.starts
                )
            shown = repeated.starts.joined(accounts) if are_of_several else record
            yield bare(self._tell_if_late(shown, record))
            for inner in self._flat(record)[1:]:
                yield bare(self._tell_if_late(inner, inner))
            self._origins.clear()
            self._changes.clear()

    def _in_order_of_stream(self, groups: Mapping[tuple[str, str], int]) -> list[str]:
        """Return the files of chunks as a stream of them loads them."""
        files = [chunk.file for chunk in self._chunks if chunk.kind in UPDATE_KINDS]
        records = [chunk for chunk in self._chunks if chunk.kind in TYPE_OF]
        files += [chunk.file for chunk in records if groups[chunk.kind, chunk.encoded] > 1]
        metrics: dict[str, list[str]] = {}
        for chunk in self._chunks:
            if chunk.kind == METRIC:
                metrics.setdefault(chunk.encoded, []).append(chunk.file)
        for chunk in records:
            files.append(chunk.file)
            files += metrics.pop(chunk.encoded, ())
        return files

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

    def newest(self, kind: type[_R], internal_name: str, *, strict: bool = False) -> _R | None:
        """Return the record of one name that counts, or None.

        Args:
            kind: `StepLog` or `BranchLog`.
            internal_name: compared whole.
            strict: whether an unreadable change of it raises; else it is a problem.

        Raises:
            CorruptChunkError: the newest file of that name cannot be read; an older one must not pass for it. Or there
                is none, and a file in which it may be packed cannot be read.
        """
        accounts = self._accounts(kind, internal_name, strict=strict)
        if not accounts:
            return None
        starts = Starts(self._accounts_of)
        if isinstance(accounts[0], StepLog):
            encoded = self._origins[id(accounts[0])].encoded
            self._add_series(self._chunks_of(METRIC, encoded), {internal_name: accounts}, starts)
        is_alone = len(accounts) == 1 and not self._may_be_several(internal_name.rpartition(".")[0], accounts[0])
        record = accounts[0] if is_alone else starts.joined(accounts)
        return self._tell_if_late(record, starts.chosen(accounts))

    def counting(self, kind: type[_R], internal_name: str) -> _R | None:
        """Return what the chunk holds that counts for a name, without what other starts have told of it; or None.

        Raises:
            CorruptChunkError: as for `newest`.
        """
        accounts = self._accounts(kind, internal_name, strict=True)
        if not accounts:
            return None
        chosen = Starts(self._accounts_of).chosen(accounts)
        return self._tell_if_late(chosen, chosen)

    def _accounts(self, kind: type[_R], internal_name: str, *, strict: bool) -> list[_R]:
        """Return what several starts have told of a step or branch, in order; the newest if starts are not known."""

        def read(chunk: ChunkName) -> _R | None:
            record = self._record(chunk, self.updates.over(chunk, internal_name, strict=strict), strict=True)
            return record if isinstance(record, kind) and record.internal_name == internal_name else None

        for name in names_of_files(internal_name):  # the name inside decides
            chunks = self._chunks_of(KIND_OF[kind], encode_for_file(name))
            while chunks:
                newest = read(chunks.pop())
                if newest is None:
                    continue
                accounts = Accounts()
                for earlier in map(read, chunks if start_of(newest) is not None else ()):
                    if earlier is not None:
                        accounts.add(earlier)
                accounts.add(newest)
                return accounts.all()
        if self._files.unreadable is not None:
            raise self._files.unreadable
        return []

    def _accounts_of(self, key: StartsKey) -> list[Any]:
        """Return what several starts have told of what is around something; none if that cannot be read."""
        kind, name = key
        try:
            return self._accounts(kind, name, strict=False) if name else []
        except (*UNREADABLE, RecursionError):
            return []  # which is told where it is read itself

    def _may_be_several(self, internal_name: str, inside: StepLog | BranchLog | None = None) -> bool:
        """Tell whether several starts may have recorded a step or branch, or what is around it.

        Args:
            internal_name: the step or branch; empty for none.
            inside: what is inside it, and may be inside another step of the same branch.
        """
        names = [internal_name, *names_around(internal_name)] if internal_name else []
        if isinstance(inside, StepLog) and inside.inside is not UNSET:
            names.append(inside.inside)
        encoded = map(encode_for_file, names)
        return any(len(self._chunks_of(kind, name)) > 1 for name in encoded for kind in TYPE_OF)

    # --- metrics -----------------------------------------------------------------------------------------------------

    def _add_series(self, chunks: Iterable[ChunkName], steps: Mapping[str, Sequence[Any]], starts: Starts) -> None:
        """Put the points of metric files, the `chunks`, into their steps: what their starts have told of those."""
        files = {chunk.file: self._metric_lines(chunk) for chunk in chunks}
        for accounts, lines in lines_of_steps(files, steps, self._problems):
            counting = starts.chosen(accounts)
            for step in accounts:
                over = (self._origins[id(step)].file, "") if step is counting else (self._origins[id(step)].file,)
                add_lines(step, (line for line in lines if line.over in over))
                self.bodies.pop(id(step), None)  # those are without the points

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
