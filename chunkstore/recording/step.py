"""One step while it is recorded."""

from __future__ import annotations

import functools
import logging
import os
import time
from collections.abc import Callable, Mapping, Sequence
from contextlib import AbstractContextManager
from types import TracebackType
from typing import TYPE_CHECKING, Any, ParamSpec, TypeVar

from msgspec import UNSET

from chunkstore.clock import format_duration, utc_now
from chunkstore.errors import CorruptChunkError, StepLogNotFoundError, StoreUsageError
from chunkstore.interrupts import passable
from chunkstore.recording.catalog import PUT
from chunkstore.recording.context import leave_all
from chunkstore.recording.failures import ErrorWatch, describe_error, format_error, is_failure
from chunkstore.recording.functions import check_runs_at_once, done_at_once
from chunkstore.recording.identity import InputHash, identities, input_hash
from chunkstore.recording.inner_names import InnerNames
from chunkstore.recording.output import OutputFile
from chunkstore.recording.results import kept_result, result_of
from chunkstore.recording.retries import CONTINUE, DEFAULT_BACKOFF, RAISE, wait_after
from chunkstore.recording.scope import CURRENT_STEP, Scope, actor
from chunkstore.recording.starting import new_attempt
from chunkstore.recording.step_reuse import ReusableStep
from chunkstore.recording.streams import KeptOutput
from chunkstore.records.attempts import set_aside
from chunkstore.records.models import FAIL, PROCESSING, SUCCESS, CodeIdentity, DataCatalog, StepAttempt, StepLog

if TYPE_CHECKING:
    from typing_extensions import Self  # for annotations alone: no dependency

logger = logging.getLogger("chunkstore")

_P = ParamSpec("_P")
_T = TypeVar("_T")
_Scope = TypeVar("_Scope", bound=Scope)


class BaseStep(ReusableStep[_Scope]):
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
        outer = run.step_around()
        outer_names = outer.inner_names if outer else None
        self.inner_names = InnerNames(outer_names) if max_attempts > 1 else outer_names
        self.begun_by = 0
        self._started = 0.0
        #: When the work of the attempt came to its end: for people, and by the clock that measures.
        self._stopped: tuple[str, float] | None = None
        self._errors = ErrorWatch()
        self._recorded = False
        self._ended = False
        self._recalled = 0
        self._entered: Sequence[AbstractContextManager[None]] | None = None
        self._put_just_now: list[DataCatalog] = []
        self._is_decorator = False

    def __getstate__(self) -> dict[str, Any]:
        return {**super().__getstate__(), "_entered": None, "_output": None}

    # --- running -----------------------------------------------------------------------------------------------------

    def __enter__(self) -> Self:
        self._check_can_be_entered()
        try:
            self._log.code_identities = identities(self.run.code_identity, None)
            self._begin()
        except BaseException as error:
            self.end_with(error)  # the block, which would have recorded that, is not entered
            raise
        return self

    def _check_can_be_entered(self) -> None:
        if self._max_attempts > 1:
            raise StoreUsageError(
                f"Cannot repeat the block of `with run.step({self.name!r}, max_attempts=…)`. Give the work as a "
                "function: run.step(name, function, *arguments, max_attempts=…)."
            )
        if self._is_decorator or self._entered is not None or self._log.status != PROCESSING or self._log.attempts:
            raise StoreUsageError(f"Cannot enter step {self.name!r} twice. Make another step with run.step.")

    def __exit__(self, kind: type[BaseException] | None, error: BaseException | None, _: TracebackType | None) -> bool:
        if self.run.is_finalizing():
            return False  # a generator that nobody has gone on with ends with the interpreter, when nothing works
        self._end_block(error, self._errors.error() if error is None else error)
        return self._is_passed_over(error)

    def _end_block(self, error: BaseException | None, in_course_of: BaseException | None) -> None:
        """Record the end of a block that an error has ended, or that was left in the course of one."""
        try:
            if self._reused and error is None:
                self._end_reused()
            else:
                self._end(in_course_of)
        except BaseException as interrupt:
            self.end_with(interrupt if error is None else error)
            raise

    def _is_passed_over(self, error: BaseException | None) -> bool:
        return error is not None and self._on_error == CONTINUE and isinstance(error, Exception)

    def __call__(self, function: Callable[_P, _T]) -> Callable[_P, _T]:
        """Return `function` so that each call of it is a step; for use as a decorator."""
        self._become_decorator()
        check_runs_at_once(function)

        @functools.wraps(function)
        def recorded(*arguments: _P.args, **keywords: _P.kwargs) -> Any:
            return self._another().execute(function, arguments, keywords)

        return recorded

    def _become_decorator(self) -> None:
        if not self._is_decorator and not self._log.attempts:
            self.run.release_name(self.name)  # each call takes a name of its own
        self._is_decorator = True

    def _another(self) -> Self:
        """Return a new step that is like this one."""
        return type(self)(
            self.run,
            self.name,
            self.run.new_name(self.name),
            step_type=self._log.step_type,
            max_attempts=self._max_attempts,
            on_error=self._on_error,
            backoff=self._backoff,
        )

    def execute(
        self,
        function: Callable[..., Any],
        arguments: tuple[Any, ...],
        keywords: Mapping[str, Any],
        code: list[CodeIdentity] | None = None,
        *,
        inputs: InputHash | None = None,
        may_reuse: bool = True,
    ) -> Any:
        """Run a function as this step, as often as its attempts allow.

        Args:
            function: what the step does; the caller has found out that it runs at once.
            arguments: for the function.
            keywords: for the function.
            code: which code that is, if the caller has found out.
            inputs: the hash of what it is called with, if the caller has found out.
            may_reuse: whether a result of the run that is resumed may be taken instead.

        Returns:
            What the function returned, or what it returned in the run that is resumed; None if it failed and
            `on_error` is "continue".
        """
        try:
            if self._takes_over(function, arguments, keywords, code, inputs, may_reuse=may_reuse):
                return result_of(self._log)
            while True:
                has_begun = False
                try:
                    self._begin()
                    has_begun = True
                    result = done_at_once(function(*arguments, **keywords), self.name)
                    self._log.result, self._log.result_types = kept_result(result)
                except BaseException as error:
                    if not (has_begun and self._owned and isinstance(error, Exception)):
                        raise
                    if not self._may_try_again:
                        self._end(error)
                        if self._on_error == CONTINUE:
                            return None
                        raise
                    self._end(error, PROCESSING)
                    wait_after(self._tries, self._backoff)
                else:
                    self._end(None)
                    return result
        except BaseException as error:
            self.end_with(error)
            raise

    def _begin(self) -> None:
        self.take_charge()
        self._begin_attempt()
        self._be_current()

    def take_charge(self) -> None:
        """Note who begins an attempt, and in the course of which error."""
        self._owner_pid, self.begun_by, self._stopped = os.getpid(), actor(), None
        self._errors = ErrorWatch()

    def _new_output(self) -> OutputFile:
        return OutputFile(self.run.catalog, self.internal_name)

    def _be_current(self) -> None:
        """Begin to be the current step, and to keep what is printed."""
        if self.run.capture_output:
            self._output = self._new_output()
        self._entered = CURRENT_STEP.being(self), KeptOutput(self._output)
        for block in self._entered:
            block.__enter__()

    def _takes_over(
        self,
        function: Callable[..., Any],
        arguments: tuple[Any, ...],
        keywords: Mapping[str, Any],
        code: list[CodeIdentity] | None,
        inputs: InputHash | None,
        *,
        may_reuse: bool,
    ) -> bool:
        """Note what is to be run; tell whether the run that is resumed has done just that, and it was taken over."""
        self._log.code_identities = identities(self.run.code_identity, function) if code is None else code
        inputs = input_hash(arguments, keywords, function) if inputs is None else inputs
        if may_reuse and self._reuse_result(inputs.whole):
            return True
        self._log.input_hash = UNSET if inputs.whole is None else inputs.whole
        self._log.argument_hashes = dict(inputs.arguments) or UNSET
        return False

    @property
    def _tries(self) -> int:
        """How many attempts this very start of the step has begun."""
        return len(self._log.attempts) - self._recalled

    @property
    def _may_try_again(self) -> bool:
        return self._tries < self._max_attempts

    def _begin_attempt(self) -> None:
        if not self._log.attempts:
            self._note_around()
            if self.run.is_repeated(self.internal_name):
                self._recall()
        elif self.inner_names is not None:
            self.run.forget_outcomes(self.inner_names.all_given())
            self.inner_names.begin_attempt()
        self.run.note_start(self)
        with passable(self._mutex):
            if self._log.attempts:
                set_aside(self._log)
            start = self.run.start_in(self._owner_pid)
            self._log.attempts.append(new_attempt(len(self._log.attempts) + 1, self._owner_pid, start))
            self._log.returned = UNSET
            self._log.status = PROCESSING
            self._write()
        self._recorded = True
        self._started = time.perf_counter()

    def _recall(self) -> None:
        """Begin with the attempts that an earlier start of what is around this step has recorded of it."""
        try:
            earlier = self.run.store.get_step_log(self.run.identity, self.internal_name, full=False)
        except (StepLogNotFoundError, CorruptChunkError):
            return
        if earlier.mock or not earlier.attempts:
            return
        if earlier.attempts[-1].status == PROCESSING:
            earlier.attempts[-1].status, earlier.attempts[-1].message = FAIL, "it did not end"
        set_aside(earlier)
        self._log.attempts = earlier.attempts
        self._recalled = len(earlier.attempts)

    @property
    def attempt(self) -> int:
        """Which attempt the step is in, counted from 1."""
        return len(self._log.attempts)

    @property
    def _may_be_repeated(self) -> bool:
        return self.inner_names is not None or super()._may_be_repeated

    def is_at_work_in(self, scope: Scope) -> bool:
        """Tell whether the step belongs to this very run or branch, and has not ended."""
        return self.run.records_as(scope) and self._owned and self._entered is not None

    def _leave(self) -> None:
        if self._entered is not None:
            leave_all(self._entered)
            self._entered = None
            self._stopped = utc_now(), time.perf_counter()

    def _end(self, error: BaseException | None, status: str | None = None) -> None:
        """Record how an attempt ended; `status` is that of the step, if it is not the attempt's."""
        self._leave()
        if not self._owned:
            return  # a forked child that leaves the work ends itself, not the step
        failed = is_failure(error)
        with passable(self._mutex):
            attempt = self._end_attempt(FAIL if failed else SUCCESS)
            attempt.message = format_error(error) if failed and error else ""
            self._log.status = status or attempt.status
            self._log.message = describe_error(error) if failed and error else ""
        self._record_end(error)
        if status is None:
            self._ended = True
            self.run.note_outcome(self.internal_name, failed=failed)

    def _record_end(self, error: BaseException | None) -> None:
        try:
            self._close()
        except Exception:
            if error is None:
                raise
            # The work's own error is the one to raise; that it could not be recorded must not hide it.
            logger.exception("Cannot record the end of step %s of run %s", self.internal_name, self.run.run_id)

    def end_with(self, error: BaseException) -> None:
        """Record that an error ended the step, unless it has ended or is not this process's; for the last resort."""
        if self._ended or not self._owned or not self._log.attempts:
            return
        if isinstance(error, Exception) and not self._recorded:
            return  # it could not be recorded that it began
        self._ended = True
        if self._log.attempts[-1].status == PROCESSING:
            self._end(error)
            return
        self._leave()
        with passable(self._mutex):
            if self._log.status == PROCESSING:  # between two attempts
                self._log.status = FAIL
                self._log.message = describe_error(error) if is_failure(error) else self._log.message
        self._record_end(error)
        self.run.note_outcome(self.internal_name, failed=self._log.status == FAIL)

    def _end_attempt(self, status: str) -> StepAttempt:
        attempt = self._log.attempts[-1]
        attempt.end_time, stopped = self._stopped or (utc_now(), time.perf_counter())
        attempt.duration = format_duration(stopped - self._started)
        attempt.status = status
        return attempt

    def _close(self) -> None:
        output, self._output = self._output, None
        try:  # all of it is done, whichever fails
            self.flush()
        finally:
            try:
                if output is not None:
                    self._keep_output(output)
            finally:
                self._write_end()

    def _keep_output(self, output: OutputFile) -> None:
        if (printed := output.finish()) is not None:
            with passable(self._mutex):
                # In the place of what was taken over, if it goes on where that ended.
                others = [entry for entry in self._log.data_catalog if entry.name != printed.name or entry.stage != PUT]
                self._log.data_catalog = [*others, printed]
            self._put_just_now.append(printed)

    def _write_end(self) -> None:
        with passable(self._mutex):
            self._write()
        put, self._put_just_now = self._put_just_now, []
        self.run.keep(put)

    def conclude(self, status: str, message: str) -> None:
        """Record the end of a composite step, whose work is done in its branches."""
        with passable(self._mutex):
            attempt = self._end_attempt(status)
            attempt.message = self._log.message = message
            self._log.status = status
            self._write()
        self._ended = True
        self.run.note_outcome(self.internal_name, failed=status == FAIL)

    def note_returned(self, branch: str, start: str) -> None:
        """Note which start of a branch gave what has come back; empty if none did, and the branch has failed.

        It is written with the end of the step.
        """
        noted = {} if self._log.returned is UNSET else self._log.returned
        noted[branch.rpartition(".")[2]] = start.rpartition("/")[2]
        self._log.returned = noted

    def _end_reused(self) -> None:
        """End a block that was taken over, with what it printed and logged itself."""
        self._leave()
        if self._owned:
            self._ended = True
            self._close()
            self.run.note_outcome(self.internal_name, failed=False)

    def open_composite(self, function: Callable[..., Any] | None, planned: int | None) -> None:
        """Record the start of a composite step, and how many branches there will be if that is known.

        Whoever calls this has called `take_charge`.
        """
        self._log.planned_branches = UNSET if planned is None else planned
        self._log.code_identities = identities(self.run.code_identity, function)
        self._begin_attempt()
