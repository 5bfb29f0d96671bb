"""Which step or branch of a run somebody means who types its name, or the end of it."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from functools import partial
from urllib.parse import unquote

from chunkstore.errors import ChunkstoreError, CorruptChunkError, StepLogNotFoundError
from chunkstore.names import (
    BRANCH,
    STEP,
    encode_for_file,
    is_journal_file,
    is_sealed_file,
    parse_chunk_file,
    readable_name,
)
from chunkstore.records.models import BranchLog, RunLog, StepLog
from chunkstore.stores.named import closest
from chunkstore.views.texts import printable

_MOST_SHOWN = 5
#: Looking for names that are alike takes its time; of more names, the first are looked at.
_MOST_COMPARED = 5_000

#: Problems that keep nothing from being read.
_HARMLESS = frozenset({"orphan", "time"})

AnyRecord = StepLog | BranchLog


def find_record(log: RunLog, text: str) -> AnyRecord:
    """Return the step or branch that somebody means.

    A name is looked for as a whole name as it is shown, where each segment is what its author wrote; then as an
    internal name; then as the end of a name: its last segments. What is written out where it is shown, as line breaks
    are, may be typed so too. The first of these that finds anything decides; of a step and branches of one whole name,
    the step is meant.

    Args:
        log: a whole run.
        text: what somebody typed.

    Raises:
        StepLogNotFoundError: there is no such step or branch, or more than one.
        CorruptChunkError: the file of that step or branch cannot be read.
    """
    by_name: dict[str, AnyRecord] = {}
    for record in _all_records(log):
        if isinstance(record, StepLog):
            by_name[record.internal_name] = record
        else:
            by_name.setdefault(record.internal_name, record)
    for is_whole, names_of in _WAYS_TO_NAME:
        found = [record for name, record in by_name.items() if text in names_of(name, text)]
        steps = [record for record in found if is_whole and isinstance(record, StepLog)]
        of_this_name = [record for record in found if record.internal_name == text]
        for candidates in (found, steps, of_this_name):
            if len(candidates) == 1:
                return candidates[0]
        if found:
            raise _ambiguous(log, text, [record.internal_name for record in found])
    raise _damaged(log, text) or _not_found(log, text, list(by_name))


def _endings(name: str, text: str, spell: Callable[[str], str]) -> list[str]:
    """Return the last segments of an internal name, as they are spelled; nothing if the text is surely none of them."""
    if not spell(name).endswith(text):
        return []
    segments = list(map(spell, name.split(".")))
    return [".".join(segments[-count:]) for count in range(1, len(segments) + 1)]


def _shown(internal_name: str) -> str:
    return printable(readable_name(internal_name))


#: How a record may be named that has an internal name, the surest way first; and whether that is its whole name.
_WAYS_TO_NAME: tuple[tuple[bool, Callable[[str, str], Sequence[str]]], ...] = (
    (True, lambda name, _: (readable_name(name),)),
    (True, lambda name, _: (name,)),
    (True, lambda name, _: (_shown(name),)),
    (False, partial(_endings, spell=readable_name)),
    (False, partial(_endings, spell=str)),
    (False, partial(_endings, spell=_shown)),
)


def _ambiguous(log: RunLog, text: str, names: list[str]) -> StepLogNotFoundError:
    readable = list(map(readable_name, names))
    # What is shown must tell them apart.
    shown = names if len({*readable}) < len(names) or text in readable else readable
    listed = ", ".join(shown[:_MOST_SHOWN]) + (", …" if len(shown) > _MOST_SHOWN else "")
    return StepLogNotFoundError(
        f"{len(names):,} steps and branches of run {log.run_id!r} end in {text!r}: {listed}. Write the whole name.",
        run_id=log.run_id,
        internal_name=text,
    )


def _not_found(log: RunLog, text: str, internal_names: list[str]) -> StepLogNotFoundError:
    names = list(map(readable_name, internal_names[:_MOST_COMPARED]))
    ends = {name.rpartition(".")[2]: readable_name(name) for name in reversed(internal_names[:_MOST_COMPARED])}
    alike = closest(text, names, cutoff=0.6) or [ends[end] for end in closest(text, list(ends), cutoff=0.6)]
    if not names:
        hint = "The run has no steps."
    elif alike:
        hint = f"Did you mean {alike[0]!r}?"
    else:
        hint = f"`chunkstore show {log.run_id}` shows the steps that it has."
    if log.problems:
        hint += f" But not all of it can be read: {log.problems[0].file}: {log.problems[0].message}."
    return StepLogNotFoundError(
        f"There is no step or branch {text!r} in run {log.run_id!r}. {hint}", run_id=log.run_id, internal_name=text
    )


def _damaged(log: RunLog, text: str) -> ChunkstoreError | None:
    """Return the error for a step or branch whose record is there, and cannot be read; None if nothing tells so."""
    for problem in log.problems if text else ():
        if problem.kind in _HARMLESS:
            continue
        if is_packed := is_journal_file(problem.file) or is_sealed_file(problem.file):
            what = f"No step or branch {text!r} can be read in run {log.run_id!r}, and not all of it can be"
        else:
            what = f"The record of {text!r} in run {log.run_id!r} cannot be read"
        if is_packed or _may_hold(problem.file, text):
            return CorruptChunkError(
                f"{what}: {problem.file}: {problem.message}. `chunkstore verify {log.run_id}` says what to do.",
                file=problem.file,
                offset=0,
                reason=problem.message,
            )
    return None


def _may_hold(file: str, text: str) -> bool:
    """Tell whether a file is that of a step or branch that may be meant."""
    chunk = parse_chunk_file(file)
    if chunk is None or chunk.kind not in {STEP, BRANCH}:
        return False
    names = unquote(chunk.encoded), printable(unquote(chunk.encoded))  # which undoes the escapes of segments as well
    return chunk.encoded == encode_for_file(text) or any(name == text or name.endswith(f".{text}") for name in names)


def _all_records(log: RunLog) -> list[AnyRecord]:
    """Return all steps and branches, the outer ones before those inside; also those that have lost their place."""
    found: list[AnyRecord] = []
    level: list[AnyRecord] = [*log.steps.values(), *log.orphans.steps.values(), *log.orphans.branches.values()]
    while level:
        found += level
        level = [
            inner
            for record in level
            for inner in (record.branches if isinstance(record, StepLog) else record.steps).values()
        ]
    return found
