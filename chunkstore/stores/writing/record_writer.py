"""Writing steps and branches: our own without a lock, those of others by changes that lie over them."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from functools import partial
from typing import Any, TypeVar

from msgspec import UNSET

from chunkstore.backends.base import Change
from chunkstore.backends.capabilities import Locking
from chunkstore.clock import clock
from chunkstore.errors import ChunkstoreError, CorruptChunkError
from chunkstore.interrupts import guarded, passable
from chunkstore.names import METRIC, STEP, ChunkName, chunk_file, encode_for_file, parse_chunk_file
from chunkstore.records import overlay
from chunkstore.records.codec import decode, encode
from chunkstore.records.decoding import RecordCodec
from chunkstore.records.encoding import encode_record
from chunkstore.records.models import BranchLog, StepLog
from chunkstore.records.starts import start_of
from chunkstore.stores.chunk_files import TYPE_OF, Key, Update, has_ended, key_of, read_update, update_file
from chunkstore.stores.packed import JournalWriter
from chunkstore.stores.reading import NOBODYS, OTHERS, OURS, ChunkReader, MetricLine, RecordFinder, Series, changes_seen
from chunkstore.stores.runs import KnownRun
from chunkstore.stores.stored import as_json
from chunkstore.stores.stripes import Stripes
from chunkstore.stores.writing.chunk_writer import ChunkWriter, attempt
from chunkstore.stores.writing.parameter_files import ParameterFiles

_R = TypeVar("_R", bound=StepLog | BranchLog)


class RecordWriter:
    """Writes records of runs that are known.

    Args:
        writer: writes single chunks.
        finder: finds what is there.
        parameters: sets parameters.
        stripes: keep threads that record the same thing at once from making two files of it. Who needs a stripe, the
            journal of a run and its lock takes them in this order.
    """

    def __init__(self, writer: ChunkWriter, finder: RecordFinder, parameters: ParameterFiles, stripes: Stripes) -> None:
        self.backend = writer.backend
        self._writer = writer
        self._finder = finder
        self._parameters = parameters
        self._stripes = stripes
        self._journals = writer.journals

    # --- our own -----------------------------------------------------------------------------------------------------

    @guarded
    def put_one(self, run_id: str, known: KnownRun, key: Key, body: bytes) -> None:
        """Write a record that is ours: a new one, or in the place of what this object wrote of it before."""
        _, name = key
        with passable(self._stripes.of(run_id, *key)):
            file = known.owned.get(key)
            if file is not None:
                self.replace_own(run_id, known, name, file, body)
            elif known.was_forgotten:
                self._own(known, key, self._publish_under_changes(run_id, known, key, body))
            else:
                self._own(known, key, self._publish(run_id, known, key, body))

    def _publish(self, run_id: str, known: KnownRun, key: Key, body: bytes) -> str:
        file = self._writer.publish(run_id, known, key, body)
        self._note_end(known, file, body)
        return file

    def _publish_under_changes(self, run_id: str, known: KnownRun, key: Key, body: bytes) -> str:
        """Write a record that this object may have written before, with what others have changed of that over it."""
        kind, name = key
        timestamp = clock.tick()
        file = chunk_file(kind, name, timestamp)

        def publish(change: Change) -> str:
            with change.reader() as reader:
                chunks, record = self._finder.counting(run_id, reader, name, TYPE_OF[kind])
                counting, laid = chunks.origin(record) if record is not None else (None, None)
            own = body
            if laid is not None and record is not None:
                own = encode(overlay.without_appended(laid, as_json(record), decode(body)))
            if counting is not None and self._is_same_start(record, own):
                # What others lay over the one that is there, while another one is written, would be lost.
                over = overlay.with_own(laid, decode(own))
                self._write_update(run_id, known, change, counting, name, over)
                known.final.add(counting.file)
                return counting.file
            if laid is not None:
                # Before the record: without it, the change counts for nothing.
                chunk = ChunkName(kind, encode_for_file(name), timestamp, file)
                self._write_update(run_id, known, change, chunk, name, laid)
            self._writer.record(run_id, known, self.backend.publish, file, self._writer.as_file(own))
            self._note_end(known, file, own)
            return file

        return self.backend.change(run_id, publish, within=known)

    def _is_same_start(self, record: StepLog | BranchLog | None, own: bytes) -> bool:
        """Tell whether a record that is there was made by the start that writes it anew, where there are no locks."""
        if record is None or isinstance(self.backend, Locking):
            return False
        return start_of(record) == start_of(RecordCodec.of(type(record)).decode(own))

    @staticmethod
    def _own(known: KnownRun, key: Key, file: str) -> None:
        kind, name = key
        present = known.owned.setdefault(key, file)
        if present < file:  # else it was written once more in the middle of this, and the later one counts
            known.owned[key] = file
        if kind == STEP:
            known.own_branches.add(name.rpartition(".")[0])

    def _note_end(self, known: KnownRun, file: str, body: bytes) -> None:
        """Note that a file is not to be replaced any more, where that is so."""
        if self._writer.keeps_ended and has_ended(body):
            known.final.add(file)

    def replace_own(self, run_id: str, known: KnownRun, name: str, file: str, body: bytes) -> None:
        """Write a record anew that this object wrote before."""
        if file in known.final:
            self._replace_under_changes(run_id, known, name, file, body)
            return
        body = self._without_appended(run_id, file, body)
        self._note_end(known, file, body)  # if the next fails, it may be there all the same
        if not self._writer.add_to_journal(run_id, known, file, body):
            self._writer.record(run_id, known, self.backend.replace, file, self._writer.as_file(body))

    def _replace_under_changes(self, run_id: str, known: KnownRun, name: str, file: str, body: bytes) -> None:
        """Write a record of our own anew whose file is not replaced any more: into that of its changes, below them."""
        chunk = parse_chunk_file(file)
        assert chunk is not None
        is_known = file in known.overlaid

        def replace(change: Change) -> None:
            nonlocal is_known
            laid, own = None, body
            if is_known:
                laid = read_update(change.load(update_file(chunk, name), known=True)).change
                if file in changes_seen and laid.own is not UNSET:
                    own = encode(overlay.without_appended(laid, overlay.apply(laid, None), decode(body)))
                elif file in changes_seen:
                    own = self._without_appended(run_id, file, body)
            is_known = True  # if there is one after all, this is called again
            self._write_update(run_id, known, change, chunk, name, overlay.with_own(laid, decode(own)))
            known.overlaid.add(file)

        self.backend.change(run_id, replace, within=known)

    @guarded
    def put_together(
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
                self._parameters.set(run_id, known, scope, values, overwrite=True, undo=undo)

        def put() -> None:
            # The outer one comes first in the order of execution all the same.
            new = {key: chunk_file(*key, clock.tick()) for key in records if key not in known.owned}
            inside_first = reversed(records.items())
            files = {
                (new.get(key) or known.owned[key]): body
                if key in new
                else self._without_appended(run_id, known.owned[key], body)
                for key, body in inside_first
            }
            if not self._put_in_journal(run_id, known, files, set(new.values())):
                undo.extend(partial(self.backend.remove, run_id, file) for file in new.values())
                if not self._journals and not self._writer.writes_together:
                    set_parameters()
                    self._put_one_by_one(run_id, known, records, new)
                else:
                    first = None if self._journals else set_parameters
                    self._writer.write_together(run_id, known, files, new.values(), first)
            for key, file in new.items():
                self._own(known, key, file)

        try:
            if self._journals:
                set_parameters()
            self._stripes.hold_all(((run_id, *key) for key in records), put)
        except BaseException:
            for take_back in reversed(undo):
                attempt(take_back, run_id)
            raise

    def _put_one_by_one(self, run_id: str, known: KnownRun, records: dict[Key, bytes], new: Mapping[Key, str]) -> None:
        """Write records, some of which are new, where several files cannot be written together; the outer one last."""
        for key, body in reversed(records.items()):
            file = new.get(key)
            if file is None:
                self.replace_own(run_id, known, key[1], known.owned[key], body)
            else:
                self._writer.record(run_id, known, self.backend.publish, file, self._writer.as_file(body))
                self._note_end(known, file, body)

    def _put_in_journal(self, run_id: str, known: KnownRun, files: dict[str, bytes], new: set[str]) -> bool:
        """Write chunks where each belongs: to our journal if it has them, or they are new; tell whether that was so."""

        def put(writer: JournalWriter | None) -> bool:
            while writer is not None:
                loose = files.keys() - new - writer.chunks
                self._writer.write_together(run_id, known, {file: files[file] for file in files if file in loose}, ())
                lines = {file: body for file, body in files.items() if file not in loose}
                if present := lines.keys() - new:
                    if self._writer.add_all_to_journal(run_id, known, lines, present):
                        return True
                    continue  # our journal is gone, so what it had lies elsewhere now
                return not lines or self._writer.add_new_to_journal(run_id, known, lines)
            return False

        return self._journals is not None and self._journals.holding(run_id, files, put)

    def _without_appended(self, run_id: str, file: str, body: bytes) -> bytes:
        """Return a record of our own without what others have appended to it: that is laid over it anyhow."""
        if file not in changes_seen or (chunk := parse_chunk_file(file)) is None:
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

    # --- anybody's ---------------------------------------------------------------------------------------------------

    @guarded
    def put_last(self, run_id: str, known: KnownRun, record: _R, body: bytes) -> None:
        """Write a record over whatever anybody has written of it.

        Args:
            run_id: the run.
            known: what is known of it.
            record: the record.
            body: the same as JSON.
        """
        kind, name, key = type(record), record.internal_name, key_of(record)

        def put_over(change: Change) -> bool:
            # Nobody else may change it between the look and the deed.
            whose = self._finder.whose(run_id, known, kind, name, anew=not self._finder.remembers)
            if whose is OURS:
                self.replace_own(run_id, known, name, known.owned[key], body)
            return whose is OURS or (
                whose is OTHERS and self._change(run_id, known, change, name, kind, lambda _: record) is not None
            )

        def put(_writer: JournalWriter | None = None) -> None:
            is_new = key not in known.owned and self._finder.whose(run_id, known, kind, name) is NOBODYS
            if is_new or not self.backend.change(run_id, put_over, within=known):
                # Or it was another name, with the same hash.
                self._own(known, key, self._publish(run_id, known, key, body))

        with passable(self._stripes.of(run_id, *key)):
            # Who needs the lock, too, has to have the journal before.
            if self._journals:
                self._journals.holding(run_id, (), put)
            else:
                put()

    def change(
        self, run_id: str, known: KnownRun, internal_name: str, kind: type[_R], change: Callable[[_R], _R]
    ) -> _R | None:
        """Change a record; return it, or None if there is none."""
        return self.backend.change(
            run_id, lambda folder: self._change(run_id, known, folder, internal_name, kind, change), within=known
        )

    def _change(  # noqa: PLR0917 - what, of which run, and how
        self,
        run_id: str,
        known: KnownRun,
        folder: Change,
        internal_name: str,
        kind: type[_R],
        change: Callable[[_R], _R],
    ) -> _R | None:
        with folder.reader() as reader:
            chunks, record = self._finder.counting(run_id, reader, internal_name, kind)
            if record is None:
                return None
            chunk, earlier = chunks.origin(record)
        before = as_json(record)
        body = encode_record(change(record))
        new = RecordCodec.of(kind).decode(body)
        difference = overlay.merge(before, earlier, decode(body))
        if difference is not None and difference is not earlier:
            try:
                self._write_update(run_id, known, folder, chunk, internal_name, difference)
            except ChunkstoreError:
                after = self._update_over(chunk, internal_name, difference)
                before = None if earlier is None else self._update_over(chunk, internal_name, earlier)
                file = update_file(chunk, internal_name)
                attempt(partial(self._writer.take_back, run_id, known, file, after, before), run_id)
                raise
            changes_seen.add(chunk.file)  # whoever gets the record has it with this change
        return new

    def _write_update(  # noqa: PLR0917 - likewise
        self,
        run_id: str,
        known: KnownRun,
        folder: Change,
        chunk: ChunkName,
        internal_name: str,
        change: overlay.Change,
    ) -> None:
        data = self._update_over(chunk, internal_name, change)
        self._writer.replace_loaded(run_id, known, folder, update_file(chunk, internal_name), data)

    def _update_over(self, chunk: ChunkName, internal_name: str, change: overlay.Change) -> bytes:
        update = Update(internal_name=internal_name, over=chunk.file, change=change)
        return self._writer.as_file(encode(update))

    # --- metrics -----------------------------------------------------------------------------------------------------

    @guarded
    def append_metrics(
        self, run_id: str, known: KnownRun, internal_name: str, points: Series, attempt: int | None
    ) -> None:
        """Add points to metric series of a step.

        Args:
            run_id: the run.
            known: what is known of it.
            internal_name: the step.
            points: by the metric's name, as JSON has them.
            attempt: which attempt of the step logged them; None if they are the step's, whichever counts.
        """
        key = (METRIC, internal_name)
        over = known.owned.get((STEP, internal_name), "")
        of_attempt = UNSET if attempt is None else attempt
        line = encode(MetricLine(internal_name=internal_name, over=over, points=points, attempt=of_attempt))
        with passable(self._stripes.of(run_id, *key)):
            # A line that was cut off must stay the last of its file: after a failure the next one has a new file.
            file = known.owned.pop(key, None)
            if file is None or not self._writer.append(run_id, known, file, line):
                file = self._writer.publish(run_id, known, key, line)
            known.owned[key] = file
