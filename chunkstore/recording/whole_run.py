"""The beginning and the end of a run: the block around it, and what is recorded when it ends."""

from __future__ import annotations

import logging
import os
import weakref
from collections.abc import Callable
from contextlib import AbstractContextManager
from types import TracebackType
from typing import TYPE_CHECKING, Any

from chunkstore.backends.base import AT_THE_END
from chunkstore.clock import clock, utc_now
from chunkstore.errors import ChunkstoreError, StoreUsageError
from chunkstore.names import PinnedRunId, readable_name
from chunkstore.recording.catalog import Catalog
from chunkstore.recording.context import leave_all
from chunkstore.recording.failures import ErrorWatch, describe_error, is_failure
from chunkstore.recording.jobs import job_here
from chunkstore.recording.previous import PreviousRun
from chunkstore.recording.scope import CURRENT_RUN, Scope
from chunkstore.recording.terminations import note_terminations
from chunkstore.records.attempts import counting
from chunkstore.records.models import FAIL, NOTES, PROCESSING, SUCCESS, CodeIdentity, RunLog
from chunkstore.stores.base import Store
from chunkstore.stores.summary import Summary

if TYPE_CHECKING:
    from typing_extensions import Self  # for annotations alone: no dependency

logger = logging.getLogger("chunkstore")


class WholeRun(Scope):
    """A run that can be entered, left and finished; what authors get is `chunkstore.Run`, which has steps besides."""

    def __init__(
        self,
        store: Store,
        run_id: str,
        *,
        branch: str = "",
        catalog: Catalog | None = None,
        capture_output: bool = True,
        code_identity: CodeIdentity | None = None,
        previous: PreviousRun | None = None,
        repeats: bool = False,
        around: tuple[str, int] | None = None,
        start: str = "",
        finishes: bool = False,
        joins: bool = False,
    ) -> None:
        super().__init__(
            store,
            run_id,
            branch=branch,
            catalog=catalog,
            capture_output=capture_output,
            code_identity=code_identity,
            previous=previous,
            repeats=repeats,
            around=around,
            start=start,
        )
        self._finishes = finishes
        # Others are told that the run is recorded, as long as this object lives in this process.
        self._release: Callable[[], None] = lambda: None
        if finishes or joins:
            self._release = store.hold(self.identity, joined=joins, start=self.start_in(os.getpid()), job=job_here())
        self._errors = ErrorWatch()
        if finishes or joins:
            _runs.add(self)
            note_terminations(_is_recording)
        self._pid = os.getpid()
        self._entered: AbstractContextManager[None] | None = None
        self._left = False
        self._finished = False

    def __repr__(self) -> str:
        return f"<Run {self.run_id!r}{f' branch {self.branch!r}' if self.branch else ''} in {self.store!r}>"

    def __reduce__(self) -> tuple[Any, ...]:
        self._shared = True
        options = {**self._options(), "around": self.around()}
        return _receive, (type(self), self.store, self.identity, options, clock.latest)

    # --- beginning and end -------------------------------------------------------------------------------------------

    def __enter__(self) -> Self:
        if self._entered is not None:
            raise StoreUsageError(f"Cannot enter run {self.run_id!r} twice. Start another run with store.start_run.")
        if self._left and self._finishes:
            raise StoreUsageError(
                f"Cannot enter run {self.run_id!r} again: it has ended. Start another run with "
                "store.start_run(resume=…), or record more of this one through store.join_run."
            )
        self._entered = CURRENT_RUN.being(self)
        self._entered.__enter__()
        return self

    def __exit__(self, kind: type[BaseException] | None, error: BaseException | None, _: TracebackType | None) -> None:
        if self._leave_block():
            self._end_block(error)

    def _leave_block(self) -> bool:
        """Leave the block; tell whether the run ends with it."""
        if self.is_finalizing():
            return False  # a generator that nobody has gone on with ends with the interpreter, when nothing works
        self._left = True
        if self._entered is not None:
            leave_all([self._entered])
            self._entered = None
        if self._pid != os.getpid():
            return False  # a forked child that leaves the block ends itself, not the run
        if not (self._finishes or self._open or self.left):  # else threads are still at it
            self._release()
        return self._finishes

    def _end_block(self, error: BaseException | None, begun_by: int | None = None) -> None:
        """Record the end of a run whose block an error has ended, or None; it was begun by this thread or another."""
        if not is_failure(error) or error is None:
            if not self._finished:
                self.finish()
            return
        self.end_open_steps(error, begun_by)
        try:
            self._finish_with(error)
        except Exception:
            # The author's own error is the one to raise; that the end could not be recorded must not hide it.
            logger.exception("Cannot record the end of run %s", self.run_id)

    @property
    def is_at_work(self) -> bool:
        """Whether somebody records through this object: the run goes on, and its block or a step has not ended."""
        is_ours = self._pid == os.getpid() and not self._finished
        return is_ours and (self._entered is not None or bool(self._open))

    def finish(self, status: str | None = None) -> RunLog:
        """Record how the run ended, and make it durable as the store's configuration says.

        Args:
            status: `SUCCESS`, `FAIL` or another word; None for FAIL if a step of the run failed, or if this is called
                in the course of an error that came up since the run began (in a `finally`, by `atexit` or
                `sys.excepthook`); else SUCCESS.

        Returns:
            The run's own record.

        Raises:
            StoreUsageError: this object is bound to a branch.
        """
        if self.branch:
            raise StoreUsageError(
                f"Cannot finish run {self.run_id!r} from inside its branch {readable_name(self.branch)!r}: the run "
                "goes on. Finish it where it was started."
            )
        if status is None:
            if (error := self._errors.error()) is not None:
                return self._finish_with(error)
            failed, unended, summary = self._unsuccessful_steps()
            message = "; ".join(filter(None, [_step_list(failed, "failed"), _step_list(unended, "did not end")]))
            return self._finish(FAIL if failed or unended else SUCCESS, message, summary)
        return self._finish(status, "")

    def _unsuccessful_steps(self) -> tuple[list[str], list[str], Summary | None]:
        """Return which steps of the run itself failed and which have not ended, wherever they ran.

        What is returned with that is the whole run summed up, None if it was not looked at.
        """
        if self._finishes and not self._shared:
            return self.failed_steps, list(self._open), None
        # Others may have recorded steps of a run that was joined or sent to them: only the log knows of those.
        summary = self.store.sum_up(self.identity, whole=True)
        assert summary.log is not None
        counted = list(counting(summary.log.steps))
        failed = [step.internal_name for step in counted if step.status == FAIL]
        unended = [step.internal_name for step in counted if step.status == PROCESSING]
        return failed, unended, summary

    def _finish_with(self, error: BaseException) -> RunLog:
        reason = describe_error(error)
        return self._finish(FAIL, reason, self._summed_up()._replace(reason=reason))

    def _finish(self, status: str, message: str, summary: Summary | None = None) -> RunLog:
        summary = (summary or self._summed_up())._replace(pending=self.left)

        def change(log: RunLog) -> None:
            log.status = status
            notes = {**log.notes, "finished": utc_now(), **summary.notes(log), "message": message or None}
            log.run_config[NOTES] = {key: value for key, value in notes.items() if value is not None}

        is_due = self.store.backend.durability == AT_THE_END
        synced = self.catalog.sync() if is_due else None  # before the run is said to have ended
        log = self.store.update_run_log(self.identity, change, with_data=False)
        if is_due:
            self.catalog.sync(synced)  # what was put since; who puts data from now on sees that the run has ended
        self._finished = True
        self._release()
        return log

    def _summed_up(self) -> Summary:
        """Return the run summed up, for those who list many runs or look whether all is there; nothing on an error."""
        try:
            return self.store.sum_up(self.identity)
        except ChunkstoreError:
            return Summary(None)  # whoever asks counts again


#: The runs that were begun or joined in this process, as long as somebody has them.
_runs: weakref.WeakSet[WholeRun] = weakref.WeakSet()


def is_recorded_here(run_id: PinnedRunId) -> bool:
    """Tell whether this process is at work on a run: inside its block, or in a step of it."""
    return any(run.is_at_work and run.identity.incarnation == run_id.incarnation for run in list(_runs))


def _receive(kind: type[WholeRun], store: Store, run_id: PinnedRunId, options: dict[str, Any], latest: int) -> WholeRun:
    clock.observe(latest)
    return kind(store, run_id, **options)


def _step_list(names: list[str], what: str) -> str:
    if not names:
        return ""
    shown = ", ".join(map(readable_name, names[:5]))
    more = f" and {len(names) - 5} more" if len(names) > 5 else ""  # noqa: PLR2004 - only a message
    return f"{len(names):,} {'step' if len(names) == 1 else 'steps'} {what}: {shown}{more}"


def _is_recording() -> bool:
    """Tell whether this process is at work on any run."""
    return any(run.is_at_work for run in list(_runs))
