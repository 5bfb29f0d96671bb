"""Finding single records of a run, by way of a listing that may be a little old."""

from __future__ import annotations

import logging
from collections.abc import Iterable
from typing import TypeVar

from chunkstore.backends.base import Backend
from chunkstore.backends.reader import FileVersion, FolderReader
from chunkstore.names import JOURNAL_PREFIX, RUN_FILE, SEALED_PREFIX
from chunkstore.records.assemble import assemble
from chunkstore.records.late import LateRecords
from chunkstore.records.models import BranchLog, Problem, RunLog, StepLog
from chunkstore.stores.chunk_files import KIND_OF, checked_run_log, is_of_owner, observe_all, update_file
from chunkstore.stores.reading.chunk_reader import ChunkReader
from chunkstore.stores.reading.listing import AskedListing, Listing, ListingMemory
from chunkstore.stores.reading.order import all_listed, newest_listed
from chunkstore.stores.reading.problems import UNREADABLE
from chunkstore.stores.reading.run_files import RunFiles
from chunkstore.stores.runs import KnownRun

logger = logging.getLogger("chunkstore")

_R = TypeVar("_R", bound=StepLog | BranchLog)

#: Who has written a record.
NOBODYS, OURS, OTHERS = "nobody", "we alone", "others too"
#: Of so many runs it is remembered what still ran at their end.
_MOST_REMEMBERED = 32


class RecordFinder:
    """Finds records by their names.

    Args:
        backend: where the runs are.
        listings: what is remembered of their folders.
    """

    def __init__(self, backend: Backend, listings: ListingMemory) -> None:
        self.backend = backend
        self._listings = listings
        #: What the own records of some runs say of what still ran at their end, by run.
        self._late: dict[str, tuple[FileVersion, LateRecords | None]] = {}

    @property
    def remembers(self) -> bool:
        """Whether listings are used again."""
        return bool(self._listings.share)

    def whose(self, run_id: str, known: KnownRun, kind: type[_R], name: str, *, anew: bool = False) -> str:
        """Tell who has written a record, as far as a listing shows: nobody, we and nobody has changed it, or others."""
        with self.backend.reader(run_id) as reader:
            listing = None if anew else self._listings.recent(run_id)
            if listing is None:
                listing = self._fresh_listing(run_id, reader)
            files = RunFiles(reader, listing)
            listed = all_listed(files, KIND_OF[kind], name)
            if files.unreadable is not None:
                raise files.unreadable  # it may be there, or a newer one
            if not listed:
                return NOBODYS
            newest = listed[-1]
            if len(listed) > 1 or newest.file != known.owned.get((KIND_OF[kind], name)):
                return OTHERS
            try:
                update, _ = files.content(update_file(newest, name), is_listed=False)
            except FileNotFoundError:
                return OURS
            return OURS if is_of_owner(update) else OTHERS

    def has(self, run_id: str, internal_name: str, kind: type[_R]) -> bool:
        """Tell whether there is a record of a name.

        Raises:
            MissingError: there is no such run.
        """
        recent = self._listings.recent(run_id)
        remembered = newest_listed(recent, KIND_OF[kind], internal_name) if recent else None
        with self.backend.reader(run_id) as reader:
            if remembered and reader.has(remembered.file):
                return True
            # What a packed file holds its name does not tell.
            may_know = recent is not None and not remembered and not _has_packed_files(recent)
            if recent and may_know and self._is_unchanged_since(recent, run_id, reader):
                return False
            unreadable: list[Exception] = []
            files = RunFiles(reader, self._fresh_listing(run_id, reader), lambda _, error: unreadable.append(error))
            if newest_listed(files, KIND_OF[kind], internal_name):
                return True
            if unreadable:
                raise unreadable[0]  # it may be there
            ChunkReader(run_id, reader).metadata()  # is it the record that is missing, or the run?
        return False

    def find(self, run_id: str, internal_name: str, kind: type[_R], *, full: bool, known: KnownRun | None) -> _R | None:
        """Return the record of a name that counts, with all inside it if `full` is set, or None.

        Args:
            run_id: the run.
            internal_name: the record.
            kind: `StepLog` or `BranchLog`.
            full: whether what is inside it is read too.
            known: what is known of the run, if this process writes to it.

        Raises:
            MissingError: there is no such run.
        """
        with self.backend.reader(run_id) as reader:
            # Who records a branch knows what is inside it; others look whether anything has changed.
            sure = not full or (known is not None and internal_name in known.own_branches)
            changed_at = None if sure or not self.remembers else reader.changed_at()
            recent = self._listings.recent(run_id, changed_at)
            chunks, record = self.newest(run_id, reader, internal_name, kind, recent)
            if record is None:
                chunks.metadata()  # is it the record that is missing, or the run?
            elif full:
                record = self._with_others_inside(chunks, record)
        warn_of(chunks.problems, f"{internal_name} of run {run_id}")
        return record

    def newest(
        self,
        run_id: str,
        reader: FolderReader,
        internal_name: str,
        kind: type[_R],
        recent: Listing | None,
    ) -> tuple[ChunkReader, _R | None]:
        """Return the record of one name that counts, and what read it; first by way of a recent listing."""
        late = self._late_of(run_id, reader)
        if recent is not None:
            chunks = ChunkReader(run_id, reader, recent)
            chunks.late = late
            record = chunks.newest(kind, internal_name)
            if record is not None or self._is_unchanged_since(recent, run_id, reader):
                return chunks, record
        chunks = ChunkReader(run_id, reader, self._fresh_listing(run_id, reader))
        chunks.late = late
        return chunks, chunks.newest(kind, internal_name)

    def counting(
        self, run_id: str, reader: FolderReader, internal_name: str, kind: type[_R]
    ) -> tuple[ChunkReader, _R | None]:
        """Return what the chunk holds that counts for a name, and what read it.

        Not by way of an earlier listing: a change that lies over anything but that chunk would be lost.
        """
        chunks = ChunkReader(run_id, reader, self._fresh_listing(run_id, reader))
        chunks.late = self._late_of(run_id, reader)
        return chunks, chunks.counting(kind, internal_name)

    def _late_of(self, run_id: str, reader: FolderReader) -> LateRecords | None:
        """Return what the run's own record says of what still ran at its end; it is read only when it has changed."""
        try:
            version = reader.version(RUN_FILE)
            known = self._late.get(run_id)
            if known is None or known[0] != version:
                if len(self._late) >= _MOST_REMEMBERED:
                    self._late.clear()
                known = version, LateRecords.of(checked_run_log(reader.load(RUN_FILE), run_id))
                self._late[str(run_id)] = known
        except (FileNotFoundError, *UNREADABLE):
            return None
        return known[1]

    def _is_unchanged_since(self, listing: Listing, run_id: str, reader: FolderReader) -> bool:
        """Tell whether nobody else has changed anything in the folder since it was listed."""
        return self._listings.recent(run_id, reader.changed_at()) is listing

    def _fresh_listing(self, run_id: str, reader: FolderReader) -> Listing:
        if reader.reads_ahead:
            return AskedListing(reader)
        listing = self._listings.fresh(run_id, reader.names, reader.changed_at() if self.remembers else 0)
        observe_all(listing.names())  # who has seen something of a run has seen all that was there
        return listing

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


def warn_of(problems: Iterable[Problem], where: str) -> None:
    """Log what could not be read, where nobody gets a list of it."""
    for problem in problems:
        if problem.kind != "orphan":
            logger.warning("Left out of %s: %s: %s", where, problem.file, problem.message)


def _has_packed_files(listing: Listing) -> bool:
    return any(map(listing.starting_with, (JOURNAL_PREFIX, SEALED_PREFIX)))
