"""Branches at work: handed to workers, settled when they end, and tried again when a pool breaks."""

from __future__ import annotations

import queue
from collections import Counter, deque
from collections.abc import Callable, Iterator
from concurrent.futures import BrokenExecutor, Executor, Future, ThreadPoolExecutor
from typing import Any

from chunkstore.engines.futures import error_of, means_cancelled, means_death
from chunkstore.errors import StoreUsageError, WorkerDiedError
from chunkstore.interrupts import interrupts_another
from chunkstore.recording.answers import Outcome, SentError, this_process, unpacked, without_locals
from chunkstore.recording.branch import BranchTask, run_branch
from chunkstore.recording.branch_records import Branch, attempts_of, outcome_of, recorded_branch
from chunkstore.recording.failures import describe_error, text_of
from chunkstore.recording.in_flight import LOOK_INTERVAL, InFlight
from chunkstore.recording.inline import InlineExecutor
from chunkstore.recording.scope import Scope
from chunkstore.recording.sharing import NotSeen, check_sees, warn_of_unseen
from chunkstore.recording.step import BaseStep
from chunkstore.recording.waiting import is_in_pool, pool_of
from chunkstore.recording.workers import Workers
from chunkstore.records.models import PROCESSING, StepAttempt

#: So many branches per worker are handed out at once: one to run, one to go on with.
_BRANCHES_PER_WORKER = 2
#: So many pools in a row may break before anything has begun in them; then branches are tried alone.
_MOST_IDLE_POOLS = 2
#: So many pools of a single worker in a row may break before it does anything; then all branches are given up.
_MOST_REFUSED = 5
#: So many workers, each alone in its pool, may die just as they are to begin with a branch; then it is given up.
_MOST_UNBEGUN = 3
#: So often a branch is handed out again that was cancelled before it began.
_MOST_CANCELLED = 3
#: What mostly keeps the workers of a new pool from starting.
_MAIN_HINT = ' (does the script call map outside of `if __name__ == "__main__":`?)'


class Dispatcher(InFlight):
    """Has the branches of one composite step run.

    Args:
        run: the run, or the branch, that it belongs to.
        step: the composite step.
        executor: where branches run; None for a pool of processes.
        max_attempts: how often a branch's function is tried.
        backoff: seconds before the second attempt.
        max_in_flight: so many branches at most are handed out at once; None for twice as many as can run.
        note: is told what came of each branch.
    """

    def __init__(
        self,
        run: Scope,
        step: BaseStep[Any],
        executor: Executor | None,
        *,
        max_attempts: int,
        backoff: float,
        max_in_flight: int | None,
        note: Callable[[Branch, Outcome], None],
    ) -> None:
        inner = InlineExecutor() if interrupts_another() else executor
        super().__init__(
            run, step, Workers(inner, by_value=run.sends_by_value, may_fork=run.store.backend.may_be_forked)
        )
        self._max_attempts = max_attempts
        self._backoff = backoff
        self._max_in_flight = max_in_flight
        self._tell = note
        #: Branches to come, and those that came back without having begun.
        self._source: Iterator[Branch] = iter(())
        self._waiting: deque[Branch] = deque()
        #: Branches that were handed to a pool which broke, and of which it is not settled yet what came of them.
        self._lost: list[Branch] = []
        #: How many branches were taken back from the threads that they run on.
        self._taken_back = 0
        #: What tells whether another pool makes sense.
        self._has_progressed = False
        self._has_seen_data = False
        self._idle_pools = 0
        self._refused = 0
        self._cancelled: Counter[int] = Counter()
        #: Branches whose workers died, perhaps of another one; and those that have been among them.
        self._suspects: deque[Branch] = deque()
        self._were_suspects: set[int] = set()
        #: What branches came to whose workers died, and that are to run again.
        self._earlier_attempts: dict[int, tuple[StepAttempt, ...]] = {}

    def run(self, branches: Iterator[Branch]) -> None:
        """Run branches; each is asked for when a worker is about to be free."""
        self._source = branches
        try:
            with pool_of(self.workers.executor) as self._threads, self.workers.waiting():
                self._run_all()
        finally:
            self.workers.close()

    def _run_all(self) -> None:
        try:
            while True:
                broken = self._fill()
                if not broken and not self._pending:
                    if not self._suspects:
                        return
                    self._waiting.append(self._suspects.popleft())  # alone: nothing else waits, or runs
                    continue
                if broken or not self._await_one():
                    self._recover()
        except BaseException as error:
            self._give_up(error)
            for branch in [*self._waiting, *self._lost, *self._suspects]:  # of a pool that broke
                self._record_end(branch, f"its worker died, and it was not run again: {describe_error(error)}")
            raise

    def _await_one(self) -> bool:
        """Wait for a branch to end, and settle it; return False if the pool broke.

        What it looks at is let go of before the next one is waited for: an engine may keep a result, and make a lost
        one anew, as long as somebody refers to it.
        """
        interval = LOOK_INTERVAL if self.workers.may_grow else None
        try:
            future = self._next_ended(would_help=self._would_help(), timeout=interval)
        except queue.Empty:
            self.workers.look()
            return True  # there may be more workers than there were
        if future is None:
            self._help()
            return True
        branch = self._pending.pop(future, None)
        if branch is None or self._settle(branch, future):
            return True
        self._waiting.append(branch)
        return False

    @property
    def _most_pending(self) -> int:
        return self._max_in_flight or self.workers.count * _BRANCHES_PER_WORKER

    @property
    def _is_full(self) -> bool:
        return len(self._pending) >= self._most_pending

    def _fill(self) -> bool:
        """Hand out branches as long as workers can take some; return whether the pool turned out to be broken."""
        while not self._is_full:
            branch = self._next_branch()
            if branch is None:
                return False
            try:
                task = self._task(branch, self._earlier_attempts.get(branch.place, ()))
            except Exception as error:  # noqa: BLE001 - whatever an item's pickling raises
                self._fail(branch, f"its item could not be sent to a worker: {describe_error(error)}", error)
                continue
            self._run.left.add(branch.internal_name)
            try:
                future = self.workers.submit(run_branch, task)
            except BrokenExecutor as error:
                self.workers.note_broken(error)
                self._waiting.appendleft(branch)
                return True
            except Exception as error:
                raise StoreUsageError(
                    f"Cannot go on with {self._step.name!r}: its executor takes no more work ({error}). Branches that "
                    "had not begun are not recorded; resume the run with another executor to run them."
                ) from error
            self._pending[future] = branch
            future.add_done_callback(self._ended.put)
        return False

    def _next_branch(self) -> Branch | None:
        """Return the next branch that has to run; None if there is none."""
        while True:
            branch = self._waiting.popleft() if self._waiting else next(self._source, None)
            if branch is None:
                self._source = iter(())
                return None
            if self._refused >= _MOST_REFUSED:
                self._record_death(branch, _never_began(self.workers.how_they_died(), self._refused))
            else:
                return branch

    # --- helping -----------------------------------------------------------------------------------------------------

    def _would_help(self) -> bool:
        """Tell whether this thread may be what others wait for, and could run a branch."""
        if not (self._run.branch or is_in_pool()) or not self.workers.can_be_helped:
            return False
        return any(not future.running() and not future.done() for future in self._pending)

    def _help(self) -> None:
        """Run a branch that nobody has begun, in this thread; see `waiting`."""
        assert self._threads is not None
        try:
            # What is taken back stays in the queue of the pool until one of its threads is free: not too many of those.
            branch = self._take_back() if self._taken_back < self._most_pending else self._next_branch()
            branch = branch or self._next_branch() or self._take_back()
            if branch is None:
                return
            try:
                outcome = run_branch(self._task(branch)._replace(pool=0))
            except Exception as error:  # noqa: BLE001 - whatever keeps a branch from being recorded
                self._fail(branch, f"its worker gave no answer: {describe_error(error)}", error)
            else:
                self._note_answer(branch, outcome)
        finally:
            self._threads.end_help()

    def _take_back(self) -> Branch | None:
        for future in list(self._pending):
            if self._is_taken_back(future):
                self._taken_back += 1
                return self._pending.pop(future)
        return None

    # --- tasks and answers -------------------------------------------------------------------------------------------

    def _task(self, branch: Branch, earlier_attempts: tuple[StepAttempt, ...] = ()) -> BranchTask:
        threads = self._threads.executor if self._threads else None
        is_repeated = bool(earlier_attempts) or self._run.is_repeated(self._step.internal_name)
        return BranchTask(
            self._run.bound_to(branch.internal_name, repeats=is_repeated),
            type(self._step),
            self.workers.packed(branch.function),
            self.workers.packed(branch.arguments),
            branch.step_name,
            branch.code,
            self._max_attempts,
            self._backoff,
            earlier_attempts,
            this_process(),
            by_value=not self.workers.are_standard_processes or self._run.sends_by_value,
            pool=0 if isinstance(threads, ThreadPoolExecutor) else id(threads),
            inputs=branch.inputs,
            attempt=branch.attempt,
        )

    def _settle(self, branch: Branch, future: Future[Any], workers: Workers | None = None) -> bool:
        """Note what came of a branch; return False if the pool broke before anything did."""
        error = error_of(future)
        if isinstance(error, BrokenExecutor):
            (workers or self.workers).note_broken(error)
            return False
        if error is None:
            self._taken_back = 0  # somebody takes what lies in the queue of the pool
            self._note_answer(branch, future.result())
        elif means_cancelled(error):
            self._note_death(branch, f"its engine cancelled it ({describe_error(error)})")  # as Dask's `restart` does
        elif means_death(error):
            self._note_death(branch, text_of(error) if isinstance(error, WorkerDiedError) else describe_error(error))
        else:
            # The function's own errors come back as outcomes: this one is the executor's.
            self._fail(branch, f"its worker gave no answer: {describe_error(error)}", error)
        return True

    def _note_answer(self, branch: Branch, outcome: Outcome | NotSeen) -> None:
        if isinstance(outcome, NotSeen):
            check_sees(self._run, self._step.name, outcome)
            missing = outcome.error.rebuilt()
            self._fail(branch, f"its worker gave no answer: {describe_error(missing)}", missing)
            return
        try:
            value = unpacked(outcome.value)
        except Exception as broken:  # noqa: BLE001 - whatever a result's unpickling raises
            self._fail(branch, f"its result could not be rebuilt: {describe_error(broken)}", broken)
            return
        if outcome.put and not self._has_seen_data:
            self._has_seen_data = True
            warn_of_unseen(self._run, self._step.name, outcome.put)
        error = outcome.error.rebuilt() if isinstance(outcome.error, SentError) else outcome.error
        self._note(branch, outcome._replace(value=value, error=error))

    def _fail(self, branch: Branch, message: str, error: BaseException) -> None:
        """Record and note the failure of a branch whose worker cannot do it."""
        self._record_failure(branch, message, has_died=isinstance(error, WorkerDiedError))
        self._note(branch, Outcome(None, error, failed=True))

    def _note(self, branch: Branch, outcome: Outcome) -> None:
        self._has_progressed = True
        self._run.left.discard(branch.internal_name)
        if outcome.start and self.workers.may_start_again:
            self._step.note_returned(branch.internal_name, outcome.start)
        if isinstance(outcome.error, BaseException):
            without_locals(outcome.error)
        self._tell(branch, outcome)

    # --- after a worker's death --------------------------------------------------------------------------------------

    def _note_death(self, branch: Branch, how: str) -> None:
        """Go on after a worker died, or was stopped, whose engine lives: who has attempts left runs again.

        Where it may have died of another branch in the same process, it runs once more, alone, after all the others.
        """
        if not self._was_running(branch):
            self._cancelled[branch.place] += 1
            if self._waiting and self._waiting[-1] is branch and self._cancelled[branch.place] > _MOST_CANCELLED:
                self._record_death(self._waiting.pop(), _never_began(how, 0))
            return
        earlier = self._earlier_attempts.get(branch.place, ())
        attempts = attempts_of(self._run, branch, _death(how), earlier)
        is_suspect = branch.place not in self._were_suspects and self.workers.shares_processes
        if is_suspect:
            self._were_suspects.add(branch.place)
            self._suspects.append(branch)
        elif len(attempts) < self._max_attempts:
            self._waiting.append(branch)
        else:
            self._record_death(branch, _death(how))
            return
        self._earlier_attempts[branch.place] = tuple(attempts)

    def _recover(self) -> None:
        """Go on after the pool broke: whoever had not started starts again, whoever had is tried alone.

        A pool takes all its workers down when one dies, and does not tell which branch it ran. So those that were
        running run once more, each in a pool of its own: the one that kills its worker does so again, and fails; the
        others come to their end. Pools are renewed as long as anything comes of them.
        """
        self._lost += self._waiting
        self._waiting.clear()
        while self._pending:
            future = self._ended.get()
            branch = self._pending.pop(future, None) if future else None
            if branch is not None:
                self._lost.append(branch)
                if self._settle(branch, future):  # type: ignore[arg-type]  # it is none
                    self._lost.pop()
        how = self.workers.how_they_died()
        only_one = self.workers.count == 1
        self._lost = sorted(filter(self._was_running, self._lost), key=_place)
        self._waiting = deque(sorted(self._waiting, key=_place))
        self._idle_pools = 0 if self._has_progressed or self._lost else self._idle_pools + 1
        self._has_progressed = False
        renewed = self.workers.renew()
        is_known = only_one and len(self._lost) == 1 and self._max_attempts == 1
        while self._lost:
            branch = self._lost[0]
            if is_known and (recorded := recorded_branch(self._run, branch)) and recorded.status == PROCESSING:
                self._record_death(branch, _death(how))
            else:
                why = f"the pool of workers broke while this branch ran: {how}"
                self._run_alone(branch, how, attempts_of(self._run, branch, why))
            self._lost.pop(0)
        if not renewed:
            self._refused = _MOST_REFUSED
        elif self._idle_pools > _MOST_IDLE_POOLS:
            # One of the first may kill whoever begins with it.
            for _ in range(min(len(self._waiting), self._most_pending)):
                if self._refused < _MOST_REFUSED:
                    self._lost = [self._waiting.popleft()]
                    self._run_alone(self._lost[0], how, [])
                    self._lost.clear()

    def _was_running(self, branch: Branch) -> bool:
        """Tell whether a branch was running; one that had not started waits again, one that had ended is settled."""
        recorded = recorded_branch(self._run, branch)
        if recorded is None:
            self._waiting.append(branch)
            return False
        outcome = outcome_of(branch, recorded)
        if outcome is None:
            return True
        self._note(branch, outcome)
        return False

    def _run_alone(self, branch: Branch, how: str, attempts: list[StepAttempt]) -> None:
        """Run a branch in pools of a single worker, until it ends, or has had all its attempts."""
        unbegun = 0
        while self._refused < _MOST_REFUSED and unbegun < _MOST_UNBEGUN:
            alone = self.workers.alone()
            if alone is None:
                break
            try:
                self._refused = 0 if alone.begin() else self._refused + 1
                if not self._refused and self._ends_on(alone, branch, tuple(attempts)):
                    return
                how = alone.how_they_died()
            except BaseException:
                alone.kill()  # the program is to end: nobody waits for this branch
                raise
            finally:
                alone.close()
            if self._has_begun(branch, attempts):
                attempts = attempts_of(self._run, branch, _death(how), attempts)
                if len(attempts) >= self._max_attempts:
                    break
            elif not self._refused:
                unbegun += 1  # by chance, or the branch kills whoever is sent it
        self._record_death(branch, _death(how) if attempts else _never_began(how, self._refused))

    def _ends_on(self, alone: Workers, branch: Branch, attempts: tuple[StepAttempt, ...]) -> bool:
        """Run a branch on a single worker; return False if that died."""
        try:
            future = alone.submit(run_branch, self._task(branch, attempts))
        except BrokenExecutor:
            return False
        return self._settle(branch, future, alone)

    def _has_begun(self, branch: Branch, attempts: list[StepAttempt]) -> bool:
        """Tell whether the function of a branch has begun again, after some attempts."""
        recorded = recorded_branch(self._run, branch)
        step = recorded.steps.get(branch.step_internal_name) if recorded else None
        known = {attempt.start for attempt in attempts}
        return step is not None and bool(step.attempts) and step.attempts[-1].start not in known

    def _record_death(self, branch: Branch, message: str) -> None:
        self._fail(branch, message, WorkerDiedError(message, branch=branch.internal_name))


def _place(branch: Branch) -> int:
    return branch.place


def _death(how: str) -> str:
    return f"the process that ran this branch died: {how}"


def _never_began(how: str, refused: int) -> str:
    hint = _MAIN_HINT if refused else ""
    return f"the branch had not started when its workers died: {how}{hint}"
