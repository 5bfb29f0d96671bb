"""What authors of pipelines hold: a run, or a branch of it, and the steps in it."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Mapping
from concurrent.futures import Executor
from typing import Any, TypeVar, overload

from chunkstore.names import scopes_of
from chunkstore.recording.asynchronous.run import AwaitableRun
from chunkstore.recording.asynchronous.step import AwaitableStep, off_loop_module
from chunkstore.recording.fanout import FanOut
from chunkstore.recording.functions import check_runs_at_once
from chunkstore.recording.retries import DEFAULT_BACKOFF, RAISE, check_retries
from chunkstore.recording.scope import CURRENT_RUN, CURRENT_STEP
from chunkstore.recording.values import CheckedValues
from chunkstore.recording.workers import check_executor

_T = TypeVar("_T")
_I = TypeVar("_I")


class Run(AwaitableRun):
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
        step = self._new_step(name, step_type=step_type, max_attempts=max_attempts, on_error=on_error, backoff=backoff)
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
        max_in_flight: int | None = None,
    ) -> list[_T | None]:
        """Run a function over items, each in a branch of its own, in parallel.

        A branch that fails does not stop the others. Items may come from a generator; it is asked for the next one only
        when a worker is about to be free: twice as many branches as the engine runs at once are in flight.

        Args:
            name: what the step is called.
            items: the items; they and the function are sent to the workers, so they must pickle for processes.
            function: takes an item.
            executor: any `concurrent.futures.Executor`, one of `chunkstore.engines`, or a `distributed.Client`; None
                for a pool of processes, or in the middle of a task of Dask or Ray, for more of its tasks.
            max_attempts: how often the function is tried for an item.
            on_error: "raise" raises one error when all branches have ended; "continue" records failures and goes on.
            backoff: seconds before the second attempt; doubled before each further one, up to a minute.
            name_of: what to call an item's branch; None for the item as text. Of equal names, later ones get numbers.
            max_in_flight: how many branches are handed to the engine at once, at most; None for twice as many as it
                says that it runs at once, and for 1,000 if it does not say.

        Returns:
            What the function returned, in the order of the items; None where a branch failed.

        Raises:
            BranchFailedError: some branches failed; it lists them and holds the results of the others.
        """
        fan_out = self._fan_out(name, "map", function, executor, max_attempts, on_error, backoff, max_in_flight)
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
        max_in_flight: int | None = None,
    ) -> dict[str, _T | None]:
        """Run functions in parallel, each in a branch of its own.

        Args:
            name: what the step is called.
            functions: functions without arguments, by the names of their branches.
            executor: as for `map`.
            max_attempts: as for `map`.
            on_error: as for `map`.
            backoff: as for `map`.
            max_in_flight: as for `map`.

        Returns:
            What the functions returned, by the names of their branches; None where a branch failed.

        Raises:
            BranchFailedError: some branches failed; it lists them and holds the results of the others.
        """
        fan_out = self._fan_out(name, "parallel", None, executor, max_attempts, on_error, backoff, max_in_flight)
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
        max_in_flight: int | None,
    ) -> FanOut:
        check_retries(name, max_attempts, on_error, backoff)
        check_executor(executor, max_in_flight)
        # The attempts are those of the branches.
        return FanOut(
            self,
            self._new_step(name, step_type=step_type, on_error=on_error),
            function,
            executor=executor,
            max_attempts=max_attempts,
            on_error=on_error,
            backoff=backoff,
            max_in_flight=max_in_flight,
        )

    def _new_step(self, name: str, **options: Any) -> Step:
        return Step(self, name, self.new_name(name), **options)

    # --- parameters --------------------------------------------------------------------------------------------------

    def set_parameters(self, parameters: Mapping[str, Any]) -> None:
        """Set parameters of the run, or of the branch that this object is bound to; others are kept.

        Raises:
            InvalidValueError: some values cannot be recorded; the others have been.
        """
        checked = CheckedValues(parameters, "parameter")
        if checked.good:
            self.tell_store(self.store.set_parameters, checked.good, self.branch)
        checked.raise_refusals()

    async def aset_parameters(self, parameters: Mapping[str, Any]) -> None:
        """Set parameters off the event loop; see `set_parameters`."""
        await off_loop_module().do(self.set_parameters, parameters)

    def get_parameters(self) -> dict[str, Any]:
        """Return the parameters that hold here: the run's, and over them those of the branches on the way."""
        merged: dict[str, Any] = {}
        for scope in reversed(list(scopes_of(self.branch))):
            merged.update(self.store.get_parameters(self.identity, scope))
        return merged


class Step(AwaitableStep[Run]):
    """A step of a run: a context manager around the work, or a runner of a function.

    Made by `Run.step`. In the process that started the step, what is logged is written to the step's own record
    without a lock; in any other, it is laid beside it.

    Attributes:
        run: the run, or the branch of it, that the step belongs to.
        name: what the author called it.
        internal_name: where in the run it is.
    """


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
