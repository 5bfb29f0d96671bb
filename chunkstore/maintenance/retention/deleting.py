"""Deleting the runs of a plan, each only if it may still go."""

from __future__ import annotations

import re
import time
from collections.abc import Callable, Iterator

from chunkstore.backends.errors import MissingError
from chunkstore.errors import ChunkstoreError, RunLogNotFoundError
from chunkstore.maintenance.data_places import DataOfRun, data_of_run
from chunkstore.maintenance.retention.data_marks import data_mark, marked, remove_data
from chunkstore.maintenance.retention.planning import has_finished, still_needed
from chunkstore.maintenance.retention.rules import Candidate, Outcome, Plan
from chunkstore.names import JOINED_FILE, OWNER_FILE
from chunkstore.stores.base import Store
from chunkstore.stores.chunked import ChunkedStore
from chunkstore.stores.runs.liveness import LIVE, LOST
from chunkstore.stores.runs.run_list import summary_of

#: What processes hold beside a run's document.
_HOLDER = re.compile(rf"\.(.+?)(~[0-9a-f]{{16}})?({re.escape(OWNER_FILE)}|{re.escape(JOINED_FILE)})\Z")
#: Seconds after which runs are listed again, to see whether somebody has resumed one that is about to be deleted.
_RELIST = 0.5
#: After so many runs that are known, no new one is expected among those that are older.
_ENOUGH_KNOWN = 50


def collect(
    store: Store,
    plan: Plan,
    *,
    with_data: bool = False,
    on_progress: Callable[[int, int], None] = lambda _done, _total: None,
) -> Iterator[Outcome]:
    """Delete the runs of a plan one by one; each is gone at once for everybody, or untouched.

    Whether a run may go is decided again under its lock. Whoever is stopped on the way leaves no half of a run: what
    was begun is finished by the next call, or by `remove_left_overs`.

    Args:
        store: where the runs are.
        plan: see `plan_retention`.
        with_data: whether their data in the catalog is deleted too.
        on_progress: is told how many runs are done, and how many there are.

    Yields:
        What became of each run.
    """
    since_plan = _SincePlan(store, {run.run_id for run in plan.delete})
    for done, run in enumerate(plan.delete, 1):
        yield _delete(store, run, since_plan, with_data=with_data)
        on_progress(done, len(plan.delete))


def _delete(store: Store, run: Candidate, since_plan: _SincePlan, *, with_data: bool) -> Outcome:
    reason = ""

    def is_due() -> bool:
        nonlocal reason
        reason = _why_not(store, run, since_plan)
        return not reason

    mark = data_mark(run.run_id)
    data = data_of_run(store, run.run_id) if with_data else DataOfRun()
    try:
        if with_data:
            store.backend.replace("", mark, marked(store, run.run_id, data.elsewhere), durable=True)
        deleted = store.delete_run_if(run.run_id, is_due)
        if with_data:
            if deleted:
                remove_data(store, run.run_id, data.elsewhere)
            store.backend.remove_left_over("", mark)
    except RunLogNotFoundError:
        return Outcome(run=run, deleted=False, reason="somebody else has deleted it")
    except (ChunkstoreError, MissingError) as error:
        return Outcome(run=run, deleted=False, reason=str(error), failed=True)
    return Outcome(run=run, deleted=deleted, reason=reason, data_left=data.left if deleted else "")


def _why_not(store: Store, run: Candidate, since_plan: _SincePlan) -> str:
    """Return why a run must not be deleted any more; called under its lock."""
    now = summary_of(store.get_run_log(run.run_id, full=False))
    if now.problem:
        return "its record cannot be read any more"
    is_finished = has_finished(now)
    if run.status == LOST:
        if is_finished or store.liveness(run.run_id).state != LOST:
            return "it has gone on, or was finished"
    elif not is_finished or now.status != run.status:
        return "it has changed since"
    elif since_plan.may_be_held(run.run_id):
        liveness = store.liveness(run.run_id)
        if liveness.state == LIVE and store.backend.shared_between_processes:
            return f"it is in use: {liveness.why}"
    return since_plan.why_needed(run.run_id)


class _SincePlan:
    """What others have done since the plan was made, as far as could be seen a moment ago.

    Should somebody resume a run in that moment, what it had done is done again.
    """

    def __init__(self, store: Store, chosen: set[str]) -> None:
        self._store = store
        summaries = list(store.list_runs())
        self._known = {summary.run_id for summary in summaries}
        self._reasons = still_needed(summaries, chosen)
        self._holders = self._list_holders()
        self._listed_at = time.monotonic()

    def why_needed(self, run_id: str) -> str:
        """Return why a run is needed again; empty if it is not."""
        self._look_again()
        return self._reasons.get(run_id, "")

    def may_be_held(self, run_id: str) -> bool:
        """Tell whether a process may record a run; where runs share one folder, that is not listed for each of them."""
        self._look_again()
        return self._holders is None or run_id in self._holders

    def _look_again(self) -> None:
        if time.monotonic() - self._listed_at > _RELIST:
            self._look_for_new()
            self._holders = self._list_holders()
            self._listed_at = time.monotonic()

    def _list_holders(self) -> set[str] | None:
        if isinstance(self._store, ChunkedStore):
            return None
        try:
            names = [entry.name for entry in self._store.backend.entries("")]
        except MissingError:
            return set()  # there is no log folder yet
        return {match.group(1) for name in names if (match := _HOLDER.match(name))}

    def _look_for_new(self) -> None:
        known_in_a_row = 0
        for summary in self._store.list_runs():  # the newest first
            if summary.run_id in self._known:
                known_in_a_row += 1
                if known_in_a_row >= _ENOUGH_KNOWN:
                    return
                continue
            known_in_a_row = 0
            self._known.add(summary.run_id)
            self._reasons.setdefault(summary.original_run_id, f"run {summary.run_id} has just resumed it")
