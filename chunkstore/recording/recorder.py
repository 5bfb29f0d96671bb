"""Begins recordings: of a new run, and into one that there is."""

from __future__ import annotations

import logging
import os
from collections.abc import Mapping
from typing import Any

from chunkstore.backends.capabilities import Syncing
from chunkstore.errors import RunLivesError, RunLogExistsError, RunLogNotFoundError
from chunkstore.names import PinnedRunId, readable_name
from chunkstore.recording.catalog import catalog_of
from chunkstore.recording.identity import git_identity
from chunkstore.recording.previous import PreviousRun, forget
from chunkstore.recording.run import Run
from chunkstore.recording.whole_run import is_recorded_here
from chunkstore.records.late import still_running
from chunkstore.records.models import RunLog
from chunkstore.stores.base import Store
from chunkstore.stores.runs import LIVE, UNKNOWN
from chunkstore.stores.stored import check_format, is_finished

logger = logging.getLogger("chunkstore")

#: So many branches are named that may still run.
_SHOWN_RUNNING = 5


class Recorder:
    """Starts recordings for `Store`, which cannot know of them: they stand on it."""

    def start_run(
        self,
        store: Store,
        run_id: str | None,
        *,
        tag: str,
        parameters: Mapping[str, Any] | None,
        resume: str | None,
        resume_live: bool,
        run_config: Mapping[str, Any] | None,
        capture_output: bool,
    ) -> Run:
        """See `Store.start_run`."""
        _check_what_ending_needs(store)
        previous, original = None, ""
        inherited: dict[str, Any] = {}
        if resume is not None:
            forget()
            resumed = store.get_run_log(resume)
            inherited = resumed.parameters
            original = PinnedRunId(resume, resumed.incarnation)
            if not resume_live and not is_finished(resumed):
                _check_is_over(store, original)
            _warn_of_running(resumed)
            previous = PreviousRun(store, original)
        code_identity = git_identity()  # takes its time: an interrupt meanwhile leaves no run
        log = store.create_run_log(
            run_id,
            tag=tag,
            use_cached=resume is not None,
            original_run_id=original,
            parameters={**inherited, **(parameters or {})},
            run_config=run_config,
        )
        return Run(
            store,
            PinnedRunId(log.run_id, log.incarnation),
            capture_output=capture_output,
            code_identity=code_identity,
            previous=previous,
            finishes=True,
        )

    def join_run(self, store: Store, run_id: str, *, create: bool, tag: str, capture_output: bool) -> Run:
        """See `Store.join_run`."""
        if create:
            _check_what_ending_needs(store)
        try:
            log = store.get_run_log(run_id, full=False)
        except RunLogNotFoundError:
            if not create:
                raise
            try:
                log = store.create_run_log(run_id, tag=tag)
            except RunLogExistsError:
                log = store.get_run_log(run_id, full=False)  # another process was faster
        check_format(log)  # before anything is left in its folder
        store.observe(PinnedRunId(log.run_id, log.incarnation))
        previous = PreviousRun(store, log.resumed) if log.resumed else None
        forget()  # what was read of a run of that id for another one
        return Run(
            # Who joins again has started again, and hides nothing of what was recorded before.
            store.anew() if store.has_recorded(log.run_id) else store,
            PinnedRunId(log.run_id, log.incarnation),
            capture_output=capture_output,
            code_identity=git_identity(),
            previous=previous,
            joins=True,
        )

    def sync_data(self, store: Store, run_id: str, incarnation: str) -> None:
        """See `chunkstore.stores.base.Recorder`."""
        catalog_of(store, run_id, incarnation).sync()


def _check_what_ending_needs(store: Store) -> None:
    if isinstance(store.backend, Syncing):
        store.backend.check_what_ending_needs()


def _warn_of_running(resumed: RunLog) -> None:
    """Log a warning if branches of a run that has ended may still run, which then would write the same outputs."""
    if names := list(still_running(resumed.steps)):
        shown = ", ".join(map(readable_name, names[:_SHOWN_RUNNING]))
        more = f" and {len(names) - _SHOWN_RUNNING:,} more" if len(names) > _SHOWN_RUNNING else ""
        logger.warning(
            "Run %s is resumed, and %s of its branches still ran when it ended: %s%s. They may still run; they are run "
            "again, as no end of them has been recorded since.",
            resumed.run_id,
            f"{len(names):,}",
            shown,
            more,
        )


def _check_is_over(store: Store, run_id: PinnedRunId) -> None:
    """Raise `RunLivesError` if somebody still records a run, which then would write the same outputs as its successor.

    What this process has begun and left alone, as in a notebook whose cell failed, is recorded by nobody any more.
    """
    liveness = store.liveness(run_id)
    is_alone = liveness.state == LIVE and not liveness.pid  # all have left who had joined it
    if liveness.state == UNKNOWN or is_alone:
        logger.warning("Run %s is resumed, which has not ended; somebody may still record it. %s", run_id, liveness.why)
    if liveness.state != LIVE or is_alone:
        return
    is_own = (liveness.pid, liveness.host or os.uname().nodename) == (os.getpid(), os.uname().nodename)
    if is_own and not is_recorded_here(run_id):
        return
    raise RunLivesError(
        f"Cannot resume run {str(run_id)!r}: it has not ended. {liveness.why} Both would write the same outputs. Wait "
        "for it, or end it; or pass resume_live=True to resume it all the same.",
        run_id=str(run_id),
        host=liveness.host,
        pid=liveness.pid,
    )
