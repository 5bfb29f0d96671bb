"""The document layout: a run is one JSON document, changed as a whole under its lock."""

from __future__ import annotations

import os
import weakref
from collections.abc import Callable, Iterable, Mapping, Sequence
from typing import Any, TypeVar

import msgspec
from msgspec import UNSET

from chunkstore import overlay
from chunkstore.assemble import assemble, flatten
from chunkstore.backends.base import Backend
from chunkstore.codec import encode
from chunkstore.models import BranchLog, MetricPoint, RecordCodec, RunLog, StepLog
from chunkstore.names import BRANCH, STEP
from chunkstore.stores.base import Store, StoreOptions, as_json, as_stored, check_format
from chunkstore.stores.chunk_reader import Parameters, checked_run_log, joined_series

_R = TypeVar("_R", bound=StepLog | BranchLog)
_SUFFIX = ".json"
_TOP = ""

_stores: weakref.WeakSet[DocumentStore] = weakref.WeakSet()


class _Document:
    """A run taken apart, so that one record can be changed and all put together again."""

    def __init__(self, log: RunLog) -> None:
        self.log = log
        records, self.parameters = flatten(log)
        self.records: dict[tuple[str, str], StepLog | BranchLog] = {key_of(record): record for record in records}
        self.changes: dict[str, overlay.Change] = {} if log.foreign_changes is UNSET else log.foreign_changes

    def assembled(self) -> RunLog:
        """Return the run put together; its changes are for the document alone."""
        log = assemble(self.log, self.records.values(), self.parameters)
        log.foreign_changes = self.changes or UNSET
        log.found_problems = UNSET  # found anew by every reader
        return log


class DocumentStore(Store):
    """A store that keeps each run in one file.

    Every change reads and writes the whole run, so its cost grows with the run; `ChunkedStore` is made for large ones.
    """

    def __init__(self, backend: Backend, options: StoreOptions | None = None) -> None:
        super().__init__(backend, options)
        # The records that this object wrote. Never inherited: see reset_after_fork.
        self._owned: set[tuple[str, str, str]] = set()
        _stores.add(self)

    def reset_after_fork(self) -> None:
        """In a forked child: own nothing."""
        self._owned = set()

    # --- documents ---------------------------------------------------------------------------------------------------

    def _load(self, run_id: str) -> RunLog:
        file = _file_of(run_id)
        return checked_run_log(self.backend.load(_TOP, file), run_id, file)

    def _edit(self, run_id: str, edit: Callable[[_Document], Any]) -> Any:
        """Change a document under its lock; return what `edit` returns."""
        self.backend.load(_TOP, _file_of(run_id))  # no lock file for a run that does not exist
        with self.backend.lock(_TOP, _lock_of(run_id)):
            document = _Document(self._load(run_id))
            check_format(document.log)
            result = edit(document)
            self.backend.replace(_TOP, _file_of(run_id), self._encode(document.assembled()))
        return result

    # --- runs --------------------------------------------------------------------------------------------------------

    def _create(self, log: RunLog) -> None:
        self.backend.publish(_TOP, _file_of(log.run_id), self._encode(log))
        self._disown(log.run_id)

    def _disown(self, run_id: str) -> None:
        self._owned = {key for key in self._owned if key[0] != run_id}

    def _read(self, run_id: str) -> RunLog:
        log = self._load(run_id)
        records, parameters = flatten(log)
        log.foreign_changes = UNSET
        return assemble(log, records, parameters)

    def _read_metadata(self, run_id: str) -> RunLog:
        return _metadata(self._load(run_id))

    def _change_metadata(self, run_id: str, change: Callable[[RunLog], RunLog]) -> RunLog:
        def edit(document: _Document) -> RunLog:
            document.log = as_stored(change(_metadata(document.log)))
            return as_stored(document.log)

        new: RunLog = self._edit(run_id, edit)
        return new

    def _run_ids(self) -> Iterable[str]:
        try:
            with self.backend.reader(_TOP) as reader:
                names = reader.names()
        except FileNotFoundError:
            return []
        return [name[: -len(_SUFFIX)] for name in names if name.endswith(_SUFFIX) and not name.startswith(".")]

    def _delete(self, run_id: str) -> None:
        if _file_of(run_id) not in self._names():
            raise FileNotFoundError(run_id)
        with self.backend.lock(_TOP, _lock_of(run_id)):
            self.backend.remove(_TOP, _file_of(run_id))
        self._disown(run_id)

    def _names(self) -> list[str]:
        with self.backend.reader(_TOP) as reader:
            return reader.names()

    def _sync(self, run_id: str) -> None:
        self._load(run_id)
        self.backend.sync(_TOP)

    # --- records -----------------------------------------------------------------------------------------------------

    def _put(self, run_id: str, record: StepLog | BranchLog) -> None:
        kind, name = key_of(record)
        stored = as_stored(record)
        owned = (run_id, kind, name) in self._owned

        def edit(document: _Document) -> None:
            before = document.records.get((kind, name))
            if not owned or before is None:
                # Another owner's record gives way, and so does what others have changed of it.
                document.records.pop((kind, name), None)
                document.changes.pop(change_key(kind, name), None)
                document.records[kind, name] = stored
                return
            change = document.changes.get(change_key(kind, name))
            merged = _with_change(stored, change)
            if isinstance(merged, StepLog) and isinstance(before, StepLog):
                merged.metric_series = joined_series(merged.metric_series, before.metric_series)
            document.records[kind, name] = merged

        self._edit(run_id, edit)
        self._owned.add((run_id, kind, name))

    def _find(self, run_id: str, internal_name: str, kind: type[_R]) -> _R | None:
        log = self._read(run_id)
        found: dict[tuple[str, str], StepLog | BranchLog] = {}
        _index_steps(log.steps, found)
        _index_steps(log.orphans.steps, found)
        _index_branches(log.orphans.branches, found)
        record = found.get((STEP if kind is StepLog else BRANCH, internal_name))
        return record if isinstance(record, kind) else None

    def _change(self, run_id: str, internal_name: str, kind: type[_R], change: Callable[[_R], _R]) -> _R | None:
        name_of_kind = STEP if kind is StepLog else BRANCH

        def edit(document: _Document) -> _R | None:
            current = document.records.get((name_of_kind, internal_name))
            if not isinstance(current, kind):
                return None
            before = as_json(_without_series(current))
            after = as_json(change(as_stored(_without_series(current))))
            earlier = document.changes.get(change_key(name_of_kind, internal_name))
            difference = overlay.merge(before, earlier, after)
            if difference is not None:
                document.changes[change_key(name_of_kind, internal_name)] = difference
            new = RecordCodec.of(kind).decode(encode(after))
            if isinstance(new, StepLog) and isinstance(current, StepLog) and new.metric_series is UNSET:
                new.metric_series = current.metric_series
            document.records[name_of_kind, internal_name] = new
            return as_stored(_without_series(new))

        result: _R | None = self._edit(run_id, edit)
        return result

    def _append_metrics(self, run_id: str, internal_name: str, series: Mapping[str, Sequence[MetricPoint]]) -> None:
        added = as_stored(StepLog(name="", internal_name=internal_name, metric_series=_as_lists(series))).metric_series

        def edit(document: _Document) -> None:
            step = document.records.get((STEP, internal_name))
            if isinstance(step, StepLog) and added is not UNSET:
                joined = {} if step.metric_series is UNSET else step.metric_series
                for name, points in added.items():
                    joined.setdefault(name, []).extend(points)
                step.metric_series = joined

        self._edit(run_id, edit)

    # --- parameters --------------------------------------------------------------------------------------------------

    def _set_parameters(self, run_id: str, scope: str, parameters: dict[str, Any]) -> None:
        stored = as_stored(Parameters(branch=scope, parameters=parameters)).parameters

        def edit(document: _Document) -> None:
            document.parameters.setdefault(scope, {}).update(stored)

        self._edit(run_id, edit)

    def _get_parameters(self, run_id: str, scope: str) -> dict[str, Any]:
        _, parameters = flatten(self._load(run_id))
        return parameters.get(scope, {})


def _file_of(run_id: str) -> str:
    return f"{run_id}{_SUFFIX}"


def _lock_of(run_id: str) -> str:
    return f".{run_id}.lock"


def key_of(record: StepLog | BranchLog) -> tuple[str, str]:
    """Return the kind and the internal name of a record."""
    return (STEP if isinstance(record, StepLog) else BRANCH), record.internal_name


def change_key(kind: str, internal_name: str) -> str:
    """Return under which key a document keeps what others have changed of a record."""
    return f"{kind} {internal_name}"


def _metadata(log: RunLog) -> RunLog:
    return msgspec.structs.replace(
        log, steps={}, parameters={}, found_orphans=UNSET, found_problems=UNSET, foreign_changes=UNSET
    )


def _with_change(record: _R, change: overlay.Change | None) -> _R:
    if change is None:
        return record
    return RecordCodec.of(type(record)).decode(encode(overlay.apply(change, as_json(record))))


def _as_lists(series: Mapping[str, Sequence[MetricPoint]]) -> dict[str, list[MetricPoint]]:
    return {name: list(points) for name, points in series.items()}


def _without_series(record: _R) -> _R:
    """Return a record as a chunk of its own would hold it: metric series are appended beside it."""
    return msgspec.structs.replace(record, metric_series=UNSET) if isinstance(record, StepLog) else record


def _index_steps(steps: dict[str, StepLog], found: dict[tuple[str, str], StepLog | BranchLog]) -> None:
    for step in steps.values():
        found[key_of(step)] = step
        _index_branches(step.branches, found)


def _index_branches(branches: dict[str, BranchLog], found: dict[tuple[str, str], StepLog | BranchLog]) -> None:
    for branch in branches.values():
        found[key_of(branch)] = branch
        _index_steps(branch.steps, found)


def _reset_after_fork() -> None:
    for store in list(_stores):
        store.reset_after_fork()


if hasattr(os, "register_at_fork"):
    os.register_at_fork(after_in_child=_reset_after_fork)
