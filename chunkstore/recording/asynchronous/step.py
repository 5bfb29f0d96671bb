"""Steps whose work is awaited."""

from __future__ import annotations

import functools
import os
from collections import deque
from collections.abc import Callable, Mapping
from functools import partial
from pathlib import Path
from types import TracebackType
from typing import TYPE_CHECKING, Any, ParamSpec, TypeVar

from chunkstore.interrupts import passable
from chunkstore.recording.functions import awaitable, is_coroutine_function
from chunkstore.recording.identity import InputHash, identities
from chunkstore.recording.output import OutputFile
from chunkstore.recording.results import kept_result, result_of
from chunkstore.recording.retries import CONTINUE, pause_after
from chunkstore.recording.scope import Scope
from chunkstore.recording.step import BaseStep
from chunkstore.records.fields import MetricPoint
from chunkstore.records.models import PROCESSING, CodeIdentity, StepLog

if TYPE_CHECKING:
    from typing_extensions import Self  # for annotations alone: no dependency

    from chunkstore.recording.asynchronous.off_loop import Line

_P = ParamSpec("_P")
_T = TypeVar("_T")
_Scope = TypeVar("_Scope", bound=Scope)


class AwaitableStep(BaseStep[_Scope]):
    """A step, also of a task of asyncio: what may block is done off its event loop.

    What its task logs and prints is written soon, and before the step ends.
    """

    #: What is to be done soon, for a step that was begun in an event loop.
    _line: Line | None = None

    def reset_after_fork(self) -> None:
        """In a forked child, which has no such event loop, besides."""
        super().reset_after_fork()
        self._line = None
        self._changes: deque[Callable[[StepLog], None]] = deque()

    def __getstate__(self) -> dict[str, Any]:
        return {**super().__getstate__(), "_line": None, "_changes": None}

    # --- running -----------------------------------------------------------------------------------------------------

    async def __aenter__(self) -> Self:
        self._check_can_be_entered()
        off_loop = off_loop_module()
        off_loop.loop_here()
        try:
            self._take_charge_in_loop()
            await off_loop.do(self._record_block)
            self._be_current()
        except BaseException as error:
            await off_loop.do_at_end(self.end_with, error)
            raise
        return self

    def _record_block(self) -> None:
        self._log.code_identities = identities(self.run.code_identity, None)
        self._begin_attempt()

    async def __aexit__(
        self, kind: type[BaseException] | None, error: BaseException | None, _: TracebackType | None
    ) -> bool:
        if self.run.is_finalizing():
            return False
        in_course_of = self._errors.error() if error is None else error
        self._leave()
        await off_loop_module().do_at_end(lambda told: self._end_block(told, told or in_course_of), error)
        return self._is_passed_over(error)

    def __call__(self, function: Callable[_P, _T]) -> Callable[_P, _T]:
        """Return `function` so that each call of it is a step; for use as a decorator, also of async functions."""
        if not is_coroutine_function(function):
            return super().__call__(function)
        self._become_decorator()

        @functools.wraps(function)
        async def recorded(*arguments: _P.args, **keywords: _P.kwargs) -> Any:
            return await self._another().aexecute(function, arguments, keywords)

        return recorded  # type: ignore[return-value] # what it returns is awaited, too

    async def aexecute(
        self,
        function: Callable[..., Any],
        arguments: tuple[Any, ...],
        keywords: Mapping[str, Any],
        code: list[CodeIdentity] | None = None,
        *,
        inputs: InputHash | None = None,
        before: Callable[[], bool] = lambda: True,
        after: Callable[[BaseException | None], None] = lambda _: None,
    ) -> Any:
        """Await a coroutine function as this step, as often as its attempts allow; see `execute`.

        Args:
            function: what the step does.
            arguments: for the function.
            keywords: for the function.
            code: which code that is, if the caller has found out.
            inputs: the hash of what it is called with, if the caller has found out.
            before: is called before the step is recorded, off the loop; tells whether an earlier result may be taken.
            after: is called when its end has been recorded, off the loop, with the error that ended it.
        """
        off_loop = off_loop_module()
        off_loop.loop_here()

        def begin() -> None:
            may_reuse = before()
            if not self._takes_over(function, arguments, keywords, code, inputs, may_reuse=may_reuse):
                self._begin_attempt()

        def end(error: BaseException | None) -> None:
            try:
                if error is not None:
                    self.end_with(error)
                elif not self._reused:
                    self._log.result, self._log.result_types = kept_result(result)
                    self._end(None)
            except BaseException as failure:
                self.end_with(failure if error is None else error)
                after(failure)
                raise
            after(error)

        try:
            self._take_charge_in_loop()
            await off_loop.do(begin)
            result = result_of(self._log) if self._reused else await self._tried(function, arguments, keywords)
        except BaseException as raised:
            self._leave()
            await off_loop.do_at_end(lambda told: end(_ended_by(told)), raised)
            if self._on_error == CONTINUE and isinstance(raised, Exception) and self._ended:
                return None
            raise
        self._leave()
        await off_loop.do_surely(end, None)
        return result

    async def _tried(
        self, function: Callable[..., Any], arguments: tuple[Any, ...], keywords: Mapping[str, Any]
    ) -> Any:
        """Await the function, again if it fails and has attempts left."""
        off_loop = off_loop_module()
        while True:
            self._be_current()
            try:
                return await awaitable(function(*arguments, **keywords), self.name)
            except Exception as error:
                if not (self._owned and self._may_try_again):
                    raise
                self._leave()
                await off_loop.do_surely(self._end, error, PROCESSING)
            await off_loop.pause(pause_after(self._tries, self._backoff))
            self._take_charge_in_loop()
            await off_loop.do(self._begin_attempt)

    # --- data --------------------------------------------------------------------------------------------------------

    async def aput_data(self, path: str | os.PathLike[str], name: str | None = None) -> None:
        """Copy a file or folder into the catalog off the event loop; see `put_data`."""
        await off_loop_module().do(self.put_data, path, name)

    async def aget_data(self, name: str, to: str | os.PathLike[str] | None = None, *, step: str | None = None) -> Path:
        """Copy data out of the catalog off the event loop; see `get_data`."""
        path: Path = await off_loop_module().do(partial(self.get_data, step=step), name, to)
        return path

    # --- what is written soon ----------------------------------------------------------------------------------------

    def _take_charge_in_loop(self) -> None:
        off_loop = off_loop_module()
        self._line = off_loop.Line(off_loop.loop_here())
        self.take_charge()

    def _new_output(self) -> OutputFile:
        return OutputFile(self.run.catalog, self.internal_name, later=self._line.add if self._line else None)

    def _change(self, change: Callable[[StepLog], None]) -> None:
        line = self._line
        if line is None or not self._owned:
            super()._change(change)
        elif line.is_here():
            self._changes.append(change)
            line.add(self._make_changes)
        else:
            line.finish()
            super()._change(change)

    def _make_changes(self) -> None:
        """Make, and write at once, the changes that wait."""
        with passable(self._mutex):
            waiting = [self._changes.popleft() for _ in range(len(self._changes))]
            for change in waiting:
                change(self._log)
            if waiting:
                self._write()

    def _add_points(self, points: Mapping[str, MetricPoint]) -> None:
        line = self._line
        if line is None or not (self._owned and line.is_here()):
            super()._add_points(points)
        else:
            self._series.add_late(points, attempt=self.attempt_to_tell)

    def _end(self, error: BaseException | None, status: str | None = None) -> None:
        self._leave()
        line, self._line = self._line, None
        if line is not None:
            line.finish()
        super()._end(error, status)


def _ended_by(error: BaseException) -> BaseException:
    """Return what to record of an error: of a coroutine that was closed, that it was."""
    return off_loop_module().closed() if isinstance(error, GeneratorExit) else error


@functools.cache
def off_loop_module() -> Any:
    """Return the module that loads asyncio, which takes as long as all of this library."""
    from chunkstore.recording.asynchronous import off_loop  # noqa: PLC0415 - see above

    return off_loop
