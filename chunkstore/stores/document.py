"""The document layout: a run is one JSON document, changed as a whole under its lock."""

from __future__ import annotations

import logging
import os
import threading
import weakref
from collections.abc import Callable, Iterator, Mapping, Sequence
from typing import Any, TypeVar

import msgspec
from msgspec import UNSET, UnsetType, field

from chunkstore.backends.base import AT_THE_END, Backend, FileVersion, FolderReader, MissingError
from chunkstore.clock import clock
from chunkstore.errors import ChunkstoreError
from chunkstore.names import BRANCH, JOINED_FILE, OWNER_FILE, STEP, UNSYNCED_FILE, PinnedRunId, is_meant
from chunkstore.records import overlay
from chunkstore.records.assemble import assemble, bare, flatten
from chunkstore.records.base import MetricPoint, Record, RecordCodec, encode_record
from chunkstore.records.codec import corrupt, encode
from chunkstore.records.integrity import without_checksum
from chunkstore.records.models import BranchLog, Problem, RunLog, StepLog
from chunkstore.stores.base import OwnerFiles, Store, StoreOptions, as_json, as_stored, check_format, is_finished
from chunkstore.stores.reading.chunk_reader import Parameters
from chunkstore.stores.reading.following import Patience
from chunkstore.stores.reading.metric_lines import MetricLine, as_series, joined
from chunkstore.stores.runs.known_runs import KnownRuns
from chunkstore.stores.runs.run_list import Candidate

logger = logging.getLogger("chunkstore")

_R = TypeVar("_R", bound=StepLog | BranchLog)
_T = TypeVar("_T")
_Key = tuple[str, str]

_KIND_OF: dict[type[Record], str] = {StepLog: STEP, BranchLog: BRANCH}
_SUFFIX = ".json"
_TOP = ""
#: The stamp of whoever recorded something first; it stands in no document.
_FIRST_OWNER = "first"

_STRIPES = 16
_MOST_ADMITTED = 10_000

_stores: weakref.WeakSet[DocumentStore] = weakref.WeakSet()


class Bookkeeping(msgspec.Struct, kw_only=True, omit_defaults=True):
    """What a document holds beside the run: what `ChunkedStore` keeps in files beside a record.

    Attributes:
        changes: what others than the owner have changed, by record; the records are shown with it.
        owners: the stamp of the owner who took a record over from another, by record.
        metrics: points of metric series that were appended.
    """

    changes: dict[str, overlay.Change] = field(default_factory=dict)
    owners: dict[str, str] = field(default_factory=dict)
    metrics: list[MetricLine] = field(default_factory=list)


class RunDocument(RunLog, kw_only=True):
    """A run log as it stands in `<run_id>.json`."""

    bookkeeping: Bookkeeping | UnsetType = UNSET


class _Document:
    """A run taken apart, so that records can be changed and all put together again."""

    def __init__(self, document: RunDocument) -> None:
        self.log = document
        records, self.parameters = flatten(document)
        self.records: dict[_Key, StepLog | BranchLog] = {_key_of(record): record for record in records}
        self.notes = Bookkeeping() if document.bookkeeping is UNSET else document.bookkeeping
        self.altered = False

    def to_write(self) -> RunDocument:
        """Return the run put together for the file."""
        log = assemble(self.log, self.records.values(), self.parameters)
        assert isinstance(log, RunDocument)
        log.bookkeeping = self.notes if self.notes != Bookkeeping() else UNSET
        log.found_problems = UNSET  # found anew by every reader
        return log

    def to_show(self) -> RunLog:
        """Return the run put together for readers."""
        problems = []
        lines: dict[str, list[MetricLine]] = {}
        for line in self.notes.metrics:
            lines.setdefault(line.internal_name, []).append(line)
        for name, of_step in lines.items():
            step = self.records.get((STEP, name))
            if isinstance(step, StepLog):
                stamp = self.notes.owners.get(_text(STEP, name), _FIRST_OWNER)
                step.metric_series = joined(step, (line for line in of_step if line.over in ("", stamp)))
            else:
                problems.append(Problem("orphan", name, f"there is no step {name}"))
        log = assemble(self.log, self.records.values(), self.parameters, problems)
        return RunLog(**{name: getattr(log, name) for name in RunLog.__struct_fields__})


class _OwnRecords:
    """What a store object wrote of one run.

    Attributes:
        incarnation: what tells the run from every other of its id.
        stamps: by record, the stamp it was written under.
        was_forgotten: whether more was known once: a record that has no stamp here may be this object's own.
    """

    def __init__(self, incarnation: str) -> None:
        self.incarnation = incarnation
        self.stamps: dict[_Key, str] = {}
        self.was_forgotten = False

    def is_as_good_as_new(self) -> bool:
        """Tell whether nothing is lost when this is forgotten."""
        return not self.stamps


class DocumentStore(Store):
    """A store that keeps each run in one file.

    Every change reads and writes the whole run, so its cost grows with the run; `ChunkedStore` is made for large ones.
    """

    def __init__(self, backend: Backend, options: StoreOptions | None = None) -> None:
        super().__init__(backend, options)
        self.reset_after_fork()
        _stores.add(self)

    def reset_after_fork(self) -> None:
        """In a forked child: own nothing, and let go of mutexes that threads of the parent may hold."""
        self._owned: KnownRuns[_OwnRecords] = KnownRuns()
        # Runs whose format was found to be one that may be written.
        self._admitted: set[str] = set()
        # Threads that record the same thing at once must come to know what they have written one after the other. Who
        # needs such a mutex and a run's lock takes the mutex first.
        self._stripes = [threading.Lock() for _ in range(_STRIPES)]

    # --- documents ---------------------------------------------------------------------------------------------------

    def _load(self, run_id: str) -> RunDocument:
        return self._decoded(run_id, self.backend.load(_TOP, _file_of(run_id)))

    def _decoded(self, run_id: str, data: bytes) -> RunDocument:
        file = _file_of(run_id)
        document = RecordCodec.of(RunDocument).decode(without_checksum(data, file), file)
        if document.run_id != run_id:
            raise corrupt(file, 0, f"it holds the run {document.run_id!r}, not {str(run_id)!r}")
        if not is_meant(run_id, document.incarnation):
            raise MissingError(run_id)
        return document

    def _edit(self, run_id: str, edit: Callable[[_Document], _T]) -> _T:
        """Change a document under its lock, if `edit` alters it; return what `edit` returns."""

        def edit_document() -> _T:
            before = self.backend.load(_TOP, _file_of(run_id))
            document = _Document(self._decoded(run_id, before))
            check_format(document.log)
            has_finished = is_finished(document.log)
            result = edit(document)
            if document.altered:
                # What a run is changed by after its end is durable at once, as all before was made durable then.
                durable = self.backend.durability == AT_THE_END and has_finished
                self._replace(run_id, before, self._encode(document.to_write()), durable=durable)
            return result

        # No lock file for a run that does not exist, or may not be changed.
        if run_id in self._admitted:
            self.backend.load(_TOP, _file_of(run_id))
        else:
            check_format(self._load(run_id))
            if len(self._admitted) >= _MOST_ADMITTED:
                self._admitted.clear()
            self._admitted.add(str(run_id))
        return self._locked(run_id, edit_document)

    def _replace(self, run_id: str, before: bytes, after: bytes, *, durable: bool) -> None:
        """Replace a document; should that fail when it is done already, what was there before is put back."""
        file = _file_of(run_id)
        try:
            self.backend.replace(_TOP, file, after, durable=durable)
        except ChunkstoreError:
            try:
                if self.backend.load(_TOP, file) == after:
                    self.backend.replace(_TOP, file, before)
            except (ChunkstoreError, MissingError) as error:
                logger.warning("A change of run %s that failed may stay: %s", run_id, str(error))
            raise

    def _while_locked(self, run_id: str, action: Callable[[], _T]) -> _T:
        return self._locked(run_id, action)

    def _locked(self, run_id: str, action: Callable[[], _T]) -> _T:
        """Return what an action returns, called under a run's lock; no lock is left of a run that is gone by then."""

        def act() -> _T:
            try:
                return action()
            except MissingError:
                self.backend.remove_lock(_TOP, _lock_of(run_id))
                raise

        return self.backend.while_locked(_TOP, _lock_of(run_id), act)

    def _own(self, run_id: str, document: RunDocument) -> _OwnRecords:
        """Return what this object wrote of the very run that a document is."""
        owned = self._owned.get(run_id)
        if owned is None or owned.incarnation != document.incarnation:
            owned = self._owned.add(str(run_id), _OwnRecords(document.incarnation))
            self._forget_longest_ago()
        return owned

    def _forget_longest_ago(self) -> None:
        """Forget a run, if there are many and it has ended: of one that goes on, what is known may be needed."""
        found = self._owned.longest_ago()
        if found is not None:
            run_id, known = found
            if known.is_as_good_as_new() or self._has_ended(run_id):
                self._owned.forget_for_others(run_id, known)

    def _stripe(self, run_id: str) -> threading.Lock:
        return self._stripes[hash(run_id) % _STRIPES]

    def _has_ended(self, run_id: str) -> bool:
        """Tell whether nobody goes on with a run, as far as can be told."""
        try:
            return is_finished(self._load(run_id))
        except FileNotFoundError:
            return True
        except ChunkstoreError:
            return False

    # --- runs --------------------------------------------------------------------------------------------------------

    def _create(self, log: RunLog, *, durable: bool = False) -> None:
        document = msgspec.structs.replace(log, found_problems=UNSET)
        self.backend.publish(_TOP, _file_of(log.run_id), self._encode(document), durable=durable)
        if durable:
            self._sync(log.run_id)

    def _remembered(self, run_id: str) -> _OwnRecords | None:
        return self._owned.get(run_id)

    def _forget(self, run_id: str, known: _OwnRecords | None) -> None:
        if known is not None:
            self._owned.forget(run_id, known)

    def _read(self, run_id: str) -> RunLog:
        return _Document(self._load(run_id)).to_show()

    def _follow(self, run_id: str) -> Iterator[RunLog]:
        version: FileVersion = ()
        patience = Patience()
        for _ in self.backend.watch(_TOP):
            before, version = version, self.backend.version(_TOP, _file_of(run_id))
            is_over = version == before and patience.may_be_over() and self.is_abandoned(run_id)
            if is_over:
                before, version = version, self.backend.version(_TOP, _file_of(run_id))
            if version != before:
                log = self._read(run_id)
                run_id = PinnedRunId(run_id, log.incarnation)  # no other of its id is followed
                yield log
                is_over = is_over or is_finished(log)
            if is_over:
                return

    def _owner_files(self, run_id: str, incarnation: str) -> OwnerFiles:
        start = f".{run_id}~{incarnation}" if incarnation else f".{run_id}"
        return OwnerFiles(_TOP, f"{start}{OWNER_FILE}", f"{start}{JOINED_FILE}")

    def _last_written(self, run_id: str) -> int:
        with self.backend.reader(_TOP) as top:
            return top.modified_at(_file_of(run_id))

    def _read_metadata(self, run_id: str) -> RunLog:
        return _metadata(self._load(run_id))

    def _change_metadata(self, run_id: str, change: Callable[[RunLog], RunLog]) -> RunLog:
        def edit(document: _Document) -> RunLog:
            new = as_stored(change(_metadata(document.log)))
            document.log = RunDocument(**{name: getattr(new, name) for name in RunLog.__struct_fields__})
            document.altered = True
            return new

        return self._edit(run_id, edit)

    def _candidates(self, top: FolderReader) -> list[Candidate]:
        files = [name for name in top.names() if name.endswith(_SUFFIX) and not name.startswith(".")]
        return [(top.modified_at(file), file[: -len(_SUFFIX)]) for file in files]

    def _run_file(self, run_id: str) -> tuple[str, str]:
        return _TOP, _file_of(run_id)

    def _delete(self, run_id: str) -> None:
        with self.backend.reader(_TOP) as reader:
            if _file_of(run_id) not in reader.names():
                raise MissingError(run_id)
        self._locked(run_id, lambda: self._remove(run_id))

    def _lock_file(self, run_id: str) -> tuple[str, str]:
        return _TOP, _lock_of(run_id)

    def _remove(self, run_id: str) -> None:
        incarnation = self._incarnation(run_id) or ""
        self.backend.remove(_TOP, _file_of(run_id))
        for known_as in {"", incarnation}:
            files = self._owner_files(run_id, known_as)
            self.backend.remove_left_over(_TOP, files.owner)
            self.backend.remove_left_over(_TOP, files.joined)
        self.backend.remove_left_over(_TOP, f"{UNSYNCED_FILE}-{_file_of(run_id)}")
        self.backend.remove_lock(_TOP, _lock_of(run_id))

    def _sync(self, run_id: str) -> None:
        self.backend.sync(_TOP, _file_of(run_id))

    def _must_be_durable(self, run_id: str) -> bool:
        return is_finished(self._load(run_id))

    # --- records -----------------------------------------------------------------------------------------------------

    def _put(self, run_id: str, records: list[StepLog | BranchLog], parameters: dict[str, dict[str, Any]]) -> None:
        stored = [as_stored(record) for record in records]
        scopes = {scope: _stored_parameters(scope, values) for scope, values in parameters.items()}

        def edit(document: _Document) -> tuple[_OwnRecords, dict[_Key, str]]:
            owned = self._own(run_id, document.log)
            stamps = {
                _key_of(record): _put_one(document, record, _stamp_of(record, owned, document)) for record in stored
            }
            for scope, values in scopes.items():
                document.parameters.setdefault(scope, {}).update(values)
            document.altered = True
            return owned, stamps

        with self._stripe(run_id):
            owned, stamps = self._edit(run_id, edit)
            owned.stamps.update(stamps)

    def _put_last(self, run_id: str, record: _R) -> None:
        stored = as_stored(record)

        def edit(document: _Document) -> tuple[_OwnRecords, dict[_Key, str]]:
            owned = self._own(run_id, document.log)
            if _key_of(stored) in document.records:
                _change_one(document, _key_of(stored), stored)
                return owned, {}
            document.altered = True
            return owned, {_key_of(stored): _put_one(document, stored, _stamp_of(stored, owned, document))}

        with self._stripe(run_id):
            owned, stamps = self._edit(run_id, edit)
            owned.stamps.update(stamps)

    def _has(self, run_id: str, internal_name: str, kind: type[_R]) -> bool:
        return self._find(run_id, internal_name, kind, full=False) is not None

    def _find(self, run_id: str, internal_name: str, kind: type[_R], *, full: bool) -> _R | None:
        log = self._read(run_id)
        found: dict[_Key, StepLog | BranchLog] = {}
        _index_steps(log.steps, found)
        _index_steps(log.orphans.steps, found)
        _index_branches(log.orphans.branches, found)
        record = found.get((_KIND_OF[kind], internal_name))
        if not isinstance(record, kind):
            return None
        return record if full else bare(record)

    def _change(self, run_id: str, internal_name: str, kind: type[_R], change: Callable[[_R], _R]) -> _R | None:
        key = (_KIND_OF[kind], internal_name)

        def edit(document: _Document) -> _R | None:
            current = document.records.get(key)
            if not isinstance(current, kind):
                return None
            new = as_stored(change(as_stored(current)))
            _change_one(document, key, new)
            return as_stored(new)  # a copy: putting the document together fills in what is inside the record

        return self._edit(run_id, edit)

    def _append_metrics(self, run_id: str, internal_name: str, series: Mapping[str, Sequence[MetricPoint]]) -> None:
        step = StepLog(name="", internal_name=internal_name, metric_series=as_series(series))
        points = RecordCodec.of(StepLog).decode_marked(encode_record(step)).metric_series

        def edit(document: _Document) -> None:
            if points is not UNSET:
                over = self._own(run_id, document.log).stamps.get((STEP, internal_name), "")
                document.notes.metrics.append(MetricLine(internal_name=internal_name, over=over, points=points))
                document.altered = True

        self._edit(run_id, edit)

    # --- parameters --------------------------------------------------------------------------------------------------

    def _set_parameters(self, run_id: str, scope: str, parameters: dict[str, Any], *, overwrite: bool) -> None:
        stored = _stored_parameters(scope, parameters)

        def edit(document: _Document) -> None:
            current = document.parameters.get(scope, {})
            document.parameters[scope] = {**current, **stored} if overwrite else {**stored, **current}
            document.altered = True

        self._edit(run_id, edit)

    def _get_parameters(self, run_id: str, scope: str) -> dict[str, Any]:
        _, parameters = flatten(self._load(run_id))
        return parameters.get(scope, {})


def _stamp_of(record: StepLog | BranchLog, owned: _OwnRecords, document: _Document) -> str | None:
    """Return under which stamp this object has written a record before; None if it has not."""
    stamp = owned.stamps.get(_key_of(record))
    if stamp is None and owned.was_forgotten and _key_of(record) in document.records:
        return document.notes.owners.get(_text(*_key_of(record)), _FIRST_OWNER)
    return stamp


def _change_one(document: _Document, key: _Key, new: StepLog | BranchLog) -> None:
    """Lay a change over a record of a document: what makes another of it."""
    changes = document.notes.changes
    earlier = changes.get(_text(*key))
    difference = overlay.merge(as_json(document.records[key]), earlier, as_json(new))
    if difference is not None and difference is not earlier:
        changes[_text(*key)] = difference
        document.records[key] = new
        document.altered = True


def _put_one(document: _Document, record: StepLog | BranchLog, stamp: str | None) -> str:
    """Put a record into a document; return the stamp it was written under.

    Whoever puts a record that somebody else owns takes it over: what others have changed of the earlier one counts no
    more, and neither does what its owner still writes.

    Args:
        document: the run.
        record: as it shall be stored.
        stamp: under which the writer has put it before; None for the first time.
    """
    key = _key_of(record)
    holder = document.notes.owners.get(_text(*key), _FIRST_OWNER)
    if key in document.records and stamp is not None:
        if stamp == holder:
            document.records[key] = _with_change(
                record, document.notes.changes.get(_text(*key)), as_json(document.records[key])
            )
        return stamp
    if key in document.records:
        stamp = f"{clock.tick()}-{os.urandom(4).hex()}"
        document.notes.owners[_text(*key)] = stamp
        document.notes.changes.pop(_text(*key), None)
        del document.records[key]  # the newer record takes its own place in the order of execution
    document.records[key] = record
    return stamp or _FIRST_OWNER


def _stored_parameters(scope: str, parameters: dict[str, Any]) -> dict[str, Any]:
    return as_stored(Parameters(branch=scope, parameters=parameters)).parameters


def _file_of(run_id: str) -> str:
    return f"{run_id}{_SUFFIX}"


def _lock_of(run_id: str) -> str:
    return f".{run_id}.lock"


def _key_of(record: StepLog | BranchLog) -> _Key:
    return _KIND_OF[type(record)], record.internal_name


def _text(kind: str, internal_name: str) -> str:
    """Return a key of a record as text, as JSON has no other keys."""
    return f"{kind} {internal_name}"


def _metadata(log: RunLog) -> RunLog:
    own = {name: getattr(log, name) for name in RunLog.__struct_fields__}
    return RunLog(**{**own, "steps": {}, "parameters": {}, "found_orphans": UNSET, "found_problems": UNSET})


def _with_change(record: _R, change: overlay.Change | None, seen: Any) -> _R:
    """Return what is seen of a record when its owner writes it anew, which was seen as `seen` before."""
    if change is None:
        return record
    own = overlay.without_appended(change, seen, as_json(record))
    return RecordCodec.of(type(record)).decode(encode(overlay.apply(change, own)))


def _index_steps(steps: dict[str, StepLog], found: dict[_Key, StepLog | BranchLog]) -> None:
    for step in steps.values():
        found[_key_of(step)] = step
        _index_branches(step.branches, found)


def _index_branches(branches: dict[str, BranchLog], found: dict[_Key, StepLog | BranchLog]) -> None:
    for branch in branches.values():
        found[_key_of(branch)] = branch
        _index_steps(branch.steps, found)


def _reset_after_fork() -> None:
    for store in list(_stores):
        store.reset_after_fork()


if hasattr(os, "register_at_fork"):
    os.register_at_fork(after_in_child=_reset_after_fork)
