"""What the chunks of a run hold, summed up, so that a later reader can tell whether all of it is still there.

Whoever finishes a run notes for each kind of chunk how many there are, and the sum of their CRC-32. Such a sum depends
on no order, nor on where chunks lie, and whoever changes one chunk later can put it right without reading the others.
Where those who write do not look whether the run has ended, only how many there are at least is noted: more may come.
"""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Mapping
from zlib import crc32

import msgspec

from chunkstore.names import BRANCH, BRANCH_UPDATE, METRIC, PARAMETER, STEP, STEP_UPDATE
from chunkstore.records.integrity import without_checksum
from chunkstore.records.models import AT_LEAST, CONTENTS, NOTES, SEALED, SUMMING, RunLog

#: By kind of chunk, how many there are, and the sum of what they hold.
Contents = dict[str, tuple[int, int]]

_WHAT = {
    STEP: "records of steps",
    BRANCH: "records of branches",
    STEP_UPDATE: "changes of steps",
    BRANCH_UPDATE: "changes of branches",
    METRIC: "files of metrics",
    PARAMETER: "files of parameters",
}


def kind_of(file: str) -> str:
    """Return the kind of a chunk, as its name says."""
    return file.partition("-")[0]


def sum_of(file: str, content: bytes) -> int:
    """Return what a chunk adds to the sum of its kind.

    Args:
        file: its name.
        content: what it holds, without the checksum at its end; files of metrics with those of their lines.
    """
    return crc32(content, crc32(b"%b\n" % file.encode(errors="surrogateescape")))


def summed(sums: Iterable[tuple[str, int]]) -> Contents:
    """Return the contents of a run of whose chunks these are the names and sums."""
    contents: Contents = {}
    for file, number in sums:
        kind = kind_of(file)
        count, total = contents.get(kind, (0, 0))
        contents[kind] = count + 1, total + number
    return contents


def contents_of(files: Mapping[str, bytes]) -> Contents:
    """Return the contents of a run that consists of these files; of metrics, there are none."""
    return summed((file, sum_of(file, without_checksum(data, file))) for file, data in files.items())


def with_chunk(contents: Contents, file: str, before: int | None, after: int) -> Contents:
    """Return the contents after one chunk was made or replaced.

    Args:
        contents: those before that.
        file: the chunk.
        before: what it added to the sum; None if there was no such chunk.
        after: what it adds now.
    """
    count, total = contents.get(kind_of(file), (0, 0))
    return {**contents, kind_of(file): (count + (before is None), total - (before or 0) + after)}


def noted_contents(log: RunLog) -> Contents | None:
    """Return what the end of a run has noted of its contents; None if it has noted nothing."""
    try:
        return msgspec.convert(log.notes.get(CONTENTS), Contents | None)
    except msgspec.ValidationError:
        return None  # not ours


def versions_sealed(log: RunLog) -> dict[str, str]:
    """Return which versions of files that may be replaced are in the run's sealed file, as its own record notes it."""
    noted = log.notes.get(SEALED)
    beside = noted.get("beside") if isinstance(noted, dict) else None
    return beside if isinstance(beside, dict) else {}


def counted(contents: Contents) -> dict[str, int]:
    """Return how many chunks of each kind there are."""
    return {kind: count for kind, (count, _) in contents.items()}


def noted_counts(log: RunLog) -> Contents | None:
    """Return, as contents, how many chunks there were at least when a run ended; None if that is not noted."""
    try:
        counts = msgspec.convert(log.notes.get(AT_LEAST), dict[str, int] | None)
    except msgspec.ValidationError:
        return None  # not ours
    return None if counts is None else {kind: (count, 0) for kind, count in counts.items()}


def with_contents(log: RunLog, contents: Contents | None, *, summing: str = "", at_least: bool = False) -> RunLog:
    """Return a run's own record that notes contents, or says nothing of them; and who sums them up, or nobody.

    Args:
        log: the record.
        contents: what the chunks hold; None to note nothing.
        summing: stands for who sums them up.
        at_least: whether more may come without a word.
    """
    notes = {key: value for key, value in log.notes.items() if key not in (CONTENTS, AT_LEAST, SUMMING)}
    if contents is not None:
        notes[AT_LEAST if at_least else CONTENTS] = counted(contents) if at_least else contents
    if summing:
        notes[SUMMING] = summing
    return msgspec.structs.replace(log, run_config={**log.run_config, NOTES: notes})


def differences(
    noted: Contents, found: Contents, damaged: set[str], *, at_least: bool = False
) -> Iterator[tuple[str, str]]:
    """Yield kinds of problems and what is wrong with a run that does not hold what its end has noted.

    Args:
        noted: what was noted.
        found: what is there.
        damaged: kinds of which some chunks cannot be read, as is told elsewhere.
        at_least: whether more, or others, are no difference.
    """
    for kind in dict.fromkeys([*noted, *found]):
        (before, total), (now, total_now) = noted.get(kind, (0, 0)), found.get(kind, (0, 0))
        what = _WHAT.get(kind, kind)
        if now < before:
            yield "missing", f"the run finished with {before:,} {what}, and {now:,} of them are here"
        elif at_least or kind in damaged:
            continue
        elif now > before:
            yield "changed", f"the run finished with {before:,} {what}, and {now:,} are here"
        elif total != total_now:
            where = "one was cut off, or something else was put in its place"
            yield "changed", f"the {what} are not those that the run finished with: {where}"
