"""`map` and `parallel`: the branches of a composite step, their names, and what came of them."""

from __future__ import annotations

import reprlib
from collections import deque
from collections.abc import Callable, Iterable, Iterator, Mapping, MappingView, MutableSequence, MutableSet, Sized
from concurrent.futures import Executor
from contextlib import contextmanager
from typing import Any, TypeVar

from msgspec import UNSET

from chunkstore.errors import BranchFailedError, StoreUsageError
from chunkstore.names import TakenNames, join_name, numbered, readable_name, unescape_segment
from chunkstore.recording.answers import Outcome
from chunkstore.recording.branch_records import Branch, take_over
from chunkstore.recording.dispatch import Dispatcher
from chunkstore.recording.failures import describe_error
from chunkstore.recording.functions import check_runs_at_once
from chunkstore.recording.identity import identities, input_hash
from chunkstore.recording.items import item_name
from chunkstore.recording.progress import ProgressBar
from chunkstore.recording.retries import RAISE
from chunkstore.recording.scope import Scope
from chunkstore.recording.step import BaseStep
from chunkstore.records.models import FAIL, SUCCESS

_SHOWN_FAILURES = 10
_T = TypeVar("_T")


class FanOut:
    """One composite step at work.

    Args:
        run: the run, or the branch, that it belongs to.
        step: the composite step.
        function: what `map` runs; None for `parallel`.
        executor: where branches run; None for a pool of processes.
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
        executor: Executor | None,
        max_attempts: int,
        on_error: str,
        backoff: float,
    ) -> None:
        self._run = run
        self._step = step
        self._function = function
        self._on_error = on_error
        self._dispatcher = Dispatcher(run, step, executor, max_attempts=max_attempts, backoff=backoff, note=self._note)
        self._results: dict[int, Any] = {}
        self._failures: dict[str, BaseException] = {}
        self._failed_inside: list[str] = []
        self._count = 0
        self._progress = ProgressBar(step.name, None, enabled=False)

    # --- map and parallel --------------------------------------------------------------------------------------------

    def map(self, items: Iterable[Any], name_of_item: Callable[[Any], str] | None) -> list[Any]:
        """Run the function over items; return results in their order."""
        function = self._function
        with self._checking():
            check_runs_at_once(function)
            if not (name_of_item is None or callable(name_of_item)):
                raise StoreUsageError(f"Cannot name branches with {name_of_item!r}: name_of must take an item.")
            given = _as_given(items)
            self._dispatcher.workers.check_sendable(self._run, function)
        code = identities(self._run.code_identity, function)
        taken: TakenNames = {}

        def branches() -> Iterator[Branch]:
            for index, item in enumerate(given):
                name = name_of_item(item) if name_of_item else item_name(item, index)
                yield Branch(index, self._unique(str(name), taken), function, (item,), code)

        self._execute(branches(), len(items) if isinstance(items, Sized) else None)
        results = [self._results.get(index) for index in range(self._count)]
        self._raise_failures(results)
        return results

    def parallel(self, functions: Mapping[str, Callable[[], Any]]) -> dict[str, Any]:
        """Run functions; return results by their names."""
        taken: TakenNames = {}
        branches: list[Branch] = []
        with self._checking():
            if not isinstance(functions, Mapping):
                raise StoreUsageError(f"Cannot run {reprlib.repr(functions)} in parallel: give a dict of functions.")
            functions = dict(functions)
            for index, (name, function) in enumerate(functions.items()):
                check_runs_at_once(function)
                code = identities(self._run.code_identity, function)
                branches.append(Branch(index, self._unique(str(name), taken), function, (), code))
            self._dispatcher.workers.check_sendable(self._run, functions)
        self._execute(iter(branches), len(branches))
        results = {name: self._results.get(index) for index, name in enumerate(functions)}
        self._raise_failures(results)
        return results

    @contextmanager
    def _checking(self) -> Iterator[None]:
        """Give the step's name back if it cannot begin."""
        try:
            yield
        except BaseException:
            self._run.release_name(self._step.name)
            raise

    def _unique(self, name: str, taken: TakenNames) -> str:
        return join_name(self._step.internal_name, numbered(name, taken))

    def _raise_failures(self, results: Any) -> None:
        if self._failures and self._on_error == RAISE:
            lines = [
                self._summary(),
                *(f"  {readable_name(name)}: {describe_error(error)}" for name, error in self._shown_failures()),
            ]
            if self._results:
                lines.append("The others have finished; their results are in this error's `results`.")
            raise BranchFailedError(
                "\n".join(lines),
                step=self._step.internal_name,
                failures=self._failures,
                results=results,
            )

    def _shown_failures(self) -> list[tuple[str, BaseException]]:
        return list(self._failures.items())[:_SHOWN_FAILURES]

    def _summary(self) -> str:
        failed = [*self._failures, *self._failed_inside]
        prefix = len(self._step.internal_name) + 1
        names = ", ".join(unescape_segment(name[prefix:]) for name in failed[:_SHOWN_FAILURES])
        more = f" and {len(failed) - _SHOWN_FAILURES:,} more" if len(failed) > _SHOWN_FAILURES else ""
        return f"{len(failed):,} of {self._count:,} branches of {self._step.name} failed: {names}{more}"

    # --- at work -----------------------------------------------------------------------------------------------------

    def _execute(self, branches: Iterator[Branch], total: int | None) -> None:
        try:
            self._step.open_composite(self._function, total)
            self._progress = ProgressBar(self._step.name, total, enabled=not self._run.branch)
            self._dispatcher.run(self._to_run(branches))
        except BaseException as error:
            self._step.end_with(error)
            raise
        finally:
            self._progress.close()
        failed = self._failures or self._failed_inside
        self._step.conclude(FAIL if failed else SUCCESS, self._summary() if failed else "")

    def _to_run(self, branches: Iterator[Branch]) -> Iterator[Branch]:
        """Yield the branches that are not taken over from the run that is resumed."""
        for branch in branches:
            self._count = branch.place + 1
            branch = branch._replace(attempt=self._step.attempt_to_tell)  # noqa: PLW2901 - the same, of this attempt
            if self._run.previous is None or self._run.previous.branch(branch.internal_name) is None:
                yield branch  # its worker finds out the hash of what it is called with, beside the others
                continue
            hashed = branch._replace(inputs=input_hash(branch.arguments, {}, branch.function))
            result = take_over(self._run, hashed)
            if result is UNSET:
                yield hashed
            else:
                self._results[branch.place] = result
                self._progress.advance(failed=False)

    def _note(self, branch: Branch, outcome: Outcome) -> None:
        if isinstance(outcome.error, BaseException):
            self._failures[branch.internal_name] = outcome.error
        else:
            self._results[branch.place] = outcome.value
            if outcome.failed:
                self._failed_inside.append(branch.internal_name)
        self._progress.advance(failed=outcome.failed)


def _as_given(items: Iterable[_T]) -> Iterator[_T]:
    """Return what gives items; as they are now, if others could add or remove some while the first ones run."""
    changing = (MutableSequence, MutableSet, Mapping, MappingView, deque)
    try:
        return iter(list(items) if isinstance(items, changing) else items)
    except TypeError:
        raise StoreUsageError(f"Cannot map over {reprlib.repr(items)}: give a list or another iterable.") from None
