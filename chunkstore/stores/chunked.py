"""The chunked layout: a folder per run, a file per record, one writer per file."""

from __future__ import annotations

import logging
import os
import threading
import weakref
from collections.abc import Callable, Collection, Iterable, Iterator, Mapping, Sequence
from contextlib import ExitStack, nullcontext
from functools import partial
from typing import Any, TypeVar

import msgspec
from msgspec import UNSET

from chunkstore.backends.base import AT_THE_END, Backend, FileVersion, FolderReader, MissingError
from chunkstore.clock import clock
from chunkstore.errors import ChunkstoreError, CorruptChunkError, StoreUsageError
from chunkstore.names import (
    BRANCH,
    END_OF_TIME,
    JOINED_FILE,
    JOURNAL_PREFIX,
    LOCK_FILE,
    METRIC,
    OWNER_FILE,
    RUN_FILE,
    SEALED_PREFIX,
    STEP,
    ChunkName,
    chunk_file,
    encode_for_file,
    incarnation_of,
    is_journal_file,
    is_meant,
    parameter_file,
    parse_chunk_file,
)
from chunkstore.records import overlay
from chunkstore.records.assemble import assemble, flatten
from chunkstore.records.base import MetricPoint, Record, RecordCodec, encode_record
from chunkstore.records.codec import decode, encode
from chunkstore.records.garbage import without_collections
from chunkstore.records.integrity import with_checksum, without_checksum
from chunkstore.records.models import FORMAT, NOTES, PACKED_FORMAT, BranchLog, Problem, RunLog, StepLog
from chunkstore.stores.base import (
    JOURNAL,
    OwnerFiles,
    Store,
    StoreOptions,
    as_json,
    as_stored,
    check_format,
    is_finished,
)
from chunkstore.stores.packed import sealing
from chunkstore.stores.packed.journals import Journals
from chunkstore.stores.reading.chunk_reader import (
    ChunkReader,
    Parameters,
    Update,
    changes_seen,
    checked_run_log,
    newest_listed,
    update_file,
)
from chunkstore.stores.reading.following import FollowedRun, Patience
from chunkstore.stores.reading.listing import Listing, ListingMemory
from chunkstore.stores.reading.metric_lines import MetricLine, as_series
from chunkstore.stores.reading.run_files import RunFiles
from chunkstore.stores.reading.run_json import join_chunks
from chunkstore.stores.runs.known_runs import Key, KnownRun, KnownRuns
from chunkstore.stores.runs.run_list import Candidate

logger = logging.getLogger("chunkstore")

_R = TypeVar("_R", bound=StepLog | BranchLog)
_T = TypeVar("_T")

_KIND_OF: dict[type[Record], str] = {StepLog: STEP, BranchLog: BRANCH}
_TYPE_OF: dict[str, type[StepLog | BranchLog]] = {STEP: StepLog, BRANCH: BranchLog}
_STRIPES = 16

#: How often a run may be deleted and made anew while it is written to.
_ATTEMPTS = 10
#: Who has written a record.
NOBODYS, OURS, OTHERS = "nobody", "we alone", "others too"

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
        # What this object wrote, and what it has seen, by run. Never inherited: see reset_after_fork.
        self._owned: KnownRuns[KnownRun] = KnownRuns()
        # Threads that record the same thing at once must not make two files of it. Who needs a stripe, the journal of a
        # run and its lock takes them in this order.
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
        self._owned = KnownRuns()
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

    # --- which run ---------------------------------------------------------------------------------------------------

    def _known(self, run_id: str) -> KnownRun:
        """Return what is remembered of the run that has this id now; its format is one that may be written.

        Raises:
            MissingError: there is no such run, or another one than a pinned id means.
        """
        known = self._owned.get(run_id) or KnownRun(self._reader_of(run_id))
        incarnation = self.backend.examined(run_id, known.examine)
        if incarnation != known.incarnation:
            if known.incarnation:  # it was deleted, and another one has its id
                known = KnownRun(self._reader_of(run_id))
                self._listings.forget(run_id)
            known.incarnation = incarnation
            known = self._owned.add(str(run_id), known)
            self._forget_longest_ago()
        if not is_meant(run_id, incarnation):
            raise MissingError(run_id)
        return known

    @staticmethod
    def _reader_of(run_id: str) -> Callable[[FolderReader], RunLog]:
        plain = str(run_id)

        def load(reader: FolderReader) -> RunLog:
            log = checked_run_log(reader.load(RUN_FILE), plain, RUN_FILE)
            check_format(log)
            return log

        return load

    def _in_run(self, run_id: str, write: Callable[[KnownRun], _T]) -> _T:
        """Write something to a run; should another one have got its id, to that, with nothing that was remembered.

        Raises:
            MissingError: there is no such run, or another one than a pinned id means.
        """
        known = self._known(run_id)
        for _ in range(_ATTEMPTS):
            try:
                return write(known)
            except MissingError:
                before, known = known, self._known(run_id)
                if known is before:
                    raise
        raise MissingError(run_id)

    def _forget_longest_ago(self) -> None:
        """Forget a run, if there are many and it has ended: of one that goes on, what is known may be needed."""
        found = self._owned.longest_ago()
        if found is not None:
            run_id, known = found
            if known.is_as_good_as_new() or self._has_ended(run_id):
                self._owned.forget_for_others(run_id, known)
                self._let_go(run_id)

    def _has_ended(self, run_id: str) -> bool:
        """Tell whether nobody goes on with a run, as far as can be told."""
        try:
            return is_finished(self._read_run_file(run_id))
        except FileNotFoundError:
            return True
        except ChunkstoreError:
            return False

    def _let_go(self, run_id: str) -> None:
        self._listings.forget(run_id)
        if self._journals:
            self._journals.close(run_id)

    def _remembered(self, run_id: str) -> KnownRun | None:
        return self._owned.get(run_id)

    def _forget(self, run_id: str, known: KnownRun | None) -> None:
        if known is not None:
            self._owned.forget(run_id, known)
        self._let_go(run_id)

    # --- runs --------------------------------------------------------------------------------------------------------

    def _create(self, log: RunLog, *, durable: bool = False) -> None:
        files = {}
        records, parameters = flatten(log)
        for record in records:
            files[chunk_file(_KIND_OF[type(record)], record.internal_name, clock.tick())] = self._encode(record)
        for scope, values in parameters.items():
            if values:
                files[parameter_file(scope)] = self._encode(Parameters(branch=scope, parameters=values))
        bare = msgspec.structs.replace(log, steps={}, parameters={}, found_orphans=UNSET, found_problems=UNSET)
        files[RUN_FILE] = self._encode(bare)
        self.backend.create_folder(log.run_id, files, durable=durable)

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
        def change_it(known: KnownRun) -> RunLog:
            def change_run() -> RunLog:
                log = self._read_run_file(run_id)
                check_format(log)
                new = as_stored(change(msgspec.structs.replace(log, steps={}, parameters={})))
                # Other tools keep steps there; they stay.
                whole = msgspec.structs.replace(new, steps=log.steps, parameters=log.parameters)
                # If the run ends with this, all of it is going to be made durable.
                durable = self._has_finished(run_id, known)
                if known.finished is not None and known.finished[0] != known.own_version:
                    known.is_synced = False  # somebody else has changed it, who may have taken the run up again
                data = self._encode(whole)
                try:
                    self._write(run_id, known, self.backend.replace, RUN_FILE, data, durable=durable)
                except ChunkstoreError:
                    self._try(partial(self._take_back, run_id, known, RUN_FILE, data, self._encode(log)), run_id)
                    raise
                known.own_version = self.backend.version(run_id, RUN_FILE)
                return new

            return self.backend.while_locked(run_id, LOCK_FILE, change_run, within=known)

        changed = self._in_run(run_id, change_it)
        if is_finished(changed):
            self.backend.let_go(run_id)
            if self._journals:
                self._journals.close(run_id)  # not under the lock: whoever begins a journal may wait for that
        return changed

    def _make_durable(self, run_id: str, *, has_just_ended: bool) -> None:
        known = self._owned.get(run_id) or self._known(run_id)
        if has_just_ended:
            known.is_synced = False
        # Whoever has ended the run before need not have come to that.
        if not known.is_synced:
            self._sync(run_id)
            known.is_synced = True

    def _candidates(self, top: FolderReader) -> list[Candidate]:  # noqa: ARG002 - they are folders
        return [(changed_at, folder) for folder, changed_at in self.backend.folders().items() if changed_at >= 0]

    def _run_file(self, run_id: str) -> tuple[str, str]:
        return run_id, RUN_FILE

    def _delete(self, run_id: str) -> None:
        with self.backend.reader(run_id) as reader:
            ChunkReader(run_id, reader).metadata()  # nothing is made or removed in a folder that is no run
        self.backend.while_locked(run_id, LOCK_FILE, lambda: self._remove(run_id))

    def _lock_file(self, run_id: str) -> tuple[str, str]:
        return run_id, LOCK_FILE

    def _remove(self, run_id: str) -> None:
        if incarnation_of(run_id):
            self._check_meant(run_id)
        self.backend.remove_folder(run_id)

    def _check_meant(self, run_id: str) -> None:
        """Look whether the run that has an id, if its record can be read, is the one that is meant.

        Raises:
            MissingError: it is another one.
        """
        with self.backend.reader(run_id) as reader:
            ChunkReader(run_id, reader).metadata()

    def _sync(self, run_id: str) -> None:
        self.backend.sync(run_id)

    def _owner_files(self, run_id: str, incarnation: str) -> OwnerFiles:  # noqa: ARG002 - the folder goes with the run
        return OwnerFiles(run_id, OWNER_FILE, JOINED_FILE)

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

        try:
            return self._locked(run_id, seal_run)
        finally:
            self._listings.forget(run_id)

    def _locked(self, run_id: str, action: Callable[[], _T]) -> _T:
        """Return what an action returns that needs the lock of a run that this version may write to."""
        return self._in_run(run_id, lambda known: self.backend.while_locked(run_id, LOCK_FILE, action, within=known))

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

        try:
            self._locked(run_id, unseal_run)
        finally:
            self._listings.forget(run_id)

    def _has_journals(self, run_id: str) -> bool:
        with self.backend.reader(run_id) as reader:
            return any(map(is_journal_file, reader.names()))

    # --- records -----------------------------------------------------------------------------------------------------

    def _put(self, run_id: str, records: list[StepLog | BranchLog], parameters: dict[str, dict[str, Any]]) -> None:
        encoded = {(_KIND_OF[type(record)], record.internal_name): encode_record(record) for record in records}
        if len(encoded) > 1 or parameters:
            self._in_run(run_id, lambda known: self._put_together(run_id, known, encoded, parameters))
        else:
            ((key, body),) = encoded.items()
            self._in_run(run_id, lambda known: self._put_one(run_id, known, key, body))

    def _put_one(self, run_id: str, known: KnownRun, key: Key, body: bytes) -> None:
        with self._stripe(run_id, *key):
            file = known.owned.get(key)
            if file is not None:
                self._replace_own(run_id, known, file, body)
            elif known.was_forgotten:
                self._own(known, key, self._publish_under_changes(run_id, known, key, body))
            else:
                self._own(known, key, self._publish(run_id, known, key, body))

    def _publish_under_changes(self, run_id: str, known: KnownRun, key: Key, body: bytes) -> str:
        """Write a record that this object may have written before, with what others have changed of that over it."""
        kind, name = key
        timestamp = clock.tick()
        file = chunk_file(kind, name, timestamp)

        def publish() -> None:
            with self.backend.reader(run_id) as reader:
                chunks, record = self._newest(
                    run_id, reader, name, _TYPE_OF[kind], None, strict=True, with_series=False
                )
                change = chunks.origin(record)[1] if record is not None else None
            own = body
            if change is not None and record is not None:
                own = encode(overlay.without_appended(change, as_json(record), decode(body)))
                # Before the record: without it, the change counts for nothing.
                self._write_update(run_id, known, ChunkName(kind, encode_for_file(name), timestamp, file), name, change)
            self._record(run_id, known, self.backend.publish, file, self._as_file(own))

        self.backend.while_locked(run_id, LOCK_FILE, publish, within=known)
        return file

    @staticmethod
    def _own(known: KnownRun, key: Key, file: str) -> None:
        kind, name = key
        known.owned[key] = file
        if kind == STEP:
            known.own_branches.add(name.rpartition(".")[0])

    def _replace_own(self, run_id: str, known: KnownRun, file: str, body: bytes) -> None:
        """Write a record anew that this object wrote before."""
        body = self._without_appended(run_id, file, body)
        if not self._add_to_journal(run_id, known, file, body):
            self._record(run_id, known, self.backend.replace, file, self._as_file(body))

    def _put_together(
        self, run_id: str, known: KnownRun, records: dict[Key, bytes], parameters: dict[str, dict[str, Any]]
    ) -> None:
        """Write a record and those inside it, the outer one last: its readers see all of them or none.

        Should anything fail, nothing is written. What is inside has no place in the log until the outer record is
        there; so if the process is killed, it stays without one. If the outer one was there before, it is seen piece
        by piece.
        """
        undo: list[Callable[[], None]] = []

        def set_parameters() -> None:
            for scope, values in parameters.items():
                self._set_parameters_in(run_id, known, scope, values, overwrite=True, undo=undo)

        try:
            if self._journals:
                set_parameters()
            with ExitStack() as held:
                for stripe in sorted({hash((run_id, *key)) % _STRIPES for key in records}):
                    held.enter_context(self._stripes[stripe])
                # The outer one comes first in the order of execution all the same.
                new = {key: chunk_file(*key, clock.tick()) for key in records if key not in known.owned}
                inside_first = reversed(records.items())
                files = {
                    (new.get(key) or known.owned[key]): body
                    if key in new
                    else self._without_appended(run_id, known.owned[key], body)
                    for key, body in inside_first
                }
                if self._journals:
                    held.enter_context(self._journals.held(run_id))
                    loose = self._journals.not_in_journal(run_id, files.keys() - set(new.values()))
                    self._write_together(run_id, known, {file: files[file] for file in files if file in loose}, ())
                    lines = {file: body for file, body in files.items() if file not in loose}
                    if lines:
                        self._add_new_to_journal(run_id, known, lines)
                else:
                    undo += [partial(self.backend.remove, run_id, file) for file in new.values()]
                    self._write_together(run_id, known, files, new.values(), set_parameters)
                for key, file in new.items():
                    self._own(known, key, file)
        except BaseException:
            for take_back in reversed(undo):
                self._try(take_back, run_id)
            raise

    def _write_together(
        self,
        run_id: str,
        known: KnownRun,
        files: Mapping[str, bytes],
        new: Collection[str],
        first: Callable[[], None] | None = None,
    ) -> None:
        """Write files of our own, of which some are new, in their order; all or none."""
        if not files:
            return
        data = [(file, self._as_file(body), file in new) for file, body in files.items()]
        durable = self._has_finished(run_id, known)
        before = self.backend.changed_at(run_id) if self._listings.share else 0
        self.backend.write_together(run_id, data, before=first, durable=durable, within=known)
        if self._listings.share:
            for file in files:
                self._listings.add(run_id, file, before, self.backend.changed_at(run_id))
        if not durable and self._has_finished(run_id, known):
            for file in files:
                self._sync_file(run_id, file)

    @staticmethod
    def _try(take_back: Callable[[], None], run_id: str) -> None:
        try:
            take_back()
        except FileNotFoundError:
            pass  # it had not been written
        except ChunkstoreError as error:
            logger.warning("Something that was not recorded as a whole stays in run %s: %s", run_id, str(error))

    def _without_appended(self, run_id: str, file: str, body: bytes) -> bytes:
        """Return a record of our own without what others have appended to it: that is laid over it anyhow."""
        chunk = parse_chunk_file(file)
        if chunk is None or file not in changes_seen:
            return body
        with self.backend.reader(run_id) as reader:
            chunks = ChunkReader(run_id, reader)
            try:
                seen = chunks.record_in(chunk)
            except CorruptChunkError:
                return body  # what it was cannot be known any more
            change = chunks.origin(seen)[1] if seen is not None else None
        if seen is None or change is None:
            return body
        return encode(overlay.without_appended(change, as_json(seen), decode(body)))

    def _put_last(self, run_id: str, record: _R) -> None:
        kind, name = type(record), record.internal_name

        key = (_KIND_OF[kind], name)
        body = encode_record(record)

        def put(known: KnownRun) -> None:
            def put_over() -> bool:
                # Nobody else may change it between the look and the deed.
                whose = self._whose(run_id, known, kind, name, anew=not self._listings.share)
                if whose is OURS:
                    self._replace_own(run_id, known, known.owned[key], body)
                return whose is OURS or (
                    whose is OTHERS and self._change_locked(run_id, known, name, kind, lambda _: record) is not None
                )

            with self._stripe(run_id, *key), self._journals.held(run_id) if self._journals else nullcontext():
                is_new = key not in known.owned and self._whose(run_id, known, kind, name) is NOBODYS
                if is_new or not self.backend.while_locked(run_id, LOCK_FILE, put_over, within=known):
                    # Or it was another name, with the same hash.
                    self._own(known, key, self._publish(run_id, known, key, body))

        self._in_run(run_id, put)

    def _whose(self, run_id: str, known: KnownRun, kind: type[_R], name: str, *, anew: bool = False) -> str:
        """Tell who has written a record, as far as a listing shows: nobody, we and nobody has changed it, or others."""
        with self.backend.reader(run_id) as reader:
            listing = None if anew else self._listings.recent(run_id)
            if listing is None:
                listing = self._fresh_listing(run_id, reader)
            files = RunFiles(reader, listing)
            newest = newest_listed(files, kind, name)
            if files.unreadable is not None:
                raise files.unreadable  # it may be there, or a newer one
            if newest is None:
                return NOBODYS
            if newest.file != known.owned.get((_KIND_OF[kind], name)):
                return OTHERS
            try:
                files.load(update_file(newest, name), is_listed=False)
            except FileNotFoundError:
                return OURS
            return OTHERS

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

    def _record(self, run_id: str, known: KnownRun, verb: Callable[..., None], file: str, data: bytes) -> None:
        """Write a file of a run; durably at once if the run has finished, as all in it was made durable then."""
        # What is replaced must not give way to what a loss of power may take.
        at_the_end = self.backend.durability == AT_THE_END
        durable = at_the_end and verb == self.backend.replace and self._has_finished(run_id, known)
        self._write(run_id, known, verb, file, data, durable=durable)
        if not at_the_end or durable:
            return
        try:
            # Looked at after the deed: whoever finishes the run from now on finds the file and makes it durable.
            if self._has_finished(run_id, known):
                self._sync_file(run_id, file)
        except ChunkstoreError:
            if verb == self.backend.publish:
                self._try(lambda: self.backend.remove(run_id, file), run_id)
            raise

    def _write(
        self, run_id: str, known: KnownRun, verb: Callable[..., None], file: str, data: bytes, *, durable: bool
    ) -> None:
        """Write a file, and keep what is remembered of the folder up to date."""
        if not self._listings.share:
            verb(run_id, file, data, durable=durable, within=known)
            return
        before = self.backend.changed_at(run_id)
        verb(run_id, file, data, durable=durable, within=known)
        self._listings.add(run_id, file, before, self.backend.changed_at(run_id))

    def _has_finished(self, run_id: str, known: KnownRun) -> bool:
        """Tell whether a run has finished at a level at which that makes it durable."""
        if self.backend.durability != AT_THE_END:
            return False
        version = self.backend.version(run_id, RUN_FILE)
        seen = known.finished
        if seen is None or seen[0] != version:
            try:
                seen = version, is_finished(self._read_run_file(run_id))
            except CorruptChunkError:
                seen = version, True  # it may have
            known.finished = seen
        return seen[1]

    def _must_be_durable(self, run_id: str) -> bool:
        return self._has_finished(run_id, self._known(run_id))

    def _stripe(self, *key: str) -> threading.Lock:
        return self._stripes[hash(key) % _STRIPES]

    def _publish(self, run_id: str, known: KnownRun, key: Key, body: bytes) -> str:
        """Write a new chunk; return the name of its file, which as a line of a journal it has too."""
        kind, name = key
        if self._journals:
            file = chunk_file(kind, name, clock.tick())
            self._add_new_to_journal(run_id, known, {file: body})
            return file
        data = with_checksum(body) if kind == METRIC else self._as_file(body)
        while True:
            file = chunk_file(kind, name, clock.tick())
            try:
                self._record(run_id, known, self.backend.publish, file, data)
            except FileExistsError:
                continue  # another process had the same nanosecond
            return file

    def _as_file(self, body: bytes) -> bytes:
        return msgspec.json.format(body, indent=4) if self.options.pretty else with_checksum(body)

    def _add_new_to_journal(self, run_id: str, known: KnownRun, chunks: Mapping[str, bytes]) -> None:
        assert self._journals is not None
        self._journals.add(
            run_id,
            chunks,
            within=known,
            prepare=lambda: self._prepare_journal(run_id),
            is_durable=lambda: self._has_finished(run_id, known),
        )

    def _add_to_journal(self, run_id: str, known: KnownRun, file: str, body: bytes) -> bool:
        """Write to a chunk of our own that is in our present journal; tell whether it is there."""
        return self._journals is not None and self._journals.add_again(
            run_id, file, body, within=known, is_durable=lambda: self._has_finished(run_id, known)
        )

    def _sync_file(self, run_id: str, file: str) -> None:
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
            known = self._owned.get(run_id)
            sure = not full or (known is not None and internal_name in known.own_branches)
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
        def change_it(known: KnownRun) -> _R | None:
            return self.backend.while_locked(
                run_id,
                LOCK_FILE,
                lambda: self._change_locked(run_id, known, internal_name, kind, change),
                within=known,
            )

        return self._in_run(run_id, change_it)

    def _change_locked(
        self, run_id: str, known: KnownRun, internal_name: str, kind: type[_R], change: Callable[[_R], _R]
    ) -> _R | None:
        with self.backend.reader(run_id) as reader:
            # Not by way of an earlier listing: a change that lies over anything but the newest record would be lost.
            chunks, record = self._newest(run_id, reader, internal_name, kind, None, strict=True, with_series=False)
            if record is None:
                return None
            chunk, earlier = chunks.origin(record)
        before = as_json(record)
        body = encode_record(change(record))
        new = RecordCodec.of(kind).decode(body)
        difference = overlay.merge(before, earlier, decode(body))
        if difference is not None and difference is not earlier:
            try:
                self._write_update(run_id, known, chunk, internal_name, difference)
            except ChunkstoreError:
                after = self._update_over(chunk, internal_name, difference)
                before = None if earlier is None else self._update_over(chunk, internal_name, earlier)
                file = update_file(chunk, internal_name)
                self._try(partial(self._take_back, run_id, known, file, after, before), run_id)
                raise
            changes_seen.add(chunk.file)  # whoever gets the record has it with this change
        return new

    def _write_update(
        self, run_id: str, known: KnownRun, chunk: ChunkName, internal_name: str, change: overlay.Change
    ) -> None:
        data = self._update_over(chunk, internal_name, change)
        self._record(run_id, known, self.backend.replace, update_file(chunk, internal_name), data)

    def _update_over(self, chunk: ChunkName, internal_name: str, change: overlay.Change) -> bytes:
        update = Update(internal_name=internal_name, over=chunk.file, change=change)
        return encode(update, indent=4) if self.options.pretty else with_checksum(encode(update))

    # --- metrics -----------------------------------------------------------------------------------------------------

    def _append_metrics(self, run_id: str, internal_name: str, series: Mapping[str, Sequence[MetricPoint]]) -> None:
        step = StepLog(name="", internal_name=internal_name, metric_series=as_series(series))
        points = as_json(step)["metric_series"]
        key = (METRIC, internal_name)

        def append(known: KnownRun) -> None:
            over = known.owned.get((STEP, internal_name), "")
            line = encode(MetricLine(internal_name=internal_name, over=over, points=points))
            with self._stripe(run_id, *key):
                # A line that was cut off must stay the last of its file: after a failure the next one has a new file.
                file = known.owned.pop(key, None)
                if file is None or not self._append(run_id, known, file, line):
                    file = self._publish(run_id, known, key, line)
                known.owned[key] = file

        self._in_run(run_id, append)

    def _append(self, run_id: str, known: KnownRun, file: str, line: bytes) -> bool:
        """Append to a file of our own; tell whether it was there, and not packed by somebody who seals the run."""
        if self._journals:
            return self._add_to_journal(run_id, known, file, line)
        try:
            self.backend.append(
                run_id,
                file,
                with_checksum(line),
                is_durable=lambda: self._has_finished(run_id, known),
                within=known,
            )
        except FileNotFoundError:
            return False
        return True

    # --- parameters --------------------------------------------------------------------------------------------------

    def _set_parameters(self, run_id: str, scope: str, parameters: dict[str, Any], *, overwrite: bool) -> None:
        # Before waiting for the lock, as bad values are refused here.
        stored = as_stored(Parameters(branch=scope, parameters=parameters)).parameters
        self._in_run(run_id, lambda known: self._set_parameters_in(run_id, known, scope, stored, overwrite=overwrite))

    def _set_parameters_in(
        self,
        run_id: str,
        known: KnownRun,
        scope: str,
        parameters: dict[str, Any],
        *,
        overwrite: bool,
        undo: list[Callable[[], None]] | None = None,
    ) -> None:
        """Set some parameters; note before, in `undo`, what takes that back unless others have set some since."""
        stored = as_stored(Parameters(branch=scope, parameters=parameters)).parameters
        file = parameter_file(scope)

        def change_parameters() -> None:
            current = self._load_parameters(run_id, scope, file)
            before = self._encode(current) if self.backend.has(run_id, file) else None
            merged = {**current.parameters, **stored} if overwrite else {**stored, **current.parameters}
            current.parameters = merged
            after = self._encode(current)
            take_back = partial(self._take_back, run_id, known, file, after, before)
            if undo is not None:
                undo.append(partial(self.backend.while_locked, run_id, LOCK_FILE, take_back, within=known))
            try:
                self._record(run_id, known, self.backend.replace, file, after)
            except ChunkstoreError:
                self._try(take_back, run_id)
                raise

        self.backend.while_locked(run_id, LOCK_FILE, change_parameters, within=known)

    def _take_back(self, run_id: str, known: KnownRun, file: str, after: bytes, before: bytes | None) -> None:
        """Put a file back that may have been replaced, though that failed; under the lock."""
        if self.backend.load(run_id, file) != after:
            return
        if before is None:
            self.backend.remove(run_id, file)
        else:
            self._record(run_id, known, self.backend.replace, file, before)

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
    return chunks.without_unfinished(assemble(metadata, records, chunks.parameters(), chunks.problems))


def _has_packed_files(listing: Listing) -> bool:
    return any(map(listing.starting_with, (JOURNAL_PREFIX, SEALED_PREFIX)))


def _with_format(log: RunLog, number: int) -> RunLog:
    return msgspec.structs.replace(log, run_config={**log.run_config, NOTES: {**log.notes, "format": number}})


def _reset_after_fork() -> None:
    for store in list(_stores):
        store.reset_after_fork()


if hasattr(os, "register_at_fork"):
    os.register_at_fork(after_in_child=_reset_after_fork)
