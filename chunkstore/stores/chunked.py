"""The chunked layout: a folder per run, a file per record, one writer per file."""

from __future__ import annotations

import logging
from collections.abc import Callable, Iterator, Mapping, Sequence
from functools import partial
from typing import Any, TypeVar

import msgspec
from msgspec import UNSET

from chunkstore.backends.base import Backend, Change
from chunkstore.backends.capabilities import Appending, Locking, Looking, RemovingUnchanged, Syncing
from chunkstore.backends.errors import MissingError
from chunkstore.backends.reader import FolderReader
from chunkstore.errors import ChunkstoreError, ConfigurationError, StoreUsageError
from chunkstore.forks import renew_after_fork
from chunkstore.names import (
    END_OF_TIME,
    JOINED_FILE,
    LOCK_FILE,
    OWNER_FILE,
    RUN_FILE,
    is_meant,
    is_packable,
    new_incarnation,
)
from chunkstore.records.encoding import encode_record
from chunkstore.records.fields import MetricPoint
from chunkstore.records.garbage import without_collections
from chunkstore.records.models import FORMAT, PACKED_FORMAT, BranchLog, Problem, RunLog, StepLog
from chunkstore.stores.base import Store
from chunkstore.stores.chunk_files import Parameters, checked_run_log, key_of, read_run_file
from chunkstore.stores.contents import with_contents
from chunkstore.stores.layout import OwnerFiles
from chunkstore.stores.options import FILES, JOURNAL, StoreOptions
from chunkstore.stores.packed import Journals
from chunkstore.stores.reading import (
    ChunkReader,
    FollowedRun,
    ListingMemory,
    ProblemFinder,
    RecordFinder,
    RunFiles,
    as_series,
    follow,
    in_order,
    join_chunks,
    warn_of,
)
from chunkstore.stores.runs import Candidate, KnownRun, KnownRuns
from chunkstore.stores.stored import as_json, as_stored, check_format, is_finished
from chunkstore.stores.stripes import Stripes
from chunkstore.stores.summary import Summary
from chunkstore.stores.writing import (
    ChunkWriter,
    Endings,
    ParameterFiles,
    RecordWriter,
    attempt,
    by,
    files_of_new_run,
    seal,
    seal_ended,
    unseal,
)

logger = logging.getLogger("chunkstore")

_R = TypeVar("_R", bound=StepLog | BranchLog)
_T = TypeVar("_T")

#: How often a run may be deleted and made anew while it is written to.
_ATTEMPTS = 10


class ChunkedStore(Store):
    """A store that cuts each run into chunks.

    Adding a record makes a new file that nobody else writes; this needs no lock and looks at nothing that is there.
    What this store object has written it also replaces without a lock. Changes to anything else go, under the run's
    lock, into a file beside it.
    """

    def __init__(self, backend: Backend, options: StoreOptions | None = None) -> None:
        super().__init__(backend, options)
        self._listings = ListingMemory()
        self._journals = self._journals_of(backend) if self.options.container == JOURNAL else None
        self._finder = RecordFinder(backend, self._listings)
        self._writer = ChunkWriter(backend, self._listings, self._journals, pretty=self.options.pretty)
        self._parameters = ParameterFiles(self._writer)
        self._stripes = Stripes()
        self._endings = Endings(backend, self.options.seal_finished_runs)
        self._records = RecordWriter(self._writer, self._finder, self._parameters, self._stripes)
        # What this object wrote, and what it has seen, by run. Never inherited: see reset_after_fork.
        self._owned: KnownRuns[KnownRun] = KnownRuns()
        renew_after_fork(self)

    @staticmethod
    def _journals_of(backend: Backend) -> Journals:
        if isinstance(backend, Appending):
            return Journals.of(backend)
        raise ConfigurationError(
            f"Cannot use the container 'journal' in {backend.location}: nothing can be added to a file there. Leave "
            "the option away, or use 'files'; sealing a run that has finished makes one file of it.",
            file="",
            key="container",
            expected=FILES,
        )

    def remember_listings(self, share: int) -> None:
        """Look up single records in a listing of the folder that is not made anew each time.

        Then the look-ups cost the same however long a run is. What others have changed of a record is found all the
        same, and so are a record that the listing lacks and what has been added inside a record. But that others have
        recorded the very same thing at the same moment, or a step beside our own in the same branch, may be found out a
        little later; and so may the rest where a file system keeps no exact times (Linux does from 6.13 on). Where it
        costs a request to find out whether anything has changed, nothing is remembered.

        Args:
            share: for how many times as long as it took a listing is used again; see `ListingMemory`.
        """
        self._listings.start_anew(share if isinstance(self.backend, Looking) else 0)

    def reset_after_fork(self) -> None:
        """In a forked child: own nothing, and let go of mutexes that threads of the parent may hold."""
        self._owned = KnownRuns()
        self._stripes.reset_after_fork()
        self._listings.start_anew(self._listings.share)
        if self._journals:
            self._journals.reset_after_fork()

    def close(self) -> None:
        """Give back what is held open; the store can be used again."""
        if self._journals:
            self._journals.close()
        super().close()

    @property
    def _format(self) -> int:
        return PACKED_FORMAT if self._journals or self._seals_with_the_end else FORMAT

    @property
    def _seals_with_the_end(self) -> bool:
        return self.options.seal_finished_runs is not None and not isinstance(self.backend, RemovingUnchanged)

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
            forgotten = self._owned.forget_one_of_many(partial(read_run_file, self.backend))
            if forgotten is not None:
                self._let_go(forgotten)
        if not is_meant(run_id, incarnation):
            raise MissingError(run_id)
        return known

    @staticmethod
    def _reader_of(run_id: str) -> Callable[[FolderReader], RunLog]:
        plain = str(run_id)

        def load(reader: FolderReader) -> RunLog:
            log = checked_run_log(reader.load(RUN_FILE), plain)
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

    def _add_in_run(self, run_id: str, write: Callable[[KnownRun], _T]) -> _T:
        """As `_in_run`, for what is written without a lock, perhaps to a run that has ended."""
        return self._in_run(run_id, lambda known: self._writer.while_unnoted(run_id, known, write))

    def _remembered(self, run_id: str) -> KnownRun | None:
        return self._owned.get(run_id)

    def _forget(self, run_id: str, known: KnownRun | None) -> None:
        if known is not None:
            self._owned.forget(run_id, known)
        self._let_go(run_id)

    def _let_go(self, run_id: str) -> None:
        self._listings.forget(run_id)
        if self._journals:
            self._journals.close(run_id)

    # --- runs --------------------------------------------------------------------------------------------------------

    def _create(self, log: RunLog, *, durable: bool = False) -> None:
        files = files_of_new_run(self.backend, log, pretty=self.options.pretty)
        self.backend.create_folder(log.run_id, files, incarnation=log.incarnation, durable=durable)

    def _read(self, run_id: str) -> RunLog:
        def read() -> RunLog:
            with self.backend.reader(run_id) as reader:
                return ChunkReader(run_id, reader).whole()

        return without_collections(read)

    def _read_json(self, run_id: str) -> bytes:
        def read() -> bytes:
            with self.backend.reader(run_id) as reader:
                chunks = ChunkReader(run_id, reader, with_bodies=True)
                log = chunks.whole()
            return join_chunks(log, chunks.bodies)

        return without_collections(read)

    def _stream(self, run_id: str) -> Iterator[StepLog | BranchLog]:
        with self.backend.reader(run_id) as reader:
            chunks = ChunkReader(run_id, reader, keep=False)
            chunks.metadata()
            yield from chunks.stream()
        warn_of(chunks.problems, f"run {run_id}")

    def _find_problems(self, run_id: str) -> list[Problem]:
        with self.backend.reader(run_id) as reader:
            return ProblemFinder(run_id, reader).find()

    def _read_metadata(self, run_id: str) -> RunLog:
        with self.backend.reader(run_id) as reader:
            chunks = ChunkReader(run_id, reader)
            log = msgspec.structs.replace(chunks.metadata(), steps={}, parameters={})
            log.found_problems = chunks.problems or UNSET
        return log

    def _change_metadata(self, run_id: str, change: Callable[[RunLog], RunLog]) -> RunLog:
        def change_it(known: KnownRun) -> RunLog:
            def change_run(folder: Change) -> RunLog:
                log = checked_run_log(folder.load(RUN_FILE, known=True), run_id)
                check_format(log)
                new = as_stored(change(msgspec.structs.replace(log, steps={}, parameters={})))
                # Other tools keep steps there; they stay.
                whole = msgspec.structs.replace(new, steps=log.steps, parameters=log.parameters)
                # If the run ends with this, all of it is going to be made durable.
                durable = self._writer.has_finished(run_id, known)
                if known.end is not None and known.end.version != known.own_version:
                    known.is_synced = False  # somebody else has changed it, who may have taken the run up again
                data = self._encode(whole)
                try:
                    self._writer.write(run_id, known, by(folder), RUN_FILE, data, durable=durable)
                except ChunkstoreError:
                    attempt(partial(self._writer.take_back, run_id, known, RUN_FILE, data, self._encode(log)), run_id)
                    raise
                self._writer.note_written(run_id, known, whole)
                return new

            return self.backend.change(run_id, change_run, within=known)

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

    def _must_be_durable(self, run_id: str) -> bool:
        return self._writer.has_finished(run_id, self._known(run_id))

    def _observe(self, run_id: str) -> None:
        with self.backend.reader(run_id) as reader:
            in_order(RunFiles(reader, keep=False).names())

    def _sum_up(self, run_id: str, *, whole: bool) -> Summary:
        # Who adds something later than this finds the note and takes it back; what came before is in the sums. Where
        # nobody looks for it, only what is there at least can be noted.
        summing = new_incarnation() if isinstance(self.backend, Looking) else ""
        if summing:
            self._change_metadata(run_id, lambda log: with_contents(log, None, summing=summing))

        def read() -> Summary:
            with self.backend.reader(run_id) as reader:
                return self._endings.sum_up(run_id, lambda: self._known(run_id), reader, summing, whole=whole)

        return without_collections(read) if whole else read()

    def _candidates(self, top: FolderReader) -> list[Candidate]:  # noqa: ARG002 - they are folders
        return [(changed_at, folder) for folder, changed_at in self.backend.folders().items() if changed_at >= 0]

    def _run_file(self, run_id: str) -> tuple[str, str]:
        return run_id, RUN_FILE

    def _delete(self, run_id: str, condition: Callable[[], bool]) -> bool:
        def delete(folder: Change) -> bool:
            with folder.reader() as reader:
                ChunkReader(run_id, reader).metadata()  # it is still the one that is meant
            is_due = condition()
            if is_due:
                folder.remove_folder()
            return is_due

        if isinstance(self.backend, Locking):
            self._read_metadata(run_id)  # no lock is made in a folder that is no run
        return self.backend.change(run_id, delete)

    def _lock_file(self, run_id: str) -> tuple[str, str]:
        return run_id, LOCK_FILE

    def _sync(self, run_id: str) -> None:
        if isinstance(self.backend, Syncing):
            self.backend.sync(run_id)
        else:
            self.backend.load(run_id, RUN_FILE)  # is there such a run? What is written stays anyhow

    def _owner_files(self, run_id: str, incarnation: str) -> OwnerFiles:  # noqa: ARG002 - the folder goes with the run
        return OwnerFiles(run_id, OWNER_FILE, JOINED_FILE)

    def _last_written(self, run_id: str) -> int:
        with self.backend.reader(run_id) as reader:
            # Not the folder's own time: locks are no record of the run.
            times = [reader.modified_at(name) for name in reader.names() if not name.startswith(".")]
            return max((moment for moment in times if moment < END_OF_TIME), default=reader.changed_at())

    def _follow(self, run_id: str) -> Iterator[RunLog]:
        run = FollowedRun(run_id, lambda: self.backend.reader(run_id))
        return follow(run, self._changes_in(run_id), lambda: self.is_abandoned(run_id))

    # --- sealing -----------------------------------------------------------------------------------------------------

    def _seal(self, run_id: str) -> int:
        def seal_run(folder: Change, known: KnownRun) -> int:
            log = checked_run_log(folder.load(RUN_FILE), run_id)
            check_format(log)
            if not is_finished(log):
                raise StoreUsageError(
                    f"Cannot seal run {run_id!r}: its status is {log.status}. Seal it when it has finished; if "
                    "nobody is going to finish it, say so with update_run_log, which sets its status."
                )
            backend, pretty = self.backend, self.options.pretty
            if isinstance(backend, RemovingUnchanged):
                return seal(backend, folder, run_id, known, pretty=pretty)
            return seal_ended(backend, folder, run_id, known, pretty=pretty)

        try:
            return self._repack(run_id, seal_run)
        finally:
            self._listings.forget(run_id)

    def _repack(self, run_id: str, action: Callable[[Change, KnownRun], _T]) -> _T:
        """Return what an action returns that changes where the chunks of a run lie that this version may write to."""
        return self._in_run(
            run_id,
            lambda known: self.backend.change(run_id, lambda folder: action(folder, known), within=known),
        )

    def _seal_large(self, log: RunLog, most: int, *, has_just_ended: bool) -> None:
        run_id = log.run_id
        if self._endings.finish_sealing(log) or not has_just_ended:
            return
        with self.backend.reader(run_id) as reader:
            count = sum(map(is_packable, RunFiles(reader).names()))
        if count > most:
            try:
                self._seal(run_id)
            except ChunkstoreError as error:  # the run has finished all the same
                logger.warning("Run %s is not sealed: %s", run_id, error)

    def _unseal(self, run_id: str) -> None:
        def unseal_run(folder: Change, known: KnownRun) -> None:
            log = checked_run_log(folder.load(RUN_FILE), run_id)
            check_format(log)
            if log.is_packed:
                unseal(self.backend, folder, run_id, known, pretty=self.options.pretty)

        try:
            self._repack(run_id, unseal_run)
        finally:
            self._listings.forget(run_id)

    # --- records -----------------------------------------------------------------------------------------------------

    def _put(self, run_id: str, records: list[StepLog | BranchLog], parameters: dict[str, dict[str, Any]]) -> None:
        encoded = {key_of(record): encode_record(record) for record in records}
        if len(encoded) > 1 or parameters:
            self._add_in_run(run_id, lambda known: self._records.put_together(run_id, known, encoded, parameters))
        else:
            ((key, body),) = encoded.items()
            self._add_in_run(run_id, lambda known: self._records.put_one(run_id, known, key, body))

    def _put_last(self, run_id: str, record: _R) -> None:
        body = encode_record(record)
        self._add_in_run(run_id, lambda known: self._records.put_last(run_id, known, record, body))

    def _has(self, run_id: str, internal_name: str, kind: type[_R]) -> bool:
        return self._finder.has(run_id, internal_name, kind)

    def _is_left(self, run_id: str, internal_name: str) -> bool:
        return self._writer.is_left(run_id, self._known(run_id), internal_name)

    def _find(self, run_id: str, internal_name: str, kind: type[_R], *, full: bool) -> _R | None:
        return self._finder.find(run_id, internal_name, kind, full=full, known=self._owned.get(run_id))

    def _change(self, run_id: str, internal_name: str, kind: type[_R], change: Callable[[_R], _R]) -> _R | None:
        return self._in_run(run_id, lambda known: self._records.change(run_id, known, internal_name, kind, change))

    def _append_metrics(
        self, run_id: str, internal_name: str, series: Mapping[str, Sequence[MetricPoint]], attempt: int | None
    ) -> None:
        step = StepLog(name="", internal_name=internal_name, metric_series=as_series(series))
        points = as_json(step)["metric_series"]
        self._add_in_run(
            run_id, lambda known: self._records.append_metrics(run_id, known, internal_name, points, attempt)
        )

    # --- parameters --------------------------------------------------------------------------------------------------

    def _set_parameters(self, run_id: str, scope: str, parameters: dict[str, Any], *, overwrite: bool) -> None:
        # Before waiting for the lock, as bad values are refused here.
        stored = as_stored(Parameters(branch=scope, parameters=parameters)).parameters
        self._in_run(run_id, lambda known: self._parameters.set(run_id, known, scope, stored, overwrite=overwrite))

    def _get_parameters(self, run_id: str, scope: str) -> dict[str, Any]:
        return self._parameters.load(run_id, scope).parameters
