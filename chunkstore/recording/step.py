"""One step while it is recorded."""

from __future__ import annotations

import functools
import inspect
import logging
import math
import os
import threading
import time
from collections.abc import Callable, Mapping
from contextlib import ExitStack
from pathlib import Path
from types import TracebackType
from typing import TYPE_CHECKING, Any, TypeVar

from msgspec import UNSET

from chunkstore.clock import format_duration, utc_now
from chunkstore.errors import DataNotFoundError, InvalidValueError, StoreUsageError
from chunkstore.recording.context import recording_step
from chunkstore.recording.failures import describe_error, format_error, is_failure
from chunkstore.recording.forks import renew_after_fork
from chunkstore.recording.identity import identities, same_code
from chunkstore.recording.output import OutputFile, kept_output
from chunkstore.recording.previous import hash_of, kept_result, reusable_step, taken_over
from chunkstore.recording.values import checked_number, checked_values
from chunkstore.records.base import MetricPoint
from chunkstore.records.models import FAIL, PROCESSING, SUCCESS, CodeIdentity, DataCatalog, StepAttempt, StepLog

if TYPE_CHECKING:  # for annotations alone: runs make steps
    from chunkstore.recording.run import Run

logger = logging.getLogger("chunkstore")

_T = TypeVar("_T")

RAISE, CONTINUE = "raise", "continue"
#: Seconds before the second attempt; doubled before each further one.
DEFAULT_BACKOFF = 0.5
_LONGEST_BACKOFF = 60.0
_MOST_DOUBLINGS = 30
#: Points of metric series are written at most so often, in seconds.
_FLUSH_INTERVAL = 1.0


class Step:
    """A step of a run: a context manager around the work, or a runner of a function.

    Made by `Run.step`. In the process that started the step, what is logged is written to the step's own record
    without a lock; in any other, it is laid beside it.

    Attributes:
        run: the run, or the branch of it, that the step belongs to.
        name: what the author called it.
        internal_name: where in the run it is.
    """

    def __init__(
        self,
        run: Run,
        name: str,
        internal_name: str,
        *,
        step_type: str = "task",
        max_attempts: int = 1,
        on_error: str = RAISE,
        backoff: float = DEFAULT_BACKOFF,
        earlier_attempts: list[StepAttempt] | None = None,
    ) -> None:
        if max_attempts < 1:
            raise StoreUsageError(f"Cannot run step {name!r} {max_attempts} times: max_attempts must be 1 or more.")
        check_on_error(on_error)
        if not 0 <= backoff < math.inf:
            raise StoreUsageError(f"Cannot wait {backoff} seconds between attempts: backoff must be 0 or more.")
        self.run = run
        self.name = name
        self.internal_name = internal_name
        self._max_attempts = max_attempts
        self._on_error = on_error
        self._backoff = backoff
        self._log = StepLog(
            name=name,
            internal_name=internal_name,
            status=PROCESSING,
            step_type=step_type,
            attempts=list(earlier_attempts or ()),
        )
        self._started = 0.0
        self._scope: ExitStack | None = None
        self._output: OutputFile | None = None
        self._put_just_now: list[DataCatalog] = []
        self._points: dict[str, list[MetricPoint]] = {}
        self._flushed = -_FLUSH_INTERVAL
        self._timer: threading.Timer | None = None
        self._owner_pid = os.getpid()
        self._reused = False
        self._mutex = threading.RLock()
        renew_after_fork(self)

    def reset_after_fork(self) -> None:
        """In a forked child: leave what waits to be written to the parent, and let go of its mutex and timer."""
        self._mutex = threading.RLock()
        self._timer = None
        self._points = {}

    def note_fork(self) -> None:
        """In the parent of a forked child: the step stays its own."""

    def __repr__(self) -> str:
        return f"<Step {self.internal_name!r} of run {self.run.run_id!r}: {self._log.status}>"

    def __getstate__(self) -> dict[str, Any]:
        state = self.__dict__.copy()
        for name in ("_mutex", "_timer", "_scope", "_output"):
            state[name] = None
        return {**state, "_points": {}, "_owner_pid": -1}

    def __setstate__(self, state: dict[str, Any]) -> None:
        self.__dict__.update(state)
        self._mutex = threading.RLock()
        renew_after_fork(self)

    # --- running -----------------------------------------------------------------------------------------------------

    def __enter__(self) -> Step:
        if self._max_attempts > 1:
            raise StoreUsageError(
                f"Cannot repeat the block of `with run.step({self.name!r}, max_attempts=…)`. Give the work as a "
                "function: run.step(name, function, *arguments, max_attempts=…)."
            )
        if self._scope is not None or self._log.status != PROCESSING or self._log.attempts:
            raise StoreUsageError(f"Cannot enter step {self.name!r} twice. Make another step with run.step.")
        self._log.code_identities = identities(self.run.code_identity, None)
        try:
            self._begin()
        except BaseException as error:
            if not isinstance(error, Exception) and self._log.attempts:
                self._end(error)  # interrupted: the block, which would have recorded that, is not entered
            raise
        return self

    def __exit__(self, kind: type[BaseException] | None, error: BaseException | None, _: TracebackType | None) -> bool:
        if self._reused and error is None:
            self._leave()
            self.run.note_outcome(self.internal_name, failed=False)
            return False
        self._end(error)
        return error is not None and self._on_error == CONTINUE and isinstance(error, Exception)

    def __call__(self, function: Callable[..., _T]) -> Callable[..., _T]:
        """Return `function` so that each call of it is a step; for use as a decorator."""
        self.run.release_name(self.name)

        @functools.wraps(function)
        def recorded(*arguments: Any, **keywords: Any) -> Any:
            step = Step(
                self.run,
                self.name,
                self.run.new_name(self.name),
                step_type=self._log.step_type,
                max_attempts=self._max_attempts,
                on_error=self._on_error,
                backoff=self._backoff,
            )
            return step.execute(function, arguments, keywords)

        return recorded

    def execute(
        self,
        function: Callable[..., Any],
        arguments: tuple[Any, ...],
        keywords: Mapping[str, Any],
        code: list[CodeIdentity] | None = None,
        *,
        may_reuse: bool = True,
    ) -> Any:
        """Run a function as this step, as often as its attempts allow.

        Args:
            function: what the step does.
            arguments: for the function.
            keywords: for the function.
            code: which code that is, if the caller has found out.
            may_reuse: whether a result of the run that is resumed may be taken instead.

        Returns:
            What the function returned, or what it returned in the run that is resumed; None if it failed and
            `on_error` is "continue".
        """
        check_runs_at_once(function)
        self._log.code_identities = identities(self.run.code_identity, function) if code is None else code
        input_hash = hash_of([list(arguments), dict(keywords)])
        if may_reuse and self._reuse_result(input_hash):
            return self._log.result
        self._log.input_hash = UNSET if input_hash is None else input_hash
        while True:
            self._begin()
            try:
                result = done_at_once(function(*arguments, **keywords), self.name)
            except BaseException as error:
                attempts = len(self._log.attempts)
                if attempts < self._max_attempts and isinstance(error, Exception) and self._owned:
                    self._end(error, PROCESSING)
                    self._wait(attempts)
                    continue
                self._end(error)
                if self._on_error == CONTINUE and isinstance(error, Exception):
                    return None
                raise
            self._log.result = kept_result(result)
            self._end(None)
            return result

    def _wait(self, attempts: int) -> None:
        """Wait before the next attempt; if the program is interrupted meanwhile, the step has failed."""
        try:
            time.sleep(min(self._backoff * 2.0 ** min(attempts - 1, _MOST_DOUBLINGS), _LONGEST_BACKOFF))
        except BaseException:
            self.run.note_outcome(self.internal_name, failed=True)
            with self._mutex:
                self._log.status = FAIL
                self._write()
            raise

    def _begin(self) -> None:
        self._owner_pid = os.getpid()
        self.run.note_start(self.internal_name)
        with self._mutex:
            attempt = StepAttempt(attempt_number=len(self._log.attempts) + 1, start_time=utc_now(), status=PROCESSING)
            self._log.attempts.append(attempt)
            self._log.status = PROCESSING
            self._write()
        self._started = time.perf_counter()
        if self.run.capture_output and self._output is None:
            self._output = OutputFile(self.run.catalog, self.internal_name)
        self._scope = ExitStack()
        self._scope.enter_context(recording_step(self))
        self._scope.enter_context(kept_output(self._output))

    def _leave(self) -> None:
        scope, self._scope = self._scope, None
        if scope is not None:
            try:
                scope.close()
            except ValueError:
                pass  # left in another thread or task than entered: its context is not ours to restore

    def _end(self, error: BaseException | None, status: str | None = None) -> None:
        """Record how an attempt ended; `status` is that of the step, if it is not the attempt's."""
        duration = time.perf_counter() - self._started
        self._leave()
        if not self._owned:
            return  # a forked child that leaves the work ends itself, not the step
        failed = is_failure(error)
        with self._mutex:
            attempt = self._log.attempts[-1]
            attempt.end_time = utc_now()
            attempt.duration = format_duration(duration)
            attempt.status = FAIL if failed else SUCCESS
            attempt.message = format_error(error) if failed and error else ""
            self._log.status = status or attempt.status
            self._log.message = describe_error(error) if failed and error else ""
        try:
            self._close(last=status is None)
        except Exception:
            if error is None:
                raise
            # The work's own error is the one to raise; that it could not be recorded must not hide it.
            logger.exception("Cannot record the end of step %s of run %s", self.internal_name, self.run.run_id)
        if status is None:
            self.run.note_outcome(self.internal_name, failed=failed)

    def _close(self, *, last: bool) -> None:
        with ExitStack() as each:  # all of it is done, whichever fails
            each.callback(self._write_end)
            if last and self._output is not None:
                each.callback(self._keep_output, self._output)
            each.callback(self.flush)

    def _keep_output(self, output: OutputFile) -> None:
        if (printed := output.finish()) is not None:
            self._log.data_catalog.append(printed)
            self._put_just_now.append(printed)

    def _write_end(self) -> None:
        with self._mutex:
            self._write()
        put, self._put_just_now = self._put_just_now, []
        self.run.keep(put)

    def conclude(self, status: str, message: str) -> None:
        """Record the end of a composite step, whose work is done in its branches."""
        with self._mutex:
            attempt = self._log.attempts[-1]
            attempt.end_time = utc_now()
            attempt.duration = format_duration(time.perf_counter() - self._started)
            attempt.status = self._log.status = status
            attempt.message = self._log.message = message
            self._write()
        self.run.note_outcome(self.internal_name, failed=status == FAIL)

    def open_composite(self, function: Callable[..., Any] | None, planned: int | None) -> None:
        """Record the start of a composite step, and how many branches there will be if that is known."""
        self._log.planned_branches = UNSET if planned is None else planned
        self._log.code_identities = identities(self.run.code_identity, function)
        self.run.note_start(self.internal_name)
        with self._mutex:
            self._log.attempts.append(StepAttempt(start_time=utc_now(), status=PROCESSING))
            self._write()
        self._started = time.perf_counter()

    def _write(self) -> None:
        self.run.store.add_step_log(self.run.identity, self._log)

    @property
    def _owned(self) -> bool:
        """Whether this is the process that started the step; a fork or another host is not."""
        return self._owner_pid == os.getpid()

    def _change(self, change: Callable[[StepLog], None]) -> None:
        if self._owned:
            with self._mutex:
                change(self._log)
                self._write()
        else:
            self.run.store.update_step_log(self.run.identity, self.internal_name, change)

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

    def log_metrics(self, metrics: Mapping[str, Any], step: float | None = None) -> None:
        """Record several metrics; see `log_metric`. If one cannot be recorded, none is."""
        values = checked_values(metrics, "metric")
        if step is None:
            self._change(lambda log: log.user_defined_metrics.update(values))
            return
        number, now = checked_number(step, ", ".join(values)), utc_now()
        with self._mutex:
            for name, value in values.items():
                self._points.setdefault(name, []).append(MetricPoint(number, value, now))
            # Only the process that runs the step flushes when it ends: elsewhere nothing may wait.
            waits = self._owned and self._log.status == PROCESSING
            if not waits or time.monotonic() - self._flushed >= _FLUSH_INTERVAL:
                self.flush()
            elif self._timer is None:
                self._timer = threading.Timer(_FLUSH_INTERVAL, self._flush_late)
                self._timer.daemon = True
                self._timer.start()

    def log_params(self, parameters: Mapping[str, Any]) -> None:
        """Record what this attempt of the step was called with.

        Raises:
            InvalidValueError: a value cannot be recorded.
        """
        values = checked_values(parameters, "parameter")

        def change(log: StepLog) -> None:
            if not log.attempts:
                log.attempts.append(StepAttempt(start_time=utc_now(), status=log.status))
            log.attempts[-1].parameters.update(values)

        self._change(change)

    def put_data(self, path: str | os.PathLike[str], name: str | None = None) -> None:
        """Copy a file, or all files of a folder, into the catalog and record them with their SHA-256.

        Args:
            path: the file or folder.
            name: what to call it; None for its path if that is relative, else its last part.

        Raises:
            FileNotFoundError: there is no such file.
            InvalidNameError: the name is no relative path that leads down.
        """
        entries = self.run.catalog.put(path, name, self.run.branch)
        self._change(lambda log: log.data_catalog.extend(entries))
        self.run.keep(entries)

    def get_data(self, name: str, to: str | os.PathLike[str] | None = None) -> Path:
        """Copy data out of the catalog of this run and record that it was read.

        Args:
            name: as it was put.
            to: where to copy it: a file or a folder; None for its name in the working folder.

        Returns:
            The path of the copy.

        Raises:
            DataNotFoundError: nobody has put data of this name in this branch or around it.
        """
        path, entry = self.run.catalog.get(name, to, self.run.branch)
        self._change(lambda log: log.data_catalog.append(entry))
        return path

    def set_result(self, result: Any) -> None:
        """Record what the step found, so that `reuse` gives it when the run is resumed."""
        value = kept_result(result)
        if value is UNSET:
            reason = "it is no JSON, or larger than a megabyte"
            raise InvalidValueError(
                f"Cannot keep the result of step {self.name!r}: {reason}. Put it into the catalog with put_data.",
                key="result",
                reason=reason,
            )
        self._change(lambda log: setattr(log, "result", value))

    def flush(self) -> None:
        """Write the points of metric series that wait to be written."""
        with self._mutex:
            if self._timer is not None:
                self._timer.cancel()
                self._timer = None
            points, self._points = self._points, {}
            if not points:
                return
            self._flushed = time.monotonic()
            try:
                self.run.store.append_metrics(self.run.identity, self.internal_name, points)
            except BaseException:
                self._points = {name: [*old, *self._points.get(name, [])] for name, old in points.items()}
                raise

    def _flush_late(self) -> None:
        try:
            with self._mutex:
                self._timer = None
                self.flush()
        except Exception:
            # Tried again with the next point, and when the step ends; an error there reaches the author.
            logger.exception("Cannot write metrics of step %s of run %s", self.internal_name, self.run.run_id)

    # --- resuming ----------------------------------------------------------------------------------------------------

    @property
    def previous(self) -> StepLog | None:
        """What the run that is resumed recorded of this step, or None."""
        return self.run.previous.step(self.internal_name) if self.run.previous else None

    @property
    def cached(self) -> bool:
        """Whether the run that is resumed finished this step with the same code, so that `reuse` makes sense."""
        found = self.previous
        return (
            found is not None
            and found.status == SUCCESS
            and same_code(found.code_identities, identities(self.run.code_identity, None))
        )

    def reuse(self) -> Any:
        """Take this step over from the run that is resumed instead of doing its work again.

        Returns:
            The result that was set there with `set_result`, or None.

        Raises:
            StoreUsageError: there is nothing to take over; ask `cached` before.
            DataNotFoundError: data that the step put there is gone.
        """
        found = self.previous
        if found is None or not self.cached or self.run.previous is None:
            raise StoreUsageError(
                f"Cannot take over step {self.name!r}: the run being resumed has not finished it with this code. Ask "
                "step.cached before."
            )
        with self._mutex:
            self._log = taken_over(found, self.run.previous.run_of(found), self.run.catalog)
            self._reused = True
            self._write()
        self.run.keep(self._log.data_catalog)
        return None if found.result is UNSET else found.result

    def _reuse_result(self, input_hash: str | None) -> bool:
        found = self.previous
        if found is None or self.run.previous is None:
            return False
        if not reusable_step(found, self._log.code_identities, input_hash):
            return False
        try:
            self._log = taken_over(found, self.run.previous.run_of(found), self.run.catalog)
        except DataNotFoundError:
            return False  # what it put is gone: only the work itself can make it again
        self._write()
        self.run.keep(self._log.data_catalog)
        return True


def check_runs_at_once(function: Callable[..., Any]) -> None:
    """Raise `StoreUsageError` for a function whose call only begins the work: async ones and generators."""
    inner = function
    while isinstance(inner, functools.partial):
        inner = inner.func
    if inspect.iscoroutinefunction(inner) or inspect.isgeneratorfunction(inner) or inspect.isasyncgenfunction(inner):
        raise _not_at_once(getattr(inner, "__name__", type(inner).__name__))


def done_at_once(result: Any, name: str) -> Any:
    """Return what a function returned, unless that is only the beginning of its work."""
    if inspect.isawaitable(result):
        if inspect.iscoroutine(result):
            result.close()
        raise _not_at_once(name)
    return result


def _not_at_once(name: str) -> StoreUsageError:
    return StoreUsageError(
        f"Cannot run {name!r} as a step: calling it does not do its work, but returns something to await or iterate. "
        "Do that inside `with run.step(name):`, or give a function that does it, such as `lambda: asyncio.run(…)`."
    )


def check_on_error(on_error: str) -> None:
    """Raise `StoreUsageError` unless `on_error` is one of its two values."""
    if on_error not in (RAISE, CONTINUE):
        raise StoreUsageError(f"Cannot use on_error={on_error!r}: it is 'raise' or 'continue'.")
