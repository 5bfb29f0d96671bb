"""The document layout: a run is one JSON document, changed as a whole under its lock."""

from __future__ import annotations

import logging
from collections.abc import Callable, Iterator, Mapping, Sequence
from typing import Any, TypeVar

import msgspec
from msgspec import UNSET

from chunkstore.backends.base import AT_THE_END, Backend, Change
from chunkstore.backends.capabilities import Locking, Syncing, lacking
from chunkstore.backends.errors import MissingError
from chunkstore.backends.reader import FileVersion, FolderReader
from chunkstore.errors import ChunkstoreError
from chunkstore.forks import renew_after_fork
from chunkstore.names import JOINED_FILE, OWNER_FILE, STEP, UNSYNCED_FILE, PinnedRunId, is_meant
from chunkstore.records.assemble import bare, flatten
from chunkstore.records.codec import corrupt
from chunkstore.records.decoding import RecordCodec
from chunkstore.records.encoding import encode_record
from chunkstore.records.fields import MetricPoint
from chunkstore.records.integrity import without_checksum
from chunkstore.records.late import LateRecords
from chunkstore.records.models import BranchLog, RunLog, StepLog
from chunkstore.stores.base import Store
from chunkstore.stores.chunk_files import KIND_OF, Key, Parameters, key_of
from chunkstore.stores.layout import OwnerFiles
from chunkstore.stores.options import StoreOptions
from chunkstore.stores.reading import MetricLine, Patience, as_series
from chunkstore.stores.run_document import Document, OwnRecords, RunDocument
from chunkstore.stores.runs import Candidate, KnownRuns
from chunkstore.stores.stored import as_stored, check_format, is_finished
from chunkstore.stores.summary import Summary, tally

logger = logging.getLogger("chunkstore")

_R = TypeVar("_R", bound=StepLog | BranchLog)
_T = TypeVar("_T")

_SUFFIX = ".json"
_TOP = ""

_MOST_ADMITTED = 10_000


class DocumentStore(Store):
    """A store that keeps each run in one file.

    Every change reads and writes the whole run, so its cost grows with the run; `ChunkedStore` is made for large ones.
    """

    def __init__(self, backend: Backend, options: StoreOptions | None = None) -> None:
        super().__init__(backend, options)
        if not isinstance(backend, Locking):
            raise lacking(backend, "keep each run in one document", "there are no locks")
        self._locks = backend
        self.reset_after_fork()
        renew_after_fork(self)

    def reset_after_fork(self) -> None:
        """In a forked child: own nothing."""
        self._owned: KnownRuns[OwnRecords] = KnownRuns()
        # Runs whose format was found to be one that may be written.
        self._admitted: set[str] = set()

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

    def _edit(
        self, run_id: str, edit: Callable[[Document], _T], then: Callable[[_T], None] = lambda _result: None
    ) -> _T:
        """Change a document under its lock, if `edit` alters it, and note that with `then`; return what `edit` returns.

        If something comes in the middle, `edit` is called again.
        """

        def edit_document(change: Change) -> _T:
            before = change.load(_file_of(run_id))
            document = Document(self._decoded(run_id, before))
            check_format(document.log)
            has_finished = is_finished(document.log)
            result = edit(document)
            if document.altered:
                # What a run is changed by after its end is durable at once, as all before was made durable then.
                durable = self.backend.durability == AT_THE_END and has_finished
                self._replace(run_id, change, before, self._encode(document.to_write()), durable=durable)
            then(result)
            return result

        # No lock file for a run that does not exist, or may not be changed.
        if run_id in self._admitted:
            self.backend.load(_TOP, _file_of(run_id))
        else:
            check_format(self._load(run_id))
            if len(self._admitted) >= _MOST_ADMITTED:
                self._admitted.clear()
            self._admitted.add(str(run_id))
        return self._changing(run_id, edit_document)

    def _replace(self, run_id: str, change: Change, before: bytes, after: bytes, *, durable: bool) -> None:
        """Replace a document; should that fail when it is done already, what was there before is put back."""
        file = _file_of(run_id)
        try:
            change.replace(file, after, durable=durable)
        except ChunkstoreError:
            try:
                if self.backend.load(_TOP, file) == after:
                    self.backend.replace(_TOP, file, before)
            except (ChunkstoreError, MissingError) as error:
                logger.warning("A change of run %s that failed may stay: %s", run_id, str(error))
            raise

    def _changing(self, run_id: str, action: Callable[[Change], _T]) -> _T:
        """Return what an action returns, called under a run's lock; no lock is left of a run that is gone by then."""

        def act(change: Change) -> _T:
            try:
                return action(change)
            except MissingError:
                self._locks.remove_lock(_TOP, _lock_of(run_id))
                raise

        return self._locks.change(_TOP, act, lock=_lock_of(run_id))

    def _own(self, run_id: str, document: RunDocument) -> OwnRecords:
        """Return what this object wrote of the very run that a document is."""
        owned = self._owned.get(run_id)
        if owned is None or owned.incarnation != document.incarnation:
            owned = self._owned.add(str(run_id), OwnRecords(document.incarnation))
            self._owned.forget_one_of_many(self._load)
        return owned

    # --- runs --------------------------------------------------------------------------------------------------------

    def _create(self, log: RunLog, *, durable: bool = False) -> None:
        document = msgspec.structs.replace(log, found_problems=UNSET)
        self.backend.publish(_TOP, _file_of(log.run_id), self._encode(document), durable=durable)
        if durable:
            self._sync(log.run_id)

    def replace_run(self, log: RunLog, is_due: Callable[[RunLog], bool]) -> bool:
        """Put a whole run in the place of one of the same id, with its identity, unless that is another one by now.

        Args:
            log: the run; what its notes say of its identity counts.
            is_due: is given the own record of the run that is there.

        Returns:
            Whether that was done.

        Raises:
            MissingError: there is no such run.
        """
        stored = as_stored(msgspec.structs.replace(log, found_problems=UNSET))

        def edit(document: Document) -> bool:
            document.altered = is_due(_metadata(document.log))
            if document.altered:
                fields = {name: getattr(stored, name) for name in RunLog.__struct_fields__}
                document.put_whole(RunDocument(**fields))
            return document.altered

        return self._edit(log.run_id, edit)

    def _remembered(self, run_id: str) -> OwnRecords | None:
        return self._owned.get(run_id)

    def _forget(self, run_id: str, known: OwnRecords | None) -> None:
        if known is not None:
            self._owned.forget(run_id, known)

    def _read(self, run_id: str) -> RunLog:
        return Document(self._load(run_id)).to_show()

    def _follow(self, run_id: str) -> Iterator[RunLog]:
        version: FileVersion = ()
        patience = Patience()
        for _ in self._changes_in(_TOP):
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
        def edit(document: Document) -> RunLog:
            new = as_stored(change(_metadata(document.log)))
            document.log = RunDocument(**{name: getattr(new, name) for name in RunLog.__struct_fields__})
            document.altered = True
            return new

        return self._edit(run_id, edit)

    def _sum_up(self, run_id: str, *, whole: bool) -> Summary:
        log = self._read(run_id)
        steps, unended = tally(flatten(log)[0])
        return Summary(steps, log if whole else None, unended=unended)

    def _candidates(self, top: FolderReader) -> list[Candidate]:
        files = [name for name in top.names() if name.endswith(_SUFFIX) and not name.startswith(".")]
        return [(top.modified_at(file), file[: -len(_SUFFIX)]) for file in files]

    def _run_file(self, run_id: str) -> tuple[str, str]:
        return _TOP, _file_of(run_id)

    def _delete(self, run_id: str, condition: Callable[[], bool]) -> bool:
        def delete(_: Change) -> bool:
            incarnation = self._incarnation(run_id) or ""
            is_due = condition()
            if is_due:
                self._remove(run_id, incarnation)
            return is_due

        with self.backend.reader(_TOP) as reader:
            if _file_of(run_id) not in reader.names():
                raise MissingError(run_id)
        return self._changing(run_id, delete)

    def _lock_file(self, run_id: str) -> tuple[str, str]:
        return _TOP, _lock_of(run_id)

    def _remove(self, run_id: str, incarnation: str) -> None:
        self.backend.remove(_TOP, _file_of(run_id))
        for known_as in {"", incarnation}:
            files = self._owner_files(run_id, known_as)
            self.backend.remove_left_over(_TOP, files.owner)
            self.backend.remove_left_over(_TOP, files.joined)
        self.backend.remove_left_over(_TOP, f"{UNSYNCED_FILE}-{_file_of(run_id)}")
        self._locks.remove_lock(_TOP, _lock_of(run_id))

    def _sync(self, run_id: str) -> None:
        if isinstance(self.backend, Syncing):
            self.backend.sync(_TOP, _file_of(run_id))

    def _must_be_durable(self, run_id: str) -> bool:
        return is_finished(self._load(run_id))

    # --- records -----------------------------------------------------------------------------------------------------

    def _put(self, run_id: str, records: list[StepLog | BranchLog], parameters: dict[str, dict[str, Any]]) -> None:
        stored = [as_stored(record) for record in records]
        scopes = {scope: _stored_parameters(scope, values) for scope, values in parameters.items()}

        def edit(document: Document) -> tuple[OwnRecords, dict[Key, str]]:
            owned = self._own(run_id, document.log)
            stamps = {key_of(record): document.put(record, owned) for record in stored}
            for scope, values in scopes.items():
                document.parameters.setdefault(scope, {}).update(values)
            document.altered = True
            return owned, stamps

        self._edit(run_id, edit, _note)

    def _put_last(self, run_id: str, record: _R) -> None:
        stored = as_stored(record)

        def edit(document: Document) -> tuple[OwnRecords, dict[Key, str]]:
            owned = self._own(run_id, document.log)
            if key_of(stored) in document.records:
                document.change(key_of(stored), stored)
                return owned, {}
            return owned, {key_of(stored): document.put(stored, owned)}

        self._edit(run_id, edit, _note)

    def _has(self, run_id: str, internal_name: str, kind: type[_R]) -> bool:
        return self._find(run_id, internal_name, kind, full=False) is not None

    def _is_left(self, run_id: str, internal_name: str) -> bool:
        late = LateRecords.of(self._load(run_id))
        return late is not None and late.is_left(internal_name)

    def _find(self, run_id: str, internal_name: str, kind: type[_R], *, full: bool) -> _R | None:
        log = self._read(run_id)
        found: dict[Key, StepLog | BranchLog] = {}
        _index_steps(log.steps, found)
        _index_steps(log.orphans.steps, found)
        _index_branches(log.orphans.branches, found)
        record = found.get((KIND_OF[kind], internal_name))
        if not isinstance(record, kind):
            return None
        return record if full else bare(record)

    def _change(self, run_id: str, internal_name: str, kind: type[_R], change: Callable[[_R], _R]) -> _R | None:
        key = (KIND_OF[kind], internal_name)

        def edit(document: Document) -> _R | None:
            current = document.counting(key)
            if not isinstance(current, kind):
                return None
            new = as_stored(change(as_stored(current)))
            document.change(key, new)
            return as_stored(new)  # a copy: putting the document together fills in what is inside the record

        return self._edit(run_id, edit)

    def _append_metrics(
        self, run_id: str, internal_name: str, series: Mapping[str, Sequence[MetricPoint]], attempt: int | None
    ) -> None:
        step = StepLog(name="", internal_name=internal_name, metric_series=as_series(series))
        points = RecordCodec.of(StepLog).decode_marked(encode_record(step)).metric_series

        def edit(document: Document) -> None:
            if points is not UNSET:
                over = self._own(run_id, document.log).stamps.get((STEP, internal_name), "")
                of_attempt = UNSET if attempt is None else attempt
                line = MetricLine(internal_name=internal_name, over=over, points=points, attempt=of_attempt)
                document.bookkeeping.metrics.append(line)
                document.altered = True

        self._edit(run_id, edit)

    # --- parameters --------------------------------------------------------------------------------------------------

    def _set_parameters(self, run_id: str, scope: str, parameters: dict[str, Any], *, overwrite: bool) -> None:
        stored = _stored_parameters(scope, parameters)

        def edit(document: Document) -> None:
            current = document.parameters.get(scope, {})
            document.parameters[scope] = {**current, **stored} if overwrite else {**stored, **current}
            document.altered = True

        self._edit(run_id, edit)

    def _get_parameters(self, run_id: str, scope: str) -> dict[str, Any]:
        _, parameters = flatten(self._load(run_id))
        return parameters.get(scope, {})


def _note(written: tuple[OwnRecords, dict[Key, str]]) -> None:
    owned, stamps = written
    owned.stamps.update(stamps)


def _stored_parameters(scope: str, parameters: dict[str, Any]) -> dict[str, Any]:
    return as_stored(Parameters(branch=scope, parameters=parameters)).parameters


def _file_of(run_id: str) -> str:
    return f"{run_id}{_SUFFIX}"


def _lock_of(run_id: str) -> str:
    return f".{run_id}.lock"


def _metadata(log: RunLog) -> RunLog:
    own = {name: getattr(log, name) for name in RunLog.__struct_fields__}
    return RunLog(**{**own, "steps": {}, "parameters": {}, "found_orphans": UNSET, "found_problems": UNSET})


def _index_steps(steps: dict[str, StepLog], found: dict[Key, StepLog | BranchLog]) -> None:
    for step in steps.values():
        found[key_of(step)] = step
        _index_branches(step.branches, found)


def _index_branches(branches: dict[str, BranchLog], found: dict[Key, StepLog | BranchLog]) -> None:
    for branch in branches.values():
        found[key_of(branch)] = branch
        _index_steps(branch.steps, found)
