"""A run that is read again whenever it changes: only what has changed is parsed.

The logs that are handed out share what has not changed, and are never altered afterwards.
"""

from __future__ import annotations

import time
from collections.abc import Iterable, Iterator, Mapping
from contextlib import AbstractContextManager
from typing import Any, Protocol

import msgspec
from msgspec import UNSET

from chunkstore.backends.reader import FileVersion, FolderReader
from chunkstore.clock import clock
from chunkstore.errors import ChunkstoreError
from chunkstore.names import (
    BRANCH,
    BRANCH_UPDATE,
    RUN_FILE,
    STEP,
    STEP_UPDATE,
    ChunkName,
    PinnedRunId,
    is_journal_file,
    is_parameter_file,
    is_sealed_file,
    names_around,
    parse_chunk_file,
)
from chunkstore.records import overlay
from chunkstore.records.assemble import branch_of_step, step_of_branch
from chunkstore.records.late import LateRecords
from chunkstore.records.models import BranchLog, RunLog, StepLog
from chunkstore.stores.chunk_files import Key, Parameters
from chunkstore.stores.packed import PackedFile
from chunkstore.stores.reading.chunk_reader import ChunkReader
from chunkstore.stores.reading.listing import Listing
from chunkstore.stores.reading.metric_lines import MetricLine
from chunkstore.stores.reading.order import in_order

#: Seconds between two looks at everything, at least that many times as long as one takes, and between two questions
#: whether the owner of the run lives; and between two of those where each takes requests.
_RESCAN, _SHARE, _QUESTION, _DEAR_QUESTION = 2.0, 50, 0.5, 10.0
_RECORDS = (STEP, BRANCH)
_UPDATES = (STEP_UPDATE, BRANCH_UPDATE)


class _OpenFolder(Protocol):
    def __call__(self) -> AbstractContextManager[FolderReader]: ...


class _Parsed(msgspec.Struct):
    """What a file held when it was read last; records are not altered after they were parsed."""

    record: StepLog | BranchLog | None = None
    change: overlay.Change | None = None
    parameters: Parameters | None = None
    lines: list[MetricLine] | None = None


class _CachingReader(ChunkReader):
    """Reads a run, and parses only those files that are not known."""

    def __init__(
        self, run_id: str, reader: FolderReader, parsed: dict[str, _Parsed], packed: dict[str, PackedFile]
    ) -> None:
        super().__init__(run_id, reader, keep=False, packed=packed)
        self._parsed = parsed

    def _record(
        self, chunk: ChunkName, change: overlay.Change | None, *, strict: bool = False
    ) -> StepLog | BranchLog | None:
        known = self._parsed.get(chunk.file)
        if known is None or known.record is None or known.change != change:
            record = super()._record(chunk, change, strict=strict)
            if record is None:
                return None
            self._parsed[chunk.file] = _Parsed(record=record, change=change)
        else:
            record = known.record
        # Records are filled when a run is put together, and the log that was handed out before holds the same.
        copy = msgspec.structs.replace(record)
        self._note_origin(copy, chunk, change)
        return copy

    def _is_known(self, file: str) -> bool:
        return file in self._parsed

    def _parameters(self, file: str, *, is_listed: bool) -> Parameters | None:
        known = self._parsed.get(file)
        if known is None:
            found = super()._parameters(file, is_listed=is_listed)
            if found is None:
                return None
            known = self._parsed[file] = _Parsed(parameters=found)
        return known.parameters

    def _metric_lines(self, chunk: ChunkName) -> Iterator[MetricLine]:
        known = self._parsed.get(chunk.file)
        if known is not None and known.lines is not None:
            return iter(known.lines)
        before = len(self.problems)
        lines = list(super()._metric_lines(chunk))
        if len(self.problems) == before:
            self._parsed[chunk.file] = _Parsed(lines=lines)
        return iter(lines)


class FollowedRun:
    """The newest log of a run, kept up to date.

    Args:
        run_id: the run.
        open_folder: opens the run's folder for a read.
    """

    def __init__(self, run_id: str, open_folder: _OpenFolder) -> None:
        self._run_id = run_id
        self._open_folder = open_folder
        self._parsed: dict[str, _Parsed] = {}
        self._packed: dict[str, PackedFile] = {}
        self._versions: dict[str, FileVersion] = {}
        self._log = RunLog(run_id=run_id)
        self._was_read = False
        #: Whether each look takes a request, so that one tells all; `state` finds out.
        self.looks_are_dear = False
        self._tree = _Tree(self._log, {})

    # --- what has changed --------------------------------------------------------------------------------------------

    def state(self) -> tuple[Any, ...]:
        """Return something that is another one after anything was written, as far as can be told at little cost.

        Raises:
            MissingError: the run is gone.
        """
        with self._open_folder() as reader:
            self.looks_are_dear = reader.reads_ahead
            if self.looks_are_dear:
                return ()
            journals = [
                (file, reader.size(file)) for file in self._packed if is_journal_file(file) and reader.has(file)
            ]
            return reader.changed_at(), journals

    def read_all(self) -> RunLog:
        """Return the log as it is now; every file is looked at, and those that have changed are parsed.

        Raises:
            MissingError: the run is gone.
        """
        with self._open_folder() as reader:
            versions = {}
            for file in reader.names():
                if _is_of_interest(file):
                    try:
                        versions[file] = reader.version(file)
                    except FileNotFoundError:
                        continue  # packed since it was listed
            changed = {file for file, version in versions.items() if self._versions.get(file) != version}
            changed |= self._versions.keys() - versions.keys()
            self._versions = versions
            return self._read(reader, changed) if changed or not self._was_read else self._log

    def read_changed(self, names: Iterable[str]) -> RunLog:
        """Return the log as it is now if nothing but files of these names has changed.

        Raises:
            MissingError: the run is gone.
        """
        with self._open_folder() as reader:
            changed = set()
            for file in filter(_is_of_interest, names):
                try:
                    version = reader.version(file)
                except FileNotFoundError:
                    break  # packed, or unpacked: there are many of them
                if self._versions.get(file) != version:
                    self._versions[file] = version
                    changed.add(file)
            else:
                return self._read_few(reader, changed)
        return self.read_all()

    # --- reading -----------------------------------------------------------------------------------------------------

    def _read(self, reader: FolderReader, changed: set[str]) -> RunLog:
        self._forget(reader, changed)
        chunks = _CachingReader(self._run_id, reader, self._parsed, self._packed)
        metadata = chunks.metadata()
        if not isinstance(self._run_id, PinnedRunId):
            self._run_id = PinnedRunId(self._run_id, metadata.incarnation)  # no other of its id is followed
        records = chunks.records_of(metadata)
        self._log = chunks.assembled(metadata, records)
        self._tree = _Tree(self._log, chunks.files_of(records))
        self._was_read = True
        return self._log

    def _forget(self, reader: FolderReader, changed: set[str]) -> list[str]:
        """Forget what was parsed of files that have changed; return the chunks in question."""
        chunks = [file for file in changed if not (is_journal_file(file) or is_sealed_file(file))]
        for file in changed - set(chunks):
            if not is_journal_file(file) or not reader.has(file):
                self._parsed.clear()  # sealed, or unsealed
                self._packed.pop(file, None)
                continue
            packed = self._packed.get(file)
            if packed is None:
                packed = self._packed[file] = PackedFile(reader, file, lambda _file, _error: None, keep=False)
                chunks += packed.names()
            else:
                chunks += packed.look_further(reader)
        for file in chunks:
            self._parsed.pop(file, None)
        return chunks

    def _read_few(self, reader: FolderReader, changed: set[str]) -> RunLog:
        if not changed:
            return self._log
        chunks = self._forget(reader, changed)
        if any(map(is_sealed_file, changed)) or any(pack.is_damaged for pack in self._packed.values()):
            return self._read(reader, set())
        in_order(chunks)  # whoever has seen a record writes later ones
        few = ChunkReader(self._run_id, reader, Listing(()), keep=False, packed=self._packed)
        for file in sorted(chunks, key=_in_time):
            if not self._insert(few, file):
                return self._read(reader, set())
        self._log = self._tree.log
        return self._log

    def _insert(self, few: ChunkReader, file: str) -> bool:
        """Put what one file holds now into the log; tell whether that could be done without a look at the rest."""
        tree = self._tree
        if tree.log.found_orphans is not UNSET or tree.log.found_problems is not UNSET or LateRecords.of(tree.log):
            return False
        if file == RUN_FILE:
            metadata = few.metadata()
            if metadata.steps or metadata.parameters or few.problems or few.late:
                return False
            tree.replace_metadata(metadata)
            return True
        chunk = parse_chunk_file(file)
        try:
            if chunk and chunk.kind in _UPDATES:
                chunk = few.updates.changed_file(chunk)
            record = few.record_in(chunk) if chunk and chunk.kind in _RECORDS else None
        except (ChunkstoreError, FileNotFoundError):
            return False
        if record is None or chunk is None or chunk.timestamp > clock.horizon() or tree.is_joined(record):
            return False
        self._parsed[chunk.file] = _Parsed(record=record, change=few.origin(record)[1])
        copy = msgspec.structs.replace(record)
        return tree.insert_step(copy, chunk) if isinstance(copy, StepLog) else tree.insert_branch(copy, chunk)


def _is_of_interest(file: str) -> bool:
    return (
        file == RUN_FILE
        or parse_chunk_file(file) is not None
        or is_parameter_file(file)
        or is_journal_file(file)
        or is_sealed_file(file)
    )


def _in_time(file: str) -> tuple[bool, int, str]:
    """Put records in order of execution, and the run's own record, which may say that it has finished, behind them."""
    chunk = parse_chunk_file(file)
    return file == RUN_FILE, chunk.timestamp if chunk else 0, file


class _Tree:
    """A log into which single records can be put; what was handed out before stays as it is.

    Args:
        log: a whole run.
        files: which chunk each record in it was read from, by kind and internal name.
    """

    def __init__(self, log: RunLog, files: Mapping[Key, ChunkName]) -> None:
        self.log = log
        self._files = dict(files)
        self._latest = max(((chunk.timestamp, chunk.file) for chunk in files.values()), default=(0, ""))
        self._steps: dict[str, StepLog] = {}
        self._branches: dict[str, BranchLog] = {}
        #: By name, the branch that a step stands in and the step that a branch stands in.
        self._home_of_step: dict[str, str] = {}
        self._home_of_branch: dict[str, str] = {}
        # Names that decide about the place of others: a new record of such a name may move some.
        self._parents: set[str] = set()
        self._beginnings: set[str] = set()
        for step in log.steps.values():
            self._note_step(step, "")
        # Records of several starts, or inside some: no single chunk tells what they are. And the names around those.
        self._joined = {name for name in self._steps if (STEP, name) not in self._files}
        self._joined |= {name for name in self._branches if (BRANCH, name) not in self._files}
        self._around_joined = {outer for name in self._joined for outer in names_around(name)}

    def is_joined(self, record: StepLog | BranchLog) -> bool:
        """Tell whether it takes more than its own chunk to tell what a record is, or others that are inside it."""
        name = record.internal_name
        names = [name, *names_around(name)]
        if isinstance(record, StepLog) and record.inside is not UNSET:
            names.append(record.inside)
        return name in self._around_joined or not self._joined.isdisjoint(names)

    def _note_step(self, step: StepLog, home: str) -> None:
        name = step.internal_name
        self._steps[name] = step
        self._home_of_step[name] = home
        self._parents.add(name.rpartition(".")[0])
        for branch in step.branches.values():
            self._note_branch(branch, name)

    def _note_branch(self, branch: BranchLog, home: str) -> None:
        name = branch.internal_name
        self._branches[name] = branch
        self._home_of_branch[name] = home
        end = name.rfind(".")
        while end > 0:
            self._beginnings.add(name[:end])
            end = name.rfind(".", 0, end)
        for step in branch.steps.values():
            self._note_step(step, name)

    def replace_metadata(self, metadata: RunLog) -> None:
        """Take over the run's own record."""
        self.log = msgspec.structs.replace(metadata, steps=self.log.steps, parameters=self.log.parameters)

    def insert_step(self, step: StepLog, chunk: ChunkName) -> bool:
        """Put a step into its place; tell whether that is known for sure."""
        name = step.internal_name
        known = self._steps.get(name)
        if step.branches or _has_points(step):
            return False
        if known is not None:
            if self._files.get((STEP, name)) != chunk or _has_points(known):
                return False
            home = self._home_of_step[name]
            step.branches = known.branches
        else:
            found = branch_of_step(step, self._branches)
            if found is None or not self._is_next(chunk) or name in self._beginnings:
                return False
            home = found
            self._note_step(step, home)
        self._files[STEP, name] = chunk
        self._put_step(step, home)
        return True

    def insert_branch(self, branch: BranchLog, chunk: ChunkName) -> bool:
        """Put a branch into its place; tell whether that is known for sure."""
        name = branch.internal_name
        known = self._branches.get(name)
        if branch.steps or branch.parameters:
            return False
        if known is not None:
            if self._files.get((BRANCH, name)) != chunk:
                return False
            home = self._home_of_branch[name]
            branch.steps, branch.parameters = known.steps, known.parameters
        else:
            found = step_of_branch(name, self._steps)
            if found is None or not self._is_next(chunk) or name in self._parents:
                return False
            home = found
            self._note_branch(branch, home)
        self._files[BRANCH, name] = chunk
        self._put_branch(branch, home)
        return True

    def _is_next(self, chunk: ChunkName) -> bool:
        """Tell whether a chunk comes after all that are here, and note that it does."""
        place = (chunk.timestamp, chunk.file)
        if place <= self._latest:
            return False
        self._latest = place
        return True

    def _put_step(self, step: StepLog, home: str) -> None:
        self._steps[step.internal_name] = step
        if not home:
            self.log = msgspec.structs.replace(self.log, steps={**self.log.steps, step.internal_name: step})
            return
        outer = self._branches[home]
        branch = msgspec.structs.replace(outer, steps={**outer.steps, step.internal_name: step})
        self._put_branch(branch, self._home_of_branch[home])

    def _put_branch(self, branch: BranchLog, home: str) -> None:
        self._branches[branch.internal_name] = branch
        outer = self._steps[home]
        step = msgspec.structs.replace(outer, branches={**outer.branches, branch.internal_name: branch})
        self._put_step(step, self._home_of_step[home])


def _has_points(step: StepLog) -> bool:
    """Tell whether a step holds points of series, which may come from files of their own."""
    return step.metric_series is not UNSET or any(attempt.metric_series is not UNSET for attempt in step.attempts)


class Patience:
    """When a follower looks at everything, whatever it was told, and when it asks whether the run was given up.

    Args:
        dear: whether it takes requests to ask that.
    """

    def __init__(self, *, dear: bool = False) -> None:
        self._between_questions = _DEAR_QUESTION if dear else _QUESTION
        self._next_look = time.monotonic() + _RESCAN
        self._next_question = time.monotonic() + self._between_questions

    def is_at_an_end(self) -> bool:
        """Tell whether it is time to look at everything."""
        return time.monotonic() >= self._next_look

    def look(self, run: FollowedRun) -> RunLog:
        """Look at everything, not so often that the follower does little else."""
        start = time.monotonic()
        try:
            return run.read_all()
        finally:
            end = time.monotonic()
            self._next_look = end + max(_RESCAN, _SHARE * (end - start))

    def may_be_over(self) -> bool:
        """Tell, from time to time, that it is worth asking whether anybody still records the run."""
        now = time.monotonic()
        if now < self._next_question:
            return False
        self._next_question = now + self._between_questions
        return True
