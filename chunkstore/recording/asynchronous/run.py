"""What authors of pipelines await: a run's block, its steps, and its branches."""

from __future__ import annotations

from abc import abstractmethod
from collections.abc import AsyncIterable, Awaitable, Callable, Iterable, Mapping
from types import TracebackType
from typing import TYPE_CHECKING, Any, TypeVar

from chunkstore.recording.asynchronous.step import AwaitableStep, off_loop_module
from chunkstore.recording.functions import check_is_awaited
from chunkstore.recording.retries import DEFAULT_BACKOFF, RAISE, check_retries
from chunkstore.recording.scope import actor
from chunkstore.recording.whole_run import WholeRun
from chunkstore.recording.workers import check_executor

if TYPE_CHECKING:
    from typing_extensions import Self  # for annotations alone: no dependency

    from chunkstore.recording.asynchronous.fanout import AsyncFanOut

_T = TypeVar("_T")
_I = TypeVar("_I")

#: How many branches of `amap` there are at once unless it is told.
DEFAULT_IN_FLIGHT = 100


class AwaitableRun(WholeRun):
    """A run, also of tasks of asyncio; what authors get is `chunkstore.Run`."""

    @abstractmethod
    def _new_step(self, name: str, **options: Any) -> AwaitableStep[Any]:
        """Return a step of this run."""

    async def __aenter__(self) -> Self:
        return self.__enter__()

    async def __aexit__(
        self, kind: type[BaseException] | None, error: BaseException | None, _: TracebackType | None
    ) -> None:
        if self._leave_block():
            await off_loop_module().do_at_end(self._end_block, error, actor())

    async def astep(
        self,
        name: str,
        function: Callable[..., Awaitable[_T]],
        /,
        *arguments: Any,
        step_type: str = "task",
        max_attempts: int = 1,
        on_error: str = RAISE,
        backoff: float = DEFAULT_BACKOFF,
        **keywords: Any,
    ) -> _T:
        """Await a coroutine function as a step: `result = await run.astep("load", fetch, url)`; see `step`.

        A block is `async with run.step("load") as step:`, and `@run.step("load")` decorates async functions as well.
        What is written is written in other threads, and so is what the step's task logs and prints: it is there when
        the step has ended.

        Args:
            name: any text.
            function: what the step does; what it returns is awaited.
            arguments: for the function.
            step_type: `task`, or what an engine calls it.
            max_attempts: how often the function is tried.
            on_error: "raise" raises what the function raised; "continue" records it and goes on.
            backoff: seconds before the second attempt; doubled before each further one, up to a minute.
            keywords: for the function.

        Returns:
            What the function returned, or None if it failed and `on_error` is "continue".

        Raises:
            asyncio.CancelledError: the task was cancelled; the step has failed.
            StoreUsageError: this is no task of asyncio.
        """
        check_retries(name, max_attempts, on_error, backoff)  # before a name is given out
        check_is_awaited(function)
        off_loop_module().loop_here()
        step = self._new_step(name, step_type=step_type, max_attempts=max_attempts, on_error=on_error, backoff=backoff)
        result: _T = await step.aexecute(function, arguments, keywords)
        return result

    async def amap(
        self,
        name: str,
        items: Iterable[_I] | AsyncIterable[_I],
        function: Callable[[_I], Awaitable[_T]],
        *,
        max_in_flight: int | None = None,
        max_attempts: int = 1,
        on_error: str = RAISE,
        backoff: float = DEFAULT_BACKOFF,
        name_of: Callable[[_I], str] | None = None,
    ) -> list[_T | None]:
        """Await a coroutine function for each of some items, each in a branch and a task of its own; see `map`.

        A branch that fails does not stop the others; if this is cancelled, they are.

        Args:
            name: what the step is called.
            items: the items; those of a generator, or an async one, are asked for when there is room for one.
            function: takes an item; what it returns is awaited.
            max_in_flight: how many branches there are at once; None for 100.
            max_attempts: how often the function is tried for an item.
            on_error: "raise" raises one error when all branches have ended; "continue" records failures and goes on.
            backoff: seconds before the second attempt; doubled before each further one, up to a minute.
            name_of: what to call an item's branch; None for the item as text. Of equal names, later ones get numbers.

        Returns:
            What the function returned, in the order of the items; None where a branch failed.

        Raises:
            BranchFailedError: some branches failed; it lists them and holds the results of the others.
            asyncio.CancelledError: the task was cancelled; so were the branches, and those to come have not begun.
            StoreUsageError: this is no task of asyncio.
        """
        fan_out = self._async_fan_out(name, "map", function, max_in_flight, max_attempts, on_error, backoff)
        return await fan_out.map(items, name_of)

    async def aparallel(
        self,
        name: str,
        functions: Mapping[str, Callable[[], Awaitable[_T]]],
        *,
        max_in_flight: int | None = None,
        max_attempts: int = 1,
        on_error: str = RAISE,
        backoff: float = DEFAULT_BACKOFF,
    ) -> dict[str, _T | None]:
        """Await coroutine functions, each in a branch and a task of its own; see `parallel`.

        Args:
            name: what the step is called.
            functions: coroutine functions without arguments, by the names of their branches.
            max_in_flight: as for `amap`.
            max_attempts: as for `amap`.
            on_error: as for `amap`.
            backoff: as for `amap`.

        Returns:
            What the functions returned, by the names of their branches; None where a branch failed.

        Raises:
            BranchFailedError: some branches failed; it lists them and holds the results of the others.
            asyncio.CancelledError: the task was cancelled; so were the branches.
            StoreUsageError: this is no task of asyncio.
        """
        fan_out = self._async_fan_out(name, "parallel", None, max_in_flight, max_attempts, on_error, backoff)
        return await fan_out.parallel(functions)

    def _async_fan_out(  # noqa: PLR0917 - as `amap` and `aparallel` have them
        self,
        name: str,
        step_type: str,
        function: Callable[..., Any] | None,
        max_in_flight: int | None,
        max_attempts: int,
        on_error: str,
        backoff: float,
    ) -> AsyncFanOut:
        from chunkstore.recording.asynchronous.fanout import AsyncFanOut  # noqa: PLC0415 - it loads asyncio

        check_retries(name, max_attempts, on_error, backoff)
        check_executor(None, max_in_flight)
        return AsyncFanOut(
            self,
            self._new_step(name, step_type=step_type, on_error=on_error),
            function,
            max_in_flight=max_in_flight or DEFAULT_IN_FLIGHT,
            max_attempts=max_attempts,
            on_error=on_error,
            backoff=backoff,
        )
