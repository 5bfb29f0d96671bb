"""What a layout fills, so that a store can do over it what every store does."""

from __future__ import annotations

import os
from abc import ABC, abstractmethod
from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import contextmanager
from typing import Any, NamedTuple, Protocol, TypeVar

from chunkstore.backends.base import Backend
from chunkstore.backends.caching import Caching
from chunkstore.backends.capabilities import Locking, Watching, lacking
from chunkstore.backends.data import DataFiles, KeepingData
from chunkstore.backends.errors import MissingError
from chunkstore.backends.polling import poll
from chunkstore.backends.reader import FolderReader
from chunkstore.errors import CorruptChunkError, RunLogNotFoundError, StoreIOError
from chunkstore.names import check_run_id, incarnation_of
from chunkstore.records.assemble import flatten
from chunkstore.records.base import Record
from chunkstore.records.encoding import encode_record
from chunkstore.records.fields import MetricPoint
from chunkstore.records.models import FORMAT, BranchLog, Problem, RunLog, StepLog
from chunkstore.stores.options import StoreOptions
from chunkstore.stores.runs import Candidate, mark_changed
from chunkstore.stores.stored import as_file
from chunkstore.stores.summary import Summary

_R = TypeVar("_R", bound=StepLog | BranchLog)
_T = TypeVar("_T")


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


class Remembered(Protocol):
    """What a store object remembers of a run."""

    def has_recorded(self, branch: str) -> bool:
        """Tell whether it has recorded a branch, or anything if that is empty."""


class Layout(ABC):
    """How run logs are cut over a backend: the few things that differ between stores.

    Args:
        backend: where the bytes live.
        options: see `StoreOptions`.
    """

    def __init__(self, backend: Backend, options: StoreOptions | None = None) -> None:
        self.backend = backend
        self.options = options or StoreOptions()
        # Where the back end keeps the data of runs, if that is no folder.
        self.data_files: DataFiles | None = None
        if isinstance(backend, KeepingData) and not self.options.catalog_folder:
            self.data_files = backend.data()
        # Absolute from the start, so that a later change of the working folder does not move the data.
        self.catalog_path = self.data_files.location if self.data_files else os.path.abspath(self.catalog_folder)

    @property
    def catalog_folder(self) -> str:
        """The folder for data, as the configuration names it; `.catalog` beside the log folder if it does not."""
        return self.options.catalog_folder or os.path.join(os.path.dirname(self.options.log_folder), ".catalog")

    # --- what a layout fills -----------------------------------------------------------------------------------------

    @property
    def _format(self) -> int:
        """The format of the runs that are created here."""
        return FORMAT

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

    def _find_problems(self, run_id: str) -> list[Problem]:
        """Return what cannot be read of a run."""
        return self._read(run_id).problems

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

    def _observe(self, run_id: str) -> None:
        """Look at when anything was recorded last, where timestamps tell the order."""
        self._read_metadata(run_id)

    @abstractmethod
    def _sum_up(self, run_id: str, *, whole: bool) -> Summary:
        """Sum up a run that is about to end."""

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
    def _is_left(self, run_id: str, internal_name: str) -> bool:
        """Tell whether the run has ended, and nobody waits any more for what has this name."""

    @abstractmethod
    def _change(self, run_id: str, internal_name: str, kind: type[_R], change: Callable[[_R], _R]) -> _R | None:
        """Change a record without inner records, under the lock; return it, or None if there is none."""

    @abstractmethod
    def _append_metrics(
        self, run_id: str, internal_name: str, series: Mapping[str, Sequence[MetricPoint]], attempt: int | None
    ) -> None:
        """Add points to metric series of a step, or of one attempt of it."""

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
    def _delete(self, run_id: str, condition: Callable[[], bool]) -> bool:
        """Delete a run if a condition holds while nobody changes its record, and tell whether that was so."""

    @abstractmethod
    def _lock_file(self, run_id: str) -> tuple[str, str]:
        """Return the folder and name of the file that is a run's lock."""

    @abstractmethod
    def _sync(self, run_id: str) -> None:
        """Make a run durable."""

    def _make_durable(self, run_id: str, *, has_just_ended: bool) -> None:  # noqa: ARG002 - it may matter elsewhere
        """Make sure that all of a run that has ended is durable, though whoever ended it may not have come to that."""
        self._sync(run_id)

    @abstractmethod
    def _must_be_durable(self, run_id: str) -> bool:
        """Tell whether a run has ended, at a level at which what belongs to it must survive a loss of power then."""

    def has_recorded(self, run_id: str, branch: str = "") -> bool:
        """Tell whether this very object has recorded a branch of a run, or anything of it."""
        known = self._remembered(run_id)
        return known is not None and known.has_recorded(branch)

    def _remembered(self, run_id: str) -> Remembered | None:  # noqa: ARG002 - not every layout remembers something
        """Return what is remembered of the run that had an id when that was looked at last."""
        return None

    def _forget(self, run_id: str, known: Any) -> None:  # noqa: B027 - likewise
        """Forget what was remembered of a run that is gone; never called under its lock."""

    def _seal(self, run_id: str) -> int:
        """Pack a run; return how many chunks were packed."""
        self._read_metadata(run_id)
        return 0

    def _seal_large(self, log: RunLog, most: int, *, has_just_ended: bool) -> None:  # noqa: B027 - most need not
        """Seal a run that has ended, of which this is the own record, if it has more than `most` chunks."""

    def _unseal(self, run_id: str) -> None:
        """Undo `_seal`."""
        self._read_metadata(run_id)

    # --- what all of them share --------------------------------------------------------------------------------------

    @contextmanager
    def _existing(self, run_id: str) -> Iterator[None]:
        """Check a run id, and say what a missing file means."""
        check_run_id(run_id)
        try:
            yield
        except MissingError:
            raise self._no_run(run_id) from None

    def _no_run(self, run_id: str) -> RunLogNotFoundError:
        if incarnation_of(run_id) and self._has_run(str(run_id)):
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

    def _has_run(self, run_id: str) -> bool:
        """Tell whether there is a run of this id, readable or not."""
        try:
            self._read_metadata(run_id)
        except FileNotFoundError:
            return False
        except CorruptChunkError:
            return True
        return True

    def _incarnation(self, run_id: str) -> str | None:
        """Return what tells a run from every other of its id; empty if nobody noted that, None if it cannot be read.

        Raises:
            MissingError: there is no such run.
        """
        log = self._readable_metadata(run_id)
        return None if log is None else log.incarnation

    def _readable_metadata(self, run_id: str) -> RunLog | None:
        """Return a run's own record; None if it cannot be read.

        Raises:
            MissingError: there is no such run.
        """
        try:
            log = self._read_metadata(run_id)
        except (CorruptChunkError, StoreIOError):
            return None
        return log if log.incarnation or not log.problems else None

    @property
    def looks_are_dear(self) -> bool:
        """Whether each look into a run takes requests, so that nobody does that for many runs."""
        return isinstance(self.backend, Caching)

    def _say_changed(self, run_id: str) -> None:
        """Say, before it is done, that the record of a run that has finished is changed or removed."""
        if isinstance(self.backend, Caching):
            mark_changed(self.backend, run_id)

    def _while_locked(self, run_id: str, action: Callable[[], _T]) -> _T:
        if not isinstance(self.backend, Locking):
            raise lacking(self.backend, f"lock run {str(run_id)!r}", "there are no locks")
        return self.backend.while_locked(*self._lock_file(run_id), action)

    def _changes_in(self, folder: str) -> Iterator[set[str]]:
        """Yield the names of files that may have changed, and nothing from time to time; see `Watching.watch`."""
        backend = self.backend
        return backend.watch(folder) if isinstance(backend, Watching) else poll(backend.seconds_between_looks)

    def _encode(self, record: Record) -> bytes:
        """Return the bytes of a file that holds a record."""
        return as_file(encode_record(record), pretty=self.options.pretty)
