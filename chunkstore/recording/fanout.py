"""`map` and `parallel`: hand branches to workers, collect what comes of them, and record those whose worker died."""

from __future__ import annotations

import pickle
import queue
from collections import deque
from collections.abc import Callable, Iterable, Iterator, Mapping, Sized
from concurrent.futures import BrokenExecutor, CancelledError, Executor, Future, ThreadPoolExecutor, wait
from typing import TYPE_CHECKING, Any, NamedTuple

import msgspec
from msgspec import UNSET

from chunkstore.clock import utc_now
from chunkstore.errors import (
    BranchFailedError,
    BranchLogNotFoundError,
    DataNotFoundError,
    InvalidNameError,
    InvalidValueError,
    StepLogNotFoundError,
    WorkerDiedError,
)
from chunkstore.names import check_name, join_name, numbered, unescape_segment
from chunkstore.recording.branch import BranchTask, Outcome, executors_in_use, run_branch
from chunkstore.recording.failures import describe_error
from chunkstore.recording.identity import identities, name_of
from chunkstore.recording.previous import hash_of, reusable_step, taken_over_branch
from chunkstore.recording.progress import ProgressBar
from chunkstore.recording.step import RAISE, Step, check_runs_at_once
from chunkstore.recording.workers import InlineExecutor, Workers
from chunkstore.records import codec
from chunkstore.records.models import FAIL, PROCESSING, SUCCESS, BranchLog, CodeIdentity, StepAttempt, StepLog

if TYPE_CHECKING:  # for annotations alone: runs fan out
    from chunkstore.recording.run import Run

#: So many branches per worker are handed out at once: one to run, one to go on with.
_BRANCHES_PER_WORKER = 2
#: Items whose text is longer are called by their number.
_LONGEST_ITEM_NAME = 120
_SHOWN_FAILURES = 10
#: What mostly keeps the workers of a new pool from starting.
_MAIN_HINT = ' (does the script call map outside of `if __name__ == "__main__":`?)'


class _Branch(NamedTuple):
    """A branch before it runs: its place among the results, its name, and what to do."""

    place: int
    internal_name: str
    function: Callable[..., Any]
    arguments: tuple[Any, ...]

    @property
    def step_name(self) -> str:
        return name_of(self.function)

    @property
    def step_internal_name(self) -> str:
        return join_name(self.internal_name, self.step_name)


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
        run: Run,
        step: Step,
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
        self._waiting: deque[_Branch] = deque()
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

        def branches() -> Iterator[_Branch]:
            for index, item in enumerate(items):
                name = name_of_item(item) if name_of_item else item_name(item, index)
                yield _Branch(index, self._unique(str(name), taken), function, (item,))

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
            _Branch(index, self._unique(str(name), taken), function, ())
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
            lines = [self._summary(), *(f"  {name}: {describe_error(error)}" for name, error in self._shown_failures())]
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

    def _execute(self, source: Iterator[_Branch], total: int | None) -> None:
        self._step.open_composite(self._function, total)
        try:
            self._progress = ProgressBar(self._step.name, total, enabled=not self._run.branch)
            self._run_all(source)
        except BaseException as error:
            self._step.conclude(FAIL, describe_error(error))
            raise
        finally:
            self._progress.close()
            self._workers.close()
        failed = self._failures or self._failed_inside
        self._step.conclude(FAIL if failed else SUCCESS, self._summary() if failed else "")

    def _run_all(self, source: Iterator[_Branch]) -> None:
        pending: dict[Future[Any], _Branch] = {}
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

    def _give_up(self, pending: dict[Future[Any], _Branch], error: BaseException) -> None:
        """Cancel what has not started; what runs comes to its end, unless the whole program is to end now."""
        running = {future: branch for future, branch in pending.items() if not future.cancel()}
        if isinstance(error, Exception):
            wait(running)
        elif self._workers.kill():
            for branch in running.values():
                if self._is_recorded_as_running(branch):
                    self._record_failure(branch, f"interrupted: {describe_error(error)}")

    def _is_recorded_as_running(self, branch: _Branch) -> bool:
        try:
            recorded = self._run.store.get_branch_log(self._run.identity, branch.internal_name)
        except BranchLogNotFoundError:
            return False
        return recorded.status == PROCESSING

    def _fill(
        self, source: Iterator[_Branch], pending: dict[Future[Any], _Branch], ended: queue.SimpleQueue[Future[Any]]
    ) -> bool:
        """Hand out branches as long as workers can take some; return whether the pool turned out to be broken."""
        while len(pending) < self._workers.count * _BRANCHES_PER_WORKER:
            branch = self._waiting.popleft() if self._waiting else next(source, None)
            if branch is None:
                return False
            self._count = max(self._count, branch.place + 1)
            if self._take_over(branch):
                self._progress.advance(failed=False)
                continue
            try:
                task = self._task(branch)
            except Exception as error:  # noqa: BLE001 - whatever an item's pickling raises
                self._record_failure(branch, f"its item could not be sent to a worker: {describe_error(error)}")
                self._note(branch, Outcome(None, error, failed=True))
                continue
            try:
                future = self._workers.submit(run_branch, task)
            except BrokenExecutor:
                self._waiting.appendleft(branch)
                return True
            pending[future] = branch
            future.add_done_callback(ended.put)
        return False

    def _task(self, branch: _Branch, earlier_attempts: tuple[StepAttempt, ...] = ()) -> BranchTask:
        packed = self._workers.are_standard_processes
        return BranchTask(
            self._run.bound_to(branch.internal_name),
            branch.function,
            pickle.dumps(branch.arguments) if packed else branch.arguments,
            branch.step_name,
            self._code_of(branch.function),
            self._max_attempts,
            self._backoff,
            earlier_attempts,
            packed,
            self._executor_id,
        )

    def _settle(self, branch: _Branch, future: Future[Any]) -> bool:
        """Note what came of a branch; return False if the pool broke before anything did."""
        try:
            error = future.exception()
        except CancelledError as cancelled:
            error = cancelled
        if isinstance(error, BrokenExecutor):
            return False
        if error is not None:
            # The function's own errors come back as outcomes: this one is the executor's.
            self._record_failure(branch, f"its worker gave no answer: {describe_error(error)}")
            self._note(branch, Outcome(None, error, failed=True))
            return True
        outcome: Outcome = future.result()
        if isinstance(outcome.value, bytes) and self._workers.are_standard_processes:
            try:
                outcome = outcome._replace(value=pickle.loads(outcome.value))  # noqa: S301 - from our own worker
            except Exception as broken:  # noqa: BLE001 - whatever a result's unpickling raises
                self._record_failure(branch, f"its result could not be rebuilt: {describe_error(broken)}")
                outcome = Outcome(None, broken, failed=True)
        self._note(branch, outcome)
        return True

    def _note(self, branch: _Branch, outcome: Outcome) -> None:
        if outcome.error is not None:
            self._failures[branch.internal_name] = outcome.error
        else:
            self._results[branch.place] = outcome.value
            if outcome.failed:
                self._failed_inside.append(branch.internal_name)
        self._progress.advance(failed=outcome.failed)

    # --- resuming ----------------------------------------------------------------------------------------------------

    def _take_over(self, branch: _Branch) -> bool:
        """Record a branch that the resumed run finished, if it did the same as this one would."""
        previous = self._run.previous
        if previous is None:
            return False
        recorded = previous.branch(branch.internal_name)
        if recorded is None or recorded.status != SUCCESS:
            return False
        step = previous.step(branch.step_internal_name)
        code = self._code_of(branch.function)
        if not reusable_step(step, code, hash_of([list(branch.arguments), {}])):
            return False
        assert step is not None
        try:
            record = taken_over_branch(recorded, previous.run_of(recorded), self._run.catalog)
        except DataNotFoundError:
            return False  # what it put is gone: only the work itself can make it again
        self._run.store.add_branch_log(self._run.identity, record)
        self._results[branch.place] = step.result
        return True

    def _code_of(self, function: Callable[..., Any]) -> list[CodeIdentity]:
        """Return which code a function is; found out once, here, and not in every worker."""
        code = self._identities.get(id(function))
        if code is None:
            code = self._identities[id(function)] = identities(self._run.code_identity, function)
        return code

    # --- after a worker's death --------------------------------------------------------------------------------------

    def _recover(self, pending: dict[Future[Any], _Branch], ended: queue.SimpleQueue[Future[Any]]) -> None:
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

    def _was_running(self, branch: _Branch) -> bool:
        """Tell whether a branch was running; one that had not started waits again, one that had ended is settled."""
        try:
            recorded = self._run.store.get_branch_log(self._run.identity, branch.internal_name)
        except BranchLogNotFoundError:
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

    def _run_alone(self, branch: _Branch, how: str) -> None:
        attempts = self._attempts_of(branch, f"the pool of workers broke while this branch ran: {how}")
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
            attempts = self._attempts_of(branch, _death(how))
            if len(attempts) >= self._max_attempts:
                break
        self._record_death(branch, how)

    def _attempts_of(self, branch: _Branch, message: str) -> list[StepAttempt]:
        """Return the recorded attempts of a branch whose worker died; the open one ends with `message`."""
        try:
            attempts = self._run.store.get_step_log(self._run.identity, branch.step_internal_name).attempts
        except StepLogNotFoundError:
            attempts = []
        if not attempts:
            return [StepAttempt(end_time=utc_now(), status=FAIL, message=message)]
        if attempts[-1].status == PROCESSING:
            attempts[-1] = msgspec.structs.replace(attempts[-1], status=FAIL, message=message, end_time=utc_now())
        return attempts

    def _record_death(self, branch: _Branch, how: str) -> None:
        self._record_failure(branch, _death(how))
        error = WorkerDiedError(_death(how), branch=branch.internal_name)
        self._note(branch, Outcome(None, error, failed=True))

    def _record_failure(self, branch: _Branch, message: str) -> None:
        """Record the failure of a branch whose worker cannot do it."""
        store, run_id = self._run.store, self._run.identity

        def fail_branch(log: BranchLog) -> None:
            log.status, log.message = FAIL, message

        def fail_step(log: StepLog) -> None:
            log.status, log.message = FAIL, message
            if log.attempts and log.attempts[-1].status != FAIL:
                log.attempts[-1] = msgspec.structs.replace(
                    log.attempts[-1], status=FAIL, message=message, end_time=utc_now()
                )

        try:
            store.update_branch_log(run_id, branch.internal_name, fail_branch)
        except BranchLogNotFoundError:
            store.add_branch_log(run_id, BranchLog(internal_name=branch.internal_name, status=FAIL, message=message))
        try:
            store.update_step_log(run_id, branch.step_internal_name, fail_step)
        except StepLogNotFoundError:
            pass  # it died before its function began


def _death(how: str) -> str:
    return f"the process that ran this branch died: {how}"


def item_name(item: Any, index: int) -> str:
    """Return what to call the branch of an item: its text if it has a short one, else its number."""
    if isinstance(item, float):
        return repr(float(item))
    try:
        plain = codec.plain(item)
        text = plain if isinstance(plain, str) and plain else codec.encode(plain).decode()
        check_name(text)
    except (InvalidValueError, InvalidNameError):
        return str(index)
    return str(index) if isinstance(plain, (dict, list)) and len(text) > _LONGEST_ITEM_NAME else text
