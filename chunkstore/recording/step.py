"""One step while it is recorded."""

from __future__ import annotations

import functools
import logging
import os
import time
from collections.abc import Callable, Mapping
from contextlib import ExitStack
from types import TracebackType
from typing import TYPE_CHECKING, Any, ParamSpec, TypeVar

from msgspec import UNSET

from chunkstore.clock import format_duration, utc_now
from chunkstore.errors import DataNotFoundError, StoreUsageError
from chunkstore.recording.context import Current, leave
from chunkstore.recording.failures import describe_error, format_error, is_failure
from chunkstore.recording.functions import check_runs_at_once, done_at_once
from chunkstore.recording.identity import identities, same_code
from chunkstore.recording.output import OutputFile, kept_output
from chunkstore.recording.previous import PreviousRun, reusable_step, taken_over
from chunkstore.recording.results import hash_of, kept_result
from chunkstore.recording.retries import CONTINUE, DEFAULT_BACKOFF, RAISE, check_retries, wait_after
from chunkstore.recording.scope import Scope
from chunkstore.recording.step_record import StepRecord
from chunkstore.records.models import FAIL, PROCESSING, SUCCESS, CodeIdentity, DataCatalog, StepAttempt, StepLog

if TYPE_CHECKING:
    from typing_extensions import Self  # for annotations alone: no dependency

logger = logging.getLogger("chunkstore")

_P = ParamSpec("_P")
_T = TypeVar("_T")
_Scope = TypeVar("_Scope", bound=Scope)


class BaseStep(StepRecord[_Scope]):
    """A step of a scope, around a block or a function; what authors get is `chunkstore.Step`, in a run."""

    def __init__(
        self,
        run: _Scope,
        name: str,
        internal_name: str,
        *,
        step_type: str = "task",
        max_attempts: int = 1,
        on_error: str = RAISE,
        backoff: float = DEFAULT_BACKOFF,
        earlier_attempts: list[StepAttempt] | None = None,
    ) -> None:
        check_retries(name, max_attempts, on_error, backoff)
        log = StepLog(
            name=name,
            internal_name=internal_name,
            status=PROCESSING,
            step_type=step_type,
            attempts=list(earlier_attempts or ()),
        )
        super().__init__(run, log)
        self._max_attempts = max_attempts
        self._on_error = on_error
        self._backoff = backoff
        self._started = 0.0
        self._entered: ExitStack | None = None
        self._output: OutputFile | None = None
        self._put_just_now: list[DataCatalog] = []
        self._reused = False

    def __getstate__(self) -> dict[str, Any]:
        return {**super().__getstate__(), "_entered": None, "_output": None}

    # --- running -----------------------------------------------------------------------------------------------------

    def __enter__(self) -> Self:
        if self._max_attempts > 1:
            raise StoreUsageError(
                f"Cannot repeat the block of `with run.step({self.name!r}, max_attempts=…)`. Give the work as a "
                "function: run.step(name, function, *arguments, max_attempts=…)."
            )
        if self._entered is not None or self._log.status != PROCESSING or self._log.attempts:
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

    def __call__(self, function: Callable[_P, _T]) -> Callable[_P, _T]:
        """Return `function` so that each call of it is a step; for use as a decorator."""
        self.run.release_name(self.name)

        @functools.wraps(function)
        def recorded(*arguments: _P.args, **keywords: _P.kwargs) -> Any:
            step = type(self)(
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
            wait_after(attempts, self._backoff)
        except BaseException:
            self.run.note_outcome(self.internal_name, failed=True)
            with self._mutex:
                self._log.status = FAIL
                self._write()
            raise

    def _begin(self) -> None:
        self._owner_pid = os.getpid()
        self._begin_attempt()
        if self.run.capture_output and self._output is None:
            self._output = OutputFile(self.run.catalog, self.internal_name)
        self._entered = ExitStack()
        self._entered.enter_context(CURRENT_STEP.being(self))
        self._entered.enter_context(kept_output(self._output))

    def _begin_attempt(self) -> None:
        self.run.note_start(self.internal_name)
        with self._mutex:
            attempt = StepAttempt(attempt_number=len(self._log.attempts) + 1, start_time=utc_now(), status=PROCESSING)
            self._log.attempts.append(attempt)
            self._log.status = PROCESSING
            self._write()
        self._started = time.perf_counter()

    def _leave(self) -> None:
        entered, self._entered = self._entered, None
        leave(entered)

    def _end(self, error: BaseException | None, status: str | None = None) -> None:
        """Record how an attempt ended; `status` is that of the step, if it is not the attempt's."""
        duration = time.perf_counter() - self._started
        self._leave()
        if not self._owned:
            return  # a forked child that leaves the work ends itself, not the step
        failed = is_failure(error)
        with self._mutex:
            attempt = self._end_attempt(FAIL if failed else SUCCESS, duration)
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

    def _end_attempt(self, status: str, duration: float) -> StepAttempt:
        attempt = self._log.attempts[-1]
        attempt.end_time = utc_now()
        attempt.duration = format_duration(duration)
        attempt.status = status
        return attempt

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
            attempt = self._end_attempt(status, time.perf_counter() - self._started)
            attempt.message = self._log.message = message
            self._log.status = status
            self._write()
        self.run.note_outcome(self.internal_name, failed=status == FAIL)

    def open_composite(self, function: Callable[..., Any] | None, planned: int | None) -> None:
        """Record the start of a composite step, and how many branches there will be if that is known."""
        self._log.planned_branches = UNSET if planned is None else planned
        self._log.code_identities = identities(self.run.code_identity, function)
        self._begin_attempt()

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
        self._take_over(found, self.run.previous)
        return None if found.result is UNSET else found.result

    def _reuse_result(self, input_hash: str | None) -> bool:
        found = self.previous
        if found is None or self.run.previous is None:
            return False
        if not reusable_step(found, self._log.code_identities, input_hash):
            return False
        try:
            self._take_over(found, self.run.previous)
        except DataNotFoundError:
            return False  # what it put is gone: only the work itself can make it again
        return True

    def _take_over(self, found: StepLog, previous: PreviousRun) -> None:
        with self._mutex:
            self._log = taken_over(found, previous.run_of(found), self.run.catalog)
            self._reused = True
            self._write()
        self.run.keep(self._log.data_catalog)


#: The step that is running here.
CURRENT_STEP: Current[BaseStep[Any]] = Current("step", "run.step(name)")
