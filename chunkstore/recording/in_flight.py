"""Branches that an engine has: waited for, taken back, or given up."""

from __future__ import annotations

import queue
from concurrent.futures import Future
from typing import Any

from chunkstore.engines.base import Ended
from chunkstore.engines.futures import error_of
from chunkstore.recording.branch_records import Branch, record_failure, recorded_branch
from chunkstore.recording.failures import describe_error
from chunkstore.recording.scope import Scope
from chunkstore.recording.step import BaseStep
from chunkstore.recording.waiting import ThreadPool
from chunkstore.recording.workers import Workers
from chunkstore.records.models import PROCESSING

#: How often an engine that may grow is asked whether it takes more, and whether what is waited for can still come, in
#: seconds.
LOOK_INTERVAL = 1.0


class InFlight:
    """The branches of a composite step that its engine has, and of which it is not settled what came of them.

    Args:
        run: the run, or the branch, that the step belongs to.
        step: the composite step.
        workers: the engine.
    """

    def __init__(self, run: Scope, step: BaseStep[Any], workers: Workers) -> None:
        self._run = run
        self._step = step
        self.workers = workers
        self._pending: dict[Future[Any], Branch] = {}
        self._ended: Ended = workers.new_queue()
        #: The threads that branches run on, if they are some of this process.
        self._threads: ThreadPool | None = None

    def _next_ended(self, *, would_help: bool = False, timeout: float | None = None) -> Future[Any] | None:
        if self._threads is None:
            return self._ended.get(timeout=timeout)
        return self._threads.next(self._ended, would_help=would_help, timeout=timeout)

    def _give_up(self, error: BaseException) -> None:
        """Cancel what has not started; what runs comes to its end, unless the whole program is to end now."""
        try:
            if isinstance(error, Exception):
                self._end_running(error)
        except BaseException as interrupt:
            self._abandon(interrupt)
            raise
        if not isinstance(error, Exception):
            self._abandon(error)

    def _end_running(self, error: Exception) -> None:
        """Cancel what has not started, and wait for the others."""
        running = {future: branch for future, branch in self._pending.items() if not self._is_taken_back(future)}
        for each in list(running):
            each.add_done_callback(self._ended.put)  # again: what came up may have done so just after a look
        while running:
            try:
                future = self._next_ended(timeout=LOOK_INTERVAL if self.workers.may_grow else None)
            except queue.Empty:
                self.workers.look()
                continue
            branch = running.pop(future, None) if future else None
            if branch is None or future is None:
                continue
            if error_of(future) is not None:
                self._record_end(branch, f"its worker gave no answer: {describe_error(error)}")
            self._run.left.discard(branch.internal_name)

    def _is_taken_back(self, future: Future[Any]) -> bool:
        """Cancel a branch, if it has not begun; return whether nobody has to wait for it."""
        branch = self._pending[future]
        if self.workers.takes_back:
            is_cancelled = self.workers.cancel(future)
            if is_cancelled:
                self._run.left.discard(branch.internal_name)
            return is_cancelled
        # Whatever the engine says: only its record tells whether a branch has begun.
        return recorded_branch(self._run, branch) is None and self.workers.cancel(future)

    def _abandon(self, error: BaseException) -> None:
        """Stop what can be stopped, and wait for nothing.

        What may still run, or begin, the run knows to be left: whoever ends it notes that.
        """
        try:
            self.workers.stop(self._pending)
        finally:
            was_killed = self.workers.kill()
        for future, branch in self._pending.items():
            is_taken_back = self.workers.takes_back and future.cancelled()
            if was_killed and not is_taken_back:
                self._record_end(branch, f"interrupted: {describe_error(error)}")
            if was_killed or is_taken_back:
                self._run.left.discard(branch.internal_name)

    def _record_end(self, branch: Branch, message: str) -> None:
        """Record the failure of a branch that has begun and will not end any more."""
        recorded = recorded_branch(self._run, branch)
        if recorded is not None and recorded.status == PROCESSING:
            self._record_failure(branch, message, has_died=True)

    def _record_failure(self, branch: Branch, message: str, *, has_died: bool) -> None:
        start = record_failure(self._run, branch, message, has_died=has_died)
        if self.workers.may_start_again:
            self._step.note_returned(branch.internal_name, start)  # whatever becomes of that start, or of another one
