"""The record of a step, and what authors add to it while the step runs."""

from __future__ import annotations

import os
import threading
from collections.abc import Callable, Mapping
from pathlib import Path
from typing import Any, Generic, TypeVar

from msgspec import UNSET

from chunkstore.clock import utc_now
from chunkstore.errors import InvalidValueError
from chunkstore.forks import renew_after_fork
from chunkstore.interrupts import guarded, passable
from chunkstore.recording.catalog import PUT
from chunkstore.recording.results import kept_result
from chunkstore.recording.scope import Scope
from chunkstore.recording.series import MetricSeries
from chunkstore.recording.values import CheckedValues, checked_number
from chunkstore.records.fields import MetricPoint
from chunkstore.records.garbage import without_collections
from chunkstore.records.models import PROCESSING, StepAttempt, StepLog

_Scope = TypeVar("_Scope", bound=Scope)


class StepRecord(Generic[_Scope]):
    """The record of a step in a scope, of which it needs no more than `Scope` has.

    In the process that started the step, what is logged is written to the step's own record without a lock; in any
    other, it is laid beside it.
    """

    def __init__(self, run: _Scope, log: StepLog) -> None:
        self.run = run
        self.name = log.name
        self.internal_name = log.internal_name
        self._log = log
        self._owner_pid = os.getpid()
        self.reset_after_fork()
        renew_after_fork(self)

    def reset_after_fork(self) -> None:
        """In a forked child: leave what waits to be written to the parent, and let go of its mutex and timer."""
        self._mutex = threading.RLock()
        self._last_write = object()
        self._series = MetricSeries(self.run, self.internal_name, self._mutex)

    def __repr__(self) -> str:
        return f"<Step {self.internal_name!r} of run {self.run.run_id!r}: {self._log.status}>"

    def __getstate__(self) -> dict[str, Any]:
        # The receiver has started nothing, and what waits to be written here is not written twice.
        return {**self.__dict__, "_owner_pid": -1, "_mutex": None, "_last_write": None, "_series": None}

    def __setstate__(self, state: dict[str, Any]) -> None:
        self.__dict__.update(state)
        self.reset_after_fork()
        renew_after_fork(self)

    @guarded
    def _write(self) -> None:
        """Write the record; should something be added to it in the middle, by this very thread, once more."""
        is_newest = self._write_once()
        while not is_newest:  # nor can it be, if a finaliser adds something each time that garbage is collected
            is_newest = without_collections(self._write_once)

    def _write_once(self) -> bool:
        """Write the record; tell whether nothing was added to it meanwhile."""
        self._last_write = mark = object()
        try:
            self.run.tell_store(self.run.store.add_step_log, self._log)
        except RuntimeError:  # it has changed while it was looked through
            if self._last_write is mark:
                raise
        return self._last_write is mark

    @property
    def _owned(self) -> bool:
        """Whether this is the process that started the step; a fork or another host is not."""
        return self._owner_pid == os.getpid()

    @guarded
    def _change(self, change: Callable[[StepLog], None]) -> None:
        if self._owned:
            with passable(self._mutex):
                change(self._log)
                self._write()
        else:
            self.run.tell_store(self.run.store.update_step_log, self.internal_name, change)

    @property
    def attempt_to_tell(self) -> int:
        """To which attempt belongs what is recorded now; 0 if there is no other one to tell it from."""
        attempts = len(self._log.attempts)
        return attempts if attempts > 1 or self._may_be_repeated else 0

    @property
    def _may_be_repeated(self) -> bool:
        """Whether another start of this step may follow in this run."""
        return bool(self.run.branch)

    @property
    def first_put(self) -> str:
        """Where in the catalog the first lies of what the step has put, or printed; empty for nothing."""
        put = (entry.catalog_relative_path for entry in self._log.data_catalog if entry.stage == PUT)
        return next(put, "")

    # --- what authors log --------------------------------------------------------------------------------------------

    def log_metric(self, name: str, value: Any, step: float | None = None) -> None:
        """Record a metric.

        Args:
            name: the metric.
            value: any value that JSON can hold, mostly a number.
            step: a step number makes the value one point of a series; series are written at most once a second and
                when the step ends. Without, the value is the metric's only one.

        Raises:
            InvalidValueError: the value cannot be recorded.
        """
        self.log_metrics({name: value}, step)

    @guarded
    def log_metrics(self, metrics: Mapping[str, Any], step: float | None = None) -> None:
        """Record several metrics; see `log_metric`. If some cannot be recorded, the others are before it raises."""
        checked = CheckedValues(metrics, "metric")
        if checked.good and step is None:
            self._change(lambda log: log.user_defined_metrics.update(checked.good))
        elif checked.good:
            number, now = checked_number(step, ", ".join(checked.good)), utc_now()
            self._add_points({name: MetricPoint(number, value, now) for name, value in checked.good.items()})
        checked.raise_refusals()

    def _add_points(self, points: Mapping[str, MetricPoint]) -> None:
        with passable(self._mutex):
            # Only the process that runs the step flushes when it ends: elsewhere nothing may wait.
            may_wait = self._owned and self._log.status == PROCESSING
            self._series.add(points, attempt=self.attempt_to_tell, may_wait=may_wait)

    def log_params(self, parameters: Mapping[str, Any]) -> None:
        """Record what this attempt of the step was called with.

        Raises:
            InvalidValueError: some values cannot be recorded; the others have been.
        """
        checked = CheckedValues(parameters, "parameter")

        def change(log: StepLog) -> None:
            if not log.attempts:
                log.attempts.append(StepAttempt(start_time=utc_now(), status=log.status))
            log.attempts[-1].parameters.update(checked.good)

        if checked.good:
            self._change(change)
        checked.raise_refusals()

    def put_data(self, path: str | os.PathLike[str], name: str | None = None) -> None:
        """Copy a file, or all files of a folder, into the catalog and record them with their SHA-256.

        Data of a name that was put before stays: `get_data(name, step=…)` gets it back.

        Args:
            path: the file or folder.
            name: what to call it; None for its path if that is relative, else its last part.

        Raises:
            FileNotFoundError: there is no such file.
            InvalidNameError: the name is no relative path that leads down, or something in the folder is no file.
        """
        entries = self.run.catalog.put(path, name, self.run.branch)
        self._change(lambda log: log.data_catalog.extend(entries))
        self.run.keep(entries)

    def get_data(self, name: str, to: str | os.PathLike[str] | None = None, *, step: str | None = None) -> Path:
        """Copy data out of the catalog of this run and record that it was read.

        Args:
            name: as it was put.
            to: where to copy it: a file or a folder; None for its name in the working folder.
            step: the step whose data is meant, by its name here or its internal name; None for whichever has put data
                of this name last.

        Returns:
            The path of the copy.

        Raises:
            DataNotFoundError: nobody has put data of this name in this branch or around it, or that step has not.
            StepLogNotFoundError: there is no such step.
        """
        if step is None:
            path, entry = self.run.catalog.get(name, to, self.run.branch)
        else:
            path, entry = self.run.catalog.get_version(self.run.put_by(step, name), to)
        self._change(lambda log: log.data_catalog.append(entry))
        return path

    def set_result(self, result: Any) -> None:
        """Record what the step found, so that `reuse` gives it when the run is resumed."""
        kept = kept_result(result)
        if kept.value is UNSET:
            reason = "it is no JSON, or larger than a megabyte"
            raise InvalidValueError(
                f"Cannot keep the result of step {self.name!r}: {reason}. Put it into the catalog with put_data.",
                key="result",
                reason=reason,
            )

        def change(log: StepLog) -> None:
            log.result, log.result_types = kept

        self._change(change)

    def flush(self) -> None:
        """Write the points of metric series that wait to be written."""
        self._series.flush()
