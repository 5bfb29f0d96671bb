"""The chunked layout: a folder per run, a file per record, one writer per file."""

from __future__ import annotations

import os
import threading
import weakref
from collections.abc import Callable, Iterable, Mapping, Sequence
from typing import Any, TypeVar

import msgspec
from msgspec import UNSET

from chunkstore import overlay
from chunkstore.assemble import assemble
from chunkstore.backends.base import Backend
from chunkstore.clock import clock
from chunkstore.codec import encode
from chunkstore.models import BranchLog, RunLog, StepLog
from chunkstore.names import (
    BRANCH,
    BRANCH_UPDATE,
    LOCK_FILE,
    METRIC,
    RUN_FILE,
    STEP,
    STEP_UPDATE,
    chunk_file,
    parameter_file,
)
from chunkstore.records import MetricPoint, Record
from chunkstore.stores.base import Store, StoreOptions, as_json, as_stored, check_format
from chunkstore.stores.chunk_reader import ChunkReader, Parameters, Update, checked_run_log
from chunkstore.stores.metric_lines import MetricLine, as_series

_R = TypeVar("_R", bound=StepLog | BranchLog)

_KIND_OF: dict[type[Record], str] = {StepLog: STEP, BranchLog: BRANCH}
_UPDATE_OF: dict[type[Record], str] = {StepLog: STEP_UPDATE, BranchLog: BRANCH_UPDATE}
_STRIPES = 64

_stores: weakref.WeakSet[ChunkedStore] = weakref.WeakSet()


class ChunkedStore(Store):
    """A store that cuts each run into chunks.

    Adding a record makes a new file that nobody else writes; this needs no lock and looks at nothing that is there.
    What this store object has written it also replaces without a lock. Changes to anything else go, under the run's
    lock, into a file beside it.
    """

    def __init__(self, backend: Backend, options: StoreOptions | None = None) -> None:
        super().__init__(backend, options)
        # The files that this object wrote: by run, by kind and internal name. Never inherited: see reset_after_fork.
        self._owned: dict[str, dict[tuple[str, str], str]] = {}
        # Threads that record the same thing at once must not make two files of it.
        self._stripes = [threading.Lock() for _ in range(_STRIPES)]
        _stores.add(self)

    def reset_after_fork(self) -> None:
        """In a forked child: own nothing, and let go of mutexes that threads of the parent may hold."""
        self._owned = {}
        self._stripes = [threading.Lock() for _ in range(_STRIPES)]

    # --- runs --------------------------------------------------------------------------------------------------------

    def _create(self, log: RunLog) -> None:
        files = {}
        if log.parameters:
            files[parameter_file("")] = self._encode(Parameters(branch="", parameters=log.parameters))
        parameters, log.parameters = log.parameters, {}
        try:
            files[RUN_FILE] = self._encode(log)
        finally:
            log.parameters = parameters
        self.backend.create_folder(log.run_id, files)
        self._disown(log.run_id)
        self.backend.admitted.add(log.run_id)

    def _admit(self, run_id: str) -> None:
        """Make sure, once per open folder, that the run exists and that its format may be written."""
        if run_id not in self.backend.admitted:
            check_format(checked_run_log(self.backend.load(run_id, RUN_FILE), run_id, RUN_FILE))
            self.backend.admitted.add(run_id)

    def _disown(self, run_id: str) -> None:
        self._owned.pop(run_id, None)

    def _read(self, run_id: str) -> RunLog:
        with self.backend.reader(run_id) as reader:
            chunks = ChunkReader(run_id, reader)
            metadata = chunks.metadata()
            records = chunks.records_of(metadata)
            return assemble(metadata, records, chunks.parameters(), chunks.problems)

    def _read_metadata(self, run_id: str) -> RunLog:
        with self.backend.reader(run_id) as reader:
            chunks = ChunkReader(run_id, reader)
            log = msgspec.structs.replace(chunks.metadata(), steps={}, parameters={})
            log.found_problems = chunks.problems or UNSET
        return log

    def _read_run_file(self, run_id: str) -> RunLog:
        return checked_run_log(self.backend.load(run_id, RUN_FILE), run_id, RUN_FILE)

    def _change_metadata(self, run_id: str, change: Callable[[RunLog], RunLog]) -> RunLog:
        self._admit(run_id)
        with self.backend.lock(run_id, LOCK_FILE):
            log = self._read_run_file(run_id)
            check_format(log)
            new = as_stored(change(msgspec.structs.replace(log, steps={}, parameters={})))
            # Other tools keep steps there; they stay.
            whole = msgspec.structs.replace(new, steps=log.steps, parameters=log.parameters)
            self.backend.replace(run_id, RUN_FILE, self._encode(whole))
        return new

    def _run_ids(self) -> Iterable[str]:
        return self.backend.folders()

    def _delete(self, run_id: str) -> None:
        with self.backend.reader(run_id) as reader:
            ChunkReader(run_id, reader).metadata()  # nothing is made or removed in a folder that is no run
        with self.backend.lock(run_id, LOCK_FILE):
            self.backend.remove_folder(run_id)
        self._disown(run_id)

    def _sync(self, run_id: str) -> None:
        self.backend.sync(run_id)

    # --- records -----------------------------------------------------------------------------------------------------

    def _put(self, run_id: str, records: list[StepLog | BranchLog], parameters: dict[str, dict[str, Any]]) -> None:
        encoded = [(record, self._encode(record)) for record in records]
        self._admit(run_id)
        for record, data in encoded:
            self._put_one(run_id, _KIND_OF[type(record)], record.internal_name, data)
        for scope, values in parameters.items():
            self._set_parameters(run_id, scope, values)

    def _put_one(self, run_id: str, kind: str, name: str, data: bytes) -> None:
        with self._stripe(run_id, kind, name):
            owned = self._owned_in(run_id)
            file = owned.get((kind, name))
            if file is not None:
                self.backend.replace(run_id, file, data)
            else:
                owned[kind, name] = self._publish(run_id, kind, name, data)

    def _owned_in(self, run_id: str) -> dict[tuple[str, str], str]:
        return self._owned.setdefault(run_id, {})

    def _stripe(self, *key: str) -> threading.Lock:
        return self._stripes[hash(key) % _STRIPES]

    def _publish(self, run_id: str, kind: str, name: str, data: bytes) -> str:
        while True:
            file = chunk_file(kind, name, clock.tick())
            try:
                self.backend.publish(run_id, file, data)
            except FileExistsError:
                continue  # another process had the same nanosecond
            return file

    def _find(self, run_id: str, internal_name: str, kind: type[_R]) -> _R | None:
        with self.backend.reader(run_id) as reader:
            chunks = ChunkReader(run_id, reader)
            chunks.metadata()
            record = chunks.newest(kind, internal_name)
            if record is None or not chunks.may_hold_others_inside(internal_name):
                return self._with_parameters(chunks, record)
            log = assemble(RunLog(run_id=run_id), chunks.records(inside=internal_name), chunks.parameters())
        found = log.orphans.steps if isinstance(record, StepLog) else log.orphans.branches
        return {**log.steps, **found}.get(internal_name, record)  # type: ignore[return-value]  # one kind per name here

    def _with_parameters(self, chunks: ChunkReader, record: _R | None) -> _R | None:
        if isinstance(record, BranchLog):
            record.parameters = chunks.parameters_of(record.internal_name)
        return record

    def _change(self, run_id: str, internal_name: str, kind: type[_R], change: Callable[[_R], _R]) -> _R | None:
        self._admit(run_id)
        with self.backend.lock(run_id, LOCK_FILE):
            with self.backend.reader(run_id) as reader:
                chunks = ChunkReader(run_id, reader)
                record = chunks.newest(kind, internal_name, strict=True, with_series=False)
                if record is None:
                    return None
                chunk, earlier = chunks.origin(record)
            before = as_json(record)
            new = as_stored(change(record))
            difference = overlay.merge(before, earlier, as_json(new))
            if difference is not None and difference is not earlier:
                # Named after the chunk it lies over, so that each chunk has one at most.
                file = chunk_file(_UPDATE_OF[kind], internal_name, chunk.timestamp)
                update = Update(internal_name=internal_name, over=chunk.file, change=difference)
                self.backend.replace(run_id, file, encode(update, indent=4 if self.options.pretty else None))
        return new

    # --- metrics -----------------------------------------------------------------------------------------------------

    def _append_metrics(self, run_id: str, internal_name: str, series: Mapping[str, Sequence[MetricPoint]]) -> None:
        step = StepLog(name="", internal_name=internal_name, metric_series=as_series(series))
        points = as_json(step)["metric_series"]
        self._admit(run_id)
        owned = self._owned_in(run_id)
        over = owned.get((STEP, internal_name), "")
        line = encode(MetricLine(internal_name=internal_name, over=over, points=points)) + b"\n"
        with self._stripe(run_id, METRIC, internal_name):
            # A line that was cut off must stay the last of its file: after a failure the next line starts a new one.
            file = owned.pop((METRIC, internal_name), None)
            if file is None:
                file = self._publish(run_id, METRIC, internal_name, line)
            else:
                self.backend.append(run_id, file, line)
            owned[METRIC, internal_name] = file

    # --- parameters --------------------------------------------------------------------------------------------------

    def _set_parameters(self, run_id: str, scope: str, parameters: dict[str, Any]) -> None:
        # Before waiting for the lock, as bad values are refused here.
        stored = as_stored(Parameters(branch=scope, parameters=parameters)).parameters
        self._admit(run_id)
        file = parameter_file(scope)
        with self.backend.lock(run_id, LOCK_FILE):
            current = self._load_parameters(run_id, scope, file)
            current.parameters.update(stored)
            self.backend.replace(run_id, file, self._encode(current))

    def _get_parameters(self, run_id: str, scope: str) -> dict[str, Any]:
        return self._load_parameters(run_id, scope, parameter_file(scope)).parameters

    def _load_parameters(self, run_id: str, scope: str, file: str) -> Parameters:
        with self.backend.reader(run_id) as reader:
            try:
                return Parameters.read(reader.load(file), file)
            except FileNotFoundError:
                # No run, a run without such parameters, or one whose parameters another tool has left with it?
                log = checked_run_log(reader.load(RUN_FILE), run_id, RUN_FILE)
                return Parameters(branch=scope, parameters=log.parameters if not scope else {})


def _reset_after_fork() -> None:
    for store in list(_stores):
        store.reset_after_fork()


if hasattr(os, "register_at_fork"):
    os.register_at_fork(after_in_child=_reset_after_fork)
