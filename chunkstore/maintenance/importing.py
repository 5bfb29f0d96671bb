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
import re
from collections.abc import Callable, Iterable, Iterator
from datetime import datetime, timezone
from typing import Any, NamedTuple

import msgspec
from msgspec import field

from chunkstore.assemble import assemble, bare, flatten_branches, flatten_steps
from chunkstore.backends.base import FolderReader
from chunkstore.backends.directory import PROCESS, DirectoryBackend
from chunkstore.clock import parse_time, utc_now
from chunkstore.codec import corrupt
from chunkstore.errors import ChunkstoreError, ConfigurationError, CorruptChunkError, RunLogExistsError
from chunkstore.models import NOTES, BranchLog, JobLog, RunLog, StepAttempt, StepLog
from chunkstore.names import BRANCH, PARAMETER, RUN_FILE, STEP, check_run_id, parse_chunk_file
from chunkstore.records import Record, RecordCodec
from chunkstore.stores.base import Store
from chunkstore.stores.chunk_reader import UNKNOWN
from chunkstore.stores.chunked import ChunkedStore
from chunkstore.stores.named import make_store

_TOP = ""
_NEVER = datetime.max.replace(tzinfo=timezone.utc)
_DOCUMENT = re.compile(r"(?P<run_id>[^.].*)\.json\Z")
#: A record of runnable's 0.50 has no time in the name of its file.
_UNTIMED = re.compile(rf"(?P<kind>{STEP}|{BRANCH})-(?P<name>.+)\.json\Z")
_PARAMETER = re.compile(rf"{PARAMETER}-(?P<key>.*)\.json\Z")
_TYPES: dict[str, type[StepLog | BranchLog]] = {STEP: StepLog, BRANCH: BranchLog}


class ImportProblem(msgspec.Struct, frozen=True):
    """Something that could not be read, or not be brought over.

    Attributes:
        run_id: the run that it belongs to.
        file: the file, below the folder that was imported; empty where it is the run as a whole.
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


#: Returns a whole run, or None if nothing of it can be read; adds what cannot to the problems.
_Reader = Callable[[list[ImportProblem]], RunLog | None]


class _Found(NamedTuple):
    run_id: str
    read: _Reader


def import_runs(source: str, store: Store, *, progress: Callable[[str, int, int], None] | None = None) -> ImportReport:
    """Record every run of a folder in a store. The folder is only read; a run that the store holds is left alone.

    No field is lost: those that chunkstore does not know are kept beside those that it does. Each run appears in the
    store whole or not at all, so an import that was interrupted can simply be run again.

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
    backend = DirectoryBackend(source, durability=PROCESS)
    try:
        found = list(_find_runs(source, backend))
    except FileNotFoundError:
        raise ConfigurationError(
            f"Cannot import from {source!r}: there is no such folder. Give the folder that holds the runs, such as "
            ".run_log_store.",
            file=source,
            key="source",
            expected="a folder",
        ) from None
    for number, run in enumerate(found):
        if progress:
            progress(run.run_id, number, len(found))
        _import_run(run, store, report)
    return report


def _import_run(run: _Found, store: Store, report: ImportReport) -> None:
    try:
        check_run_id(run.run_id)
        if store.has_run(run.run_id):
            report.present.append(run.run_id)
            return
        log = run.read(report.problems)
        if log is not None:
            store.add_run_log(log)
            if store.options.durability != PROCESS:
                store.sync(run.run_id)
            report.imported.append(run.run_id)
    except RunLogExistsError:
        report.present.append(run.run_id)  # another import was quicker
    except ChunkstoreError as error:
        report.problems.append(ImportProblem(run.run_id, "", str(error)))


def _find_runs(source: str, backend: DirectoryBackend) -> Iterator[_Found]:
    own = make_store("chunked-fs", {"log_folder": source})
    assert isinstance(own, ChunkedStore)
    with backend.reader(_TOP) as top:
        entries = sorted(top.names())
    folders = {name for name in backend.folders() if not name.startswith(".")}
    for name in entries:
        match = _DOCUMENT.match(name)
        if name in folders:
            yield from _folder(name, backend, own)
        elif match:
            yield _Found(match["run_id"], _document_reader(match["run_id"], name, backend, source))


def _folder(name: str, backend: DirectoryBackend, own: ChunkedStore) -> Iterator[_Found]:
    with backend.reader(name) as reader:
        files = reader.names()
    if RUN_FILE in files or any(map(_is_record, files)):
        yield _Found(name, _folder_reader(name, backend, own))


def _is_record(file: str) -> bool:
    return parse_chunk_file(file) is not None or _UNTIMED.match(file) is not None


# --- one document per run --------------------------------------------------------------------------------------------


def _document_reader(run_id: str, file: str, backend: DirectoryBackend, source: str) -> _Reader:
    def read(problems: list[ImportProblem]) -> RunLog | None:
        try:
            with backend.reader(_TOP) as reader:
                raw = _parsed(reader, file)
            if isinstance(raw, dict) and NOTES in (raw.get("run_config") or {}):
                return make_store("file-system", {"log_folder": source}).get_run_log(run_id)
            log = _run_log(raw, run_id, file)
        except (ChunkstoreError, FileNotFoundError) as error:
            problems.append(ImportProblem(run_id, file, _reason(error)))
            return None
        return _dated(log)

    return read


# --- a folder per run ------------------------------------------------------------------------------------------------


def _folder_reader(run_id: str, backend: DirectoryBackend, own: ChunkedStore) -> _Reader:
    def read(problems: list[ImportProblem]) -> RunLog | None:
        with backend.reader(run_id) as reader:
            folder = _RunFolder(run_id, reader, problems)
            if NOTES not in folder.metadata.run_config:
                return folder.assembled()
        log = own.get_run_log(run_id)
        problems.extend(ImportProblem(run_id, f"{run_id}/{problem.file}", problem.message) for problem in log.problems)
        return log

    return read


class _RunFolder:
    """A run of runnable's that is spread over files.

    Args:
        run_id: the run.
        reader: its folder.
        problems: where to add what cannot be read.
    """

    def __init__(self, run_id: str, reader: FolderReader, problems: list[ImportProblem]) -> None:
        self._run_id = run_id
        self._reader = reader
        self._problems = problems
        self.metadata = self._metadata()

    def _metadata(self) -> RunLog:
        try:
            return _run_log(_parsed(self._reader, RUN_FILE), self._run_id, RUN_FILE)
        except (ChunkstoreError, FileNotFoundError) as error:
            self._problem(RUN_FILE, error)
            return RunLog(run_id=self._run_id, status=UNKNOWN)

    def assembled(self) -> RunLog:
        """Return the whole run."""
        parameters = {"": self.metadata.parameters}
        records: dict[tuple[type[Record], str], StepLog | BranchLog] = {}
        for record in [*self.metadata.steps.values(), *self._records()]:
            # The file of a record says more than a copy of it that stands inside another one.
            records.pop((type(record), record.internal_name), None)
            records[type(record), record.internal_name] = bare(record)
            inner: Iterable[StepLog | BranchLog]
            if isinstance(record, StepLog):
                inner = flatten_branches(record.branches, parameters)
            else:
                inner = flatten_steps(record.steps, parameters)
                parameters[record.internal_name] = {**parameters.get(record.internal_name, {}), **record.parameters}
            for nested in inner:
                records.setdefault((type(nested), nested.internal_name), nested)
        parameters[""] = {**self.metadata.parameters, **self._parameters()}
        return _dated(assemble(self.metadata, records.values(), parameters))

    def _records(self) -> list[StepLog | BranchLog]:
        """Return what has files of its own, in order of execution."""
        timed: list[tuple[int, str, StepLog | BranchLog]] = []
        untimed: list[tuple[str, str, StepLog | BranchLog]] = []
        for file in self._reader.names():
            chunk = parse_chunk_file(file)
            match = _UNTIMED.match(file)
            kind = chunk.kind if chunk else match["kind"] if match else ""
            record = self._record(file, kind) if kind in _TYPES else None
            if record is None:
                continue
            if chunk:
                timed.append((chunk.timestamp, file, record))
            else:
                untimed.append((_earliest(record), file, record))
        return [record for *_, record in [*sorted(timed, key=_first_two), *sorted(untimed, key=_first_two)]]

    def _record(self, file: str, kind: str) -> StepLog | BranchLog | None:
        try:
            return RecordCodec.of(_TYPES[kind]).convert(_parsed(self._reader, file), file)
        except (ChunkstoreError, FileNotFoundError) as error:
            self._problem(file, error)
            return None

    def _parameters(self) -> dict[str, Any]:
        """Return the parameters that have files of their own, one each."""
        found: dict[str, Any] = {}
        for file in sorted(self._reader.names()):
            if not _PARAMETER.match(file):
                continue
            try:
                raw = _parsed(self._reader, file)
                if not isinstance(raw, dict):
                    raise corrupt(file, 0, "it holds no parameter")
            except (ChunkstoreError, FileNotFoundError) as error:
                self._problem(file, error)
            else:
                found.update(raw)
        return found

    def _problem(self, file: str, error: Exception) -> None:
        self._problems.append(ImportProblem(self._run_id, f"{self._run_id}/{file}", _reason(error)))


def _first_two(entry: tuple[Any, str, StepLog | BranchLog]) -> tuple[Any, str]:
    return entry[0], entry[1]


# --- bytes and times -------------------------------------------------------------------------------------------------


def _parsed(reader: FolderReader, file: str) -> Any:
    """Return what a file holds; runnable writes NaN and infinities as Python does, which is no JSON."""
    try:
        return json.loads(reader.load(file))
    except RecursionError:
        raise corrupt(file, 0, "it is nested too deep") from None
    except ValueError as error:
        if isinstance(error, CorruptChunkError):
            raise
        raise corrupt(file, getattr(error, "pos", 0), getattr(error, "msg", str(error))) from None


def _run_log(raw: Any, run_id: str, file: str) -> RunLog:
    log = RecordCodec.of(RunLog).convert(raw, file)
    if log.run_id != run_id:
        raise corrupt(file, 0, f"it holds the run {log.run_id!r}, not {run_id!r}")
    return log


def _reason(error: Exception) -> str:
    if isinstance(error, CorruptChunkError):
        return f"{error.reason} (byte {error.offset})"
    return "it is missing" if isinstance(error, FileNotFoundError) else str(error)


def _dated(log: RunLog) -> RunLog:
    """Note when a run began and ended, for lists of runs; runnable records times of attempts alone."""
    attempts = list(_attempts(log))
    starts = [attempt.start_time for attempt in attempts if attempt.start_time]
    ends = [attempt.end_time for attempt in attempts if attempt.end_time]
    notes = {"created": min(starts, key=_instant) if starts else utc_now()}
    if ends:
        notes["finished"] = max(ends, key=_instant)
    log.run_config = {**log.run_config, NOTES: {**notes, "imported": utc_now()}}
    return log


def _earliest(record: StepLog | BranchLog) -> str:
    """Return when the first attempt in a record began; empty if there was none."""
    return min((attempt.start_time for attempt in _attempts(record) if attempt.start_time), key=_instant, default="")


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


def _instant(text: str) -> datetime:
    """Return a time to compare; a text that is none counts as the latest."""
    return parse_time(text) or _NEVER
