"""Deleting runs that nobody needs any more, by rules, and what was left of writes that were stopped."""

from __future__ import annotations

import re
import time
from collections.abc import Callable, Collection, Iterable, Iterator
from datetime import datetime, timedelta, timezone

import msgspec

from chunkstore.backends.base import Backend, MissingError
from chunkstore.backends.disk.directory import DirectoryBackend
from chunkstore.backends.entries import FILE, FOLDER, Entry
from chunkstore.clock import parse_time
from chunkstore.errors import ChunkstoreError, InvalidValueError, RunLogNotFoundError
from chunkstore.maintenance.disk_space import SpaceOfRuns, space_in
from chunkstore.maintenance.left_overs import is_surely_over, is_temporary
from chunkstore.maintenance.retention_plan import Candidate, Kept, LeftOvers, Outcome, Plan, Rule
from chunkstore.names import (
    JOINED_FILE,
    LOCK_FILE,
    OWNER_FILE,
    PinnedRunId,
    check_run_id,
    incarnation_of,
    is_incarnation,
)
from chunkstore.recording.catalog import catalog_of
from chunkstore.records.codec import encode
from chunkstore.records.models import FAIL, PROCESSING, SUCCESS, RunSummary, StepLog
from chunkstore.stores.base import Store
from chunkstore.stores.chunked import ChunkedStore
from chunkstore.stores.named import closest
from chunkstore.stores.runs.liveness import LIVE, LOST, UNKNOWN
from chunkstore.stores.runs.run_list import summary_of

#: Says beside the runs that the data of one is to be deleted as soon as the run itself is gone.
_DATA_MARK = ".deleted-data-"
#: What processes hold beside a run's document.
_HOLDER = re.compile(rf"\.(.+?)(~[0-9a-f]{{16}})?({re.escape(OWNER_FILE)}|{re.escape(JOINED_FILE)})\Z")
_DOCUMENT = ".json"
_LOCK = re.compile(rf"\.(.+){re.escape(LOCK_FILE)}\Z")
_AGE = re.compile(r"([0-9]{1,6}) ?([smhdw])\Z")
_SECONDS = {"s": 1, "m": 60, "h": 3_600, "d": 86_400, "w": 604_800}
#: Nothing was recorded longer ago; and from no moment of ours does so much lead beyond the first year there is.
_LONGEST_AGE = timedelta(days=365 * 1_000)
#: Seconds after which runs are listed again, to see whether somebody has resumed one that is about to be deleted.
_RELIST = 0.5
#: After so many runs that are known, no new one is expected among those that are older.
_ENOUGH_KNOWN = 50


def parse_age(text: str) -> timedelta:
    """Return a length of time that people write as `90m`, `12h`, `30d` or `2w`.

    Raises:
        InvalidValueError: it is none.
    """
    match = _AGE.match(text.strip())
    if match is None:
        reason = "it must be a number and a unit: s, m, h, d or w"
        raise InvalidValueError(f"Cannot use {text!r} as an age: {reason}, as in 30d.", key="older_than", reason=reason)
    age = timedelta(seconds=int(match.group(1)) * _SECONDS[match.group(2)])
    if age > _LONGEST_AGE:
        reason = f"it is longer than {_LONGEST_AGE.days:,} days"
        raise InvalidValueError(f"Cannot use {text!r} as an age: {reason}.", key="older_than", reason=reason)
    return age


def check_rule(rule: Rule) -> None:
    """Refuse a rule that says nothing, or that asks for runs that go on.

    Raises:
        InvalidValueError: it cannot be used.
    """
    if rule.keep_last is None and rule.older_than is None and not rule.statuses and not rule.tags:
        reason = "it would delete every run that has finished"
        raise InvalidValueError(
            f"Cannot delete runs by no rule: {reason}. Say which: by keep_last, older_than, status or tag.",
            key="rule",
            reason=reason,
        )
    if going_on := rule.statuses & {PROCESSING, UNKNOWN, LIVE}:
        reason = "such runs may be going on, and are never deleted"
        raise InvalidValueError(
            f"Cannot delete runs of status {min(going_on)}: {reason}. {LOST} is for those whose owner surely died; if "
            "you know better, say so with update_run_log, which sets a run's status.",
            key="status",
            reason=reason,
        )


# --- the plan --------------------------------------------------------------------------------------------------------


def plan_retention(store: Store, rule: Rule, *, with_data: bool = False) -> Plan:
    """Return which runs a rule lets go. Nothing is changed.

    Args:
        store: where the runs are.
        rule: which to delete.
        with_data: whether their data takes part in how much space they take.

    Raises:
        InvalidValueError: the rule cannot be used.
    """
    check_rule(rule)
    summaries = list(store.list_runs())
    _check_known(rule, summaries)
    selected = [summary for summary in summaries if not rule.tags or summary.tag in rule.tags]
    judged = [found for summary in selected if (found := _judge(store, summary, rule)) is not None]
    kept = [found for found in judged if isinstance(found, Kept)]
    candidates = [found for found in judged if isinstance(found, Candidate)]
    if rule.keep_last is not None:
        candidates = _without_newest(store, candidates, rule.keep_last)
    if rule.older_than is not None:
        candidates = _older(store, candidates, rule.older_than)
    chosen = {run.run_id: run for run in candidates}
    for run_id, reason in _needed(summaries, set(chosen)).items():
        del chosen[run_id]
        kept.append(Kept(run_id=run_id, reason=reason))
    space = SpaceOfRuns(store, with_data=with_data)
    return Plan(
        runs=len(summaries),
        unfinished=sum(not _has_finished(summary) and not summary.problem for summary in summaries),
        delete=[
            msgspec.structs.replace(_with_times(store, run), space=space.of(run.run_id))
            for run in reversed(chosen.values())
        ],
        kept=kept,
    )


def _check_known(rule: Rule, summaries: list[RunSummary]) -> None:
    """Refuse a status that no run has, and that looks like another one: it would delete nothing, for ever."""
    known = {SUCCESS, FAIL, LOST, *(summary.status for summary in summaries)}
    for status in sorted(rule.statuses - known):
        if alike := closest(status, sorted(known), cutoff=0.5):
            reason = "no run has this status"
            message = f"Cannot delete runs of status {status!r}: {reason}. Did you mean {alike[0]!r}?"
            raise InvalidValueError(message, key="status", reason=reason)


def _has_finished(summary: RunSummary) -> bool:
    return summary.status in (SUCCESS, FAIL) or bool(summary.end_time)


def _judge(store: Store, summary: RunSummary, rule: Rule) -> Candidate | Kept | None:
    """Return a run as one that may be deleted, or why it must not be; None if it is none of the rule's."""
    if summary.problem:
        reason = f"its record cannot be read; `chunkstore verify {summary.run_id}` says more"
        return Kept(run_id=summary.run_id, reason=reason)
    if _has_finished(summary):
        is_meant = not rule.statuses or summary.status in rule.statuses
        return _candidate(summary, summary.status, summary.end_time) if is_meant else None
    if LOST not in rule.statuses:
        return None
    try:
        liveness = store.liveness(summary.run_id)
    except RunLogNotFoundError:
        return None  # deleted meanwhile
    except ChunkstoreError as error:
        return Kept(run_id=summary.run_id, reason=str(error))
    return _candidate(summary, LOST, liveness.last_heard) if liveness.state == LOST else None


def _candidate(summary: RunSummary, status: str, end_time: str) -> Candidate:
    return Candidate(
        run_id=PinnedRunId(summary.run_id, summary.incarnation),
        status=status,
        start_time=summary.start_time,
        end_time=end_time,
        tag=summary.tag,
    )


def _without_newest(store: Store, runs: Iterable[Candidate], count: int) -> list[Candidate]:
    """Return all runs but so many of the newest, the newest first; one of which nobody knows its start is new."""
    timed = [run if run.start_time else _with_times(store, run) for run in runs]
    return sorted(timed, key=lambda run: _moment(run.start_time), reverse=True)[count:]


def _older(store: Store, runs: Iterable[Candidate], age: timedelta) -> list[Candidate]:
    """Return the runs that ended longer ago; one of which nobody knows when did not."""
    before = datetime.now(timezone.utc) - min(age, _LONGEST_AGE)
    timed = [_with_times(store, run) for run in runs]
    return [run for run in timed if _moment(run.end_time or run.start_time) < before]


def _with_times(store: Store, run: Candidate) -> Candidate:
    """Return a run with the times of its steps, where nobody has noted those of the run."""
    if run.start_time and run.end_time:
        return run
    first, last = _times_of_steps(store, run.run_id)
    return msgspec.structs.replace(run, start_time=run.start_time or first, end_time=run.end_time or last)


def _times_of_steps(store: Store, run_id: str) -> tuple[str, str]:
    """Return when the first step of a run started and the last one ended, for runs of tools that do not note it."""
    starts, ends = [], []
    try:
        for record in store.iter_records(run_id):
            for attempt in record.attempts if isinstance(record, StepLog) else ():
                starts.append(attempt.start_time)
                ends.append(attempt.end_time)
    except (ChunkstoreError, MissingError):
        pass  # then nobody knows
    moments = [text for text in starts if parse_time(text)], [text for text in ends if parse_time(text)]
    return min(moments[0], default="", key=_moment), max(moments[1], default="", key=_moment)


def _moment(text: str) -> datetime:
    """Return the moment that a text stands for; one far ahead if it stands for none."""
    return parse_time(text) or datetime.max.replace(tzinfo=timezone.utc)


def _needed(summaries: Iterable[RunSummary], chosen: set[str]) -> dict[str, str]:
    """Return which of the chosen runs others still need, and why.

    A run that resumed another has what it took over, results and data, in its own record. But while it has not
    succeeded, whoever resumes it also takes over what it had not come to.
    """
    by_id = {summary.run_id: summary for summary in summaries}
    needed: dict[str, str] = {}
    waiting = [summary for summary in by_id.values() if summary.run_id not in chosen]
    while waiting:
        run = waiting.pop()
        earlier = by_id.get(run.original_run_id)
        if run.status == SUCCESS or earlier is None or earlier.run_id not in chosen or earlier.run_id in needed:
            continue
        needed[earlier.run_id] = f"run {run.run_id}, which resumed it, has not succeeded and could be resumed"
        waiting.append(earlier)
    return needed


# --- deleting --------------------------------------------------------------------------------------------------------


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

    mark = f"{_DATA_MARK}{'~'.join(_names_of(run.run_id))}"
    try:
        if with_data:
            store.backend.replace("", mark, _marked(store, run.run_id), durable=True)
        deleted = store.delete_run_if(run.run_id, is_due)
        if with_data:
            if deleted:
                _remove_data(store, run.run_id)
            store.backend.remove_left_over("", mark)
    except RunLogNotFoundError:
        return Outcome(run=run, deleted=False, reason="somebody else has deleted it")
    except (ChunkstoreError, MissingError) as error:
        return Outcome(run=run, deleted=False, reason=str(error), failed=True)
    return Outcome(run=run, deleted=deleted, reason=reason)


def _why_not(store: Store, run: Candidate, since_plan: _SincePlan) -> str:
    """Return why a run must not be deleted any more; called under its lock."""
    now = summary_of(store.get_run_log(run.run_id, full=False))
    if now.problem:
        return "its record cannot be read any more"
    is_finished = _has_finished(now)
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
        self._reasons = _needed(summaries, chosen)
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


def _names_of(run_id: str) -> list[str]:
    """Return the id of a run, and its identity if it has one."""
    return [name for name in (str(run_id), incarnation_of(run_id)) if name]


def _pinned_in(mark: str) -> PinnedRunId:
    run_id, _, incarnation = mark.removeprefix(_DATA_MARK).rpartition("~")
    if is_incarnation(incarnation):
        return PinnedRunId(run_id, incarnation)
    return PinnedRunId(mark.removeprefix(_DATA_MARK), "")


def _marked(store: Store, run_id: str) -> bytes:
    names = dict(zip(("run_id", "incarnation"), _names_of(run_id), strict=False))
    return encode({**names, "catalog": store.catalog_path})


def _remove_data(store: Store, run_id: str) -> None:
    catalog_of(store, run_id, incarnation_of(run_id)).remove()


# --- left-overs ------------------------------------------------------------------------------------------------------


def _idle_locks(store: Store, *, dry_run: bool) -> list[int]:
    """Remove lock files of runs that are gone; return how much space each of them took."""
    if isinstance(store, ChunkedStore):
        return []  # they went with the runs
    try:
        entries = store.backend.entries("")
    except (ChunkstoreError, MissingError):
        return []
    names = {entry.name for entry in entries}
    found = [
        entry
        for entry in entries
        if entry.kind == FILE and (match := _LOCK.match(entry.name)) and f"{match.group(1)}{_DOCUMENT}" not in names
    ]
    for entry in () if dry_run else found:
        document = f"{entry.name[1 : -len(LOCK_FILE)]}{_DOCUMENT}"

        def remove(lock: str = entry.name, document: str = document) -> None:
            if not store.backend.has("", document):
                store.backend.remove_lock("", lock)

        store.backend.while_locked("", entry.name, remove)
    return [entry.space for entry in found]


def remove_left_overs(
    store: Store, *, with_data: bool = False, dry_run: bool = False, without: Collection[str] = ()
) -> LeftOvers:
    """Remove temporary files of processes that have died, and what is left of runs whose deletion was stopped.

    A temporary file goes when it is a day old and its process is not found on this host. In runs that somebody records
    at this moment nothing is touched.

    Args:
        store: where to look.
        with_data: whether the catalog is cleaned too.
        dry_run: whether they are only counted.
        without: runs that are not looked at.

    Raises:
        ChunkstoreError: something cannot be removed.
    """
    now = time.time_ns()
    found = _in_folder(store.backend, "", now, dry_run=dry_run) + _idle_locks(store, dry_run=dry_run)
    if not dry_run:
        _finish_deletions(store)
    skipped = set(without)
    catalog = DirectoryBackend(store.catalog_path)
    for summary in store.list_runs():
        if summary.run_id in skipped or _is_left_alone(store, summary):
            continue
        found += _in_folder(store.backend, summary.run_id, now, dry_run=dry_run)
        for folder in catalog_of(store, summary.run_id, summary.incarnation).folders() if with_data else ():
            found += _in_tree(catalog, folder, now, dry_run=dry_run)
    if with_data:
        found += _in_folder(catalog, "", now, dry_run=dry_run)
    return LeftOvers(files=len(found), space=sum(found))


def _is_left_alone(store: Store, summary: RunSummary) -> bool:
    if summary.end_time or not store.backend.shared_between_processes:
        return False
    try:
        return store.liveness(summary.run_id).state == LIVE
    except (ChunkstoreError, MissingError):
        return True


def _in_folder(backend: Backend, folder: str, now: int, *, dry_run: bool) -> list[int]:
    """Remove what is left over in a folder; return how much space each of it took."""
    try:
        entries = backend.entries(folder)
    except (ChunkstoreError, MissingError):
        return []
    found = []
    for entry in filter(_is_removable, entries):
        if is_surely_over(entry, now):
            found.append(space_in(backend, folder, entry))
            if not dry_run:
                backend.remove_left_over(folder, entry.name)
    return found


def _in_tree(backend: Backend, folder: str, now: int, *, dry_run: bool) -> list[int]:
    """As `_in_folder`, also in the folders inside."""
    found = _in_folder(backend, folder, now, dry_run=dry_run)
    try:
        inner = [entry.name for entry in backend.entries(folder) if entry.kind == FOLDER and not _is_removable(entry)]
    except (ChunkstoreError, MissingError):
        inner = []
    for name in inner:
        found += _in_tree(backend, f"{folder}/{name}", now, dry_run=dry_run)
    return found


def _is_removable(entry: Entry) -> bool:
    return is_temporary(entry) and not entry.name.startswith(_DATA_MARK)


def _finish_deletions(store: Store) -> None:
    """Delete the data of runs that are gone already: whoever was deleting both was stopped in between."""
    try:
        marks = [entry.name for entry in store.backend.entries("") if entry.name.startswith(_DATA_MARK)]
    except MissingError:
        return
    for mark in marks:
        run_id = _pinned_in(mark)
        try:
            check_run_id(run_id)
            # What the file says is taken for no more than whether it is about this catalog.
            if store.backend.load("", mark) != _marked(store, run_id):
                continue
            if not store.has_run(run_id):
                _remove_data(store, run_id)
            store.backend.remove_left_over("", mark)
        except (ChunkstoreError, MissingError):
            pass  # it stays for the next time, unless somebody else has done the same
