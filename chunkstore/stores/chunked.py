"""The chunked layout: a folder per run, a file per record, one writer per file."""

from __future__ import annotations

import logging
import os
import threading
import weakref
from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from typing import Any, TypeVar

import msgspec
from msgspec import UNSET

from chunkstore import overlay
from chunkstore.assemble import assemble, flatten
from chunkstore.backends.base import AT_THE_END, Backend, FileVersion, FolderReader
from chunkstore.clock import clock
from chunkstore.codec import decode, encode
from chunkstore.errors import ChunkstoreError, CorruptChunkError, StoreUsageError
from chunkstore.garbage import without_collections
from chunkstore.integrity import with_checksum, without_checksum
from chunkstore.models import FORMAT, NOTES, PACKED_FORMAT, BranchLog, Problem, RunLog, StepLog
from chunkstore.names import (
    BRANCH,
    END_OF_TIME,
    JOURNAL_PREFIX,
    LOCK_FILE,
    METRIC,
    OWNER_FILE,
    RUN_FILE,
    SEALED_PREFIX,
    STEP,
    chunk_file,
    is_journal_file,
    parameter_file,
)
from chunkstore.records import MetricPoint, Record, RecordCodec, encode_record
from chunkstore.stores import sealing
from chunkstore.stores.base import (
    JOURNAL,
    Store,
    StoreOptions,
    as_json,
    as_stored,
    check_format,
    is_finished,
)
from chunkstore.stores.chunk_reader import ChunkReader, Parameters, Update, checked_run_log, newest_listed, update_file
from chunkstore.stores.following import FollowedRun, Patience
from chunkstore.stores.journals import Journals
from chunkstore.stores.listing import Listing, ListingMemory
from chunkstore.stores.metric_lines import MetricLine, as_series
from chunkstore.stores.run_files import RunFiles
from chunkstore.stores.run_json import join_chunks
from chunkstore.stores.run_list import Candidate

logger = logging.getLogger("chunkstore")

_R = TypeVar("_R", bound=StepLog | BranchLog)

_KIND_OF: dict[type[Record], str] = {StepLog: STEP, BranchLog: BRANCH}
_STRIPES = 16
#: Runs of which it is remembered whether they have finished; beyond so many, their records are read again.
_MOST_REMEMBERED = 10_000

_stores: weakref.WeakSet[ChunkedStore] = weakref.WeakSet()


class ChunkedStore(Store):
    """A store that cuts each run into chunks.

    Adding a record makes a new file that nobody else writes; this needs no lock and looks at nothing that is there.
    What this store object has written it also replaces without a lock. Changes to anything else go, under the run's
    lock, into a file beside it.
    """

    def __init__(self, backend: Backend, options: StoreOptions | None = None) -> None:
        super().__init__(backend, options)
        self._listings = ListingMemory()
        self._journals = Journals.of(backend) if self.options.container == JOURNAL else None
        # At level `run`, what a finished run is changed by is durable at once. By run, whether it has finished, and
        # which version of its record says so.
        self._finished: dict[str, tuple[FileVersion, bool]] = {}
        # The files that this object wrote: by run, by kind and internal name. Never inherited: see reset_after_fork.
        self._owned: dict[str, dict[tuple[str, str], str]] = {}
        # By run, the branches that have steps which this object wrote.
        self._own_branches: dict[str, set[str]] = {}
        # Threads that record the same thing at once must not make two files of it.
        self._stripes = [threading.Lock() for _ in range(_STRIPES)]
        _stores.add(self)

    def remember_listings(self, share: int) -> None:
        """Look up single records in a listing of the folder that is not made anew each time.

        Then the look-ups cost the same however long a run is. What others have changed of a record is found all the
        same, and so are a record that the listing lacks and what has been added inside a record. But that others have
        recorded the very same thing at the same moment, or a step beside our own in the same branch, may be found out a
        little later; and so may the rest where a file system keeps no exact times (Linux does from 6.13 on).

        Args:
            share: for how many times as long as it took a listing is used again; see `ListingMemory`.
        """
        self._listings = ListingMemory(share)

    def reset_after_fork(self) -> None:
        """In a forked child: own nothing, and let go of mutexes that threads of the parent may hold."""
        self._owned = {}
        self._own_branches = {}
        self._stripes = [threading.Lock() for _ in range(_STRIPES)]
        self._listings = ListingMemory(self._listings.share)
        if self._journals:
            self._journals.reset_after_fork()

    def close(self) -> None:
        """Give back what is held open; the store can be used again."""
        if self._journals:
            self._journals.close()
        super().close()

    @property
    def _format(self) -> int:
        return PACKED_FORMAT if self._journals else FORMAT

    # --- runs --------------------------------------------------------------------------------------------------------

    def _create(self, log: RunLog) -> None:
        files = {}
        records, parameters = flatten(log)
        for record in records:
            files[chunk_file(_KIND_OF[type(record)], record.internal_name, clock.tick())] = self._encode(record)
        for scope, values in parameters.items():
            if values:
                files[parameter_file(scope)] = self._encode(Parameters(branch=scope, parameters=values))
        bare = msgspec.structs.replace(log, steps={}, parameters={}, found_orphans=UNSET, found_problems=UNSET)
        files[RUN_FILE] = self._encode(bare)
        self.backend.create_folder(log.run_id, files)
        self._disown(log.run_id)
        self.backend.admitted.add(log.run_id)

    def _admit(self, run_id: str) -> None:
        """Make sure, once per open folder, that the run exists and that its format may be written."""
        if run_id not in self.backend.admitted:
            check_format(self._read_run_file(run_id))
            self.backend.admitted.add(run_id)

    def _disown(self, run_id: str) -> None:
        self._owned.pop(run_id, None)
        self._own_branches.pop(run_id, None)
        self._finished.pop(run_id, None)
        self._listings.forget(run_id)
        if self._journals:
            self._journals.close(run_id)

    def _read(self, run_id: str) -> RunLog:
        def read() -> RunLog:
            with self.backend.reader(run_id) as reader:
                return _read_whole(ChunkReader(run_id, reader))

        return without_collections(read)

    def _read_json(self, run_id: str) -> bytes:
        def read() -> bytes:
            with self.backend.reader(run_id) as reader:
                chunks = ChunkReader(run_id, reader, with_bodies=True)
                log = _read_whole(chunks)
            return join_chunks(log, chunks.bodies)

        return without_collections(read)

    def _stream(self, run_id: str) -> Iterator[StepLog | BranchLog]:
        with self.backend.reader(run_id) as reader:
            chunks = ChunkReader(run_id, reader, keep=False)
            chunks.metadata()
            yield from chunks.stream()
        self._warn_of(chunks.problems, f"run {run_id}")

    def _read_metadata(self, run_id: str) -> RunLog:
        with self.backend.reader(run_id) as reader:
            chunks = ChunkReader(run_id, reader)
            log = msgspec.structs.replace(chunks.metadata(), steps={}, parameters={})
            log.found_problems = chunks.problems or UNSET
        return log

    def _read_run_file(self, run_id: str) -> RunLog:
        return checked_run_log(self.backend.load(run_id, RUN_FILE), run_id, RUN_FILE)

    def _change_metadata(self, run_id: str, change: Callable[[RunLog], RunLog]) -> RunLog:
        def change_run() -> RunLog:
            log = self._read_run_file(run_id)
            check_format(log)
            new = as_stored(change(msgspec.structs.replace(log, steps={}, parameters={})))
            # Other tools keep steps there; they stay.
            whole = msgspec.structs.replace(new, steps=log.steps, parameters=log.parameters)
            # If the run ends with this, all of it is going to be made durable.
            self._write(run_id, self.backend.replace, RUN_FILE, self._encode(whole), durable=self._has_finished(run_id))
            return new

        self._admit(run_id)
        changed = self.backend.while_locked(run_id, LOCK_FILE, change_run)
        if self._journals and is_finished(changed):
            self._journals.close(run_id)  # not under the lock: whoever begins a journal may wait for that
        return changed

    def _candidates(self, top: FolderReader) -> list[Candidate]:  # noqa: ARG002 - they are folders
        return [(changed_at, folder) for folder, changed_at in self.backend.folders().items() if changed_at >= 0]

    def _run_file(self, run_id: str) -> tuple[str, str]:
        return run_id, RUN_FILE

    def _delete(self, run_id: str) -> None:
        with self.backend.reader(run_id) as reader:
            ChunkReader(run_id, reader).metadata()  # nothing is made or removed in a folder that is no run
        self.backend.while_locked(run_id, LOCK_FILE, lambda: self.backend.remove_folder(run_id))
        self._disown(run_id)

    def _lock_file(self, run_id: str) -> tuple[str, str]:
        return run_id, LOCK_FILE

    def _remove(self, run_id: str) -> None:
        self.backend.remove_folder(run_id)
        self._disown(run_id)

    def _sync(self, run_id: str) -> None:
        self.backend.sync(run_id)

    def _owner_file(self, run_id: str) -> tuple[str, str]:
        return run_id, OWNER_FILE

    def _last_written(self, run_id: str) -> int:
        with self.backend.reader(run_id) as reader:
            # Not the folder's own time: locks are no record of the run.
            times = [reader.modified_at(name) for name in reader.names() if not name.startswith(".")]
            return max((moment for moment in times if moment < END_OF_TIME), default=reader.changed_at())

    def _follow(self, run_id: str) -> Iterator[RunLog]:
        run = FollowedRun(run_id, lambda: self.backend.reader(run_id))
        state = run.state()
        log = run.read_all()
        yield log
        patience = Patience()
        for names in self.backend.watch(run_id):
            if is_finished(log):
                return
            before, state = state, run.state()
            if names and not patience.is_at_an_end():
                newer = run.read_changed(names)
            elif state != before or patience.is_at_an_end():
                newer = patience.look(run)
            elif patience.may_be_over() and self.is_abandoned(run_id):
                newer = run.read_all()
                if newer is not log:
                    yield newer
                return
            else:
                continue
            if is_finished(newer):
                newer = run.read_all()
            if newer is not log:
                yield newer
            log = newer

    # --- sealing -----------------------------------------------------------------------------------------------------

    def _seal(self, run_id: str) -> int:
        def seal_run() -> int:
            log = self._read_run_file(run_id)
            check_format(log)
            if not is_finished(log):
                raise StoreUsageError(
                    f"Cannot seal run {run_id!r}: its status is {log.status}. Seal it when it has finished; if "
                    "nobody is going to finish it, say so with update_run_log, which sets its status."
                )
            return sealing.seal(self.backend, run_id, lambda: self._mark_packed(run_id, log))

        self._admit(run_id)
        try:
            return self.backend.while_locked(run_id, LOCK_FILE, seal_run)
        finally:
            self._listings.forget(run_id)

    def _seal_large(self, run_id: str, most: int) -> None:
        with self.backend.reader(run_id) as reader:
            count = sum(map(sealing.is_packable, RunFiles(reader).names()))
        if count > most:
            try:
                self._seal(run_id)
            except ChunkstoreError as error:  # the run has finished all the same
                logger.warning("Run %s is not sealed: %s", run_id, error)

    def _mark_packed(self, run_id: str, log: RunLog) -> bytes | None:
        """Make the run's record say that chunks may be packed; return what it was before, as far as is known."""
        current = self.backend.load(run_id, RUN_FILE)
        if not log.is_packed:
            self.backend.replace(run_id, RUN_FILE, self._encode(_with_format(log, PACKED_FORMAT)), durable=True)
            return current
        before = sealing.sealed_record(self.backend, run_id)
        return before if before is not None and self._is_marked(before, current, run_id) else None

    def _is_marked(self, before: bytes, current: bytes, run_id: str) -> bool:
        """Tell whether nothing has changed in a run's record but that chunks may be packed."""
        log = checked_run_log(before, run_id, RUN_FILE)
        return self._encode(_with_format(log, PACKED_FORMAT)) == current

    def _unseal(self, run_id: str) -> None:
        def unseal_run() -> None:
            log = self._read_run_file(run_id)
            check_format(log)
            if not log.is_packed:
                return
            before = sealing.sealed_record(self.backend, run_id)
            sealed = sealing.unseal(self.backend, run_id)
            for file in sealed:
                self.backend.remove(run_id, file)
            if not self._has_journals(run_id):
                current = self.backend.load(run_id, RUN_FILE)
                if before is None or not self._is_marked(before, current, run_id):
                    before = self._encode(_with_format(log, FORMAT))
                self.backend.replace(run_id, RUN_FILE, before, durable=True)

        self._admit(run_id)
        try:
            self.backend.while_locked(run_id, LOCK_FILE, unseal_run)
        finally:
            self._listings.forget(run_id)

    def _has_journals(self, run_id: str) -> bool:
        with self.backend.reader(run_id) as reader:
            return any(map(is_journal_file, reader.names()))

    # --- records -----------------------------------------------------------------------------------------------------

    def _put(self, run_id: str, records: list[StepLog | BranchLog], parameters: dict[str, dict[str, Any]]) -> None:
        encoded = [(record, encode_record(record)) for record in records]
        if run_id not in self.backend.admitted:
            self._admit(run_id)
        for record, body in encoded:
            self._put_one(run_id, _KIND_OF[type(record)], record.internal_name, body)
        for scope, values in parameters.items():
            self._set_parameters(run_id, scope, values, overwrite=True)

    def _put_last(self, run_id: str, record: _R) -> None:
        kind, name = type(record), record.internal_name
        if self._is_new_or_ours_alone(run_id, kind, name):
            self._put(run_id, [record], {})
        elif self._change(run_id, name, kind, lambda _: record) is None:
            self._put(run_id, [record], {})  # it was another name, with the same hash

    def _is_new_or_ours_alone(self, run_id: str, kind: type[_R], name: str) -> bool:
        """Tell whether nobody but us has written a record, or changed it."""
        with self.backend.reader(run_id) as reader:
            files = RunFiles(reader, self._listings.recent(run_id) or self._fresh_listing(run_id, reader))
            newest = newest_listed(files, kind, name)
            if newest is None:
                return True
            if newest.file != self._owned_in(run_id).get((_KIND_OF[kind], name)):
                return False
            try:
                files.load(update_file(newest, name), is_listed=False)
            except FileNotFoundError:
                return True
            return False

    def _has(self, run_id: str, internal_name: str, kind: type[_R]) -> bool:
        recent = self._listings.recent(run_id)
        remembered = newest_listed(recent, kind, internal_name) if recent else None
        with self.backend.reader(run_id) as reader:
            if remembered and reader.has(remembered.file):
                return True
            # What a packed file holds its name does not tell.
            may_know = recent is not None and not remembered and not _has_packed_files(recent)
            if recent and may_know and self._is_unchanged_since(recent, run_id, reader):
                return False
            unreadable: list[Exception] = []
            files = RunFiles(reader, self._fresh_listing(run_id, reader), lambda _, error: unreadable.append(error))
            if newest_listed(files, kind, internal_name):
                return True
            if unreadable:
                raise unreadable[0]  # it may be there
            ChunkReader(run_id, reader).metadata()  # is it the record that is missing, or the run?
        return False

    def _is_unchanged_since(self, listing: Listing, run_id: str, reader: FolderReader) -> bool:
        """Tell whether nobody else has changed anything in the folder since it was listed."""
        return self._listings.recent(run_id, reader.changed_at()) is listing

    def _fresh_listing(self, run_id: str, reader: FolderReader) -> Listing:
        return self._listings.fresh(run_id, reader.names, reader.changed_at())

    def _record(self, run_id: str, verb: Callable[..., None], file: str, data: bytes) -> None:
        """Write a file of a run; durably at once if the run has finished, as all in it was made durable then."""
        # What is replaced must not give way to what a loss of power may take.
        at_the_end = self.backend.durability == AT_THE_END
        durable = at_the_end and verb == self.backend.replace and self._has_finished(run_id)
        self._write(run_id, verb, file, data, durable=durable)
        if at_the_end and not durable:
            self._sync_if_finished(run_id, file)

    def _write(self, run_id: str, verb: Callable[..., None], file: str, data: bytes, *, durable: bool) -> None:
        """Write a file, and keep what is remembered of the folder up to date."""
        if not self._listings.share:
            verb(run_id, file, data, durable=durable)
            return
        before = self.backend.changed_at(run_id)
        verb(run_id, file, data, durable=durable)
        self._listings.add(run_id, file, before, self.backend.changed_at(run_id))

    def _has_finished(self, run_id: str) -> bool:
        """Tell whether a run has finished at a level at which that makes it durable."""
        if self.backend.durability != AT_THE_END:
            return False
        version = self.backend.version(run_id, RUN_FILE)
        known = self._finished.get(run_id)
        if known is None or known[0] != version:
            try:
                known = version, is_finished(self._read_run_file(run_id))
            except CorruptChunkError:
                known = version, True  # it may have
            if len(self._finished) >= _MOST_REMEMBERED:
                self._finished.clear()
            self._finished[run_id] = known
        return known[1]

    def _put_one(self, run_id: str, kind: str, name: str, body: bytes) -> None:
        with self._stripe(run_id, kind, name):
            owned = self._owned_in(run_id)
            file = owned.get((kind, name))
            if file is None:
                owned[kind, name] = self._publish(run_id, kind, name, body)
                if kind == STEP:
                    self._own_branches.setdefault(run_id, set()).add(name.rpartition(".")[0])
            elif not self._add_to_journal(run_id, file, body):
                self._record(run_id, self.backend.replace, file, self._as_file(body))

    def _owned_in(self, run_id: str) -> dict[tuple[str, str], str]:
        return self._owned.setdefault(run_id, {})

    def _stripe(self, *key: str) -> threading.Lock:
        return self._stripes[hash(key) % _STRIPES]

    def _publish(self, run_id: str, kind: str, name: str, body: bytes) -> str:
        """Write a new chunk; return the name of its file, which as a line of a journal it has too."""
        if self._journals:
            file = chunk_file(kind, name, clock.tick())
            self._sync_if_finished(run_id, self._journals.add(run_id, file, body, self._prepare_journal))
            return file
        data = with_checksum(body) if kind == METRIC else self._as_file(body)
        while True:
            file = chunk_file(kind, name, clock.tick())
            try:
                self._record(run_id, self.backend.publish, file, data)
            except FileExistsError:
                continue  # another process had the same nanosecond
            return file

    def _as_file(self, body: bytes) -> bytes:
        return msgspec.json.format(body, indent=4) if self.options.pretty else with_checksum(body)

    def _add_to_journal(self, run_id: str, file: str, body: bytes) -> bool:
        """Write to a chunk of our own that is in our present journal; tell whether it is there."""
        journal = self._journals.add_again(run_id, file, body) if self._journals else None
        if journal is not None:
            self._sync_if_finished(run_id, journal)
        return journal is not None

    def _sync_if_finished(self, run_id: str, file: str) -> None:
        # Looked at after the deed: whoever finishes the run from now on finds the file and makes it durable.
        if self._has_finished(run_id):
            try:
                self.backend.sync(run_id, file)
            except FileNotFoundError:
                self.backend.sync(run_id)  # it was sealed meanwhile

    def _prepare_journal(self, run_id: str) -> None:
        """Make sure that a run says that chunks may be in journals, to those who look for a file alone."""

        def mark() -> None:
            log = self._read_run_file(run_id)
            if not log.is_packed:
                self._mark_packed(run_id, log)

        if not self._read_run_file(run_id).is_packed:
            self.backend.while_locked(run_id, LOCK_FILE, mark)

    def _find(self, run_id: str, internal_name: str, kind: type[_R], *, full: bool) -> _R | None:
        with self.backend.reader(run_id) as reader:
            # Who records a branch knows what is inside it; others look whether anything has changed.
            sure = not full or internal_name in self._own_branches.get(run_id, ())
            recent = self._listings.recent(run_id, None if sure else reader.changed_at())
            chunks, record = self._newest(run_id, reader, internal_name, kind, recent)
            if record is None:
                chunks.metadata()  # is it the record that is missing, or the run?
            elif full:
                record = self._with_others_inside(chunks, record)
        self._warn_of(chunks.problems, f"{internal_name} of run {run_id}")
        return record

    @staticmethod
    def _warn_of(problems: Iterable[Problem], where: str) -> None:
        for problem in problems:
            if problem.kind != "orphan":
                logger.warning("Left out of %s: %s: %s", where, problem.file, problem.message)

    def _newest(
        self,
        run_id: str,
        reader: FolderReader,
        internal_name: str,
        kind: type[_R],
        recent: Listing | None,
        *,
        strict: bool = False,
        with_series: bool = True,
    ) -> tuple[ChunkReader, _R | None]:
        """Return the record of one name that counts, and what read it; first by way of a recent listing."""
        if recent is not None:
            chunks = ChunkReader(run_id, reader, recent)
            record = chunks.newest(kind, internal_name, strict=strict, with_series=with_series)
            if record is not None or self._is_unchanged_since(recent, run_id, reader):
                return chunks, record
        chunks = ChunkReader(run_id, reader, self._fresh_listing(run_id, reader))
        return chunks, chunks.newest(kind, internal_name, strict=strict, with_series=with_series)

    @staticmethod
    def _with_others_inside(chunks: ChunkReader, record: _R) -> _R:
        name = record.internal_name
        inner = chunks.records(inside=name)
        if not inner:
            if isinstance(record, BranchLog):
                record.parameters = chunks.parameters_of(name)
            return record
        inner.insert(0, record)
        log = assemble(RunLog(run_id=""), inner, chunks.parameters_inside(inner))
        found = log.orphans.steps if isinstance(record, StepLog) else log.orphans.branches
        return {**log.steps, **found}.get(name, record)  # type: ignore[return-value]  # one kind per name here

    def _change(self, run_id: str, internal_name: str, kind: type[_R], change: Callable[[_R], _R]) -> _R | None:
        def change_record() -> _R | None:
            with self.backend.reader(run_id) as reader:
                recent = self._listings.recent(run_id)
                chunks, record = self._newest(
                    run_id, reader, internal_name, kind, recent, strict=True, with_series=False
                )
                if record is None:
                    return None
                chunk, earlier = chunks.origin(record)
            before = as_json(record)
            body = encode_record(change(record))
            new = RecordCodec.of(kind).decode(body)
            difference = overlay.merge(before, earlier, decode(body))
            if difference is not None and difference is not earlier:
                file = update_file(chunk, internal_name)
                update = Update(internal_name=internal_name, over=chunk.file, change=difference)
                data = encode(update, indent=4) if self.options.pretty else with_checksum(encode(update))
                self._record(run_id, self.backend.replace, file, data)
            return new

        self._admit(run_id)
        return self.backend.while_locked(run_id, LOCK_FILE, change_record)

    # --- metrics -----------------------------------------------------------------------------------------------------

    def _append_metrics(self, run_id: str, internal_name: str, series: Mapping[str, Sequence[MetricPoint]]) -> None:
        step = StepLog(name="", internal_name=internal_name, metric_series=as_series(series))
        points = as_json(step)["metric_series"]
        self._admit(run_id)
        owned = self._owned_in(run_id)
        over = owned.get((STEP, internal_name), "")
        line = encode(MetricLine(internal_name=internal_name, over=over, points=points))
        with self._stripe(run_id, METRIC, internal_name):
            # A line that was cut off must stay the last of its file: after a failure the next line starts a new one.
            file = owned.pop((METRIC, internal_name), None)
            if file is None or not self._append(run_id, file, line):
                file = self._publish(run_id, METRIC, internal_name, line)
            owned[METRIC, internal_name] = file

    def _append(self, run_id: str, file: str, line: bytes) -> bool:
        """Append to a file of our own; tell whether it was there, and not packed by somebody who seals the run."""
        if self._journals:
            return self._add_to_journal(run_id, file, line)
        try:
            self._record(run_id, self.backend.append, file, with_checksum(line))
        except FileNotFoundError:
            return False
        return True

    # --- parameters --------------------------------------------------------------------------------------------------

    def _set_parameters(self, run_id: str, scope: str, parameters: dict[str, Any], *, overwrite: bool) -> None:
        # Before waiting for the lock, as bad values are refused here.
        stored = as_stored(Parameters(branch=scope, parameters=parameters)).parameters
        file = parameter_file(scope)

        def change_parameters() -> None:
            current = self._load_parameters(run_id, scope, file)
            merged = {**current.parameters, **stored} if overwrite else {**stored, **current.parameters}
            current.parameters = merged
            self._record(run_id, self.backend.replace, file, self._encode(current))

        self._admit(run_id)
        self.backend.while_locked(run_id, LOCK_FILE, change_parameters)

    def _get_parameters(self, run_id: str, scope: str) -> dict[str, Any]:
        return self._load_parameters(run_id, scope, parameter_file(scope)).parameters

    def _load_parameters(self, run_id: str, scope: str, file: str) -> Parameters:
        with self.backend.reader(run_id) as reader:
            known: FileVersion | None = None
            while True:
                try:
                    return Parameters.read(without_checksum(reader.load(file), file), file)
                except FileNotFoundError:
                    version = reader.version(RUN_FILE)
                    log = checked_run_log(reader.load(RUN_FILE), run_id, RUN_FILE)
                if log.is_packed:
                    try:
                        body, _ = RunFiles(reader, Listing(reader.names())).content(file)
                        return Parameters.read(body, file)
                    except FileNotFoundError:
                        break
                if version == known:
                    break
                known = version  # it may have been unsealed in between
            # A run without such parameters, or one whose parameters another tool has left with it.
            return Parameters(branch=scope, parameters=log.parameters if not scope else {})


def _read_whole(chunks: ChunkReader) -> RunLog:
    metadata = chunks.metadata()
    records = chunks.records_of(metadata)
    return assemble(metadata, records, chunks.parameters(), chunks.problems)


def _has_packed_files(listing: Listing) -> bool:
    return any(map(listing.starting_with, (JOURNAL_PREFIX, SEALED_PREFIX)))


def _with_format(log: RunLog, number: int) -> RunLog:
    return msgspec.structs.replace(log, run_config={**log.run_config, NOTES: {**log.notes, "format": number}})


def _reset_after_fork() -> None:
    for store in list(_stores):
        store.reset_after_fork()


if hasattr(os, "register_at_fork"):
    os.register_at_fork(after_in_child=_reset_after_fork)
