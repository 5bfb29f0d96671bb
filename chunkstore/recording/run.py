"""What authors of pipelines hold: a run, or a branch of it, and the steps in it."""

from __future__ import annotations

import logging
import os
import weakref
from collections.abc import Callable, Iterable, Mapping
from concurrent.futures import Executor
from contextlib import AbstractContextManager
from types import TracebackType
from typing import Any, TypeVar, overload

from chunkstore.backends.base import AT_THE_END
from chunkstore.clock import clock, utc_now
from chunkstore.errors import ChunkstoreError, StoreUsageError
from chunkstore.names import PinnedRunId, readable_name, scopes_of
from chunkstore.recording.catalog import Catalog
from chunkstore.recording.context import leave_all
from chunkstore.recording.failures import ErrorWatch, describe_error, is_failure
from chunkstore.recording.fanout import FanOut
from chunkstore.recording.functions import check_runs_at_once
from chunkstore.recording.previous import PreviousRun
from chunkstore.recording.retries import DEFAULT_BACKOFF, RAISE, check_retries
from chunkstore.recording.scope import CURRENT_RUN, CURRENT_STEP, Scope
from chunkstore.recording.step import BaseStep
from chunkstore.recording.values import CheckedValues
from chunkstore.recording.workers import check_executor
from chunkstore.records.attempts import counting
from chunkstore.records.models import FAIL, NOTES, PROCESSING, SUCCESS, CodeIdentity, RunLog
from chunkstore.stores.base import Store
from chunkstore.stores.summary import Summary

logger = logging.getLogger("chunkstore")

_T = TypeVar("_T")
_I = TypeVar("_I")


class Run(Scope):
    """Records a run: a context manager that finishes it, or an object whose `finish` is called.

    Made by `Store.start_run` and `Store.join_run`. It pickles; what another process records through its copy belongs
    to the same run.

    Attributes:
        store: where the run is recorded.
        run_id: the run.
        identity: the same id, pinned to this run: should it be deleted, and another be made under its id, nothing that
            is recorded here gets into that one.
        branch: the internal name of the branch that this object is bound to; "" for the run itself.
        catalog: the run's data.
        capture_output: whether what steps print is kept.
        code_identity: the git commit that is checked out; None without git.
        previous: the run that this one resumes, or None.
    """

    def __init__(
        self,
        store: Store,
        run_id: str,
        *,
        branch: str = "",
        catalog: Catalog | None = None,
        capture_output: bool = True,
        code_identity: CodeIdentity | None = None,
        previous: PreviousRun | None = None,
        repeats: bool = False,
        around: tuple[str, int] | None = None,
        finishes: bool = False,
        joins: bool = False,
    ) -> None:
        super().__init__(
            store,
            run_id,
            branch=branch,
            catalog=catalog,
            capture_output=capture_output,
            code_identity=code_identity,
            previous=previous,
            repeats=repeats,
            around=around,
        )
        self._finishes = finishes
        # Others are told that the run is recorded, as long as this object lives in this process.
        self._release: Callable[[], None] = (
            store.hold(self.identity, joined=joins) if finishes or joins else lambda: None
        )
        self._errors = ErrorWatch()
        if finishes or joins:
            _runs.add(self)
        self._pid = os.getpid()
        self._entered: AbstractContextManager[None] | None = None
        self._left = False
        self._finished = False

    def __repr__(self) -> str:
        return f"<Run {self.run_id!r}{f' branch {self.branch!r}' if self.branch else ''} in {self.store!r}>"

    def __reduce__(self) -> tuple[Any, ...]:
        self._shared = True
        options = {**self._options(), "around": self.around()}
        return _receive, (self.store, self.identity, options, clock.latest)

    # --- beginning and end -------------------------------------------------------------------------------------------

    def __enter__(self) -> Run:
        if self._entered is not None:
            raise StoreUsageError(f"Cannot enter run {self.run_id!r} twice. Start another run with store.start_run.")
        if self._left and self._finishes:
            raise StoreUsageError(
                f"Cannot enter run {self.run_id!r} again: it has ended. Start another run with "
                "store.start_run(resume=…), or record more of this one through store.join_run."
            )
        self._entered = CURRENT_RUN.being(self)
        self._entered.__enter__()
        return self

    def __exit__(self, kind: type[BaseException] | None, error: BaseException | None, _: TracebackType | None) -> None:
        if self.is_finalizing():
            return  # a generator that nobody has gone on with ends with the interpreter, when nothing works
        self._left = True
        if self._entered is not None:
            leave_all([self._entered])
            self._entered = None
        if self._pid != os.getpid():
            return  # a forked child that leaves the block ends itself, not the run
        if not self._finishes:
            self._release()
            return
        if not is_failure(error) or error is None:
            if not self._finished:
                self.finish()
            return
        self.end_open_steps(error)
        try:
            self._finish(FAIL, describe_error(error))
        except Exception:
            # The author's own error is the one to raise; that the end could not be recorded must not hide it.
            logger.exception("Cannot record the end of run %s", self.run_id)

    @property
    def is_at_work(self) -> bool:
        """Whether somebody records through this object: the run goes on, and its block or a step has not ended."""
        is_ours = self._pid == os.getpid() and not self._finished
        return is_ours and (self._entered is not None or bool(self._open))

    def finish(self, status: str | None = None) -> RunLog:
        """Record how the run ended, and make it durable as the store's configuration says.

        Args:
            status: `SUCCESS`, `FAIL` or another word; None for FAIL if a step of the run failed, or if this is called
                in the course of an error that came up since the run began (in a `finally`, by `atexit` or
                `sys.excepthook`); else SUCCESS.

        Returns:
            The run's own record.

        Raises:
            StoreUsageError: this object is bound to a branch.
        """
        if self.branch:
            raise StoreUsageError(
                f"Cannot finish run {self.run_id!r} from inside its branch {readable_name(self.branch)!r}: the run "
                "goes on. Finish it where it was started."
            )
        if status is None:
            if (error := self._errors.error()) is not None:
                return self._finish(FAIL, describe_error(error))
            failed, unended, summary = self._unsuccessful_steps()
            message = "; ".join(filter(None, [_step_list(failed, "failed"), _step_list(unended, "did not end")]))
            return self._finish(FAIL if failed or unended else SUCCESS, message, summary)
        return self._finish(status, "")

    def _unsuccessful_steps(self) -> tuple[list[str], list[str], Summary | None]:
        """Return which steps of the run itself failed and which have not ended, wherever they ran.

        What is returned with that is the whole run summed up, None if it was not looked at.
        """
        if self._finishes and not self._shared:
            return self.failed_steps, list(self._open), None
        # Others may have recorded steps of a run that was joined or sent to them: only the log knows of those.
        summary = self.store.sum_up(self.identity, whole=True)
        assert summary.log is not None
        counted = list(counting(summary.log.steps))
        failed = [step.internal_name for step in counted if step.status == FAIL]
        unended = [step.internal_name for step in counted if step.status == PROCESSING]
        return failed, unended, summary

    def _finish(self, status: str, message: str, summary: Summary | None = None) -> RunLog:
        if summary is None:
            summary = self._summed_up()

        def change(log: RunLog) -> None:
            log.status = status
            notes = {**log.notes, "finished": utc_now(), **summary.notes(log), "message": message or None}
            log.run_config[NOTES] = {key: value for key, value in notes.items() if value is not None}

        is_due = self.store.backend.durability == AT_THE_END
        synced = self.catalog.sync() if is_due else None  # before the run is said to have ended
        log = self.store.update_run_log(self.identity, change, with_data=False)
        if is_due:
            self.catalog.sync(synced)  # what was put since; who puts data from now on sees that the run has ended
        self._finished = True
        self._release()
        return log

    def _summed_up(self) -> Summary:
        """Return the run summed up, for those who list many runs or look whether all is there; nothing on an error."""
        try:
            return self.store.sum_up(self.identity)
        except ChunkstoreError:
            return Summary(None)  # whoever asks counts again

    # --- steps -------------------------------------------------------------------------------------------------------

    @overload
    def step(
        self, name: str, /, *, step_type: str = ..., max_attempts: int = ..., on_error: str = ..., backoff: float = ...
    ) -> Step: ...

    @overload
    def step(
        self,
        name: str,
        function: Callable[..., _T],
        /,
        *arguments: Any,
        step_type: str = ...,
        max_attempts: int = ...,
        on_error: str = ...,
        backoff: float = ...,
        **keywords: Any,
    ) -> _T: ...

    def step(
        self,
        name: str,
        function: Callable[..., Any] | None = None,
        /,
        *arguments: Any,
        step_type: str = "task",
        max_attempts: int = 1,
        on_error: str = RAISE,
        backoff: float = DEFAULT_BACKOFF,
        **keywords: Any,
    ) -> Any:
        """Record a step: `with run.step("load") as step: …`, or `result = run.step("load", load, "in.csv")`.

        A function can be tried several times, and is not run again if the run that is resumed has run it with the same
        arguments and code. As a decorator, `@run.step("load")` makes every call of a function a step. A second step
        of one name is recorded as `name#2`.

        Args:
            name: any text.
            function: what the step does; None for a `with` block or a decorator.
            arguments: for the function.
            step_type: `task`, or what an engine calls it.
            max_attempts: how often the function is tried.
            on_error: "raise" raises what the step raised; "continue" records it and goes on.
            backoff: seconds before the second attempt; doubled before each further one, up to a minute.
            keywords: for the function.

        Returns:
            Without a function the `Step`; else what the function returned, or None if it failed and `on_error` is
            "continue".
        """
        check_retries(name, max_attempts, on_error, backoff)  # before a name is given out
        if function is not None:
            check_runs_at_once(function)
        step = Step(
            self,
            name,
            self.new_name(name),
            step_type=step_type,
            max_attempts=max_attempts,
            on_error=on_error,
            backoff=backoff,
        )
        return step if function is None else step.execute(function, arguments, keywords)

    def map(
        self,
        name: str,
        items: Iterable[_I],
        function: Callable[[_I], _T],
        *,
        executor: Executor | None = None,
        max_attempts: int = 1,
        on_error: str = RAISE,
        backoff: float = DEFAULT_BACKOFF,
        name_of: Callable[[_I], str] | None = None,
    ) -> list[_T | None]:
        """Run a function over items, each in a branch of its own, in parallel.

        A branch that fails does not stop the others. Items may come from a generator; it is asked for the next one only
        when a worker is about to be free.

        Args:
            name: what the step is called.
            items: the items; they and the function are sent to the workers, so they must pickle for processes.
            function: takes an item.
            executor: any `concurrent.futures.Executor`; None for a pool of processes.
            max_attempts: how often the function is tried for an item.
            on_error: "raise" raises one error when all branches have ended; "continue" records failures and goes on.
            backoff: seconds before the second attempt; doubled before each further one, up to a minute.
            name_of: what to call an item's branch; None for the item as text. Of equal names, later ones get numbers.

        Returns:
            What the function returned, in the order of the items; None where a branch failed.

        Raises:
            BranchFailedError: some branches failed; it lists them and holds the results of the others.
        """
        fan_out = self._fan_out(name, "map", function, executor, max_attempts, on_error, backoff)
        return fan_out.map(items, name_of)

    def parallel(
        self,
        name: str,
        functions: Mapping[str, Callable[[], _T]],
        *,
        executor: Executor | None = None,
        max_attempts: int = 1,
        on_error: str = RAISE,
        backoff: float = DEFAULT_BACKOFF,
    ) -> dict[str, _T | None]:
        """Run functions in parallel, each in a branch of its own.

        Args:
            name: what the step is called.
            functions: functions without arguments, by the names of their branches.
            executor: as for `map`.
            max_attempts: as for `map`.
            on_error: as for `map`.
            backoff: as for `map`.

        Returns:
            What the functions returned, by the names of their branches; None where a branch failed.

        Raises:
            BranchFailedError: some branches failed; it lists them and holds the results of the others.
        """
        fan_out = self._fan_out(name, "parallel", None, executor, max_attempts, on_error, backoff)
        return fan_out.parallel(functions)

    def _fan_out(  # noqa: PLR0917 - as `map` and `parallel` have them
        self,
        name: str,
        step_type: str,
        function: Callable[..., Any] | None,
        executor: Executor | None,
        max_attempts: int,
        on_error: str,
        backoff: float,
    ) -> FanOut:
        check_retries(name, max_attempts, on_error, backoff)
        check_executor(executor)
        # The attempts are those of the branches.
        return FanOut(
            self,
            Step(self, name, self.new_name(name), step_type=step_type, on_error=on_error),
            function,
            executor=executor,
            max_attempts=max_attempts,
            on_error=on_error,
            backoff=backoff,
        )

    # --- parameters --------------------------------------------------------------------------------------------------

    def set_parameters(self, parameters: Mapping[str, Any]) -> None:
        """Set parameters of the run, or of the branch that this object is bound to; others are kept.

        Raises:
            InvalidValueError: some values cannot be recorded; the others have been.
        """
        checked = CheckedValues(parameters, "parameter")
        if checked.good:
            self.store.set_parameters(self.identity, checked.good, self.branch)
        checked.raise_refusals()

    def get_parameters(self) -> dict[str, Any]:
        """Return the parameters that hold here: the run's, and over them those of the branches on the way."""
        merged: dict[str, Any] = {}
        for scope in reversed(list(scopes_of(self.branch))):
            merged.update(self.store.get_parameters(self.identity, scope))
        return merged


class Step(BaseStep[Run]):
    """A step of a run: a context manager around the work, or a runner of a function.

    Made by `Run.step`. In the process that started the step, what is logged is written to the step's own record
    without a lock; in any other, it is laid beside it.

    Attributes:
        run: the run, or the branch of it, that the step belongs to.
        name: what the author called it.
        internal_name: where in the run it is.
    """


#: The runs that were begun or joined in this process, as long as somebody has them.
_runs: weakref.WeakSet[Run] = weakref.WeakSet()


def is_recorded_here(run_id: PinnedRunId) -> bool:
    """Tell whether this process is at work on a run: inside its block, or in a step of it."""
    return any(run.is_at_work and run.identity.incarnation == run_id.incarnation for run in list(_runs))


def current_run() -> Run:
    """Return the run that is recorded here; inside a branch, the run bound to that branch.

    Raises:
        StoreUsageError: no run is recorded here.
    """
    run = CURRENT_RUN.get()
    assert isinstance(run, Run)
    return run


def current_step() -> Step:
    """Return the step that is running here.

    Raises:
        StoreUsageError: no step is running here.
    """
    step = CURRENT_STEP.get()
    assert isinstance(step, Step)
    return step


def _receive(store: Store, run_id: PinnedRunId, options: dict[str, Any], latest: int) -> Run:
    clock.observe(latest)
    return Run(store, run_id, **options)


def _step_list(names: list[str], what: str) -> str:
    if not names:
        return ""
    shown = ", ".join(map(readable_name, names[:5]))
    more = f" and {len(names) - 5} more" if len(names) > 5 else ""  # noqa: PLR2004 - only a message
    return f"{len(names):,} {'step' if len(names) == 1 else 'steps'} {what}: {shown}{more}"
