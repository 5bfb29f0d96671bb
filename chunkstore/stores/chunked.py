"""The chunked layout: a folder per run, a file per record, one writer per file."""

from __future__ import annotations

import os
import threading
import weakref
from collections.abc import Callable, Iterable, Mapping, Sequence
from typing import Any, TypeVar

from chunkstore import overlay
from chunkstore.assemble import assemble
from chunkstore.backends.base import Backend
from chunkstore.clock import clock
from chunkstore.codec import encode
from chunkstore.models import BranchLog, MetricPoint, Record, RecordCodec, RunLog, StepLog, encode_record
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
from chunkstore.stores.base import Store, StoreOptions, as_json, check_format
from chunkstore.stores.chunk_reader import ChunkReader, MetricLine, Parameters, Update, checked_run_log

_R = TypeVar("_R", bound=StepLog | BranchLog)
_Key = tuple[str, str, str]

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
        # The files that this object wrote, by run, kind and internal name. Never inherited: see reset_after_fork.
        self._owned: dict[_Key, str] = {}
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
        for key in [key for key in self._owned if key[0] == run_id]:
            del self._owned[key]

    def _read(self, run_id: str) -> RunLog:
        with self.backend.reader(run_id) as reader:
            chunks = ChunkReader(run_id, reader)
            metadata = chunks.metadata()
            records = chunks.records()
            return assemble(metadata, records, chunks.parameters(), chunks.problems)

    def _read_metadata(self, run_id: str) -> RunLog:
        data = self.backend.load(run_id, RUN_FILE)
        return checked_run_log(data, run_id, RUN_FILE)

    def _change_metadata(self, run_id: str, change: Callable[[RunLog], RunLog]) -> RunLog:
        with self.backend.lock(run_id, LOCK_FILE):
            log = self._read_metadata(run_id)
            check_format(log)
            new = change(log)
            data = self._encode(new)
            self.backend.replace(run_id, RUN_FILE, data)
        return RecordCodec.of(RunLog).decode(data)

    def _run_ids(self) -> Iterable[str]:
        return self.backend.folders()

    def _delete(self, run_id: str) -> None:
        self._read_metadata_or_folder(run_id)
        with self.backend.lock(run_id, LOCK_FILE):
            self.backend.remove_folder(run_id)
        self._disown(run_id)

    def _read_metadata_or_folder(self, run_id: str) -> None:
        """Raise FileNotFoundError before anything is made in a folder that is no run."""
        with self.backend.reader(run_id) as reader:
            ChunkReader(run_id, reader).metadata()

    def _sync(self, run_id: str) -> None:
        self.backend.sync(run_id)

    # --- records -----------------------------------------------------------------------------------------------------

    def _put(self, run_id: str, record: StepLog | BranchLog) -> None:
        data = self._encode(record)
        self._admit(run_id)
        kind = _KIND_OF[type(record)]
        key = (run_id, kind, record.internal_name)
        with self._stripes[hash(key) % _STRIPES]:
            owned = self._owned.get(key)
            if owned is not None:
                self.backend.replace(run_id, owned, data)
                return
            file = self._publish(run_id, kind, record.internal_name, data)
            self._owned[key] = file

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
                record = chunks.newest(kind, internal_name, strict=True)
                if record is None:
                    return None
                chunk, earlier = chunks.origin(record)
            if isinstance(record, StepLog):
                chunks.without_series(record)
            before = as_json(record)
            new = change(record)
            after = as_json(new)
            difference = overlay.merge(before, earlier, after)
            if difference is not None and difference is not earlier:  # == would take 1 and true for the same
                # Named after the chunk it lies over, so that each chunk has one at most.
                file = chunk_file(_UPDATE_OF[kind], internal_name, chunk.timestamp)
                update = Update(internal_name=internal_name, over=chunk.file, change=difference)
                self.backend.replace(run_id, file, encode(update, indent=4 if self.options.pretty else None))
        return RecordCodec.of(kind).decode(encode(after))

    # --- metrics -----------------------------------------------------------------------------------------------------

    def _append_metrics(self, run_id: str, internal_name: str, series: Mapping[str, Sequence[MetricPoint]]) -> None:
        lists = {name: list(points) for name, points in series.items()}
        points = as_json(StepLog(name="", internal_name=internal_name, metric_series=lists))["metric_series"]
        over = self._owned.get((run_id, STEP, internal_name), "")
        line = encode(MetricLine(internal_name=internal_name, over=over, points=points)) + b"\n"
        self._admit(run_id)
        key = (run_id, METRIC, internal_name)
        with self._stripes[hash(key) % _STRIPES]:
            # A line that was cut off must stay the last of its file: after a failure the next line starts a new one.
            file = self._owned.pop(key, None)
            if file is None:
                file = self._publish(run_id, METRIC, internal_name, line)
            else:
                self.backend.append(run_id, file, line)
            self._owned[key] = file

    # --- parameters --------------------------------------------------------------------------------------------------

    def _set_parameters(self, run_id: str, scope: str, parameters: dict[str, Any]) -> None:
        encode_record(Parameters(branch=scope, parameters=parameters))  # refuse bad values before waiting for the lock
        self._admit(run_id)
        file = parameter_file(scope)
        with self.backend.lock(run_id, LOCK_FILE):
            current = self._load_parameters(run_id, scope, file)
            current.parameters.update(parameters)
            self.backend.replace(run_id, file, self._encode(current))

    def _get_parameters(self, run_id: str, scope: str) -> dict[str, Any]:
        return self._load_parameters(run_id, scope, parameter_file(scope)).parameters

    def _load_parameters(self, run_id: str, scope: str, file: str) -> Parameters:
        with self.backend.reader(run_id) as reader:
            try:
                return Parameters.read(reader.load(file), scope, file)
            except FileNotFoundError:
                reader.load(RUN_FILE)  # no run, or a run without such parameters?
                return Parameters(branch=scope)


def _reset_after_fork() -> None:
    for store in list(_stores):
        store.reset_after_fork()


if hasattr(os, "register_at_fork"):
    os.register_at_fork(after_in_child=_reset_after_fork)
