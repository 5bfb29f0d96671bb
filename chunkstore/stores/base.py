"""What every store does: the public methods, concrete, over the few primitives that a layout fills."""

from __future__ import annotations

import os
import reprlib
from abc import ABC, abstractmethod
from collections.abc import Callable, Generator, Iterator, Mapping, Sequence
from contextlib import contextmanager
from typing import TYPE_CHECKING, Any, ClassVar, NamedTuple, Protocol, TypeVar

import msgspec

from chunkstore.backends.base import AT_THE_END, Backend, FolderReader, MissingError
from chunkstore.clock import clock, format_nanoseconds, utc_now
from chunkstore.errors import (
    BranchLogNotFoundError,
    ChunkstoreError,
    CorruptChunkError,
    InvalidValueError,
    RunLogExistsError,
    RunLogNotFoundError,
    StepLogNotFoundError,
    StoreIOError,
    StoreUsageError,
    UnsupportedFormatError,
)
from chunkstore.names import (
    PinnedRunId,
    check_name,
    check_run_id,
    data_folders,
    generate_run_id,
    incarnation_of,
    is_meant,
    new_incarnation,
)
from chunkstore.records.assemble import bare, flatten, flatten_branches, flatten_steps, step_counts
from chunkstore.records.base import MetricPoint, Record, RecordCodec, encode_record
from chunkstore.records.codec import decode, encode
from chunkstore.records.integrity import with_checksum
from chunkstore.records.models import (
    FAIL,
    FORMAT,
    INCARNATION,
    NOTES,
    PACKED_FORMAT,
    PROCESSING,
    RESUMED,
    SUCCESS,
    BranchLog,
    RunLog,
    RunSummary,
    StepLog,
    is_format,
)
from chunkstore.stores.runs.liveness import LIVE, LOST, Liveness, Owner, judge, judge_joined, judge_left
from chunkstore.stores.runs.run_list import Candidate, RunList, newest_first, summary_in, summary_of
from chunkstore.version import __version__

if TYPE_CHECKING:  # for annotations alone: recording stands on the stores
    from chunkstore.recording.run import Run

_R = TypeVar("_R", bound=StepLog | BranchLog)
_T = TypeVar("_T")
_AnyRecord = TypeVar("_AnyRecord", bound=Record)


FILES, JOURNAL = "files", "journal"
CONTAINERS = (FILES, JOURNAL)


class StoreOptions(msgspec.Struct, kw_only=True, forbid_unknown_fields=True):
    """What a store can be configured with.

    Attributes:
        log_folder: the folder that holds the runs.
        durability: what a returned call survives: `process`, `run` or `step`.
        pretty: whether JSON is written with line breaks and indents, for people who read it with `cat`.
        catalog_folder: the folder for data; empty for `.catalog` beside the log folder.
        lock_timeout: seconds to wait for a lock.
        container: what holds the chunks of a run: `files`, one for each, or `journal`, one that each writer appends to.
        seal_finished_runs: a run of more chunks than that is sealed when it finishes; None for never.
    """

    log_folder: str = ".run_log_store"
    durability: str = AT_THE_END
    pretty: bool = False
    catalog_folder: str = ""
    lock_timeout: float = 60.0
    container: str = FILES
    seal_finished_runs: int | None = None


class OwnerFiles(NamedTuple):
    """The files that those hold who record a run.

    Attributes:
        folder: where they are.
        owner: that of the process which has started the run.
        joined: that of all processes which have joined it.
    """

    folder: str
    owner: str
    joined: str


class Recorder(Protocol):
    """Starts recordings; `chunkstore.recording` provides it, as it stands on the stores and not below them."""

    def start_run(
        self,
        store: Store,
        run_id: str | None,
        *,
        tag: str,
        parameters: Mapping[str, Any] | None,
        resume: str | None,
        run_config: Mapping[str, Any] | None,
        capture_output: bool,
    ) -> Run:
        """See `Store.start_run`."""

    def join_run(self, store: Store, run_id: str, *, create: bool, tag: str, capture_output: bool) -> Run:
        """See `Store.join_run`."""

    def sync_data(self, store: Store, run_id: str, incarnation: str) -> None:
        """Return when the data of a run would survive a loss of power."""


class Store(ABC):
    """A place for run logs, safe for any number of writers at once.

    Args:
        backend: where the bytes live.
        options: see `StoreOptions`.
    """

    #: Returns what starts recordings. The package sets it: it is imported when somebody records.
    load_recorder: ClassVar[Callable[[], Recorder]]

    def __init__(self, backend: Backend, options: StoreOptions | None = None) -> None:
        self.backend = backend
        self.options = options or StoreOptions()
        # Absolute from the start, so that a later change of the working folder does not move the data.
        self.catalog_path = os.path.abspath(self.catalog_folder)

    def __repr__(self) -> str:
        return f"<{type(self).__name__} in {self.backend.location}>"

    def __reduce__(self) -> tuple[Any, ...]:
        # The receiver owns no record, and what it writes shall be ordered after what the sender has seen.
        return _unpickle, (type(self), self.backend, self.options, self.catalog_path, clock.latest)

    @property
    def catalog_folder(self) -> str:
        """The folder for data, as the configuration names it; `.catalog` beside the log folder if it does not."""
        return self.options.catalog_folder or os.path.join(os.path.dirname(self.options.log_folder), ".catalog")

    def close(self) -> None:
        """Give back what is held open; the store can be used again."""
        self.backend.close()

    # --- runs --------------------------------------------------------------------------------------------------------

    def create_run_log(
        self,
        run_id: str | None = None,
        *,
        tag: str = "",
        dag_hash: str = "",
        use_cached: bool = False,
        original_run_id: str = "",
        parameters: Mapping[str, Any] | None = None,
        run_config: Mapping[str, Any] | None = None,
        status: str = PROCESSING,
    ) -> RunLog:
        """Create a run; of any number of processes that try at once, one succeeds.

        Args:
            run_id: the run's name; None for a generated one.
            tag: any text that groups runs.
            dag_hash: a hash of the pipeline's definition.
            use_cached: whether results of `original_run_id` may be taken over.
            original_run_id: the run that this one resumes; pinned, if it is known which of its id that is.
            parameters: those of the run.
            run_config: how the run is configured.
            status: the first status.

        Returns:
            The record as it was written.

        Raises:
            RunLogExistsError: there is a run of this id.
            InvalidNameError: the id cannot be one.
            InvalidValueError: a parameter or a part of the configuration cannot be recorded.
        """
        generated = run_id is None
        while True:
            log = RunLog(
                run_id=generate_run_id() if run_id is None else run_id,
                dag_hash=dag_hash,
                use_cached=use_cached,
                tag=tag,
                original_run_id=str(original_run_id),
                status=status,
                parameters=dict(parameters or {}),
                run_config={
                    **(run_config or {}),
                    NOTES: {
                        "format": self._format,
                        "version": __version__,
                        "created": utc_now(),
                        INCARNATION: new_incarnation(),
                        **({RESUMED: incarnation_of(original_run_id)} if incarnation_of(original_run_id) else {}),
                    },
                },
            )
            check_run_id(log.run_id)
            log = as_stored(log)
            try:
                self._create(log)
            except FileExistsError:
                if generated:
                    continue
                raise self._exists(log.run_id) from None
            return log

    def add_run_log(self, log: RunLog, *, incarnation: str = "") -> None:
        """Record a whole run at once, as another store or a document holds it; readers see all of it or nothing.

        At the durability levels `run` and `step`, it survives a loss of power when this returns.

        Args:
            log: the run, with its steps, branches and parameters.
            incarnation: what tells it from every other run, as `chunkstore.names.new_incarnation` makes it, for those
                who have to know that before; empty for a new one.

        Raises:
            RunLogExistsError: there is a run of this id.
            InvalidValueError: a value in it cannot be stored.
            UnsupportedFormatError: it is of a newer format.
        """
        check_run_id(log.run_id)
        check_format(log)
        # A copy is another run: what happens to the one must not happen to the other.
        own = {"format": self._format, "version": __version__, INCARNATION: incarnation or new_incarnation()}
        notes = {"created": utc_now(), **log.notes, **own}
        stored = as_stored(msgspec.structs.replace(log, run_config={**log.run_config, NOTES: notes}))
        try:
            self._create(stored, durable=self.backend.durability == AT_THE_END)
        except FileExistsError:
            raise self._exists(log.run_id) from None

    def _exists(self, run_id: str) -> RunLogExistsError:
        return RunLogExistsError(
            f"Cannot create run {run_id!r} in {self.backend.location}: it exists. Choose another run id, or record "
            "into the run that is there, with add_step_log or join_run.",
            run_id=run_id,
        )

    def get_run_log(self, run_id: str, *, full: bool = True, strict: bool = False) -> RunLog:
        """Return a run as it is now, without waiting for anybody.

        Everything that was acknowledged before the call is in the result.

        Args:
            run_id: the run.
            full: whether steps, branches and parameters are read too.
            strict: whether an unreadable file raises; else it is listed in the log's `problems`.

        Raises:
            RunLogNotFoundError: there is no such run.
            CorruptChunkError: a file cannot be read, and `strict` is set.
        """
        with self._existing(run_id):
            log = self._read(run_id) if full else self._read_metadata(run_id)
        if strict:
            for problem in log.problems:
                if problem.kind not in ("orphan", "time"):
                    raise CorruptChunkError(
                        f"Cannot read all of run {run_id!r}: {problem.file}: {problem.message}. Read it without "
                        "strict=True to get the rest.",
                        file=problem.file,
                        offset=0,
                        reason=problem.message,
                    )
        return log

    def iter_records(self, run_id: str) -> Iterator[StepLog | BranchLog]:
        """Yield the steps and branches of a run in order of execution, each without what is inside it.

        Memory use does not grow with the size of the records, only with their number: some 500 bytes each. Everything
        that was acknowledged before the first is asked for is yielded. What cannot be read is left out, and logged as a
        warning at the end; `get_run_log` has a list of problems, parameters, and everything in its place.

        Args:
            run_id: the run.

        Raises:
            RunLogNotFoundError: there is no such run.
        """
        with self._existing(run_id):
            yield from self._stream(run_id)

    def count_steps(self, run_id: str) -> dict[str, int]:
        """Return how many steps of a run, at any depth, have which status.

        The recording API notes it when a run finishes, and `list_runs` returns it from there.

        Raises:
            RunLogNotFoundError: there is no such run.
        """
        return step_counts(self.iter_records(run_id))

    def get_run_json(self, run_id: str) -> bytes:
        """Return a run as JSON in UTF-8, as `get_run_log(run_id).to_json()` has it, for tools that decode it.

        White space and the order of fields may differ. It costs less where the layout keeps JSON that can be joined.

        Raises:
            RunLogNotFoundError: there is no such run.
        """
        with self._existing(run_id):
            return self._read_json(run_id)

    def update_run_log(
        self, run_id: str, change: Callable[[RunLog], RunLog | None], *, with_data: bool = True
    ) -> RunLog:
        """Change a run's own record: status, tag, configuration. No other change is lost or undone.

        A status that says that the run has ended makes all of it durable, at the durability levels `run` and `step`.

        Args:
            run_id: the run.
            change: gets the record without steps and parameters; alters it or returns another. It runs under the run's
                lock: it must be quick and must not call the store.
            with_data: whether the data that the run has in the catalog is made durable with it.

        Returns:
            The record as it is now.

        Raises:
            RunLogNotFoundError: there is no such run.
            InvalidValueError: the change cannot be recorded, or would bypass steps and parameters.
        """
        ends = False

        def checked(log: RunLog) -> RunLog:
            nonlocal ends
            has_ended = is_finished(log)
            if not is_meant(run_id, log.incarnation):
                raise MissingError(run_id)
            incarnation = log.incarnation
            new = _changed(log, change)
            if incarnation and new.notes:  # else the record is meant to be as another tool has it
                new.run_config = {**new.run_config, NOTES: {**new.notes, INCARNATION: incarnation}}
            ends = is_finished(new) and not has_ended
            if new.run_id != run_id:
                raise _refused("run_id", "the id of a run cannot change", "Create another run.")
            if new.steps or new.parameters:
                raise _refused(
                    "steps" if new.steps else "parameters",
                    "they are records of their own",
                    "Use add_step_log or set_parameters.",
                )
            return new

        with self._existing(run_id):
            log = self._change_metadata(run_id, checked)
            if is_finished(log) and self.backend.durability == AT_THE_END:
                self._make_durable(run_id, has_just_ended=ends)
                if ends and with_data and self._may_have_data(run_id, log.incarnation):
                    type(self).load_recorder().sync_data(self, run_id, log.incarnation)
            if ends and self.options.seal_finished_runs is not None:
                self._seal_large(run_id, self.options.seal_finished_runs)
        return log

    def _may_have_data(self, run_id: str, incarnation: str) -> bool:
        """Tell whether a run may have data, at little cost."""
        if not incarnation:
            return os.path.isdir(self.catalog_path)
        return any(os.path.isdir(os.path.join(self.catalog_path, name)) for name in data_folders(run_id, incarnation))

    def follow(self, run_id: str) -> Iterator[RunLog]:
        """Yield a run as it is now, and again whenever it has changed, until it has ended.

        The operating system tells of changes if `watchfiles` is installed (the extra `follow`); else the folder is
        looked at 50 times a second. Only what has changed is parsed. The logs share what has not; they are never
        altered. Changes that come faster than they are taken from the iterator are yielded together.

        Args:
            run_id: the run.

        Returns:
            An iterator that ends with the log of the finished run, or of a run whose owner has died: the process that
            called `start_run`. Of a run without such an owner, nobody knows that it was given up.

        Raises:
            RunLogNotFoundError: there is no such run, or it was deleted meanwhile.
        """
        with self._existing(run_id):
            yield from self._follow(run_id)

    def hold(self, run_id: str, *, joined: bool = False) -> Callable[[], None]:
        """Let others know, as long as this process lives, that somebody records a run.

        Args:
            run_id: the run.
            joined: whether this process is one of several, any of which may leave; else the run ends with it.

        Returns:
            To be called when the run has ended.

        Raises:
            RunLogNotFoundError: there is no such run.
        """
        with self._existing(run_id):
            meant = PinnedRunId(run_id, incarnation_of(run_id) or self._incarnation(run_id) or "")
            files = self._owner_files(run_id, meant.incarnation)
            file = files.joined if joined else files.owner
            release = self.backend.hold(files.folder, file, encode(Owner.here()), together=joined)
            try:
                found = self._incarnation(run_id)
                if found is None or is_meant(meant, found):
                    return release
            except BaseException:
                release()
                raise
        release()  # the folder is that of another run by now, which is none of ours
        raise self._no_run(meant)

    def is_abandoned(self, run_id: str) -> bool:
        """Tell whether the process that called `hold` for a run has surely died without giving it back."""
        return self.liveness(run_id).state == LOST

    def liveness(self, run_id: str) -> Liveness:
        """Tell whether somebody still records a run that has not finished.

        Args:
            run_id: the run; what is told of one that has finished means nothing.

        Returns:
            `LIVE`, `LOST` or `UNKNOWN`, and why. No time limit is involved: the kernel knows who lives.

        Raises:
            RunLogNotFoundError: there is no such run.
        """
        if not self.backend.shared_between_processes:
            return Liveness(state=LIVE, why="It is in the memory of this process.", pid=os.getpid())
        with self._existing(run_id):
            files = self._owner_files(run_id, self._incarnation(run_id) or "")
            owner = self._owner(files.folder, files.owner)
            is_held = self.backend.is_held(files.folder, files.owner)
            if is_held:
                return judge(owner or Owner(), is_held, self.backend.mount)
            joined = self.backend.joined(files.folder, files.joined)
            if joined and joined.living:
                return judge_joined(list(map(Owner.read, joined.living)))
            last_heard = format_nanoseconds(self._last_written(run_id))
        if owner is None and joined:
            return judge_left(Owner.read(joined.last), last_heard)
        return judge(owner, is_held, self.backend.mount, last_heard)

    def _owner(self, folder: str, file: str) -> Owner | None:
        """Return what the owner of a run has written about itself; None if there is no such file."""
        with self.backend.reader(folder) as reader:
            return Owner.read(reader.glance("", file)) if reader.has(file) else None

    def _incarnation(self, run_id: str) -> str | None:
        """Return what tells a run from every other of its id; empty if nobody noted that, None if it cannot be read.

        Raises:
            MissingError: there is no such run.
        """
        try:
            log = self._read_metadata(run_id)
        except (CorruptChunkError, StoreIOError):
            return None
        return log.incarnation if log.incarnation or not log.problems else None

    def has_run(self, run_id: str) -> bool:
        """Tell whether there is a run of this id, readable or not."""
        check_run_id(run_id)
        try:
            self._read_metadata(run_id)
        except FileNotFoundError:
            return False
        except CorruptChunkError:
            return True
        return True

    def list_runs(self) -> RunList:
        """Return an iterator over a summary of every run, the newest first; runs without a recorded time come last.

        Not all are read before the first is yielded: a run whose file is older than another run's start has started
        earlier. So where the times of files were set by hand, it may be yielded later than its start would have it.

        Notebooks show it as a table of the newest runs.
        """
        return RunList(self._summaries(), self.liveness, self.backend.location)

    def _summaries(self) -> Generator[RunSummary, None, None]:
        try:
            with self.backend.reader("") as top:
                yield from newest_first(self._candidates(top), lambda run_id: self._summary(run_id, top))
        except FileNotFoundError:
            return  # there is no log folder yet

    def _summary(self, run_id: str, top: FolderReader) -> RunSummary | None:
        glanced = summary_in(top.glance(*self._run_file(run_id)))
        if glanced is not None and glanced.run_id == run_id:
            return glanced
        try:
            log = self._read_metadata(run_id)
        except FileNotFoundError:
            return None  # deleted since it was listed, or no run at all
        except ChunkstoreError as error:
            return RunSummary(run_id=run_id, problem=str(error))
        return summary_of(log)

    def delete_run(self, run_id: str) -> None:
        """Delete a run's log; it is gone at once for everybody. Data in the catalog stays.

        Raises:
            RunLogNotFoundError: there is no such run.
        """
        known = self._remembered(run_id)
        with self._existing(run_id):
            self._delete(run_id)
        self._forget(run_id, known)

    def delete_run_if(self, run_id: str, condition: Callable[[], bool]) -> bool:
        """Delete a run's log, as `delete_run`, if a condition holds when nobody else may change the run's record.

        Args:
            run_id: the run.
            condition: called under the run's lock; it may read the run, and must not change it.

        Returns:
            Whether the run was deleted.

        Raises:
            RunLogNotFoundError: there is no such run.
        """

        def delete() -> bool:
            is_due = condition()
            if is_due:
                self._remove(run_id)
            return is_due

        known = self._remembered(run_id)
        is_deleted = self.while_locked(run_id, delete)
        if is_deleted:
            self._forget(run_id, known)
        return is_deleted

    def while_locked(self, run_id: str, action: Callable[[], _T]) -> _T:
        """Return what an action returns, called while nobody else may change a run's record or seal the run.

        Args:
            run_id: the run.
            action: it must be quick, and must not call what takes the lock itself.

        Raises:
            RunLogNotFoundError: there is no such run.
            LockTimeoutError: somebody else held the lock all the time.
        """
        with self._existing(run_id):
            self._read_own_record(run_id)  # no lock is made where there is no run

            def meant() -> _T:
                if incarnation_of(run_id):
                    self._read_own_record(run_id)
                return action()

            return self._while_locked(run_id, meant)

    def _while_locked(self, run_id: str, action: Callable[[], _T]) -> _T:
        return self.backend.while_locked(*self._lock_file(run_id), action)

    def _read_own_record(self, run_id: str) -> None:
        """Look whether there is a run, readable or not."""
        try:
            self._read_metadata(run_id)
        except (CorruptChunkError, StoreIOError):
            pass  # it is there

    def must_be_durable(self, run_id: str) -> bool:
        """Tell whether what is added to a run must survive a loss of power at once, as the run has ended.

        That is so at the durability level `run`; at the level `step` it must anyhow.

        Raises:
            RunLogNotFoundError: there is no such run.
        """
        with self._existing(run_id):
            return self.backend.durability == AT_THE_END and self._must_be_durable(run_id)

    def sync(self, run_id: str) -> None:
        """Return when all of a run that was written so far would survive a loss of power.

        Raises:
            RunLogNotFoundError: there is no such run.
        """
        with self._existing(run_id):
            self._sync(run_id)

    def seal(self, run_id: str) -> int:
        """Pack the chunks of a finished run into one file, `Sealed-….jsonl`, which is read faster.

        Nothing else changes: all calls work as before, and what is written later lies beside that file until the run
        is sealed again. The chunks are removed only when the sealed file would survive a loss of power. Stores that
        keep a run in one place have nothing to pack.

        Args:
            run_id: the run.

        Returns:
            How many chunks are in the sealed file; 0 if there was nothing to pack.

        Raises:
            RunLogNotFoundError: there is no such run.
            StoreUsageError: it has not finished.
        """
        with self._existing(run_id):
            return self._seal(run_id)

    def unseal(self, run_id: str) -> None:
        """Give back the chunks of a sealed run as files, byte for byte; nothing happens to a run that is not sealed.

        Raises:
            RunLogNotFoundError: there is no such run.
            ChunkstoreError: a sealed file was damaged; nothing is removed.
        """
        with self._existing(run_id):
            self._unseal(run_id)

    # --- steps and branches ------------------------------------------------------------------------------------------

    def add_step_log(self, run_id: str, step_log: StepLog) -> None:
        """Record a step, or replace what this store object recorded of it before; readers see all of it or nothing.

        Lock-free: the cost does not depend on how many steps the run has. If another process has recorded a step of
        this name, both records are kept and the newer one counts. Branches inside the step are recorded too.

        Args:
            run_id: the run, as returned by `create_run_log`.
            step_log: the record; its `internal_name` says where in the run it belongs.

        Raises:
            RunLogNotFoundError: the run was never created.
            InvalidValueError: a value in the record cannot be stored.
            StoreFullError: the disk is full; the store is as it was before.
        """
        self._add(run_id, step_log, StepLog)

    def add_branch_log(self, run_id: str, branch_log: BranchLog) -> None:
        """Record a branch, or replace what this store object recorded of it before.

        As `add_step_log`; steps inside the branch are recorded too, and its parameters are set.
        """
        self._add(run_id, branch_log, BranchLog)

    def _add(self, run_id: str, record: StepLog | BranchLog, kind: type[StepLog | BranchLog]) -> None:
        if not isinstance(record, kind):
            raise _refused("record", f"it is a {type(record).__name__}", f"Give a {kind.__name__}.")
        check_name(record.internal_name)
        check_run_id(run_id)
        records: list[StepLog | BranchLog] = [record]
        parameters: dict[str, dict[str, Any]] = {}
        outer = bare(record)
        if outer is not record:
            encode_record(record)  # refuse bad values inside before anything is written
            if isinstance(record, StepLog):
                records = [outer, *flatten_branches(record.branches, parameters)]
            else:
                records = [outer, *flatten_steps(record.steps, parameters)]
                if record.parameters:
                    parameters[record.internal_name] = record.parameters
        try:
            self._put(run_id, records, parameters)
        except MissingError:
            raise self._no_run(run_id) from None

    def put_step_log(self, run_id: str, step_log: StepLog) -> None:
        """Record a step, or replace what anybody has recorded of it: whoever writes last counts.

        For engines that get a step, change it and put it back, in one process or another. `add_step_log` is for those
        who know that a step is theirs, and `update_step_log` loses nothing that others change meanwhile.

        Args:
            run_id: the run.
            step_log: the record, without its branches: they are records of their own, and stay.

        Raises:
            RunLogNotFoundError: there is no such run.
            InvalidValueError: a value in the record cannot be stored, or there are branches inside it.
        """
        self._put_over(run_id, step_log, StepLog)

    def put_branch_log(self, run_id: str, branch_log: BranchLog) -> None:
        """Record a branch, or replace what anybody has recorded of it; as `put_step_log`.

        The record comes without its steps and parameters, which stay.
        """
        self._put_over(run_id, branch_log, BranchLog)

    def _put_over(self, run_id: str, record: _R, kind: type[_R]) -> None:
        if not isinstance(record, kind):
            raise _refused("record", f"it is a {type(record).__name__}", f"Give a {kind.__name__}.")
        check_name(record.internal_name)
        _check_bare(record)
        with self._existing(run_id):
            self._put_last(run_id, record)

    def has_step_log(self, run_id: str, internal_name: str) -> bool:
        """Tell whether anybody has recorded a step, without reading it.

        Raises:
            RunLogNotFoundError: there is no such run.
        """
        check_name(internal_name)
        with self._existing(run_id):
            return self._has(run_id, internal_name, StepLog)

    def has_branch_log(self, run_id: str, internal_name: str) -> bool:
        """Tell whether anybody has recorded a branch, without reading it.

        Raises:
            RunLogNotFoundError: there is no such run.
        """
        check_name(internal_name)
        with self._existing(run_id):
            return self._has(run_id, internal_name, BranchLog)

    def get_step_log(self, run_id: str, internal_name: str, *, full: bool = True) -> StepLog:
        """Return a step.

        What cannot be read inside it is left out, and logged as a warning; `get_run_log` has a list of problems.

        Args:
            run_id: the run.
            internal_name: the step.
            full: whether the branches inside it are read too.

        Raises:
            RunLogNotFoundError: there is no such run.
            StepLogNotFoundError: the run has no such step.
            CorruptChunkError: the step's own file cannot be read.
        """
        return self._get(run_id, internal_name, StepLog, full=full)

    def get_branch_log(self, run_id: str, internal_name: str, *, full: bool = True) -> BranchLog:
        """Return a branch; what cannot be read inside it is left out, as from `get_step_log`.

        Args:
            run_id: the run.
            internal_name: the branch.
            full: whether its parameters and the steps inside it are read too.

        Raises:
            RunLogNotFoundError: there is no such run.
            BranchLogNotFoundError: the run has no such branch.
            CorruptChunkError: the branch's own file cannot be read.
        """
        return self._get(run_id, internal_name, BranchLog, full=full)

    def _get(self, run_id: str, internal_name: str, kind: type[_R], *, full: bool) -> _R:
        check_name(internal_name)
        with self._existing(run_id):
            record = self._find(run_id, internal_name, kind, full=full)
        if record is None:
            raise self._no_record(run_id, internal_name, kind)
        return record

    def update_step_log(self, run_id: str, internal_name: str, change: Callable[[StepLog], StepLog | None]) -> StepLog:
        """Change a step that anybody has recorded. No other change is lost: neither the owner's nor anybody else's.

        What is changed here stays changed, also when the owner records the step again.

        Args:
            run_id: the run.
            internal_name: the step.
            change: gets the step without its branches; alters it or returns another. It runs under the run's lock: it
                must be quick and must not call the store.

        Returns:
            The step as it is now, without its branches.

        Raises:
            RunLogNotFoundError: there is no such run.
            StepLogNotFoundError: the run has no such step.
            InvalidValueError: the change cannot be recorded.
        """
        return self._update(run_id, internal_name, StepLog, change)

    def update_branch_log(
        self, run_id: str, internal_name: str, change: Callable[[BranchLog], BranchLog | None]
    ) -> BranchLog:
        """Change a branch that anybody has recorded; as `update_step_log`, without its steps and parameters."""
        return self._update(run_id, internal_name, BranchLog, change)

    def _update(self, run_id: str, internal_name: str, kind: type[_R], change: Callable[[_R], _R | None]) -> _R:
        def checked(record: _R) -> _R:
            new = _changed(record, change)
            if new.internal_name != internal_name:
                raise _refused("internal_name", "the name of a record cannot change", "Add another record.")
            _check_bare(new)
            return new

        check_name(internal_name)
        with self._existing(run_id):
            record = self._change(run_id, internal_name, kind, checked)
        if record is None:
            raise self._no_record(run_id, internal_name, kind)
        return record

    def append_metrics(self, run_id: str, internal_name: str, series: Mapping[str, Sequence[MetricPoint]]) -> None:
        """Add points to the metric series of a step; what was added before is not written again.

        Args:
            run_id: the run.
            internal_name: the step.
            series: points by the metric's name, in order.

        Raises:
            RunLogNotFoundError: there is no such run.
            InvalidValueError: a value cannot be recorded.
        """
        check_name(internal_name)
        with self._existing(run_id):
            self._append_metrics(run_id, internal_name, series)

    # --- parameters --------------------------------------------------------------------------------------------------

    def set_parameters(
        self, run_id: str, parameters: Mapping[str, Any], branch: str = "", *, overwrite: bool = True
    ) -> None:
        """Set some parameters of a run or branch; others, set by anybody at the same time, are kept.

        Args:
            run_id: the run.
            parameters: values by name; for each name, the last writer wins.
            branch: the internal name of a branch, or "" for the run.
            overwrite: whether those that are set already get the new value; else they keep theirs.

        Raises:
            RunLogNotFoundError: there is no such run.
            InvalidValueError: a value cannot be recorded.
        """
        if branch:
            check_name(branch)
        with self._existing(run_id):
            self._set_parameters(run_id, branch, dict(parameters), overwrite=overwrite)

    def get_parameters(self, run_id: str, branch: str = "") -> dict[str, Any]:
        """Return the parameters of a run or, alone, those of one branch; empty if none were set.

        Raises:
            RunLogNotFoundError: there is no such run.
        """
        if branch:
            check_name(branch)
        with self._existing(run_id):
            return self._get_parameters(run_id, branch)

    # --- recording ---------------------------------------------------------------------------------------------------

    def start_run(
        self,
        run_id: str | None = None,
        *,
        tag: str = "",
        parameters: Mapping[str, Any] | None = None,
        resume: str | None = None,
        run_config: Mapping[str, Any] | None = None,
        capture_output: bool = True,
    ) -> Run:
        """Create a run and return the object that records it; use it in a `with` block, or call its `finish`.

        Args:
            run_id: the run's name; None for a generated one.
            tag: any text that groups runs.
            parameters: those of the run.
            resume: the id of an earlier run: what succeeded there is taken over instead of being run again.
            run_config: how the run is configured.
            capture_output: whether what steps print is kept in the catalog as `<step>.execution.log`.

        Raises:
            RunLogExistsError: there is a run of this id.
            RunLogNotFoundError: there is no run to resume.
        """
        return (
            type(self)
            .load_recorder()
            .start_run(
                self,
                run_id,
                tag=tag,
                parameters=parameters,
                resume=resume,
                run_config=run_config,
                capture_output=capture_output,
            )
        )

    def join_run(self, run_id: str, *, create: bool = False, tag: str = "", capture_output: bool = True) -> Run:
        """Return an object that records into a run which other processes record too.

        Leaving it does not finish the run; somebody calls its `finish`.

        Args:
            run_id: the run.
            create: whether the run is created if it does not exist; of many processes that try, one creates it.
            tag: the tag of a run that is created here.
            capture_output: as for `start_run`.

        Raises:
            RunLogNotFoundError: there is no such run, and `create` is not set.
        """
        return type(self).load_recorder().join_run(self, run_id, create=create, tag=tag, capture_output=capture_output)

    @property
    def _format(self) -> int:
        """The format of the runs that are created here."""
        return FORMAT

    # --- what a layout fills -----------------------------------------------------------------------------------------

    @abstractmethod
    def _create(self, log: RunLog, *, durable: bool = False) -> None:
        """Write a new run with all inside it; FileExistsError if there is one of this id."""

    @abstractmethod
    def _read(self, run_id: str) -> RunLog:
        """Return the whole run."""

    def _read_json(self, run_id: str) -> bytes:
        """Return the whole run as JSON."""
        return encode_record(self._read(run_id))

    def _stream(self, run_id: str) -> Iterator[StepLog | BranchLog]:
        """Yield the records of a run, each without inner records."""
        yield from flatten(self._read(run_id))[0]

    @abstractmethod
    def _follow(self, run_id: str) -> Iterator[RunLog]:
        """Yield the whole run whenever it has changed, until it has ended."""

    @abstractmethod
    def _owner_files(self, run_id: str, incarnation: str) -> OwnerFiles:
        """Return the files that those hold who record a run."""

    @abstractmethod
    def _last_written(self, run_id: str) -> int:
        """Return when anything was written for a run last, in nanoseconds."""

    @abstractmethod
    def _read_metadata(self, run_id: str) -> RunLog:
        """Return the run without steps and parameters."""

    @abstractmethod
    def _change_metadata(self, run_id: str, change: Callable[[RunLog], RunLog]) -> RunLog:
        """Change the run's own record under the lock; return it."""

    @abstractmethod
    def _put(self, run_id: str, records: list[StepLog | BranchLog], parameters: dict[str, dict[str, Any]]) -> None:
        """Write records without inner records, and set parameters by scope."""

    @abstractmethod
    def _put_last(self, run_id: str, record: StepLog | BranchLog) -> None:
        """Write a record without inner records, over whatever anybody has written of it."""

    @abstractmethod
    def _has(self, run_id: str, internal_name: str, kind: type[_R]) -> bool:
        """Tell whether there is a record of that name."""

    @abstractmethod
    def _find(self, run_id: str, internal_name: str, kind: type[_R], *, full: bool) -> _R | None:
        """Return a record, with all inside it if `full` is set, or None."""

    @abstractmethod
    def _change(self, run_id: str, internal_name: str, kind: type[_R], change: Callable[[_R], _R]) -> _R | None:
        """Change a record without inner records, under the lock; return it, or None if there is none."""

    @abstractmethod
    def _append_metrics(self, run_id: str, internal_name: str, series: Mapping[str, Sequence[MetricPoint]]) -> None:
        """Add points to metric series of a step."""

    @abstractmethod
    def _set_parameters(self, run_id: str, scope: str, parameters: dict[str, Any], *, overwrite: bool) -> None:
        """Set some parameters of a scope under the lock."""

    @abstractmethod
    def _get_parameters(self, run_id: str, scope: str) -> dict[str, Any]:
        """Return the parameters of a scope."""

    @abstractmethod
    def _candidates(self, top: FolderReader) -> list[Candidate]:
        """Return what may be runs, in any order."""

    @abstractmethod
    def _run_file(self, run_id: str) -> tuple[str, str]:
        """Return the folder and the name of the file that holds a run's own record."""

    @abstractmethod
    def _delete(self, run_id: str) -> None:
        """Delete a run."""

    @abstractmethod
    def _lock_file(self, run_id: str) -> tuple[str, str]:
        """Return the folder and name of the file that is a run's lock."""

    @abstractmethod
    def _remove(self, run_id: str) -> None:
        """Delete a run; called under its lock."""

    @abstractmethod
    def _sync(self, run_id: str) -> None:
        """Make a run durable."""

    def _make_durable(self, run_id: str, *, has_just_ended: bool) -> None:  # noqa: ARG002 - it may matter elsewhere
        """Make sure that all of a run that has ended is durable, though whoever ended it may not have come to that."""
        self._sync(run_id)

    @abstractmethod
    def _must_be_durable(self, run_id: str) -> bool:
        """Tell whether a run has ended, at a level at which what belongs to it must survive a loss of power then."""

    def _remembered(self, run_id: str) -> object:  # noqa: ARG002 - not every layout remembers something
        """Return what is remembered of the run that had an id when that was looked at last."""
        return None

    def _forget(self, run_id: str, known: Any) -> None:  # noqa: B027 - likewise
        """Forget what was remembered of a run that is gone; never called under its lock."""

    def _seal(self, run_id: str) -> int:
        """Pack a run; return how many chunks were packed."""
        self._read_metadata(run_id)
        return 0

    def _seal_large(self, run_id: str, most: int) -> None:  # noqa: B027 - most layouts have nothing to seal
        """Seal a run of more than `most` chunks."""

    def _unseal(self, run_id: str) -> None:
        """Undo `_seal`."""
        self._read_metadata(run_id)

    # --- helpers -----------------------------------------------------------------------------------------------------

    @contextmanager
    def _existing(self, run_id: str) -> Iterator[None]:
        """Check a run id, and say what a missing file means."""
        check_run_id(run_id)
        try:
            yield
        except MissingError:
            raise self._no_run(run_id) from None

    def _no_run(self, run_id: str) -> RunLogNotFoundError:
        if incarnation_of(run_id) and self.has_run(str(run_id)):
            return RunLogNotFoundError(
                f"Cannot find run {str(run_id)!r} in {self.backend.location} any more: it was deleted, and another run "
                "of the same id has been created since. What belongs to the former is not recorded in the latter; use "
                "another run id for each run.",
                run_id=str(run_id),
                location=self.backend.location,
            )
        return RunLogNotFoundError(
            f"Cannot find run {run_id!r} in {self.backend.location}. Check the run id and the log folder; "
            "list_runs() shows the runs there are.",
            run_id=str(run_id),
            location=self.backend.location,
        )

    def _no_record(self, run_id: str, internal_name: str, kind: type[Record]) -> ChunkstoreError:
        what = "step" if kind is StepLog else "branch"
        error = StepLogNotFoundError if kind is StepLog else BranchLogNotFoundError
        return error(
            f"Cannot find {what} {internal_name!r} in run {run_id!r}. Internal names are dot paths in which the dots "
            "of a name are written %2E; get_run_log shows those of the run.",
            run_id=run_id,
            internal_name=internal_name,
        )

    def _encode(self, record: Record) -> bytes:
        """Return the bytes of a file that holds a record; for people who use `cat`, JSON and nothing else."""
        if self.options.pretty:
            return encode_record(record, indent=4)
        return with_checksum(encode_record(record))


def _unpickle(cls: type[Store], backend: Backend, options: StoreOptions, catalog_path: str, latest: int) -> Store:
    clock.observe(latest)
    store = cls(backend, options)
    store.catalog_path = catalog_path
    return store


def check_format(log: RunLog) -> None:
    """Raise `UnsupportedFormatError` if a newer version wrote this run in a way that this version may not add to."""
    number = log.notes.get("format", FORMAT)
    if not is_format(number) or number > PACKED_FORMAT:
        raise UnsupportedFormatError(
            f"Cannot write to run {log.run_id!r}: its format is {reprlib.repr(number)}, and chunkstore {__version__} "
            f"knows formats up to {PACKED_FORMAT}. Install a newer chunkstore; reading works with this one.",
            run_id=log.run_id,
            format=number,
        )


def is_finished(log: RunLog) -> bool:
    """Tell whether a run has ended, however it did."""
    return log.status in (SUCCESS, FAIL) or "finished" in log.notes


def as_stored(record: _AnyRecord) -> _AnyRecord:
    """Return what a reader of the written record will get: values converted, nothing shared with the caller."""
    return RecordCodec.of(type(record)).decode(encode_record(record))


def as_json(record: Record) -> Any:
    """Return a record as plain JSON values, with floats that JSON lacks still marked; see `overlay`."""
    return decode(encode_record(record))


def _changed(record: _AnyRecord, change: Callable[[_AnyRecord], _AnyRecord | None]) -> _AnyRecord:
    result = change(record)
    if result is None:
        return record
    if type(result) is not type(record):
        raise StoreUsageError(
            f"A change function must alter the {type(record).__name__} it gets, or return another; it returned "
            f"{type(result).__name__}. Nothing was changed."
        )
    return result


def _check_bare(record: StepLog | BranchLog) -> None:
    """Refuse what would bypass the records inside a record."""
    if isinstance(record, StepLog):
        if record.branches:
            raise _refused("branches", "they are records of their own", "Use add_branch_log.")
    elif record.steps or record.parameters:
        raise _refused("steps", "they are records of their own", "Use add_step_log or set_parameters.")


def _refused(key: str, reason: str, hint: str) -> InvalidValueError:
    return InvalidValueError(f"Cannot change {key}: {reason}. {hint}", key=key, reason=reason)
