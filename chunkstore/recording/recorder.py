"""Begins recordings: of a new run, and into one that there is."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

from chunkstore.errors import RunLogExistsError, RunLogNotFoundError
from chunkstore.names import PinnedRunId
from chunkstore.recording.catalog import catalog_of
from chunkstore.recording.identity import git_identity
from chunkstore.recording.previous import PreviousRun, forget
from chunkstore.recording.run import Run
from chunkstore.stores.base import Store
from chunkstore.stores.stored import check_format


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
        run_config: Mapping[str, Any] | None,
        capture_output: bool,
    ) -> Run:
        """See `Store.start_run`."""
        previous, original = None, ""
        inherited: dict[str, Any] = {}
        if resume is not None:
            forget()
            resumed = store.get_run_log(resume)
            inherited = resumed.parameters
            original = PinnedRunId(resume, resumed.incarnation)
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
        previous = PreviousRun(store, log.resumed) if log.resumed else None
        forget()  # what was read of a run of that id for another one
        return Run(
            store,
            PinnedRunId(log.run_id, log.incarnation),
            capture_output=capture_output,
            code_identity=git_identity(),
            previous=previous,
            joins=True,
        )

    def sync_data(self, store: Store, run_id: str, incarnation: str) -> None:
        """See `chunkstore.stores.base.Recorder`."""
        catalog_of(store, run_id, incarnation).sync()
