"""The branches of a composite step: their names, what came of them, and what the step says of that."""

from __future__ import annotations

import reprlib
from collections import deque
from collections.abc import Callable, Iterable, Iterator, Mapping, MappingView, MutableSequence, MutableSet
from contextlib import contextmanager
from typing import Any, TypeVar

from msgspec import UNSET

from chunkstore.errors import BranchFailedError, StoreUsageError
from chunkstore.names import TakenNames, join_name, numbered, readable_name, unescape_segment
from chunkstore.recording.answers import Outcome
from chunkstore.recording.branch_records import Branch, take_over
from chunkstore.recording.failures import describe_error
from chunkstore.recording.identity import identities, input_hash
from chunkstore.recording.items import item_name
from chunkstore.recording.progress import ProgressBar
from chunkstore.recording.retries import RAISE
from chunkstore.recording.scope import Scope
from chunkstore.recording.step import BaseStep
from chunkstore.records.models import FAIL, SUCCESS, CodeIdentity

_SHOWN_FAILURES = 10
_T = TypeVar("_T")


class Composite:
    """A composite step, as those see it who run its branches, in whatever way.

    Args:
        run: the run, or the branch, that it belongs to.
        step: the composite step.
        function: what `map` runs; None for `parallel`.
        on_error: "raise" or "continue".
    """

    def __init__(self, run: Scope, step: BaseStep[Any], function: Any, *, on_error: str) -> None:
        self._run = run
        self._step = step
        self._function = function
        self._on_error = on_error
        self._taken: TakenNames = {}
        self._results: dict[int, Any] = {}
        self._failures: dict[str, BaseException] = {}
        self._failed_inside: list[str] = []
        self._count = 0
        self._progress = ProgressBar(step.name, None, enabled=False)

    # --- before it begins --------------------------------------------------------------------------------------------

    @contextmanager
    def _checking(self) -> Iterator[None]:
        """Give the step's name back if it cannot begin."""
        try:
            yield
        except BaseException:
            self._run.release_name(self._step.name)
            raise

    @staticmethod
    def _check_name_of(name_of_item: Any) -> None:
        if not (name_of_item is None or callable(name_of_item)):
            raise StoreUsageError(f"Cannot name branches with {name_of_item!r}: name_of must take an item.")

    def _branch_of(
        self, item: Any, index: int, name_of_item: Callable[[Any], str] | None, code: list[CodeIdentity]
    ) -> Branch:
        """Return the branch of an item of a map."""
        name = name_of_item(item) if name_of_item else item_name(item, index)
        return self._branch(index, str(name), self._function, (item,), code)

    def _branches_of(
        self, functions: Mapping[str, Callable[[], Any]], check: Callable[[Callable[..., Any]], None]
    ) -> list[Branch]:
        """Return the branches of `parallel`."""
        branches = []
        for index, (name, function) in enumerate(functions.items()):
            check(function)
            code = identities(self._run.code_identity, function)
            branches.append(self._branch(index, str(name), function, (), code))
        return branches

    @staticmethod
    def _functions(given: Any) -> dict[str, Callable[[], Any]]:
        """Return the functions of `parallel`, as they are now."""
        if not isinstance(given, Mapping):
            raise StoreUsageError(f"Cannot run {reprlib.repr(given)} in parallel: give a dict of functions.")
        return dict(given)

    def _branch(
        self, index: int, name: str, function: Callable[..., Any], arguments: tuple[Any, ...], code: list[CodeIdentity]
    ) -> Branch:
        internal_name = join_name(self._step.internal_name, numbered(name, self._taken))
        return Branch(index, internal_name, function, arguments, code)

    # --- at work -----------------------------------------------------------------------------------------------------

    def _begin(self, total: int | None) -> None:
        self._step.open_composite(self._function, total)
        self._progress = ProgressBar(self._step.name, total, enabled=not self._run.branch)

    def _announced(self, branch: Branch) -> Branch:
        """Return a branch as it is to be run, in this attempt of the step."""
        self._count = branch.place + 1
        return branch._replace(attempt=self._step.attempt_to_tell)

    def _may_be_taken_over(self, branch: Branch) -> bool:
        return self._run.previous is not None and self._run.previous.branch(branch.internal_name) is not None

    def _taken_over(self, branch: Branch) -> Branch | None:
        """Take a branch over from the run that is resumed; return it, hashed, if it has to run all the same."""
        hashed = branch._replace(inputs=input_hash(branch.arguments, {}, branch.function))
        result = take_over(self._run, hashed)
        if result is UNSET:
            return hashed
        self._results[branch.place] = result
        self._progress.advance(failed=False)
        return None

    def _note(self, branch: Branch, outcome: Outcome) -> None:
        if isinstance(outcome.error, BaseException):
            self._failures[branch.internal_name] = outcome.error
        else:
            self._results[branch.place] = outcome.value
            if outcome.failed:
                self._failed_inside.append(branch.internal_name)
        self._progress.advance(failed=outcome.failed)

    # --- when all have ended -----------------------------------------------------------------------------------------

    def _conclude(self) -> None:
        failed = self._failures or self._failed_inside
        self._step.conclude(FAIL if failed else SUCCESS, self._summary() if failed else "")

    def _results_in_order(self) -> list[Any]:
        results = [self._results.get(index) for index in range(self._count)]
        self._raise_failures(results)
        return results

    def _results_by_name(self, names: Iterable[str]) -> dict[str, Any]:
        results = {name: self._results.get(index) for index, name in enumerate(names)}
        self._raise_failures(results)
        return results

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


def as_given(items: Iterable[_T]) -> Iterator[_T]:
    """Return what gives items; as they are now, if others could add or remove some while the first ones run."""
    changing = (MutableSequence, MutableSet, Mapping, MappingView, deque)
    try:
        return iter(list(items) if isinstance(items, changing) else items)
    except TypeError:
        raise StoreUsageError(f"Cannot map over {reprlib.repr(items)}: give a list or another iterable.") from None
