"""What every store can do with the records inside a run: steps, branches, metrics, parameters."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from typing import Any, TypeVar

from chunkstore.backends.errors import MissingError
from chunkstore.errors import BranchLogNotFoundError, ChunkstoreError, StepLogNotFoundError
from chunkstore.names import check_name, check_run_id
from chunkstore.records.assemble import bare, flatten_inside
from chunkstore.records.base import Record
from chunkstore.records.encoding import encode_record
from chunkstore.records.fields import MetricPoint
from chunkstore.records.models import BranchLog, StepLog
from chunkstore.stores.layout import Layout
from chunkstore.stores.methods.changes import changed, check_bare, check_kind, refused

_R = TypeVar("_R", bound=StepLog | BranchLog)


class RecordMethods(Layout):
    """The steps and branches of a run, their metrics, and parameters."""

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
        check_kind(record, kind)
        check_name(record.internal_name)
        check_run_id(run_id)
        records: list[StepLog | BranchLog] = [record]
        parameters: dict[str, dict[str, Any]] = {}
        outer = bare(record)
        if outer is not record:
            encode_record(record)  # refuse bad values inside before anything is written
            records = [outer, *flatten_inside(record, parameters)]
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
        check_kind(record, kind)
        check_name(record.internal_name)
        check_bare(record)
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

    def is_left(self, run_id: str, internal_name: str) -> bool:
        """Tell whether a run has ended while a step or branch had not, or was yet to begin: nobody waits for it.

        Raises:
            RunLogNotFoundError: there is no such run.
        """
        check_name(internal_name)
        with self._existing(run_id):
            return self._is_left(run_id, internal_name)

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
            new = changed(record, change)
            if new.internal_name != internal_name:
                raise refused("internal_name", "the name of a record cannot change", "Add another record.")
            check_bare(new)
            return new

        check_name(internal_name)
        with self._existing(run_id):
            record = self._change(run_id, internal_name, kind, checked)
        if record is None:
            raise self._no_record(run_id, internal_name, kind)
        return record

    def _no_record(self, run_id: str, internal_name: str, kind: type[Record]) -> ChunkstoreError:
        what = "step" if kind is StepLog else "branch"
        error = StepLogNotFoundError if kind is StepLog else BranchLogNotFoundError
        return error(
            f"Cannot find {what} {internal_name!r} in run {run_id!r}. Internal names are dot paths in which the dots "
            "of a name are written %2E; get_run_log shows those of the run.",
            run_id=run_id,
            internal_name=internal_name,
        )

    def append_metrics(
        self,
        run_id: str,
        internal_name: str,
        series: Mapping[str, Sequence[MetricPoint]],
        *,
        attempt: int | None = None,
    ) -> None:
        """Add points to the metric series of a step; what was added before is not written again.

        Args:
            run_id: the run.
            internal_name: the step.
            series: points by the metric's name, in order.
            attempt: which attempt of the step logged them, counted from 1: should another one count in the end, they
                are in that attempt's own series. None if they are the step's, whichever counts.

        Raises:
            RunLogNotFoundError: there is no such run.
            InvalidValueError: a value cannot be recorded.
        """
        check_name(internal_name)
        with self._existing(run_id):
            self._append_metrics(run_id, internal_name, series, attempt)

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
