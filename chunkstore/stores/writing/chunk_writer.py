"""Writing one chunk of a run, as a file or as a line of a journal, as durable as the run has to be."""

from __future__ import annotations

import logging
from collections.abc import Callable, Collection, Mapping
from collections.abc import Set as AbstractSet
from functools import partial
from typing import TypeVar

from chunkstore.backends.base import AT_THE_END, Backend, Change
from chunkstore.backends.capabilities import Appending, Grouping, Locking, Looking, RemovingUnchanged, Syncing, lacking
from chunkstore.backends.reader import FileVersion
from chunkstore.clock import clock
from chunkstore.errors import ChunkstoreError, CorruptChunkError
from chunkstore.names import METRIC, RUN_FILE, chunk_file
from chunkstore.records.base import Record
from chunkstore.records.encoding import encode_record
from chunkstore.records.integrity import with_checksum
from chunkstore.records.models import RunLog
from chunkstore.stores.chunk_files import Key, checked_run_log, read_run_file
from chunkstore.stores.contents import Contents, noted_contents, with_chunk, with_contents
from chunkstore.stores.packed import Journals
from chunkstore.stores.reading import Listing, ListingMemory, RunFiles
from chunkstore.stores.runs import End, KnownRun
from chunkstore.stores.stored import as_file
from chunkstore.stores.writing.packed_format import say_packed

logger = logging.getLogger("chunkstore")

_T = TypeVar("_T")

#: Writes a file of a folder, as `Backend.publish` and `Backend.replace` do.
_Verb = Callable[..., None]


class ChunkWriter:
    """Writes chunks of runs that are known, and keeps what is remembered of their folders up to date.

    Args:
        backend: where the runs are.
        listings: what is remembered of their folders.
        journals: which chunks go into; None for files.
        pretty: whether JSON is written for people who use `cat`.
    """

    def __init__(self, backend: Backend, listings: ListingMemory, journals: Journals | None, *, pretty: bool) -> None:
        self.backend = backend
        self.journals = journals
        self._pretty = pretty
        self._listings = listings
        # Else a record would cost a look more than what it costs to write it.
        self._looks = isinstance(backend, Looking)
        #: Whether the file of a record that has ended is never replaced: what is replaced could not be removed safely.
        self.keeps_ended = not isinstance(backend, RemovingUnchanged)
        #: Whether several files are written all or none.
        self.writes_together = isinstance(backend, Grouping) and not self.keeps_ended

    def encode(self, record: Record) -> bytes:
        """Return the bytes of a file that holds a record."""
        return self.as_file(encode_record(record))

    def as_file(self, body: bytes) -> bytes:
        """Return the bytes of a file that holds some compact JSON."""
        return as_file(body, pretty=self._pretty)

    # --- files -------------------------------------------------------------------------------------------------------

    def record(self, run_id: str, known: KnownRun, verb: _Verb, file: str, data: bytes) -> None:
        """Write a file of a run; durably at once if the run has finished, as all in it was made durable then."""
        # What is replaced must not give way to what a loss of power may take.
        at_the_end = self.backend.durability == AT_THE_END
        replaces = verb != self.backend.publish
        durable = at_the_end and replaces and self.has_finished(run_id, known)
        self.write(run_id, known, verb, file, data, durable=durable)
        if not at_the_end or durable:
            return
        try:
            # Looked at after the deed: whoever finishes the run from now on finds the file and makes it durable.
            if self.has_finished(run_id, known):
                self._sync_file(run_id, file)
        except ChunkstoreError:
            if verb == self.backend.publish:
                attempt(lambda: self.backend.remove(run_id, file), run_id)
            raise

    def write(self, run_id: str, known: KnownRun, verb: _Verb, file: str, data: bytes, *, durable: bool) -> None:
        """Write a file, and keep what is remembered of the folder up to date."""
        if not self._listings.share:
            verb(run_id, file, data, durable=durable, within=known)
            return
        before = self.backend.changed_at(run_id)
        verb(run_id, file, data, durable=durable, within=known)
        self._listings.add(run_id, file, before, self.backend.changed_at(run_id))

    def write_together(
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
        if not isinstance(self.backend, Grouping):
            raise lacking(self.backend, "write several records at once", "files are written one after the other")
        data = [(file, self.as_file(body), file in new) for file, body in files.items()]
        durable = self.has_finished(run_id, known)
        before = self.backend.changed_at(run_id) if self._listings.share else 0
        self.backend.write_together(run_id, data, before=first, durable=durable, within=known)
        if self._listings.share:
            for file in files:
                self._listings.add(run_id, file, before, self.backend.changed_at(run_id))
        if not durable and self.has_finished(run_id, known):
            for file in files:
                self._sync_file(run_id, file)

    def has_finished(self, run_id: str, known: KnownRun) -> bool:
        """Tell whether a run has finished at a level at which that makes it durable."""
        return self.backend.durability == AT_THE_END and self.end_of(run_id, known).is_finished

    def is_left(self, run_id: str, known: KnownRun, internal_name: str) -> bool:
        """Tell whether the run has ended, and nobody waits any more for what has this name."""
        # Where looks are dear, what was seen when the run was looked at last is good enough.
        end = known.end if not self._looks and known.end is not None else self.end_of(run_id, known)
        late = end.late
        return late is not None and late.is_left(internal_name)

    def end_of(self, run_id: str, known: KnownRun) -> End:
        """Return what the run's own record says of its end; it is read only when it has changed."""
        version = self.version(run_id)
        if version is None or known.end is None or known.end.version != version:
            try:
                known.end = End.of(version, read_run_file(self.backend, run_id))
            except CorruptChunkError:
                known.end = End(version, is_finished=True, is_summed=False)  # it may have ended
        return known.end

    def note_written(self, run_id: str, known: KnownRun, log: RunLog) -> None:
        """Note what the run's own record says that was just written."""
        known.own_version = self.version(run_id)
        if known.own_version is None:
            known.end = End.of(None, log)

    def version(self, run_id: str) -> FileVersion | None:
        """Return the version of the run's own record; None where a look at that costs as much as a look at the record.

        Raises:
            MissingError: there is no such run.
        """
        return self.backend.version(run_id, RUN_FILE) if self._looks else None

    # --- what is noted of the contents of a run that has ended -------------------------------------------------------

    def while_unnoted(self, run_id: str, known: KnownRun, write: Callable[[KnownRun], _T]) -> _T:
        """Return what `write` returns, which adds to a run without a lock; what is noted of its contents is taken back.

        That is done before, if we know of it: else readers would miss what is about to change. Who finishes the run
        just now looks at it twice: see `ChunkedStore._sum_up`. Where looks are dear, nothing is noted that a record
        which comes later would make untrue, so nobody looks for it; another kind of place may have noted it.
        """
        if known.end is not None and known.end.is_summed:
            self._take_note_back(run_id, known)
        if not self._looks:
            return write(known)
        try:
            result = write(known)
        except BaseException:
            attempt(partial(self._look_for_note, run_id, known), run_id)
            raise
        attempt(partial(self._look_for_note, run_id, known), run_id)
        return result

    def _look_for_note(self, run_id: str, known: KnownRun) -> None:
        end = known.end
        # At the level `run`, that was looked at just now: whoever writes something asks whether the run has ended.
        if self.backend.durability != AT_THE_END or end is None or end.is_finished:
            end = self.end_of(run_id, known)
        if end.is_summed:
            self._take_note_back(run_id, known)

    def _take_note_back(self, run_id: str, known: KnownRun) -> None:
        def take_back(change: Change) -> None:
            if self.end_of(run_id, known).is_summed:
                self._note_contents(run_id, known, change, None)

        self.backend.change(run_id, take_back, within=known)

    def _note_contents(self, run_id: str, known: KnownRun, change: Change, contents: Contents | None) -> None:
        """Note what the chunks of a run hold, or nothing of that."""
        log = with_contents(checked_run_log(change.load(RUN_FILE), run_id), contents)
        durable = self.has_finished(run_id, known)
        self.write(run_id, known, by(change), RUN_FILE, self.encode(log), durable=durable)
        known.end = End.of(self.version(run_id), log)

    def replace_loaded(self, run_id: str, known: KnownRun, change: Change, file: str, data: bytes) -> None:
        """Write a file that a change has loaded; what is noted of the contents of the run is put right."""
        end = self.end_of(run_id, known) if self._looks else known.end
        is_summed = end is not None and end.is_summed
        noted = noted_contents(read_run_file(self.backend, run_id)) if is_summed and self._looks else None
        if is_summed:
            self._note_contents(run_id, known, change, None)  # whoever is killed before the end leaves no note
        before = None if noted is None else self._sum_of(run_id, file)
        self.record(run_id, known, by(change), file, data)
        if noted is not None:
            after = self._sum_of(run_id, file)
            self._note_contents(run_id, known, change, with_chunk(noted, file, before, after or 0))

    def _sum_of(self, run_id: str, file: str) -> int | None:
        """Return what a chunk adds to the sum of its kind; None if there is no such chunk."""
        with self.backend.reader(run_id) as reader:
            try:
                return RunFiles(reader, Listing(reader.names())).sum_of(file)
            except FileNotFoundError:
                return None

    def _sync_file(self, run_id: str, file: str) -> None:
        if not isinstance(self.backend, Syncing):
            return
        try:
            self.backend.sync(run_id, file)
        except FileNotFoundError:
            self.backend.sync(run_id)  # it was sealed meanwhile

    # --- chunks ------------------------------------------------------------------------------------------------------

    def publish(self, run_id: str, known: KnownRun, key: Key, body: bytes) -> str:
        """Write a new chunk; return the name of its file, which as a line of a journal it has too."""
        kind, name = key
        if self.journals:
            file = chunk_file(kind, name, clock.tick())
            if self.add_new_to_journal(run_id, known, {file: body}):
                return file
        data = with_checksum(body) if kind == METRIC else self.as_file(body)
        while True:
            file = chunk_file(kind, name, clock.tick())
            try:
                self.record(run_id, known, self.backend.publish, file, data)
            except FileExistsError:
                continue  # another process had the same nanosecond
            return file

    def add_new_to_journal(self, run_id: str, known: KnownRun, chunks: Mapping[str, bytes]) -> bool:
        """Write chunks to our present journal that no journal has, all of them or none; see `Journals`."""
        assert self.journals is not None
        return self.journals.add(
            run_id,
            chunks,
            within=known,
            prepare=lambda: self.prepare_journal(run_id),
            is_durable=lambda: self.has_finished(run_id, known),
        )

    def add_to_journal(self, run_id: str, known: KnownRun, file: str, body: bytes) -> bool:
        """Write to a chunk of our own that is in our present journal; tell whether it is there."""
        return self.journals is not None and self.add_all_to_journal(run_id, known, {file: body}, {file})

    def add_all_to_journal(
        self, run_id: str, known: KnownRun, chunks: Mapping[str, bytes], present: AbstractSet[str]
    ) -> bool:
        """Write chunks to our present journal, some of which are to be in it; tell whether those are there."""
        assert self.journals is not None
        return self.journals.add_again(
            run_id, chunks, present, within=known, is_durable=lambda: self.has_finished(run_id, known)
        )

    def append(self, run_id: str, known: KnownRun, file: str, line: bytes) -> bool:
        """Append to a file of our own; tell whether it was there, and not packed by somebody who seals the run."""
        if self.journals:
            return self.add_to_journal(run_id, known, file, line)
        if not isinstance(self.backend, Appending):
            return False
        try:
            self.backend.append(
                run_id,
                file,
                with_checksum(line),
                is_durable=lambda: self.has_finished(run_id, known),
                within=known,
            )
        except FileNotFoundError:
            return False
        return True

    def prepare_journal(self, run_id: str) -> None:
        """Make sure that a run says that chunks may be in journals, to those who look for a file alone."""
        if not read_run_file(self.backend, run_id).is_packed:
            self.backend.change(run_id, lambda change: say_packed(change, run_id, pretty=self._pretty))

    # --- undoing -----------------------------------------------------------------------------------------------------

    def take_back(self, run_id: str, known: KnownRun, file: str, after: bytes, before: bytes | None) -> None:
        """Put a file back that may have been replaced, though that failed; under the lock.

        Without locks, what is there may be what others have made of it: it stays, as whoever failed was told.
        """
        if not isinstance(self.backend, Locking) or self.backend.load(run_id, file) != after:
            return
        if before is None:
            self.backend.remove(run_id, file)
        else:
            self.record(run_id, known, self.backend.replace, file, before)


def by(change: Change) -> Callable[..., None]:
    """Return the verb that writes what a change has loaded."""

    def replace(_run_id: str, file: str, data: bytes, *, durable: bool, within: KnownRun) -> None:  # noqa: ARG001
        change.replace(file, data, durable=durable)

    return replace


def attempt(take_back: Callable[[], None], run_id: str) -> None:
    """Take something back that was not recorded as a whole, as far as that can be done."""
    try:
        take_back()
    except FileNotFoundError:
        pass  # it had not been written
    except ChunkstoreError as error:
        logger.warning("Something that was not recorded as a whole stays in run %s: %s", run_id, str(error))
