"""What is wrong with one run of a chunked store."""

from __future__ import annotations

import time
from collections import defaultdict
from collections.abc import Iterator
from typing import NamedTuple

from chunkstore.backends.disk.quarantine import QUARANTINE
from chunkstore.backends.entries import FILE, FOLDER, Entry
from chunkstore.backends.errors import MissingError
from chunkstore.clock import format_nanoseconds
from chunkstore.errors import ChunkstoreError, InvalidNameError
from chunkstore.maintenance.checking import findings
from chunkstore.maintenance.checking.either_layout import foreign_at_top, left_over_at_top, newer_format, no_run_id
from chunkstore.maintenance.checking.findings import Finding, finding
from chunkstore.maintenance.checking.recorded_data import data_findings
from chunkstore.maintenance.checking.times_and_data import (
    MISSING_CHUNKS,
    impossible_time_in_name,
    impossible_times,
    missing_steps,
)
from chunkstore.maintenance.left_overs import is_set_aside, is_temporary, is_worth_mentioning
from chunkstore.names import (
    ASIDE_PREFIX,
    BRANCH,
    BRANCH_UPDATE,
    JOINED_FILE,
    LOCK_FILE,
    METRIC,
    OWNER_FILE,
    PARAMETER,
    RUN_FILE,
    STEP,
    STEP_UPDATE,
    UNSYNCED_FILE,
    ChunkName,
    check_run_id,
    is_journal_file,
    is_parameter_file,
    is_sealed_file,
    parameter_file,
    parse_chunk_file,
    readable_name,
)
from chunkstore.records.models import BranchLog, Problem, RunLog, StepLog
from chunkstore.stores.chunked import ChunkedStore
from chunkstore.stores.contents import noted_contents
from chunkstore.stores.packed.packed_file import PackedFile
from chunkstore.stores.reading.chunk_reader import ChunkReader

_OWN_FILES = {RUN_FILE, LOCK_FILE, OWNER_FILE, JOINED_FILE, UNSYNCED_FILE}
_OWN_PREFIXES = tuple(f"{kind}-" for kind in (STEP, BRANCH, STEP_UPDATE, BRANCH_UPDATE, METRIC, PARAMETER))
#: What processes of older versions hold that have joined a run.
_JOINED_PREFIX = f"{OWNER_FILE}-"
#: NFS keeps files under such names that somebody has open, and removes them.
_NFS_PREFIX = ".nfs"
_UPDATES = {STEP_UPDATE, BRANCH_UPDATE}


class _Records(NamedTuple):
    """The records of a run that count, and where they are.

    Attributes:
        log: the run's own record, with all in its place.
        records: steps and branches in order.
        files: by kind and internal name, the chunk that holds the record.
        chunks: what read them.
        packed: the journals and sealed files.
    """

    log: RunLog
    records: list[StepLog | BranchLog]
    files: dict[tuple[str, str], ChunkName]
    chunks: ChunkReader
    packed: dict[str, PackedFile]


def check_chunked_run(store: ChunkedStore, run_id: str, *, with_data: bool) -> list[Finding]:
    """Return what is wrong with a run, or with a folder that could be one.

    Args:
        store: where it is.
        run_id: the name of the folder.
        with_data: whether the data in the catalog is compared with what was recorded of it.
    """
    try:
        check_run_id(run_id)
        entries = store.backend.entries(run_id)
        with store.backend.reader(run_id) as reader:
            packed: dict[str, PackedFile] = {}
            chunks = ChunkReader(run_id, reader, packed=packed)
            try:
                metadata = chunks.metadata()
            except MissingError:
                return _no_run(run_id, entries)
            records = chunks.records_of(metadata)
            files = chunks.files_of(records)
            log = chunks.assembled(metadata, records)
            found = _Records(log, records, files, chunks, packed)
            damage = list(_read_problems(run_id, found))
            is_told = bool(damage) or any(entry.name == QUARANTINE for entry in entries)
            return [
                *_entries(run_id, entries),
                *damage,
                *([] if is_told else missing_steps(log, f"{run_id}/{RUN_FILE}", records)),
                *_chunks(run_id, found, entries),
                *_times(run_id, found),
                *data_findings(store, log, records, with_hashes=with_data),
            ]
    except MissingError:
        return []  # deleted since it was listed
    except InvalidNameError as error:
        return [no_run_id(run_id, run_id, error)]
    except ChunkstoreError as error:
        return [
            finding(findings.UNREADABLE, run_id, run_id, str(error), "Check the disk, and who may read the folder.")
        ]


def _no_run(run_id: str, entries: list[Entry]) -> list[Finding]:
    if not entries or {entry.name for entry in entries} <= {*_OWN_FILES, QUARANTINE}:
        message = "The folder holds no record of a run: it is what was left when one was deleted, or never made."
        return [finding(findings.LEFT_OVER, run_id, run_id, message, "Remove the folder if nobody is writing to it.")]
    return [finding(findings.FOREIGN, run_id, run_id, "The folder is no run.")]


# --- what lies in the folder -----------------------------------------------------------------------------------------


def _entries(run_id: str, entries: list[Entry]) -> Iterator[Finding]:
    now = time.time_ns()
    names = {entry.name for entry in entries}
    for entry in entries:
        file = f"{run_id}/{entry.name}"
        if is_set_aside(entry):
            yield from _set_aside(run_id, entry, names)
        elif is_temporary(entry):
            if is_worth_mentioning(entry, now):
                when = format_nanoseconds(entry.modified_at)
                yield finding(findings.LEFT_OVER, run_id, file, f"A write that was begun at {when} was not finished.")
        elif entry.name == QUARANTINE and entry.kind == FOLDER:
            yield finding(findings.QUARANTINED, run_id, file, "Damaged files of this run were moved here.")
        elif not _is_ours(entry.name):
            yield _foreign(run_id, file, entry)


def _set_aside(run_id: str, entry: Entry, names: set[str]) -> Iterator[Finding]:
    true_name = entry.name.removeprefix(ASIDE_PREFIX)
    if entry.kind != FILE and true_name not in names:
        message = f"It is no regular file, but a {entry.kind}, and was set aside as {entry.name}."
        yield finding(findings.UNREADABLE, run_id, f"{run_id}/{true_name}", message)
        return
    message = f"It was set aside by somebody who was stopped; readers take it for {true_name}."
    advice = "Run `chunkstore seal` or `chunkstore verify --repair` again, whichever was stopped."
    yield finding(findings.LEFT_OVER, run_id, f"{run_id}/{entry.name}", message, advice)


def _is_ours(name: str) -> bool:
    return (
        name in _OWN_FILES
        or name.startswith((_JOINED_PREFIX, _NFS_PREFIX))
        or parse_chunk_file(name) is not None
        or is_parameter_file(name)
        or is_sealed_file(name)
        or is_journal_file(name)
    )


def _foreign(run_id: str, file: str, entry: Entry) -> Finding:
    if entry.name.startswith(_OWN_PREFIXES) and entry.kind == FILE:
        message = "It has a name like a record's, but not one that this version knows."
        advice = "If runnable recorded this run, bring it over with `chunkstore import`."
        return finding(findings.FOREIGN, run_id, file, message, advice)
    return finding(findings.FOREIGN, run_id, file, f"The {entry.kind} is none of the run's.")


# --- what is in it ---------------------------------------------------------------------------------------------------


def _read_problems(run_id: str, found: _Records) -> Iterator[Finding]:
    for problem in found.log.problems:
        if problem.kind == findings.TIME and parse_chunk_file(problem.file) is not None:
            continue  # told with the other times that cannot be
        file = _file_of_problem(problem, found) if problem.kind == findings.ORPHAN else problem.file
        where = f"{run_id}/{file}"
        message = _sentence(problem.message)
        if problem.kind in (findings.CORRUPT, findings.UNREADABLE):
            yield finding(problem.kind, run_id, where, message, _advice(file))
        elif problem.kind == findings.MISSING and noted_contents(found.log) is not None:
            yield finding(problem.kind, run_id, where, message, MISSING_CHUNKS)
        else:
            yield finding(problem.kind, run_id, where, message)
    yield from newer_format(found.log, f"{run_id}/{RUN_FILE}")


def _sentence(text: str) -> str:
    return f"{text[:1].upper()}{text[1:]}" + ("" if text.endswith(".") else ".")


def _advice(file: str) -> str:
    if file == RUN_FILE:
        return "Restore the file from a backup; the rest of the run can still be read."
    if is_sealed_file(file) or is_journal_file(file):
        return "Restore the file from a backup; all of it that is whole can still be read."
    return ""


def _file_of_problem(problem: Problem, found: _Records) -> str:
    """Return the file of an orphan, of which the problem has the internal name."""
    name = problem.file
    orphans = found.log.orphans
    if name in orphans.steps and (chunk := found.files.get((STEP, name))):
        return chunk.file
    if name in orphans.branches and (chunk := found.files.get((BRANCH, name))):
        return chunk.file
    if name in orphans.parameters:
        return parameter_file(name)
    return name if parse_chunk_file(name) else RUN_FILE  # metrics name their file; other tools keep steps with the run


def _chunks(run_id: str, found: _Records, entries: list[Entry]) -> Iterator[Finding]:
    counting = {chunk.file for chunk in found.files.values()}
    groups: dict[tuple[str, str], list[ChunkName]] = defaultdict(list)
    damaged = {problem.file for problem in found.log.problems}
    names = _chunk_names(found, entries)
    for chunk in names.values():
        yield from impossible_time_in_name(run_id, f"{run_id}/{chunk.file}", chunk)
        if chunk.kind in (STEP, BRANCH):
            groups[chunk.kind, chunk.encoded].append(chunk)
        elif chunk.kind in _UPDATES and chunk.file not in damaged:
            yield from _stale(run_id, chunk, found, counting, damaged)
    for group in groups.values():
        for chunk in group if len(group) > 1 else ():
            if chunk.file not in counting and chunk.file not in damaged:
                yield from _superseded(run_id, chunk, found)


def _chunk_names(found: _Records, entries: list[Entry]) -> dict[str, ChunkName]:
    names = [entry.name.removeprefix(ASIDE_PREFIX) for entry in entries]
    for pack in found.packed.values():
        try:
            names += pack.names()
        except (MissingError, ChunkstoreError):
            pass  # sealed anew meanwhile; or it is a problem already
    return {chunk.file: chunk for name in names if (chunk := parse_chunk_file(name))}


def _superseded(run_id: str, chunk: ChunkName, found: _Records) -> Iterator[Finding]:
    try:
        record = found.chunks.record_in(chunk)
    except ChunkstoreError:
        return
    newest = None if record is None else found.files.get((chunk.kind, record.internal_name))
    if record is None or newest is None or newest.file == chunk.file:
        return
    what = "step" if chunk.kind == STEP else "branch"
    name = readable_name(record.internal_name)
    message = f"The {what} {name} was recorded by two writers: {newest.file} is newer and counts."
    yield finding(findings.SUPERSEDED, run_id, f"{run_id}/{chunk.file}", message)


def _stale(run_id: str, chunk: ChunkName, found: _Records, counting: set[str], damaged: set[str]) -> Iterator[Finding]:
    try:
        over = found.chunks.updates.changed_file(chunk)
    except ChunkstoreError:
        return
    if over is not None and over.file not in counting and over.file not in damaged:
        message = f"It changes {over.file}, which does not count any more."
        yield finding(findings.STALE, run_id, f"{run_id}/{chunk.file}", message)


def _times(run_id: str, found: _Records) -> list[Finding]:
    def file_of(record: StepLog | BranchLog) -> str:
        kind = STEP if isinstance(record, StepLog) else BRANCH
        chunk = found.files.get((kind, record.internal_name))
        return f"{run_id}/{chunk.file if chunk else RUN_FILE}"

    return impossible_times(found.log, f"{run_id}/{RUN_FILE}", found.records, file_of)


# --- the top folder --------------------------------------------------------------------------------------------------


def check_top(entries: list[Entry]) -> Iterator[Finding]:
    """Yield what does not belong at the top of a chunked store, where every folder is a run."""
    now = time.time_ns()
    for entry in entries:
        if is_temporary(entry):
            if is_worth_mentioning(entry, now):
                yield left_over_at_top(entry)
        elif entry.kind != FOLDER and not entry.name.startswith("."):
            yield foreign_at_top(entry)
