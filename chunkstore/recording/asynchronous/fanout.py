"""`amap` and `aparallel`: branches that are tasks of asyncio."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterable, Awaitable, Callable, Iterable, Mapping, Sized
from contextlib import suppress
from itertools import count
from typing import Any

from chunkstore.recording.answers import Outcome, this_process
from chunkstore.recording.asynchronous.branch import run_branch
from chunkstore.recording.asynchronous.items import END, Items
from chunkstore.recording.asynchronous.off_loop import do, do_at_end, do_surely, loop_here
from chunkstore.recording.asynchronous.reasons import told
from chunkstore.recording.branch import BranchTask
from chunkstore.recording.branch_records import Branch, record_failure
from chunkstore.recording.composite import Composite
from chunkstore.recording.failures import describe_error
from chunkstore.recording.functions import check_is_awaited
from chunkstore.recording.identity import identities
from chunkstore.recording.scope import Scope
from chunkstore.recording.step import BaseStep

NextBranch = Callable[[], Awaitable[Branch | None]]

#: After so many branches in a row were begun, other tasks have a turn.
_AT_ONCE = 16


class AsyncFanOut(Composite):
    """One composite step whose branches are tasks.

    Args:
        run: the run, or the branch, that it belongs to.
        step: the composite step.
        function: what `amap` runs; None for `aparallel`.
        max_in_flight: how many branches there are at once.
        max_attempts: how often a branch's function is tried.
        on_error: "raise" or "continue".
        backoff: seconds before the second attempt.
    """

    def __init__(
        self,
        run: Scope,
        step: BaseStep[Any],
        function: Any,
        *,
        max_in_flight: int,
        max_attempts: int,
        on_error: str,
        backoff: float,
    ) -> None:
        super().__init__(run, step, function, on_error=on_error)
        self._max_in_flight = max_in_flight
        self._max_attempts = max_attempts
        self._backoff = backoff
        self._running: dict[asyncio.Task[None], Branch] = {}
        #: Those that somebody has cancelled before they began.
        self._unbegun: list[Branch] = []
        #: What kept a branch from being recorded, or is to end the program.
        self._broken: BaseException | None = None
        #: Who waits until no more than so many run.
        self._most = 0
        self._waiter: asyncio.Future[None] | None = None

    async def map(
        self, items: Iterable[Any] | AsyncIterable[Any], name_of_item: Callable[[Any], str] | None
    ) -> list[Any]:
        """Run the function over items; return results in their order."""
        function = self._function
        with self._checking():
            self._loop = loop_here()
            check_is_awaited(function)
            self._check_name_of(name_of_item)
            given = Items(items)
        code = await do(identities, self._run.code_identity, function)

        places = count()

        async def next_branch() -> Branch | None:
            item = await given.next()
            return None if item is END else self._branch_of(item, next(places), name_of_item, code)

        try:
            await self._execute(next_branch, len(items) if isinstance(items, Sized) else None)
        except BaseException:
            with suppress(Exception):
                await given.close()
            raise
        return self._results_in_order()

    async def parallel(self, functions: Mapping[str, Callable[[], Awaitable[Any]]]) -> dict[str, Any]:
        """Run functions; return results by their names."""
        with self._checking():
            self._loop = loop_here()
            functions = self._functions(functions)
            branches = await do(self._branches_of, functions, check_is_awaited)
        rest = iter(branches)

        async def next_branch() -> Branch | None:
            return next(rest, None)

        await self._execute(next_branch, len(branches))
        return self._results_by_name(functions)

    async def _execute(self, next_branch: NextBranch, total: int | None) -> None:
        try:
            self._step.take_charge()
            await do(self._begin, total)
            await self._run_all(next_branch)
        except BaseException as error:
            await do_at_end(self._step.end_with, error)
            raise
        finally:
            self._progress.close()
        await do_surely(self._conclude)

    async def _run_all(self, next_branch: NextBranch) -> None:
        try:
            while (branch := await next_branch()) is not None:
                self._start(self._announced(branch))
                if not self._count % _AT_ONCE:
                    await asyncio.sleep(0)
                await self._until_running(self._max_in_flight - 1)
            await self._until_running(0)
            for branch in self._unbegun:
                await self._fail(branch, "cancelled before it began", asyncio.CancelledError())
        except BaseException as error:
            await self._give_up(error)
            raise

    def _start(self, branch: Branch) -> None:
        task = self._loop.create_task(self._run_one(branch), name=branch.internal_name)
        self._running[task] = branch
        task.add_done_callback(self._note_end)

    async def _run_one(self, branch: Branch) -> None:
        try:
            to_run: Branch | None = branch
            if self._run.previous is not None:
                to_run = await do(self._to_run, branch)
            if to_run is None:
                return
            outcome = await run_branch(self._task(to_run), to_run.function, to_run.arguments)
        except Exception as error:  # noqa: BLE001 - whatever keeps a branch from being recorded
            await self._fail(branch, f"it could not be recorded: {describe_error(error)}", error)
        else:
            self._note(branch, outcome)

    def _to_run(self, branch: Branch) -> Branch | None:
        """Take a branch over from the run that is resumed; return it if it has to run."""
        return self._taken_over(branch) if self._may_be_taken_over(branch) else branch

    def _task(self, branch: Branch) -> BranchTask:
        return BranchTask(
            self._run.bound_to(branch.internal_name, repeats=self._run.is_repeated(self._step.internal_name)),
            type(self._step),
            branch.function,
            branch.arguments,
            branch.step_name,
            branch.code,
            self._max_attempts,
            self._backoff,
            (),
            this_process(),
            inputs=branch.inputs,
            attempt=branch.attempt,
        )

    async def _fail(self, branch: Branch, message: str, error: BaseException) -> None:
        """Record and note the failure of a branch that could not do so itself."""
        await do_surely(record_failure, self._run, branch, message)
        self._note(branch, Outcome(None, error, failed=True))

    def _note_end(self, task: asyncio.Task[None]) -> None:
        branch = self._running.pop(task)
        if task.cancelled():
            self._unbegun.append(branch)
        else:
            self._broken = self._broken or task.exception()
        if self._waiter is not None and not self._waiter.done() and (len(self._running) <= self._most or self._broken):
            self._waiter.set_result(None)

    async def _until_running(self, most: int) -> None:
        """Wait until no more than so many branches run."""
        while len(self._running) > most and self._broken is None:
            self._most, self._waiter = most, self._loop.create_future()
            await self._waiter
        if self._broken is not None:
            raise self._broken

    async def _give_up(self, error: BaseException) -> None:
        """Wait for what runs, as each does after an error of one; cancel it if this was cancelled, or all is to end."""
        if isinstance(error, GeneratorExit):  # nothing can be awaited any more
            self._cancel_all()
            return
        if not isinstance(error, Exception) or error is self._broken:
            self._cancel_soon(error)
        cancelled: BaseException | None = None
        while self._running:
            try:
                await asyncio.wait(list(self._running))
            except asyncio.CancelledError as again:
                cancelled = again
                self._cancel_soon(again)
        if cancelled is not None and isinstance(error, Exception):
            raise cancelled from error

    def _cancel_soon(self, error: BaseException) -> None:
        """Cancel all branches for the same reason, which is found out while this task waits for them."""
        task = asyncio.current_task()

        def cancel() -> None:
            known = told(error, task)
            self._cancel_all(str(known) if isinstance(known, asyncio.CancelledError) else None)

        self._loop.call_soon(cancel)

    def _cancel_all(self, reason: str | None = None) -> None:
        for task in list(self._running):
            task.cancel(reason)
