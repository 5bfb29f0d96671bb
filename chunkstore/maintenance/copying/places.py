"""Where a copy lies: finding out what is there, making it, and changing it unless somebody else has."""

from __future__ import annotations

from collections.abc import Callable, Iterator, Mapping
from contextlib import contextmanager

import msgspec
from msgspec import UNSET

from chunkstore.backends.base import AT_THE_END, Change
from chunkstore.backends.caching import Caching
from chunkstore.backends.capabilities import Grouping
from chunkstore.backends.errors import MissingError
from chunkstore.backends.reader import FolderReader
from chunkstore.clock import clock
from chunkstore.errors import RunLogExistsError, RunLogNotFoundError
from chunkstore.maintenance.copying.snapshots import digest_of
from chunkstore.names import RUN_FILE, PinnedRunId, is_packable, is_sealed_file, sealed_file
from chunkstore.records.encoding import encode_record
from chunkstore.records.models import FORMAT, NOTES, PACKED_FORMAT, RunLog
from chunkstore.stores.base import Store
from chunkstore.stores.chunk_files import checked_run_log
from chunkstore.stores.document import DocumentStore
from chunkstore.stores.packed import pack
from chunkstore.stores.reading import RunFiles
from chunkstore.stores.runs import mark_changed
from chunkstore.stores.stored import as_file, as_stored, check_format, is_finished


class OvertakenError(Exception):
    """Somebody else has changed or removed the copy just now: it is to be looked at again."""


@contextmanager
def of_target() -> Iterator[None]:
    """Tell that what is missing is the copy."""
    try:
        yield
    except (MissingError, RunLogNotFoundError, FileExistsError, RunLogExistsError):
        raise OvertakenError from None


class There(msgspec.Struct, kw_only=True):
    """What lies in a store under the id of a run.

    Attributes:
        log: the run's own record.
        record: its bytes.
        names: the chunks, once somebody has looked for them.
        is_sealed: whether some are packed in a sealed file, as far as is known then.
    """

    log: RunLog
    record: bytes
    names: set[str] = msgspec.field(default_factory=set)
    is_sealed: bool = False


class Meant(msgspec.Struct):
    """The very run that is the copy; see `backends.base.Expected`."""

    run_id: str
    incarnation: str

    def examine(self, reader: FolderReader) -> str:
        """Return which run is in a folder."""
        log = checked_run_log(reader.load(RUN_FILE), self.run_id)
        check_format(log)
        return log.incarnation


class ChunkedPlace:
    """Where a copy lies in chunks.

    Args:
        store: the store.
        run_id: the run.
    """

    def __init__(self, store: Store, run_id: str) -> None:
        self.store = store
        self.run_id = str(run_id)
        self._backend = store.backend

    def look(self) -> There | None:
        """Return what is there, without its chunks; None if nothing is."""
        try:
            record = self._backend.load(self.run_id, RUN_FILE)
        except FileNotFoundError:
            return None
        return There(log=checked_run_log(record, self.run_id), record=record)

    def look_further(self, there: There) -> None:
        """Find out which chunks there are.

        Raises:
            OvertakenError: it is not what it was.
        """
        with of_target(), self._backend.reader(self.run_id) as reader:
            if reader.load(RUN_FILE) != there.record:
                raise OvertakenError
            files = RunFiles(reader)
            there.names = set(filter(is_packable, files.names()))
            there.is_sealed = any(map(is_sealed_file, files.packed_files()))

    def encoded(self, log: RunLog) -> bytes:
        """Return the bytes of a run's own record."""
        return as_file(encode_record(log), pretty=self.store.options.pretty)

    def create(self, log: RunLog, chunks: Mapping[str, bytes], *, seal: bool) -> RunLog:
        """Make the copy with some chunks, whole from its first moment on; return its own record.

        Args:
            log: the run's own record.
            chunks: what they hold.
            seal: whether they are packed in one file.

        Raises:
            OvertakenError: there is a run of this id.
        """
        files = dict(chunks)
        if (seal or not isinstance(self._backend, Grouping)) and files:
            lines = {name: line for name, data in files.items() if (line := pack(name, data)) is not None}
            files = {name: data for name, data in files.items() if name not in lines}  # what cannot be packed
            before = self.encoded(with_format(log, FORMAT))
            if (line := pack(RUN_FILE, before)) is not None:
                lines[RUN_FILE] = line
            files[sealed_file(clock.tick())] = b"".join(lines[name] for name in sorted(lines))
            log = with_format(log, PACKED_FORMAT)
        durable = self._backend.durability == AT_THE_END and is_finished(log)
        with of_target():
            self._backend.create_folder(
                self.run_id, {**files, RUN_FILE: self.encoded(log)}, incarnation=log.incarnation, durable=durable
            )
        return log

    def publish(self, name: str, data: bytes, meant: Meant) -> None:
        """Add a chunk.

        Raises:
            OvertakenError: there is one, or the copy is gone.
        """
        with of_target():
            self._backend.publish(self.run_id, name, data, within=meant)

    def replace(self, name: str, load: Callable[[], bytes], meant: Meant) -> bytes:
        """Make a chunk what the source holds, which is looked at after the chunk, so that no copy undoes a later one.

        Returns:
            What it holds now.
        """

        def act(change: Change) -> bytes:
            try:
                before: bytes | None = change.load(name)
            except MissingError:
                before = None  # it is packed: what lies by itself comes before that
            data = load()
            if data != before:
                change.replace(name, data)
            return data

        with of_target():
            return self._backend.change(self.run_id, act, within=meant)

    def note(self, before: bytes, log: RunLog, meant: Meant) -> bytes:
        """Replace the run's own record, durably if it has ended; return its bytes.

        Raises:
            OvertakenError: it is not what it was before.
        """
        after = self.encoded(log)
        is_durable = self._backend.durability == AT_THE_END and is_finished(log)
        if is_durable:
            self.store.sync(PinnedRunId(self.run_id, meant.incarnation))

        if isinstance(self._backend, Caching) and is_finished(checked_run_log(before, self.run_id)):
            mark_changed(self._backend, self.run_id)

        def act(change: Change) -> None:
            if change.load(RUN_FILE) != before:
                raise OvertakenError
            change.replace(RUN_FILE, after, durable=is_durable)

        with of_target():
            self._backend.change(self.run_id, act, within=meant)
        return after

    def sums(self, names: set[str] | None = None) -> dict[str, bytes]:
        """Return what tells the bytes of chunks from others, of those that are there.

        Args:
            names: which; None for all.
        """
        with of_target(), self._backend.reader(self.run_id) as reader:
            files = RunFiles(reader)
            wanted = [name for name in filter(is_packable, files.names()) if names is None or name in names]
            files.expect(wanted)
            return {name: digest_of(files.load(name)) for name in wanted}

    def seal(self, meant: Meant) -> None:
        """Pack the chunks in one file."""
        with of_target():
            self.store.seal(PinnedRunId(self.run_id, meant.incarnation))


def with_format(log: RunLog, number: int) -> RunLog:
    """Return a run's own record that says of which format the run is."""
    return msgspec.structs.replace(log, run_config={**log.run_config, NOTES: {**log.notes, "format": number}})


class RecordPlace:
    """Where a copy lies in a store that keeps runs in another way.

    Args:
        store: the store.
        run_id: the run.
    """

    def __init__(self, store: Store, run_id: str) -> None:
        self._store = store
        self._run_id = str(run_id)

    def look(self) -> RunLog | None:
        """Return what is there; None if nothing is."""
        try:
            return self._store.get_run_log(self._run_id, full=False)
        except RunLogNotFoundError:
            return None

    def create(self, log: RunLog) -> None:
        """Make the copy.

        Raises:
            OvertakenError: there is a run of this id.
        """
        with of_target():
            self._store.add_run_log(log, incarnation=log.incarnation)

    def replace(self, log: RunLog, is_due: Callable[[RunLog], bool]) -> None:
        """Put another state of the run in the place of the copy, if that is still what it was.

        Raises:
            OvertakenError: it is not.
        """
        with of_target():
            if isinstance(self._store, DocumentStore):
                if not self._store.replace_run(log, is_due):
                    raise OvertakenError
                return
            if not self._store.delete_run_if(
                self._run_id, lambda: is_due(self._store.get_run_log(self._run_id, full=False))
            ):
                raise OvertakenError
        self.create(log)

    def holds(self, log: RunLog) -> bool:
        """Tell whether the copy, as it can be read, is what was written."""
        with of_target():
            found = self._store.get_run_log(self._run_id)
        return _compared(found) == _compared(as_stored(log))


def _compared(log: RunLog) -> bytes:
    notes = {key: value for key, value in log.notes.items() if key not in ("format", "version")}
    shown = msgspec.structs.replace(log, run_config={**log.run_config, NOTES: notes}, found_problems=UNSET)
    return encode_record(shown)
