"""Copying one run: what is to be done, and doing it so that it can be stopped anywhere and done again.

The copy is another run than its source: it has an identity of its own, and notes whose copy it is. It says that it goes
on until everything is there, and then, last of all, what the source says. Any number of processes may copy the same run
at once: each looks at what it changes before it looks at the source, and changes that only if nobody else has.
"""

from __future__ import annotations

import hashlib
import random
import threading
import time
from abc import ABC, abstractmethod

import msgspec
from msgspec import UNSET

from chunkstore.clock import utc_now
from chunkstore.errors import ChunkstoreError, RunLogNotFoundError
from chunkstore.maintenance.copying.data import DataOfCopy
from chunkstore.maintenance.copying.places import OvertakenError
from chunkstore.maintenance.copying.report import FAILED, RunCopy
from chunkstore.maintenance.copying.snapshots import Snapshot, SourceGoneError, digest_of
from chunkstore.names import PinnedRunId
from chunkstore.recording.catalog import catalog_of
from chunkstore.records.copied import CopyNote
from chunkstore.records.encoding import encode_record
from chunkstore.records.models import INCARNATION, NOTES, PROCESSING, RESUMED, SEALED, SUMMING, DataCatalog, RunLog
from chunkstore.stores.base import Store
from chunkstore.stores.contents import with_contents
from chunkstore.stores.runs.liveness import LIVE
from chunkstore.stores.stored import check_format, is_finished

#: For so many seconds it is tried again if others copy the same run; and the longest pause before that.
_LONGEST, _LONGEST_PAUSE = 60.0, 0.5
_DIGITS = 32
#: What a run says that has ended, and a part of a copy must not.
_OF_THE_END = ("finished", "steps", "left_running")


class CannotCopyError(Exception):
    """A run is not copied, and why."""


class CopyOptions(msgspec.Struct, frozen=True, kw_only=True):
    """How runs are copied; see `copy_runs`.

    Attributes:
        seal: whether runs that have ended are sealed in the target, also where they are not in the source.
        data: whether the data that the records name is copied too.
        replace: whether other runs of the same ids are deleted in the target.
        verify: whether copies of which nothing has changed are compared all the same.
        dry_run: whether it is only looked what there is to do.
        concurrency: how many chunks of a run are sent at once.
        stop: says that no more is to be begun.
    """

    seal: bool = False
    data: bool = True
    replace: bool = False
    verify: bool = False
    dry_run: bool = False
    concurrency: int = 1
    stop: threading.Event = msgspec.field(default_factory=threading.Event)


class CopyOfRun(ABC):
    """One run on its way from one store into another.

    Args:
        source: the store that it is in.
        target: the store that it goes to.
        run_id: the run; pinned, if it is known which of its id is meant.
        options: how.

    Attributes:
        done: what has become of it so far.
    """

    def __init__(self, source: Store, target: Store, run_id: str, options: CopyOptions) -> None:
        self.done = RunCopy(run_id=str(run_id))
        self._source_store, self._target_store = source, target
        self._run_id = run_id
        self._options = options
        #: Whether all is compared: what others have done meanwhile may be half of something.
        self._compares = options.verify

    def make(self) -> RunCopy:
        """Copy the run, or what is new of it; what goes wrong is in the result."""
        try:
            self._copy_until_done()
        except SourceGoneError:
            self._fail(f"it is not in {self._source_store.backend.location} any more, or has no record of its own")
        except (CannotCopyError, ChunkstoreError) as error:
            self._fail(str(error))
        return self.done

    def _copy_until_done(self) -> None:
        deadline = time.monotonic() + _LONGEST
        pause = 0.01
        while True:
            self.done = RunCopy(run_id=str(self._run_id))
            try:
                self._copy()
            except OvertakenError:
                self._compares = True
                if time.monotonic() > deadline or self._options.stop.wait(random.uniform(0, pause)):  # noqa: S311 - no secret
                    raise CannotCopyError("others change the copy all the time; copy it again later") from None
                pause = min(2 * pause, _LONGEST_PAUSE)
            else:
                return

    @abstractmethod
    def _copy(self) -> None:
        """Copy the run, or what is new of it.

        Raises:
            OvertakenError: others have come in between; it is to be done again.
        """

    def _fail(self, reason: str) -> None:
        self.done.outcome = FAILED
        self.done.problems.append(reason)

    # --- whose copy is what ------------------------------------------------------------------------------------------

    def _identity(self, log: RunLog) -> str:
        """Return what tells the source from every other run of its id; of one that notes none, from those elsewhere."""
        place = f"{self._source_store.backend.location}\0{log.run_id}"
        return log.incarnation or hashlib.sha256(place.encode(errors="surrogateescape")).hexdigest()[:16]

    def _earlier_copy(self, log: RunLog, there: RunLog | None) -> CopyNote | None:
        """Return the note of the copy of a run that is in the target; None if nothing is, or is any more.

        Args:
            log: the source.
            there: what is in the target.

        Raises:
            CannotCopyError: another run has its id there.
        """
        if there is None:
            return None
        note = CopyNote.of(there)
        if note is not None and note.incarnation == self._identity(log):
            return note
        where = self._target_store.backend.location
        original = CopyNote.of(log)
        if _is_the_same(log, there):
            raise CannotCopyError(
                f"{where} holds this very run, as a copy of its files that was made with another tool, or the run "
                "itself. Delete it there first, if it is not what you want to keep."
            )
        if original is not None and there.incarnation and there.incarnation in original.ancestors:
            raise CannotCopyError(f"{where} holds the run that this one is a copy of, which is not replaced by it.")
        if not self._options.replace:
            raise CannotCopyError(
                f"{where} holds another run of this id. Delete or rename one of them, or say that it is to be replaced."
            )
        if not self._options.dry_run:
            self._delete(there)
        return None

    def _delete(self, there: RunLog) -> None:
        pinned = PinnedRunId(there.run_id, there.incarnation)
        target = self._target_store
        may_live = not is_finished(there) and target.backend.shared_between_processes
        if may_live and target.liveness(pinned).state == LIVE:
            raise CannotCopyError(f"the run of this id in {target.backend.location} is still recorded")
        target.delete_run(pinned)
        if self._options.data:  # else that of the new copy would have no place
            catalog_of(target, there.run_id, there.incarnation).remove()

    # --- what it notes -----------------------------------------------------------------------------------------------

    def _as_copy(self, found: Snapshot, incarnation: str, number: int, *, partial: bool) -> RunLog:
        """Return the own record of the copy.

        Args:
            found: what the source holds.
            incarnation: the identity of the copy.
            number: the format of the copy.
            partial: whether there is more to come.
        """
        log = found.log
        check_format(log)
        if partial:
            log = msgspec.structs.replace(with_contents(log, None), status=PROCESSING)
        without = {*(_OF_THE_END if partial else ()), SUMMING, SEALED}
        notes = {key: value for key, value in log.notes.items() if key not in without}
        notes |= {"format": number, INCARNATION: incarnation}
        if RESUMED in notes:
            notes[RESUMED] = self._resumed_there(log, notes[RESUMED])
        # What could not be copied is tried again by the next copy, which takes nothing for unchanged then.
        is_settled = not partial and not self.done.problems
        before = CopyNote.of(log)
        note = CopyNote(
            source=self._source_store.backend.location,
            incarnation=self._identity(log),
            at=utc_now(),
            record=short(found.record) if is_settled else "",
            state=found.state if is_settled else "",
            partial=partial,
            earlier=before.ancestors if before else [],
        )
        return note.on(msgspec.structs.replace(log, run_config={**log.run_config, NOTES: notes}))

    def _resumed_there(self, log: RunLog, incarnation: str) -> str:
        """Return the identity, in the target, of the run that a run resumed; empty for the one that gets its id."""
        try:
            there = self._target_store.get_run_log(str(log.original_run_id), full=False)
        except (RunLogNotFoundError, ChunkstoreError):
            return ""
        note = CopyNote.of(there)
        return there.incarnation if note is not None and note.incarnation == incarnation else incarnation

    def _tell(self, found: Snapshot) -> None:
        self.done.status = found.log.status
        self.done.has_ended = found.has_ended
        self.done.left_out = found.left_out
        self.done.problems = list(found.problems)

    # --- data --------------------------------------------------------------------------------------------------------

    def _named_data(self, found: Snapshot) -> list[DataCatalog]:
        """Return what the records say of data that is to be copied."""
        may_be = len(found.kept) < len(found.sums) or any(map(_names_data, [found.record, *found.kept.values()]))
        if not self._options.data or not may_be:
            return []
        try:
            return DataOfCopy(self._source_store, self._target_store, self._run_id).named(found.log)
        except RunLogNotFoundError:
            raise SourceGoneError from None

    def _bring_data(self, found: Snapshot, entries: list[DataCatalog], incarnation: str) -> None:
        if entries:
            data = DataOfCopy(self._source_store, self._target_store, self._run_id)
            data.bring(found.log, entries, incarnation)
            self.done.data += data.sent
            self.done.problems += data.problems


def _is_the_same(log: RunLog, there: RunLog) -> bool:
    """Tell whether both are one run, seen by two ways; of runs without identity, whether nothing tells them apart."""
    return there.incarnation == log.incarnation and bool(log.incarnation or _bare(log) == _bare(there))


def _bare(log: RunLog) -> bytes:
    bare = msgspec.structs.replace(log, steps={}, parameters={}, found_orphans=UNSET, found_problems=UNSET)
    return encode_record(bare)


def _names_data(content: bytes) -> bool:
    return b'"catalog_relative_path"' in content


def short(record: bytes) -> str:
    """Return what a note says of a record."""
    return digest_of(record).hex()[:_DIGITS]
