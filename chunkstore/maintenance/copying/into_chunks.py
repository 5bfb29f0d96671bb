"""Copying a run into a store that keeps it in chunks: those that are new or have changed, and its own record last."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Iterator
from concurrent.futures import ThreadPoolExecutor
from typing import NoReturn

from chunkstore.maintenance.copying.one_run import CannotCopyError, CopyOfRun, short
from chunkstore.maintenance.copying.places import ChunkedPlace, Meant, OvertakenError, There
from chunkstore.maintenance.copying.report import COPIED, UNCHANGED, UPDATED
from chunkstore.maintenance.copying.snapshots import ChunkedSource, RecordSource, Snapshot, Source, digest_of
from chunkstore.names import PinnedRunId, new_incarnation
from chunkstore.records.copied import CopyNote
from chunkstore.records.models import FORMAT, PACKED_FORMAT, RunLog
from chunkstore.stores.chunked import ChunkedStore
from chunkstore.stores.contents import noted_contents
from chunkstore.stores.options import JOURNAL
from chunkstore.stores.stored import is_finished

#: How many bytes of a run are kept in memory; what is larger is not made in one deed, but added to chunk by chunk.
MOST_KEPT = 8 * 1024 * 1024
_BATCH = 8 * 1024 * 1024
_MOST_IN_BATCH = 512
_MOST_SHOWN = 3


class CopyIntoChunks(CopyOfRun):
    """One run on its way into a store that keeps it in chunks."""

    def _copy(self) -> None:
        place = ChunkedPlace(self._target_store, self._run_id)
        there = place.look()
        source = self._source(place)
        log, record = source.record()
        note = self._earlier_copy(log, there.log if there else None)
        if note is None:
            there = None
        if there is not None and note is not None and self._is_surely_unchanged(note, log, record):
            self.done.status, self.done.has_ended = log.status, is_finished(log)
            options = self._target_store.options
            # That it is marked as packed does not tell that sealing came to its end.
            if self._options.seal or (options.seal_finished_runs is not None and not there.log.is_packed):
                place.look_further(there)
                self._seal(place, there, is_sealed=False)
            return
        if there is not None:
            place.look_further(there)
        found = source.look(there.names if there else (), MOST_KEPT)
        self._tell(found)
        if there is None:
            self._create(place, source, found)
        elif note is not None and note.state == found.state and not note.partial and not self._compares:
            self._seal(place, there, is_sealed=found.is_sealed)
        else:
            self._update(place, source, there, found)

    def _source(self, place: ChunkedPlace) -> Source:
        if isinstance(self._source_store, ChunkedStore):
            return ChunkedSource(self._source_store, self._run_id)
        return RecordSource(self._source_store, self._run_id, pretty=place.store.options.pretty)

    def _is_surely_unchanged(self, note: CopyNote, log: RunLog, record: bytes) -> bool:
        """Tell whether the run's own record alone says so: nobody changes a run unsaid that tells what it holds."""
        is_told = is_finished(log) and noted_contents(log) is not None
        return is_told and not note.partial and note.record == short(record) and not self._compares

    # --- a new copy --------------------------------------------------------------------------------------------------

    def _create(self, place: ChunkedPlace, source: Source, found: Snapshot) -> None:
        self.done.outcome = COPIED
        if self._options.dry_run:
            self._count(found, found.sums)
            return
        incarnation = new_incarnation()
        is_whole = len(found.kept) == len(found.sums)
        data = self._named_data(found)
        # What is too large for one deed is added to, and data needs a run that it can be kept for.
        is_partial = not is_whole or bool(data)
        log = self._as_copy(found, incarnation, self._format(found), partial=is_partial)
        chunks = found.kept if is_whole else {}
        self._count(found, chunks)
        made = place.create(log, chunks, seal=self._is_to_be_sealed(len(chunks), is_sealed=found.is_sealed))
        held = place.sums()
        if any(held.get(name) != found.sums[name] for name in chunks):
            self._refuse(place, made)
        if is_partial:
            there = place.look()
            if there is None or there.log.incarnation != incarnation:
                raise OvertakenError
            place.look_further(there)
            self._update(place, source, there, found)
            self.done.outcome = COPIED

    def _refuse(self, place: ChunkedPlace, made: RunLog) -> NoReturn:
        """Delete a copy that does not hold what was written, unless that may be as others bring it up to date."""
        there = place.look()
        if there is None or not is_finished(made) or there.record != place.encoded(made):
            raise OvertakenError
        place.store.delete_run(PinnedRunId(made.run_id, made.incarnation))
        raise CannotCopyError(
            f"what can be read of it in {place.store.backend.location} is not what was written. It was deleted there; "
            "copy it again."
        )

    def _count(self, found: Snapshot, names: Iterable[str]) -> None:
        for name in names:
            self.done.chunks += 1
            self.done.bytes += len(found.kept.get(name, b""))

    def _format(self, found: Snapshot) -> int:
        is_packed = found.log.is_packed or self._target_store.options.container == JOURNAL
        return PACKED_FORMAT if is_packed else FORMAT

    def _is_to_be_sealed(self, count: int, *, is_sealed: bool) -> bool:
        """Tell whether a copy is to be sealed: of a run of so many chunks, that may be sealed itself."""
        most = self._target_store.options.seal_finished_runs
        is_due = self._options.seal or is_sealed or (most is not None and count > most)
        return is_due and self.done.has_ended and count > 0

    # --- one that is there -------------------------------------------------------------------------------------------

    def _update(self, place: ChunkedPlace, source: Source, there: There, found: Snapshot) -> None:
        self.done.outcome = UPDATED
        meant = Meant(str(self._run_id), there.log.incarnation)
        held = place.sums(there.names & found.sums.keys())
        if foreign := there.names - found.sums.keys():
            raise CannotCopyError(_changed(place, foreign))
        missing = [name for name in found.sums if name not in held]
        different = [name for name in found.sums if name in held and held[name] != found.sums[name]]
        if self._options.dry_run:
            self._count(found, [*missing, *different])
            return
        note = CopyNote.of(there.log)
        if not missing and not different and note is not None and note.state == found.state and not note.partial:
            self.done.outcome = UNCHANGED
            self._seal(place, there, is_sealed=found.is_sealed)
            return
        record = there.record
        if is_finished(there.log) and (missing or different):
            # It must not look whole while it is not.
            log = self._as_copy(found, meant.incarnation, self._format_there(there, found), partial=True)
            record = place.note(record, log, meant)
        self._bring_data(found, self._named_data(found), meant.incarnation)
        self._send(place, source, found, missing, meant)
        self._replace(place, source, found, different, meant)
        self._check(place, found, {*missing, *different})
        log = self._as_copy(found, meant.incarnation, self._format_there(there, found), partial=False)
        there.record = place.note(record, log, meant)
        is_loose = missing or different or not there.is_sealed or not is_finished(there.log)
        if is_loose and self._is_to_be_sealed(len(found.sums), is_sealed=found.is_sealed):
            place.seal(meant)
            self._check(place, found, set(found.sums))
        if not (missing or different or self.done.data) and there.log.status == log.status:
            self.done.outcome = UNCHANGED

    def _format_there(self, there: There, found: Snapshot) -> int:
        return PACKED_FORMAT if there.is_sealed else self._format(found)

    def _send(self, place: ChunkedPlace, source: Source, found: Snapshot, names: list[str], meant: Meant) -> None:
        """Add chunks to the copy, several at once, and not more in memory than there is room for."""
        if not names:
            return
        with source.opened() as load, ThreadPoolExecutor(self._options.concurrency) as pool:
            for batch in self._batches(found, names, load):
                list(pool.map(lambda item: place.publish(item[0], item[1], meant), batch.items()))

    def _batches(self, found: Snapshot, names: list[str], load: Callable[[str], bytes]) -> Iterator[dict[str, bytes]]:
        batch: dict[str, bytes] = {}
        size = 0
        for name in names:
            if self._options.stop.is_set():
                raise CannotCopyError("it was interrupted; copy it again, and it goes on from there")
            data = found.kept.get(name)
            if data is None:
                data = load(name)
                found.sums[name] = digest_of(data)
            batch[name] = data
            size += len(data)
            self.done.chunks += 1
            self.done.bytes += len(data)
            if size > _BATCH or len(batch) == _MOST_IN_BATCH:
                yield batch
                batch, size = {}, 0
        if batch:
            yield batch

    def _replace(self, place: ChunkedPlace, source: Source, found: Snapshot, names: list[str], meant: Meant) -> None:
        """Make chunks what they are in the source by now."""

        def replace(name: str) -> None:
            def load() -> bytes:
                with source.opened() as load:
                    return load(name)

            data = place.replace(name, load, meant)
            found.sums[name] = digest_of(data)
            self.done.chunks += 1
            self.done.bytes += len(data)

        if names:
            with ThreadPoolExecutor(self._options.concurrency) as pool:
                list(pool.map(replace, names))

    def _check(self, place: ChunkedPlace, found: Snapshot, names: set[str]) -> None:
        """Look whether the copy holds what was sent."""
        if names and place.sums(names) != {name: found.sums[name] for name in names}:
            raise OvertakenError  # somebody else copies it as well, or it was not written right: then again

    def _seal(self, place: ChunkedPlace, there: There, *, is_sealed: bool) -> None:
        """Seal a copy of which nothing has changed, if it should be and is not."""
        if there.is_sealed or not self._is_to_be_sealed(len(there.names), is_sealed=is_sealed):
            return
        self.done.outcome = UPDATED
        if not self._options.dry_run:
            sums = place.sums()
            place.seal(Meant(there.log.run_id, there.log.incarnation))
            if place.sums() != sums:
                raise OvertakenError


def _changed(place: ChunkedPlace, names: set[str]) -> str:
    shown = ", ".join(sorted(names)[:_MOST_SHOWN]) + (", …" if len(names) > _MOST_SHOWN else "")
    return (
        f"the copy in {place.store.backend.location} holds what the run does not: {shown}. Somebody has recorded into "
        "the copy, or taken something out of the run. Delete the copy to make it anew."
    )
