"""Which runs a rule lets go, and which of them others still need."""

from __future__ import annotations

from collections.abc import Iterable
from datetime import datetime, timedelta, timezone

import msgspec

from chunkstore.backends.errors import MissingError
from chunkstore.clock import parse_time
from chunkstore.errors import ChunkstoreError, InvalidValueError, RunLogNotFoundError
from chunkstore.maintenance.retention.disk_space import SpaceOfRuns
from chunkstore.maintenance.retention.rules import LONGEST_AGE, Candidate, Kept, Plan, Rule, check_rule
from chunkstore.names import PinnedRunId
from chunkstore.records.models import FAIL, SUCCESS, StepLog
from chunkstore.records.summaries import RunSummary
from chunkstore.stores.base import Store
from chunkstore.stores.named import closest
from chunkstore.stores.runs.liveness import LOST


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
    for run_id, reason in still_needed(summaries, set(chosen)).items():
        del chosen[run_id]
        kept.append(Kept(run_id=run_id, reason=reason))
    space = SpaceOfRuns(store, with_data=with_data)
    return Plan(
        runs=len(summaries),
        unfinished=sum(not has_finished(summary) and not summary.problem for summary in summaries),
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


def _judge(store: Store, summary: RunSummary, rule: Rule) -> Candidate | Kept | None:
    """Return a run as one that may be deleted, or why it must not be; None if it is none of the rule's."""
    if summary.problem:
        reason = f"its record cannot be read; `chunkstore verify {summary.run_id}` says more"
        return Kept(run_id=summary.run_id, reason=reason)
    if has_finished(summary):
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
    before = datetime.now(timezone.utc) - min(age, LONGEST_AGE)
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


def has_finished(summary: RunSummary) -> bool:
    """Tell whether a run has ended, as far as it is recorded."""
    return summary.status in (SUCCESS, FAIL) or bool(summary.end_time)


def still_needed(summaries: Iterable[RunSummary], chosen: set[str]) -> dict[str, str]:
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
