"""`map` and `parallel`: hand branches to workers, collect what comes of them, and record those whose worker died."""

from __future__ import annotations

import pickle
import queue
from collections import deque
from collections.abc import Callable, Iterable, Iterator, Mapping, Sized
from concurrent.futures import BrokenExecutor, CancelledError, Executor, Future, ThreadPoolExecutor, wait
from typing import Any

from msgspec import UNSET

from chunkstore.errors import BranchFailedError, WorkerDiedError
from chunkstore.names import join_name, numbered, readable_name, unescape_segment
from chunkstore.recording.branch import BranchTask, Outcome, executors_in_use, run_branch
from chunkstore.recording.branch_records import Branch, attempts_of, record_failure, recorded_branch, take_over
from chunkstore.recording.failures import describe_error
from chunkstore.recording.functions import check_runs_at_once
from chunkstore.recording.identity import InputHash, identities, input_hash
from chunkstore.recording.items import item_name
from chunkstore.recording.progress import ProgressBar
from chunkstore.recording.retries import RAISE
from chunkstore.recording.scope import Scope
from chunkstore.recording.step import BaseStep
from chunkstore.recording.workers import InlineExecutor, Workers
from chunkstore.records.models import FAIL, PROCESSING, SUCCESS, CodeIdentity, StepAttempt

#: So many branches per worker are handed out at once: one to run, one to go on with.
_BRANCHES_PER_WORKER = 2
_SHOWN_FAILURES = 10
#: What mostly keeps the workers of a new pool from starting.
_MAIN_HINT = ' (does the script call map outside of `if __name__ == "__main__":`?)'


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
        function: Callable[..., Any] | None,
        *,
        executor: Executor | None,
        max_attempts: int,
        on_error: str,
        backoff: float,
    ) -> None:
        self._run = run
        self._step = step
        self._function = function
        # Threads that wait here for their own kind could wait for ever; they do the work themselves instead.
        inline = executor is not None and id(executor) in executors_in_use.get()
        self._workers = Workers(InlineExecutor() if inline else executor)
        self._executor_id = id(executor) if isinstance(executor, ThreadPoolExecutor) else 0
        self._max_attempts = max_attempts
        self._on_error = on_error
        self._backoff = backoff
        self._results: dict[int, Any] = {}
        self._failures: dict[str, BaseException] = {}
        self._failed_inside: list[str] = []
        self._waiting: deque[Branch] = deque()
        self._count = 0
        self._idle_renewals = 0
        self._identities: dict[int, list[CodeIdentity]] = {}
        self._progress = ProgressBar(step.name, None, enabled=False)

    # --- map and parallel --------------------------------------------------------------------------------------------

    def map(self, items: Iterable[Any], name_of_item: Callable[[Any], str] | None) -> list[Any]:
        """Run the function over items; return results in their order."""
        function = self._function
        assert function is not None
        check_runs_at_once(function)
        self._workers.check_sendable(self._run, function)
        taken: dict[str, int] = {}

        def branches() -> Iterator[Branch]:
            for index, item in enumerate(items):
                name = name_of_item(item) if name_of_item else item_name(item, index)
                yield Branch(index, self._unique(str(name), taken), function, (item,))

        self._execute(branches(), len(items) if isinstance(items, Sized) else None)
        results = [self._results.get(index) for index in range(self._count)]
        self._raise_failures(results)
        return results

    def parallel(self, functions: Mapping[str, Callable[[], Any]]) -> dict[str, Any]:
        """Run functions; return results by their names."""
        for function in functions.values():
            check_runs_at_once(function)
        self._workers.check_sendable(self._run, dict(functions))
        taken: dict[str, int] = {}
        branches = [
            Branch(index, self._unique(str(name), taken), function, ())
            for index, (name, function) in enumerate(functions.items())
        ]
        self._execute(iter(branches), len(branches))
        results = {name: self._results.get(index) for index, name in enumerate(functions)}
        self._raise_failures(results)
        return results

    def _unique(self, name: str, taken: dict[str, int]) -> str:
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

    # --- the loop ----------------------------------------------------------------------------------------------------

    def _execute(self, source: Iterator[Branch], total: int | None) -> None:
        try:
            self._step.open_composite(self._function, total)
            self._progress = ProgressBar(self._step.name, total, enabled=not self._run.branch)
            self._run_all(source)
        except BaseException as error:
            self._step.end_with(error)
            raise
        finally:
            self._progress.close()
            self._workers.close()
        failed = self._failures or self._failed_inside
        self._step.conclude(FAIL if failed else SUCCESS, self._summary() if failed else "")

    def _run_all(self, source: Iterator[Branch]) -> None:
        pending: dict[Future[Any], Branch] = {}
        ended: queue.SimpleQueue[Future[Any]] = queue.SimpleQueue()
        try:
            while True:
                broken = self._fill(source, pending, ended)
                if not pending and not broken:
                    return
                if not broken:
                    future = ended.get()
                    branch = pending.pop(future)
                    broken = not self._settle(branch, future)
                    if broken:
                        self._waiting.append(branch)
                if broken:
                    self._recover(pending, ended)
        except BaseException as error:
            self._give_up(pending, error)
            raise

    def _give_up(self, pending: dict[Future[Any], Branch], error: BaseException) -> None:
        """Cancel what has not started; what runs comes to its end, unless the whole program is to end now."""
        running = {future: branch for future, branch in pending.items() if not future.cancel()}
        if isinstance(error, Exception):
            wait(running)
        elif self._workers.kill():
            for branch in running.values():
                recorded = recorded_branch(self._run, branch)
                if recorded is not None and recorded.status == PROCESSING:
                    record_failure(self._run, branch, f"interrupted: {describe_error(error)}")

    def _fill(
        self, source: Iterator[Branch], pending: dict[Future[Any], Branch], ended: queue.SimpleQueue[Future[Any]]
    ) -> bool:
        """Hand out branches as long as workers can take some; return whether the pool turned out to be broken."""
        while len(pending) < self._workers.count * _BRANCHES_PER_WORKER:
            branch = self._waiting.popleft() if self._waiting else next(source, None)
            if branch is None:
                return False
            self._count = max(self._count, branch.place + 1)
            inputs = self._inputs_of(branch)
            if inputs is not None and self._take_over(branch, inputs):
                self._progress.advance(failed=False)
                continue
            try:
                task = self._task(branch, inputs=inputs)
            except Exception as error:  # noqa: BLE001 - whatever an item's pickling raises
                self._fail(branch, f"its item could not be sent to a worker: {describe_error(error)}", error)
                continue
            try:
                future = self._workers.submit(run_branch, task)
            except BrokenExecutor:
                self._waiting.appendleft(branch)
                return True
            pending[future] = branch
            future.add_done_callback(ended.put)
        return False

    def _task(
        self, branch: Branch, earlier_attempts: tuple[StepAttempt, ...] = (), inputs: InputHash | None = None
    ) -> BranchTask:
        packed = self._workers.are_standard_processes
        is_repeated = bool(earlier_attempts) or self._run.is_repeated(self._step.internal_name)
        return BranchTask(
            self._run.bound_to(branch.internal_name, repeats=is_repeated),
            type(self._step),
            branch.function,
            pickle.dumps(branch.arguments) if packed else branch.arguments,
            branch.step_name,
            self._code_of(branch.function),
            self._max_attempts,
            self._backoff,
            earlier_attempts,
            packed,
            self._executor_id,
            inputs,
        )

    def _settle(self, branch: Branch, future: Future[Any]) -> bool:
        """Note what came of a branch; return False if the pool broke before anything did."""
        try:
            error = future.exception()
        except CancelledError as cancelled:
            error = cancelled
        if isinstance(error, BrokenExecutor):
            return False
        if error is not None:
            # The function's own errors come back as outcomes: this one is the executor's.
            self._fail(branch, f"its worker gave no answer: {describe_error(error)}", error)
            return True
        outcome: Outcome = future.result()
        if isinstance(outcome.value, bytes) and self._workers.are_standard_processes:
            try:
                outcome = outcome._replace(value=pickle.loads(outcome.value))  # noqa: S301 - from our own worker
            except Exception as broken:  # noqa: BLE001 - whatever a result's unpickling raises
                self._fail(branch, f"its result could not be rebuilt: {describe_error(broken)}", broken)
                return True
        self._note(branch, outcome)
        return True

    def _fail(self, branch: Branch, message: str, error: BaseException) -> None:
        """Record and note the failure of a branch whose worker cannot do it."""
        record_failure(self._run, branch, message)
        self._note(branch, Outcome(None, error, failed=True))

    def _note(self, branch: Branch, outcome: Outcome) -> None:
        if outcome.error is not None:
            self._failures[branch.internal_name] = outcome.error
        else:
            self._results[branch.place] = outcome.value
            if outcome.failed:
                self._failed_inside.append(branch.internal_name)
        self._progress.advance(failed=outcome.failed)

    # --- resuming ----------------------------------------------------------------------------------------------------

    def _inputs_of(self, branch: Branch) -> InputHash | None:
        """Return the hash of what a branch is called with if an earlier run may have finished it, else None.

        Elsewhere its worker finds it out, beside the others.
        """
        if self._run.previous is None or self._run.previous.branch(branch.internal_name) is None:
            return None
        return input_hash(branch.arguments, {}, branch.function)

    def _take_over(self, branch: Branch, inputs: InputHash) -> bool:
        """Take a branch over from the run that is resumed; tell whether that was possible."""
        result = take_over(self._run, branch, self._code_of(branch.function), inputs)
        if result is UNSET:
            return False
        self._results[branch.place] = result
        return True

    def _code_of(self, function: Callable[..., Any]) -> list[CodeIdentity]:
        """Return which code a function is; found out once, here, and not in every worker."""
        code = self._identities.get(id(function))
        if code is None:
            code = self._identities[id(function)] = identities(self._run.code_identity, function)
        return code

    # --- after a worker's death --------------------------------------------------------------------------------------

    def _recover(self, pending: dict[Future[Any], Branch], ended: queue.SimpleQueue[Future[Any]]) -> None:
        """Go on after the pool broke: whoever had not started starts again, whoever had is tried alone.

        A pool takes all its workers down when one dies, and does not tell which branch it ran. So those that were
        running run once more, each in a pool of its own: the one that kills its worker does so again, and fails; the
        others come to their end.
        """
        lost = list(self._waiting)
        self._waiting.clear()
        while pending:
            future = ended.get()
            branch = pending.pop(future)
            if not self._settle(branch, future):
                lost.append(branch)
        how = self._workers.how_they_died()
        only_one = self._workers.count == 1
        lost.sort(key=lambda branch: branch.place)
        suspects = [branch for branch in lost if self._was_running(branch)]
        # A pool that broke before it ran anything gets one successor: that one would break in the same way.
        self._idle_renewals += not suspects
        renewed = self._idle_renewals <= 1 and self._workers.renew()
        if only_one and len(suspects) == 1 and self._max_attempts == 1:
            self._record_death(suspects[0], how)  # it had the only worker
        else:
            for branch in suspects:
                self._run_alone(branch, how)
        while self._waiting and not renewed:
            self._record_death(self._waiting.popleft(), f"{how}; the branch had not started{_MAIN_HINT}")

    def _was_running(self, branch: Branch) -> bool:
        """Tell whether a branch was running; one that had not started waits again, one that had ended is settled."""
        recorded = recorded_branch(self._run, branch)
        if recorded is None:
            self._waiting.append(branch)
            return False
        step = recorded.steps.get(branch.step_internal_name)
        if recorded.status == SUCCESS and step is not None and step.result is not UNSET:
            self._note(branch, Outcome(step.result, None, failed=False))
            return False
        if recorded.status == FAIL and step is not None and step.status == FAIL:
            self._note(branch, Outcome(None, RuntimeError(step.message), failed=True))
            return False
        return True

    def _run_alone(self, branch: Branch, how: str) -> None:
        attempts = attempts_of(self._run, branch, f"the pool of workers broke while this branch ran: {how}")
        for _ in range(max(1, self._max_attempts - len(attempts))):
            alone = self._workers.alone()
            if alone is None:
                break
            try:
                future = alone.submit(run_branch, self._task(branch, tuple(attempts)))
                if self._settle(branch, future):
                    return
                how = alone.how_they_died()
            except BaseException:
                alone.kill()  # the program is to end: nobody waits for this branch
                raise
            finally:
                alone.close()
            attempts = attempts_of(self._run, branch, _death(how))
            if len(attempts) >= self._max_attempts:
                break
        self._record_death(branch, how)

    def _record_death(self, branch: Branch, how: str) -> None:
        self._fail(branch, _death(how), WorkerDiedError(_death(how), branch=branch.internal_name))


def _death(how: str) -> str:
    return f"the process that ran this branch died: {how}"
