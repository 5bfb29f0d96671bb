"""A run of runnable's that is spread over files in a folder, in either of its layouts."""

from __future__ import annotations

import re
from collections.abc import Iterable, Iterator
from contextlib import contextmanager
from datetime import datetime
from typing import Any

from chunkstore.backends.reader import FolderReader
from chunkstore.maintenance.importing.contents import as_record, parsed, run_log_in
from chunkstore.maintenance.importing.report import FAILURES, ImportReport
from chunkstore.maintenance.importing.times import begin_of
from chunkstore.names import BRANCH, RUN_FILE, STEP, is_parameter_file, parse_chunk_file
from chunkstore.records.assemble import assemble, bare, flatten_branches, flatten_steps
from chunkstore.records.base import Record
from chunkstore.records.codec import corrupt
from chunkstore.records.encoding import encode_record
from chunkstore.records.models import BranchLog, RunLog, StepLog
from chunkstore.stores.reading.chunk_reader import UNKNOWN

_Key = tuple[type[Record], str]

#: A record of 0.50 has no time in the name of its file. A name that ends in "json" by itself gets no suffix there.
_RECORD_FILE = re.compile(rf"({STEP}|{BRANCH})-.+json\Z", re.DOTALL)
_TYPES: dict[str, type[StepLog | BranchLog]] = {STEP: StepLog, BRANCH: BranchLog}
#: Nanoseconds since the epoch, in 2001: a smaller number at the end of a file name is part of the name.
_EARLIEST = 10**18
#: Later than any time in the name of a file.
_LAST = 2**63


def is_run_folder(files: list[str]) -> bool:
    """Tell by the names of the files in a folder whether it is that of a run, of whichever layout."""
    return RUN_FILE in files or any(parse_chunk_file(file) or _RECORD_FILE.match(file) for file in files)


class RunnableFolder:
    """A run of runnable's that is spread over files.

    Args:
        run_id: the run.
        reader: its folder.
        files: the names of what is in it.
        report: where to add what cannot be read.
    """

    def __init__(self, run_id: str, reader: FolderReader, files: list[str], report: ImportReport) -> None:
        self._run_id = run_id
        self._reader = reader
        self._files = sorted(files)
        self._report = report
        self._found: dict[_Key, StepLog | BranchLog] = {}
        self._parameters: dict[str, dict[str, Any]] = {}

    def assembled(self) -> RunLog | None:
        """Return the whole run; None if nothing of it can be read."""
        metadata = self._metadata()
        records = self._records()
        if metadata is None and not records:
            return None
        log = metadata or RunLog(run_id=self._run_id, status=UNKNOWN)
        self._parameters[""] = log.parameters
        # What stands in a file of its own says more than a copy inside another file, and that more than the run's.
        for record in flatten_steps(log.steps, self._parameters):
            self._put(record)
        for record in records:
            for nested in self._inside(record):
                self._put(nested)
        for record in records:
            self._found.pop(_key(record), None)
            self._put(bare(record))
        self._parameters[""] = {**self._parameters[""], **self._parameters_of_their_own()}
        return assemble(log, self._found.values(), self._parameters)

    def _metadata(self) -> RunLog | None:
        try:
            return run_log_in(parsed(self._reader, RUN_FILE), self._run_id, RUN_FILE)
        except FAILURES as error:
            self._report.note(self._run_id, f"{self._run_id}/{RUN_FILE}", error)
            return None

    def _put(self, record: StepLog | BranchLog) -> None:
        self._found[_key(record)] = record

    def _inside(self, record: StepLog | BranchLog) -> Iterable[StepLog | BranchLog]:
        if isinstance(record, StepLog):
            return list(flatten_branches(record.branches, self._parameters))
        scope = record.internal_name
        self._parameters[scope] = {**self._parameters.get(scope, {}), **record.parameters}
        return list(flatten_steps(record.steps, self._parameters))

    def _records(self) -> list[StepLog | BranchLog]:
        """Return what has files of its own, in order of execution: those without a time in their name come last."""
        found: list[tuple[int, datetime, StepLog | BranchLog]] = []
        for file in self._files:
            match = _RECORD_FILE.match(file)
            if match:
                with self._noting(file):
                    record = as_record(_TYPES[match[1]], parsed(self._reader, file), file)
                    chunk = parse_chunk_file(file)
                    time = chunk.timestamp if chunk and chunk.timestamp >= _EARLIEST else _LAST
                    found.append((time, begin_of(record), record))
        found.sort(key=lambda entry: entry[:2])
        return [record for *_, record in found]

    def _parameters_of_their_own(self) -> dict[str, Any]:
        """Return the parameters that have files of their own, one each."""
        found: dict[str, Any] = {}
        for file in self._files:
            if is_parameter_file(file):
                with self._noting(file):
                    raw = parsed(self._reader, file)
                    if not isinstance(raw, dict):
                        raise corrupt(file, 0, "it holds no parameter")
                    encode_record(
                        RunLog(run_id="", parameters=raw)
                    )  # what cannot be recorded is a problem of this file
                    found.update(raw)
        return found

    @contextmanager
    def _noting(self, file: str) -> Iterator[None]:
        with self._report.noting(self._run_id, f"{self._run_id}/{file}"):
            yield


def _key(record: StepLog | BranchLog) -> _Key:
    return type(record), record.internal_name
