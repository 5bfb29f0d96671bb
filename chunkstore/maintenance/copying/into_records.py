"""Copying a run into a store that does not keep it in chunks: its records, all at once."""

from __future__ import annotations

import msgspec

from chunkstore.maintenance.copying.one_run import CannotCopyError, CopyOfRun
from chunkstore.maintenance.copying.places import RecordPlace
from chunkstore.maintenance.copying.report import COPIED, UNCHANGED, UPDATED
from chunkstore.maintenance.copying.snapshots import RecordSource, Snapshot, unread
from chunkstore.names import new_incarnation
from chunkstore.records.assemble import flatten
from chunkstore.records.copied import CopyNote
from chunkstore.records.models import FORMAT, RunLog
from chunkstore.stores.contents import with_contents


class CopyIntoRecords(CopyOfRun):
    """One run on its way into a store that keeps runs whole, or in a way of its own."""

    def _copy(self) -> None:
        place = RecordPlace(self._target_store, self._run_id)
        there = place.look()
        log, record = RecordSource(self._source_store, self._run_id, pretty=False).record()
        plain = with_contents(log, None)
        found = Snapshot(log=plain, record=record, is_all_in_record=True, problems=unread(log))
        self._tell(found)
        note = self._earlier_copy(log, there)
        if note is not None and note.state == found.state and not self._compares:
            return
        self.done.outcome = COPIED if note is None else UPDATED
        incarnation = new_incarnation() if note is None or there is None else there.incarnation
        copy = self._as_copy(found, incarnation, FORMAT, partial=False)
        if note is not None and note.state == found.state and place.holds(self._noted(copy, note)):
            self.done.outcome = UNCHANGED
            return
        self.done.chunks, self.done.bytes = len(flatten(log)[0]), len(record)
        if self._options.dry_run:
            return
        data = self._named_data(found)
        before = note
        if note is None:
            before = self._begin(place, found, incarnation) if data else None
        self._bring_data(found, data, incarnation)
        copy = self._as_copy(found, incarnation, FORMAT, partial=False)  # it tells whether all data could be brought
        if before is None:
            place.create(copy)
        else:
            place.replace(copy, lambda current: CopyNote.of(current) == before and current.incarnation == incarnation)
        if not place.holds(copy):
            raise CannotCopyError(
                f"what can be read of it in {self._target_store.backend.location} is not what was written. Copy it "
                "again; if that does not help, find out with `chunkstore verify` what is wrong there."
            )

    def _begin(self, place: RecordPlace, found: Snapshot, incarnation: str) -> CopyNote | None:
        """Make a copy that says that there is more to come, so that it has an identity which data can be kept for."""
        part = self._as_copy(found, incarnation, FORMAT, partial=True)
        place.create(part)
        return CopyNote.of(part)

    @staticmethod
    def _noted(copy: RunLog, note: CopyNote) -> RunLog:
        """Return the copy as it was written before."""
        return note.on(msgspec.structs.replace(copy))
