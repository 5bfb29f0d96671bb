"""`map` and `parallel`: branches that run in workers."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Iterator, Mapping, Sized
from concurrent.futures import Executor
from typing import Any

from chunkstore.recording.branch_records import Branch
from chunkstore.recording.composite import Composite, as_given
from chunkstore.recording.dispatch import Dispatcher
from chunkstore.recording.functions import check_runs_at_once
from chunkstore.recording.identity import identities
from chunkstore.recording.scope import Scope
from chunkstore.recording.step import BaseStep


class FanOut(Composite):
    """One composite step whose branches run in workers.

    Args:
        run: the run, or the branch, that it belongs to.
        step: the composite step.
        function: what `map` runs; None for `parallel`.
        executor: where branches run; None for a pool of processes.
        max_attempts: how often a branch's function is tried.
        on_error: "raise" or "continue".
        backoff: seconds before the second attempt.
        max_in_flight: so many branches at most are handed out at once; None for what the engine can take.
    """

    def __init__(
        self,
        run: Scope,
        step: BaseStep[Any],
        function: Any,
        *,
        executor: Executor | None,
        max_attempts: int,
        on_error: str,
        backoff: float,
        max_in_flight: int | None,
    ) -> None:
        super().__init__(run, step, function, on_error=on_error)
        self._dispatcher = Dispatcher(
            run,
            step,
            executor,
            max_attempts=max_attempts,
            backoff=backoff,
            max_in_flight=max_in_flight,
            note=self._note,
        )

    def map(self, items: Iterable[Any], name_of_item: Callable[[Any], str] | None) -> list[Any]:
        """Run the function over items; return results in their order."""
        function = self._function
        with self._checking():
            check_runs_at_once(function)
            self._check_name_of(name_of_item)
            given = as_given(items)
            self._dispatcher.workers.check_sendable(self._run, function)
        code = identities(self._run.code_identity, function)
        branches = (self._branch_of(item, index, name_of_item, code) for index, item in enumerate(given))
        self._execute(branches, len(items) if isinstance(items, Sized) else None)
        return self._results_in_order()

    def parallel(self, functions: Mapping[str, Callable[[], Any]]) -> dict[str, Any]:
        """Run functions; return results by their names."""
        with self._checking():
            functions = self._functions(functions)
            branches = self._branches_of(functions, check_runs_at_once)
            self._dispatcher.workers.check_sendable(self._run, functions)
        self._execute(iter(branches), len(branches))
        return self._results_by_name(functions)

    def _execute(self, branches: Iterator[Branch], total: int | None) -> None:
        try:
            self._step.take_charge()
            self._begin(total)
            self._dispatcher.run(self._to_run(branches))
        except BaseException as error:
            self._step.end_with(error)
            raise
        finally:
            self._progress.close()
        self._conclude()

    def _to_run(self, branches: Iterator[Branch]) -> Iterator[Branch]:
        """Yield the branches that are not taken over from the run that is resumed."""
        for each in branches:
            branch = self._announced(each)
            if not self._may_be_taken_over(branch):
                yield branch  # its worker finds out the hash of what it is called with, beside the others
            elif (hashed := self._taken_over(branch)) is not None:
                yield hashed
