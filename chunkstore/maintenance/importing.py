"""Moving in: runs that `runnable` (https://pypi.org/project/runnable/) recorded, or another store of chunkstore's.

Four layouts are read, all in one folder if need be:

- one document per run, `<run_id>.json`: runnable's `file-system`;
- a folder per run with `RunLog.json`, which holds the steps, and a `BranchLog-<name>.json` for each branch, which holds
  its steps: runnable's `chunked-fs` of 2025 (0.50);
- a folder per run with a `StepLog-<name>-<ns>.json` and `BranchLog-<name>-<ns>.json` for each record, and a
  `Parameter-<key>.json` for each parameter: runnable's `chunked-fs` of 2024;
- the runs of chunkstore itself.
"""

from __future__ import annotations

import json
import os
import re
from collections.abc import Callable, Iterable, Iterator
from contextlib import contextmanager
from datetime import datetime, timezone
from typing import Any, NamedTuple, TypeVar

import msgspec
from msgspec import field

from chunkstore.backends.base import PROCESS, FolderReader, MissingError
from chunkstore.backends.disk.directory import DirectoryBackend
from chunkstore.clock import parse_time, utc_now
from chunkstore.errors import ChunkstoreError, ConfigurationError, CorruptChunkError, RunLogExistsError
from chunkstore.maintenance.imported_data import keep_data
from chunkstore.names import (
    BRANCH,
    BRANCH_UPDATE,
    METRIC,
    RUN_FILE,
    STEP,
    STEP_UPDATE,
    check_run_id,
    is_parameter_file,
    new_incarnation,
    parse_chunk_file,
)
from chunkstore.records.assemble import assemble, bare, flatten_branches, flatten_steps
from chunkstore.records.base import Record, RecordCodec, encode_record
from chunkstore.records.codec import corrupt
from chunkstore.records.models import NOTES, BranchLog, JobLog, RunLog, StepAttempt, StepLog
from chunkstore.stores.base import Store
from chunkstore.stores.chunked import ChunkedStore
from chunkstore.stores.named import make_store
from chunkstore.stores.reading.chunk_reader import UNKNOWN

_AnyRecord = TypeVar("_AnyRecord", bound=Record)
_Key = tuple[type[Record], str]

_TOP = ""
_SUFFIX = ".json"
#: A record of 0.50 has no time in the name of its file. A name that ends in "json" by itself gets no suffix there.
_RECORD_FILE = re.compile(rf"({STEP}|{BRANCH})-.+json\Z", re.DOTALL)
_TYPES: dict[str, type[StepLog | BranchLog]] = {STEP: StepLog, BRANCH: BranchLog}
#: Only chunkstore writes such files.
_OWN_KINDS = frozenset({STEP_UPDATE, BRANCH_UPDATE, METRIC})
_OWN_PARAMETERS = {"branch", "parameters"}
#: Nanoseconds since the epoch, in 2001: a smaller number at the end of a file name is part of the name.
_EARLIEST = 10**18
#: Later than any time in the name of a file.
_LAST = 2**63
_NEVER = datetime.min.replace(tzinfo=timezone.utc)

#: What cannot be read or recorded of one thing, and says nothing of the next.
_FAILURES = (ChunkstoreError, FileNotFoundError, RecursionError)


class ImportProblem(msgspec.Struct, frozen=True):
    """Something that could not be read, or not be brought over.

    Attributes:
        run_id: the run that it belongs to.
        file: the file, or the folder of the run, below the folder that was imported.
        message: what is wrong.
    """

    run_id: str
    file: str
    message: str


class ImportReport(msgspec.Struct, kw_only=True):
    """What an import did.

    Attributes:
        imported: the runs that were recorded; what of them could not be read is among the problems.
        present: the runs that the store held before; they were left as they are.
        problems: what could not be read or recorded.
    """

    imported: list[str] = field(default_factory=list)
    present: list[str] = field(default_factory=list)
    problems: list[ImportProblem] = field(default_factory=list)

    def note(self, run_id: str, file: str, error: Exception | str) -> None:
        """Add a problem; names of files may be any bytes, and what is shown of them is text."""
        shown = (text.encode(errors="backslashreplace").decode() for text in (run_id, file, _reason(error)))
        self.problems.append(ImportProblem(*shown))

    @contextmanager
    def noting(self, run_id: str, file: str) -> Iterator[None]:
        """Make a problem of what goes wrong with one file or run."""
        try:
            yield
        except _FAILURES as error:
            self.note(run_id, file, error)


class _Source(NamedTuple):
    """A run that was found.

    Attributes:
        run_id: the run.
        place: its file or folder.
        read: returns the whole run, or None if nothing of it can be read; adds to the report what cannot.
    """

    run_id: str
    place: str
    read: Callable[[ImportReport], RunLog | None]


def import_runs(
    source: str | os.PathLike[str], store: Store, *, progress: Callable[[str, int, int], None] | None = None
) -> ImportReport:
    """Record every run of a folder in a store. The folder is only read; a run that the store holds is left alone.

    No field is lost: those that chunkstore does not know are kept beside those that it does. Data stays where it is; it
    is not deleted with the run that was imported. Each run appears in the store whole or not at all, so an import that
    was interrupted can simply be run again. A run of which a part cannot be read is recorded without it; to import it
    again, once that part is mended, delete it first.

    Args:
        source: the folder that holds the runs.
        store: where they go.
        progress: called before each run with its id, how many came before it, and how many there are.

    Returns:
        What was imported, what was there, and what could not be read.

    Raises:
        ConfigurationError: there is no such folder.
    """
    report = ImportReport()
    source = os.fspath(source)
    found = _find_runs(source, report)
    for number, run in enumerate(found):
        if progress:
            progress(run.run_id, number, len(found))
        with report.noting(run.run_id, run.place):
            _import_run(run, source, store, report)
    return report


def _import_run(run: _Source, source: str, store: Store, report: ImportReport) -> None:
    check_run_id(run.run_id)
    if run.run_id in report.imported:
        report.note(run.run_id, run.place, "there is another run of this id here, which was imported")
    elif store.has_run(run.run_id):
        report.present.append(run.run_id)
        if _lies_in(store, source) and run.place == run.run_id and not _is_own(run.run_id, source):
            report.note(run.run_id, run.place, "it is in a layout of runnable's own; import it into another folder")
    elif (log := run.read(report)) is not None:
        incarnation = new_incarnation()
        # Before: should this be stopped in between, data is kept for nobody, which is better than lost for somebody.
        keep_data(store, log, incarnation, source)
        try:
            store.add_run_log(_dated(log), incarnation=incarnation)
        except RunLogExistsError:
            report.present.append(run.run_id)  # another import was quicker
            return
        report.imported.append(run.run_id)


def _lies_in(store: Store, source: str) -> bool:
    """Tell whether a store keeps its runs, as folders, in the folder that is imported."""
    return isinstance(store, ChunkedStore) and os.path.abspath(store.backend.location) == os.path.abspath(source)


def _is_own(run_id: str, source: str) -> bool:
    with DirectoryBackend(source, durability=PROCESS).reader(run_id) as reader:
        return _is_own_folder(reader, reader.names())


def _find_runs(source: str, report: ImportReport) -> list[_Source]:
    backend = DirectoryBackend(source, durability=PROCESS)
    try:
        with backend.reader(_TOP) as top:
            names = sorted(name for name in top.names() if not name.startswith("."))
    except FileNotFoundError:
        raise ConfigurationError(
            f"Cannot import from {source!r}: there is no such folder. Give the folder that holds the runs, such as "
            ".run_log_store.",
            file=source,
            key="source",
            expected="a folder",
        ) from None
    others = set(backend.folders())
    found = []
    for name in names:
        with report.noting(name, name):
            files = _files_of(name, backend) if name in others else None
            if files is not None:
                if _is_run(files):
                    found.append(_Source(name, name, _folder_reader(name, backend, source)))
            elif name.endswith(_SUFFIX):
                run_id = name[: -len(_SUFFIX)]
                found.append(_Source(run_id, name, _document_reader(run_id, backend, source)))
    return found


def _files_of(name: str, backend: DirectoryBackend) -> list[str] | None:
    """Return the names of what is in a folder; None for what is no folder, if it may be tried as a document."""
    try:
        with backend.reader(name) as reader:
            return reader.names()
    except MissingError:
        if name.endswith(_SUFFIX):
            return None
        raise corrupt(name, 0, "it is no folder, but a link, pipe or device, or was removed just now") from None


def _is_run(files: list[str]) -> bool:
    return RUN_FILE in files or any(parse_chunk_file(file) or _RECORD_FILE.match(file) for file in files)


# --- one document per run --------------------------------------------------------------------------------------------


def _document_reader(run_id: str, backend: DirectoryBackend, source: str) -> Callable[[ImportReport], RunLog | None]:
    file = f"{run_id}{_SUFFIX}"

    def read(report: ImportReport) -> RunLog:
        with backend.reader(_TOP) as reader:
            raw = _parsed(reader, file)
        log = _run_log(raw, run_id, file)
        if log.notes or "bookkeeping" in raw:
            log = make_store("file-system", {"log_folder": source}).get_run_log(run_id)
        for problem in log.problems:
            report.note(run_id, file, problem.message)
        return log

    return read


# --- a folder per run ------------------------------------------------------------------------------------------------


def _folder_reader(run_id: str, backend: DirectoryBackend, source: str) -> Callable[[ImportReport], RunLog | None]:
    def read(report: ImportReport) -> RunLog | None:
        with backend.reader(run_id) as reader:
            files = reader.names()
            if _is_own_folder(reader, files):
                log: RunLog | None = make_store("chunked-fs", {"log_folder": source}).get_run_log(run_id)
            else:
                log = _RunFolder(run_id, reader, files, report).assembled()
        for problem in log.problems if log else ():
            report.note(run_id, f"{run_id}/{problem.file}", problem.message)
        return log

    return read


def _is_own_folder(reader: FolderReader, files: list[str]) -> bool:
    """Tell whether chunkstore has recorded a run, or has gone on with it."""
    if any(chunk.kind in _OWN_KINDS for chunk in map(parse_chunk_file, files) if chunk):
        return True
    parameters = (file for file in files if is_parameter_file(file))
    if any(isinstance(raw := _or_none(reader, file), dict) and raw.keys() == _OWN_PARAMETERS for file in parameters):
        return True
    raw = _or_none(reader, RUN_FILE)
    config = raw.get("run_config") if isinstance(raw, dict) else None
    return isinstance(config, dict) and NOTES in config


def _or_none(reader: FolderReader, file: str) -> Any:
    try:
        return _parsed(reader, file)
    except _FAILURES:
        return None


class _RunFolder:
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
            return _run_log(_parsed(self._reader, RUN_FILE), self._run_id, RUN_FILE)
        except _FAILURES as error:
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
                    record = _as_record(_TYPES[match[1]], _parsed(self._reader, file), file)
                    chunk = parse_chunk_file(file)
                    time = chunk.timestamp if chunk and chunk.timestamp >= _EARLIEST else _LAST
                    found.append((time, _begin_of(record), record))
        found.sort(key=lambda entry: entry[:2])
        return [record for *_, record in found]

    def _parameters_of_their_own(self) -> dict[str, Any]:
        """Return the parameters that have files of their own, one each."""
        found: dict[str, Any] = {}
        for file in self._files:
            if is_parameter_file(file):
                with self._noting(file):
                    raw = _parsed(self._reader, file)
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


# --- bytes and times -------------------------------------------------------------------------------------------------


def _parsed(reader: FolderReader, file: str) -> Any:
    """Return what a file holds; runnable writes NaN and infinities as Python does, which is no JSON."""
    try:
        return json.loads(reader.load(file))
    except CorruptChunkError:
        raise
    except ValueError as error:
        raise corrupt(file, getattr(error, "pos", 0), getattr(error, "msg", str(error))) from None


def _as_record(kind: type[_AnyRecord], raw: Any, file: str) -> _AnyRecord:
    record = RecordCodec.of(kind).convert(raw, file)
    encode_record(record)  # what cannot be recorded is a problem of this file, and not of the whole run
    return record


def _run_log(raw: Any, run_id: str, file: str) -> RunLog:
    log = _as_record(RunLog, raw, file)
    if log.run_id != run_id:
        raise corrupt(file, 0, f"it holds the run {log.run_id!r}, not {run_id!r}")
    return log


def _reason(error: Exception | str) -> str:
    if isinstance(error, CorruptChunkError):
        return f"{error.reason} (byte {error.offset})"
    if isinstance(error, RecursionError):
        return "it is nested too deep"
    return "it is missing" if isinstance(error, FileNotFoundError) else str(error)


def _dated(log: RunLog) -> RunLog:
    """Note when a run began and ended, for lists of runs; runnable records times of attempts alone."""
    if log.notes:
        return log
    attempts = list(_attempts(log))
    starts = _ordered(attempt.start_time for attempt in attempts)
    ends = _ordered(attempt.end_time for attempt in attempts)
    notes = {"created": starts[0] if starts else utc_now()}
    if ends:
        notes["finished"] = ends[-1]
    log.run_config = {**log.run_config, NOTES: {**notes, "imported": utc_now()}}
    return log


def _begin_of(record: StepLog | BranchLog) -> datetime:
    """Return when the first attempt in a record began; what was never tried comes first."""
    starts = _ordered(attempt.start_time for attempt in _attempts(record))
    return (parse_time(starts[0]) if starts else None) or _NEVER


def _ordered(times: Iterable[str]) -> list[str]:
    """Return those texts that are times, in order."""
    moments = [(moment, text) for text in times if (moment := parse_time(text))]
    return [text for _, text in sorted(moments)]


def _attempts(record: Record) -> Iterator[StepAttempt]:
    if isinstance(record, (StepLog, JobLog)):
        yield from record.attempts
    if isinstance(record, RunLog) and record.job:
        yield from _attempts(record.job)
    if isinstance(record, StepLog):
        for branch in record.branches.values():
            yield from _attempts(branch)
    if isinstance(record, (RunLog, BranchLog)):
        for step in record.steps.values():
            yield from _attempts(step)
