"""The runs in a folder, in any of the layouts, and how each is read."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any, NamedTuple

from chunkstore.backends.base import PROCESS
from chunkstore.backends.disk.directory import DirectoryBackend
from chunkstore.backends.errors import MissingError
from chunkstore.backends.reader import FolderReader
from chunkstore.errors import ConfigurationError
from chunkstore.maintenance.importing.contents import parsed, run_log_in
from chunkstore.maintenance.importing.report import FAILURES, ImportReport
from chunkstore.maintenance.importing.runnable_folder import RunnableFolder, is_run_folder
from chunkstore.names import (
    BRANCH_UPDATE,
    DOCUMENT_SUFFIX,
    METRIC,
    RUN_FILE,
    STEP_UPDATE,
    is_parameter_file,
    parse_chunk_file,
)
from chunkstore.records.codec import corrupt
from chunkstore.records.models import NOTES, RunLog
from chunkstore.stores.named import make_store

_TOP = ""
#: Only chunkstore writes such files.
_OWN_KINDS = frozenset({STEP_UPDATE, BRANCH_UPDATE, METRIC})
_OWN_PARAMETERS = {"branch", "parameters"}


class Source(NamedTuple):
    """A run that was found.

    Attributes:
        run_id: the run.
        place: its file or folder.
        read: returns the whole run, or None if nothing of it can be read; adds to the report what cannot.
    """

    run_id: str
    place: str
    read: Callable[[ImportReport], RunLog | None]


def find_runs(source: str, report: ImportReport) -> list[Source]:
    """Return the runs in a folder.

    Args:
        source: the folder.
        report: where to add what can be no run, though it has the name of one.

    Raises:
        ConfigurationError: there is no such folder.
    """
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
                if is_run_folder(files):
                    found.append(Source(name, name, _folder_reader(name, backend, source)))
            elif name.endswith(DOCUMENT_SUFFIX):
                run_id = name[: -len(DOCUMENT_SUFFIX)]
                found.append(Source(run_id, name, _document_reader(run_id, backend, source)))
    return found


def _files_of(name: str, backend: DirectoryBackend) -> list[str] | None:
    """Return the names of what is in a folder; None for what is no folder, if it may be tried as a document."""
    try:
        with backend.reader(name) as reader:
            return reader.names()
    except MissingError:
        if name.endswith(DOCUMENT_SUFFIX):
            return None
        raise corrupt(name, 0, "it is no folder, but a link, pipe or device, or was removed just now") from None


def is_of_chunkstore(run_id: str, source: str) -> bool:
    """Tell whether chunkstore has recorded a run in a folder, or has gone on with it."""
    with DirectoryBackend(source, durability=PROCESS).reader(run_id) as reader:
        return _is_own_folder(reader, reader.names())


def _document_reader(run_id: str, backend: DirectoryBackend, source: str) -> Callable[[ImportReport], RunLog | None]:
    file = f"{run_id}{DOCUMENT_SUFFIX}"

    def read(report: ImportReport) -> RunLog:
        with backend.reader(_TOP) as reader:
            raw = parsed(reader, file)
        log = run_log_in(raw, run_id, file)
        if log.notes or "bookkeeping" in raw:
            log = make_store("file-system", {"log_folder": source}).get_run_log(run_id)
        for problem in log.problems:
            report.note(run_id, file, problem.message)
        return log

    return read


def _folder_reader(run_id: str, backend: DirectoryBackend, source: str) -> Callable[[ImportReport], RunLog | None]:
    def read(report: ImportReport) -> RunLog | None:
        with backend.reader(run_id) as reader:
            files = reader.names()
            if _is_own_folder(reader, files):
                log: RunLog | None = make_store("chunked-fs", {"log_folder": source}).get_run_log(run_id)
            else:
                log = RunnableFolder(run_id, reader, files, report).assembled()
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
        return parsed(reader, file)
    except FAILURES:
        return None
