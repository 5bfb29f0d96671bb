"""Which step or branch of a run somebody means who types its name, or the end of it."""

from __future__ import annotations

from chunkstore.errors import StepLogNotFoundError
from chunkstore.names import unescape_segment
from chunkstore.records.models import BranchLog, RunLog, StepLog
from chunkstore.stores.named import closest

_MOST_SHOWN = 5
#: Looking for names that are alike takes its time; of more names, the first are looked at.
_MOST_COMPARED = 5_000


def find_record(log: RunLog, text: str) -> StepLog | BranchLog:
    """Return the step or branch that somebody means; of both of one name, the step.

    Args:
        log: a whole run.
        text: an internal name, or the last segment of only one, also as its author wrote it.

    Raises:
        StepLogNotFoundError: there is no such step or branch, or more than one.
    """
    records = _by_name(log)
    if text in records:
        return records[text]
    found = [name for name in records if text in (last := name.rpartition(".")[2], unescape_segment(last))]
    if len(found) == 1:
        return records[found[0]]
    run_id = log.run_id
    if found:
        shown = ", ".join(found[:_MOST_SHOWN]) + (", …" if len(found) > _MOST_SHOWN else "")
        message = f"{len(found):,} steps and branches of run {run_id!r} end in {text!r}: {shown}. Write the whole name."
        raise StepLogNotFoundError(message, run_id=run_id, internal_name=text)
    names = list(records)[:_MOST_COMPARED]
    ends = {name.rpartition(".")[2]: name for name in reversed(names)}
    alike = closest(text, names, cutoff=0.6) or [ends[end] for end in closest(text, list(ends), cutoff=0.6)]
    if not records:
        hint = "The run has no steps."
    elif alike:
        hint = f"Did you mean {alike[0]!r}?"
    else:
        hint = f"`chunkstore show {run_id}` shows the steps that it has."
    raise StepLogNotFoundError(
        f"There is no step or branch {text!r} in run {run_id!r}. {hint}", run_id=run_id, internal_name=text
    )


def _by_name(log: RunLog) -> dict[str, StepLog | BranchLog]:
    """Return all steps and branches by internal name, the outer ones before those inside."""
    found: dict[str, StepLog | BranchLog] = {}
    level: list[StepLog | BranchLog] = [*log.steps.values()]
    while level:
        inside: list[StepLog | BranchLog] = []
        for record in level:
            if isinstance(record, StepLog):
                found[record.internal_name] = record
                inside += record.branches.values()
            else:
                found.setdefault(record.internal_name, record)
                inside += record.steps.values()
        level = inside
    return found
