"""Which step or branch of a run somebody means who types its name, or the end of it."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from functools import partial

from chunkstore.errors import ChunkstoreError, CorruptChunkError, StepLogNotFoundError
from chunkstore.names import BRANCH, STEP, encode_for_file, escape_segment, parse_chunk_file, readable_name
from chunkstore.records.models import BranchLog, Problem, RunLog, StepLog
from chunkstore.stores.named import closest
from chunkstore.views.texts import printable

_MOST_SHOWN = 5
#: Looking for names that are alike takes its time; of more names, the first are looked at.
_MOST_COMPARED = 5_000

AnyRecord = StepLog | BranchLog


def find_record(log: RunLog, text: str) -> AnyRecord:
    """Return the step or branch that somebody means; of both of one name, the step.

    A name is looked for as an internal name, then as a whole name as it is shown, where each segment is what its author
    wrote, then as the end of only one such name: its last segments. What is written out where it is shown, as line
    breaks are, may be typed so too. The first of these that finds anything decides.

    Args:
        log: a whole run.
        text: what somebody typed.

    Raises:
        StepLogNotFoundError: there is no such step or branch, or more than one.
        CorruptChunkError: the file of that step or branch cannot be read.
    """
    records = _all_records(log)
    by_name: dict[str, AnyRecord] = {}
    for record in records:
        if isinstance(record, StepLog):
            by_name[record.internal_name] = record
        else:
            by_name.setdefault(record.internal_name, record)
    if text in by_name:
        return by_name[text]
    for names_of in _WAYS_TO_NAME:
        found = [record for name, record in by_name.items() if text in names_of(name, text)]
        if len(found) == 1:
            return found[0]
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


#: How a record may be named that has an internal name, the surest way first.
_WAYS_TO_NAME: tuple[Callable[[str, str], Sequence[str]], ...] = (
    lambda name, _: (readable_name(name),),
    lambda name, _: (_shown(name),),
    partial(_endings, spell=readable_name),
    partial(_endings, spell=str),
    partial(_endings, spell=_shown),
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
    return StepLogNotFoundError(
        f"There is no step or branch {text!r} in run {log.run_id!r}. {hint}", run_id=log.run_id, internal_name=text
    )


def _damaged(log: RunLog, text: str) -> ChunkstoreError | None:
    """Return the error for a step or branch whose record is there, and cannot be read; None if nothing tells so."""
    if not text:
        return None
    for problem in log.problems:
        if name := _name_in(problem, text):
            return CorruptChunkError(
                f"The record of {name!r} in run {log.run_id!r} cannot be read: {problem.file}: {problem.message}. "
                f"`chunkstore verify {log.run_id}` says what to do.",
                file=problem.file,
                offset=0,
                reason=problem.message,
            )
    return None


def _name_in(problem: Problem, text: str) -> str:
    """Return the name of the step or branch that an unreadable file holds, if that may be the one that is meant."""
    chunk = parse_chunk_file(problem.file)
    if chunk is None or chunk.kind not in {STEP, BRANCH}:
        return ""
    segment = encode_for_file(escape_segment(text))
    is_meant = chunk.encoded in {encode_for_file(text), segment} or chunk.encoded.endswith((f".{text}", f".{segment}"))
    return text if is_meant else ""


def _all_records(log: RunLog) -> list[AnyRecord]:
    """Return all steps and branches, the outer ones before those inside."""
    found: list[AnyRecord] = []
    level: list[AnyRecord] = [*log.steps.values()]
    while level:
        found += level
        level = [
            inner
            for record in level
            for inner in (record.branches if isinstance(record, StepLog) else record.steps).values()
        ]
    return found
