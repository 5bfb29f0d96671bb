"""The rules of resuming, held against what two runs recorded: what kept something from being taken over.

A function that a step or branch runs is taken over if the nearest earlier run in which it succeeded kept its result, if
it is called with the same arguments and is the same code, and if the data that it put there is still in the catalog. A
`with` block is taken over where its author asks for it. Nothing is told here but what the records show; where they do
not tell what decided, that is said.
"""

from __future__ import annotations

from collections.abc import Iterator
from datetime import datetime
from typing import Any

import msgspec
from msgspec import UNSET

from chunkstore.clock import parse_time
from chunkstore.names import is_data_folder, readable_name
from chunkstore.records.late import UNKNOWN
from chunkstore.records.models import FAIL, PROCESSING, SUCCESS, BranchLog, CodeIdentity, RunLog, StepLog
from chunkstore.views.compare.earlier_records import PUT, AnyRecord, EarlierRecords, Put, function_step, step_of
from chunkstore.views.durations import last_attempt
from chunkstore.views.recorded_values import (
    GIT,
    are_comparable,
    code_of,
    differing_parts,
    is_same,
    short_hash,
    short_version,
    value_text,
    version_of,
)
from chunkstore.views.texts import MOST_NAMED, first_line, named

# What kept something from being taken over.
RESUMED_NOTHING = "resumed nothing"
NOT_ALLOWED = "not allowed"
EARLIER_RUN_GONE = "earlier run gone"
NOT_THERE = "not in an earlier run"
FAILED = "failed"
NOT_ENDED = "not ended"
NO_RESULT = "result not kept"
ITEM = "item changed"
ARGUMENTS = "arguments changed"
ARGUMENTS_UNKNOWN = "arguments not comparable"
CODE = "code changed"
CODE_UNKNOWN = "code not comparable"
OTHER_FUNCTION = "other function"
DATA_GONE = "data gone"
LEFT_TO_AUTHOR = "left to its author"
COMPOSITE = "composite"
MOCK = "not really run"
UNKNOWN_REASON = "not recorded"

#: What stands before a hash that tells nothing, and before why that is so.
_UNKNOWN = "unknown:"
#: Reasons that do not tell what decided.
UNTOLD = frozenset({LEFT_TO_AUTHOR, UNKNOWN_REASON})
#: What no record can tell of, whether something ran or was taken over.
NOT_SEEN = ("packages", "code in C", "files", "the network", "the environment")
OTHER_MODULES = "modules that git does not know"
OTHER_MODULES_WITHOUT_GIT = "other modules (no commit is recorded)"
#: What was so in the earlier run; the other reasons are changes since then.
IN_A_RUN = frozenset({FAILED, NOT_ENDED, NO_RESULT, OTHER_FUNCTION})


class Reason(msgspec.Struct, frozen=True, kw_only=True):
    """One thing that kept a step or branch from being taken over.

    Attributes:
        kind: in two words: `failed`, `code changed`…
        text: a sentence.
        old: what it was in the earlier run; empty where that says nothing.
        new: what it is in this run.
    """

    kind: str
    text: str
    old: str = ""
    new: str = ""


def reason_beforehand(record: AnyRecord, log: RunLog, past: EarlierRecords) -> Reason | None:
    """Return why something ran if that needs no look at what earlier runs recorded of it."""
    if isinstance(record, StepLog) and record.mock:
        return Reason(kind=MOCK, text="It was not really run; the record does not say why.")
    if not log.original_run_id:
        return Reason(kind=RESUMED_NOTHING, text=f"Run {log.run_id} resumed no other run: everything in it ran.")
    if not log.use_cached:
        text = f"Run {log.run_id} names run {log.original_run_id} as its original, but was not to take over results."
        return Reason(kind=NOT_ALLOWED, text=text)
    if not past.runs:
        text = f"Run {log.original_run_id}, which was resumed, is not in the store any more: nobody can tell."
        return Reason(kind=EARLIER_RUN_GONE, text=text)
    return None


def branch_reasons(new: BranchLog, old: BranchLog, run: RunLog, past: EarlierRecords) -> list[Reason]:
    """Return what kept a branch from being taken over.

    Args:
        new: the branch.
        old: what counts of it in an earlier run.
        run: that run.
        past: what earlier runs recorded.
    """
    if reason := _ended_badly(old, run, new):
        return [reason]
    step = function_step(new)
    if step is None:
        return [Reason(kind=UNKNOWN_REASON, text="Its function has not begun here: nothing recorded tells.")]
    before = past.step(step.internal_name)
    if before is None:
        text = f"In run {run.run_id} it ran another function, not {step.name}."
        return [Reason(kind=OTHER_FUNCTION, text=text)]
    data = [put for inner in old.steps.values() for put in data_inside(inner)]
    reasons = step_reasons(step, before[0], run, data, past)
    if UNSET in (old.item, new.item) or is_same(old.item, new.item):
        return reasons
    return [_item_reason(old.item, new.item) if reason.kind == ARGUMENTS else reason for reason in reasons]


def _item_reason(old: Any, new: Any) -> Reason:
    parts = [
        f"{f'{path}: ' if path else ''}{value_text(before) or 'not there'} → {value_text(after) or 'not there'}"
        for path, before, after in differing_parts(old, new)
    ]
    text = f"Its item changed: {'; '.join(parts[:MOST_NAMED])}{' …' if len(parts) > MOST_NAMED else ''}."
    return Reason(kind=ITEM, text=text, old=value_text(old, None), new=value_text(new, None))


def step_reasons(new: StepLog, old: StepLog, run: RunLog, data: list[Put], past: EarlierRecords) -> list[Reason]:
    """Return what kept a step from being taken over; `data` is what it and all inside it have put or got there."""
    if reason := _ended_badly(old, run, new):
        return [reason]
    if (inner := past.failed_inside(old)) is not None:
        message = first_line(inner.message)
        text = f"{inner.internal_name}, which ran inside it, had not succeeded in run {run.run_id}"
        return [Reason(kind=FAILED, text=f"{text}{f': {message}' if message else '.'}")]
    if not (_is_function(new) or _is_function(old)):
        return _block_reasons(new, old, run)
    reasons: list[Reason] = []
    if old.result is UNSET:
        text = f"Its result in run {run.run_id} was not kept in the log: it is no JSON, or too large."
        reasons.append(Reason(kind=NO_RESULT, text=text))
    reasons += _argument_reasons(new, old, run)
    reasons += _code_reasons(old, new, run)
    return reasons or [_data_reason(run, data, past)]


def _block_reasons(new: StepLog, old: StepLog, run: RunLog) -> list[Reason]:
    if reasons := _code_reasons(old, new, run):
        return reasons
    text = (
        f"It succeeded in run {run.run_id}, with the same code as far as that was recorded. A block is taken over only "
        "where its author calls step.reuse(), and engines have rules of their own: what they decided is not recorded."
    )
    return [Reason(kind=LEFT_TO_AUTHOR, text=text)]


def _ended_badly(old: AnyRecord, run: RunLog, new: AnyRecord) -> Reason | None:
    """Return what kept a record from counting as a success when the run was resumed."""
    if old.late == UNKNOWN:
        text = f"It still ran when run {run.run_id} ended, and no end of it has been recorded since."
        return Reason(kind=NOT_ENDED, text=text)
    if old.status == FAIL:
        message = first_line(_message_of(old))
        return Reason(kind=FAILED, text=f"It had failed in run {run.run_id}{f': {message}' if message else '.'}")
    if old.status == PROCESSING:
        return Reason(kind=NOT_ENDED, text=f"It had not ended in run {run.run_id}.")
    if old.status != SUCCESS:
        return Reason(kind=FAILED, text=f"Its status in run {run.run_id} was {old.status}.")
    end, start = _end_of(step_of(old)), _start_of(step_of(new))
    if end and start and start < end:
        text = f"It had not ended in run {run.run_id} when it began here, by the times that were recorded."
        return Reason(kind=NOT_ENDED, text=text)
    return None


def _message_of(record: AnyRecord) -> str:
    if isinstance(record, StepLog):
        return record.message
    own = "" if record.message is UNSET else record.message
    return own or next((step.message for step in record.steps.values() if step.message), "")


def _is_function(step: StepLog) -> bool:
    """Tell whether a step ran a function; others are blocks, or steps of other engines."""
    return step.input_hash is not UNSET or any(
        identity.code_identifier_type == "function" for identity in step.code_identities
    )


def _argument_reasons(new: StepLog, old: StepLog, run: RunLog) -> Iterator[Reason]:
    if new.input_hash is UNSET:
        why = _unknown_arguments(new) or "it does not pickle"
        yield Reason(kind=ARGUMENTS_UNKNOWN, text=f"What it is called with cannot be compared: {why}.")
    elif old.input_hash is UNSET:
        why = _unknown_arguments(old) or "so it cannot be compared"
        text = f"What it was called with in run {run.run_id} is not recorded, {why}."
        yield Reason(kind=ARGUMENTS_UNKNOWN, text=text)
    elif not are_comparable(old.input_hash, new.input_hash):
        text = (
            f"Run {run.run_id} hashed arguments in another way, as another version of chunkstore: nobody can compare."
        )
        yield Reason(kind=ARGUMENTS_UNKNOWN, text=text, old=old.input_hash, new=new.input_hash)
    elif old.input_hash != new.input_hash:
        which = changed_arguments(old, new)
        yield Reason(
            kind=ARGUMENTS,
            text=f"It was called with other arguments{f', {named(which)}' if which else ''}: their hash was "
            f"{short_version(old.input_hash)} in run {run.run_id}, and is {short_version(new.input_hash)}. "
            "The log keeps no more of them.",
            old=old.input_hash,
            new=new.input_hash,
        )


def changed_arguments(old: StepLog, new: StepLog) -> list[str]:
    """Return the names of the arguments whose hashes differ, or that only one of two steps had."""
    before, after = (dict(step.argument_hashes or {}) for step in (old, new))
    return [str(name) for name in {**before, **after} if before.get(name) != after.get(name)]


def _unknown_arguments(step: StepLog) -> str:
    """Return which arguments of a step could not be hashed, and why."""
    noted = (step.argument_hashes or {}).items()
    found = [(str(name), str(note)[len(_UNKNOWN) :].strip()) for name, note in noted if str(note).startswith(_UNKNOWN)]
    return "; ".join(f"{name}: {why}" if name else why for name, why in found[:MOST_NAMED])


def _code_reasons(old: StepLog, new: StepLog, run: RunLog) -> list[Reason]:
    before, after = _versions(code_of(old)), _versions(code_of(new))
    comparable = UNSET in (old.input_hash, new.input_hash) or are_comparable(old.input_hash, new.input_hash)
    reasons = []
    for kind in sorted({*before, *after}, reverse=True):
        was, now = before.get(kind, ""), after.get(kind, "")
        if was == now:
            continue
        what = {GIT: "The commit", "function": "The function"}.get(kind, f"The code ({kind})")
        shown = " → ".join(short_version(version) or "not recorded" for version in (was, now))
        told, text = CODE, f"{what} changed: {shown}."
        if _UNKNOWN in was or _UNKNOWN in now:
            why = next(filter(None, (_why_unknown(step, kind) for step in (new, old))), "")
            told = CODE_UNKNOWN
            text = f"{what} cannot be compared, as it is not known which it {'is' if _UNKNOWN in now else 'was'}{why}."
        elif kind == "function" and was and now and not comparable:
            told = CODE_UNKNOWN
            text = f"{what} cannot be compared: run {run.run_id} hashed it in another way."
        reasons.append(Reason(kind=told, text=text, old=was, new=now))
    return reasons


def _why_unknown(step: StepLog, kind: str) -> str:
    for identity in code_of(step):
        if identity.code_identifier_type == kind and kind != GIT and _UNKNOWN in (identity.code_identifier or ""):
            return f": {identity.code_identifier_message}"
    return ""


def _versions(code: list[CodeIdentity]) -> dict[str, str]:
    """Return by kind which code it is."""
    versions: dict[str, str] = {}
    for version, kind in sorted((version_of(identity), identity.code_identifier_type or "") for identity in code):
        versions[kind] = f"{versions[kind]}, {version}" if kind in versions else version
    return versions


def data_inside(step: StepLog) -> list[Put]:
    """Return the data of a step and of all steps inside it."""
    data: list[Put] = []
    waiting = [step]
    while waiting:
        inner = waiting.pop()
        data += [Put(inner, entry) for entry in inner.data_catalog]
        waiting += [deeper for branch in inner.branches.values() for deeper in branch.steps.values()]
    return data


def _data_reason(run: RunLog, data: list[Put], past: EarlierRecords) -> Reason:
    """Return what is left when nothing else differs: data that it put is gone; or that nothing recorded tells."""
    own = [
        put
        for put in data
        if put.entry.stage == PUT and is_data_folder(put.entry.catalog_relative_path.partition("/")[0], run.run_id)
    ]
    if not own:
        return Reason(kind=UNKNOWN_REASON, text="Arguments and code are the same, and nothing else recorded tells.")
    puts = past.puts(run)
    for put in own:
        for other in puts[put.entry.catalog_relative_path]:
            old, new = put.entry.data_hash, other.entry.data_hash
            if old != new and _came_after(other.step, put.step):
                text = (
                    f"The data {put.entry.name} that it had put in run {run.run_id} was replaced there by step "
                    f"{readable_name(other.step.internal_name)}: {short_hash(old)} → {short_hash(new)}."
                )
                return Reason(kind=DATA_GONE, text=text, old=old, new=new)
    text = (
        "Arguments and code are the same, and its result was kept. What is left is that data it had put in run "
        f"{run.run_id} was gone from the catalog, or changed there: {named([put.entry.name for put in own])}."
    )
    return Reason(kind=DATA_GONE, text=text)


def _came_after(later: StepLog, earlier: StepLog) -> bool:
    """Tell whether a step began when another had ended, by the times that were recorded."""
    end, start = _end_of(earlier), _start_of(later)
    return end is not None and start is not None and start >= end


def _start_of(step: StepLog | None) -> datetime | None:
    return parse_time(step.attempts[0].start_time) if step and step.attempts else None


def _end_of(step: StepLog | None) -> datetime | None:
    last = last_attempt(step) if step else None
    return parse_time(last.end_time) if last else None
