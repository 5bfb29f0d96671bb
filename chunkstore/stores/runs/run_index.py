"""The summaries of finished runs, kept together, so that the list of many runs is a handful of requests.

It is a cache and never the truth. Only what lies in the list of runs is taken from it, and only what nobody has said of
that it changes: whoever changes or removes the record of a finished run puts a mark first. Whoever lists the runs, and
has to read some himself, adds those.

`index/head` names the other files and holds what is newest. It is replaced only as it was loaded, and no two of its
versions have the same bytes: so what somebody read before a mark was put never gets in after the mark was taken away.
"""

from __future__ import annotations

import logging
import zlib
from collections import Counter
from collections.abc import Container, Hashable, Iterable, Mapping
from typing import Any

import msgspec

from chunkstore.backends.caching import Caching
from chunkstore.errors import ChunkstoreError
from chunkstore.names import new_incarnation
from chunkstore.records.codec import MAX_BYTES, decoder_of, encode
from chunkstore.records.summaries import RunSummary

logger = logging.getLogger("chunkstore")

#: Of fewer runs the records are read: that costs no more.
FEW_RUNS = 16
#: A mark is taken away when it is so old, in nanoseconds: no request of a change lasts so long.
MARK_LASTS = 3600 * 1_000_000_000
#: So many summaries the head holds; with one more, they get a file of their own.
_MOST_IN_HEAD = 1_000
#: A file of fewer summaries is put together with others.
_FULL = 20_000

_FORMAT = 1
_HEAD = "index/head"
_PARTS = "index/part-"
_MARKS = "changed/"


class _Head(msgspec.Struct, kw_only=True):
    """What `index/head` holds.

    Attributes:
        format: of the index.
        location: of which place it is: in any other, it means nothing.
        version: no other head has the same.
        parts: further files of summaries, and the runs whose summaries in each mean nothing any more.
        summaries: the newest.
    """

    format: int
    location: str
    version: str
    parts: dict[str, list[str]] = {}
    summaries: list[RunSummary] = []


def mark_changed(cache: Caching, run_id: str) -> None:
    """Say that the record of a finished run is about to be changed or removed; it is read from then on."""
    cache.keep(f"{_MARKS}{run_id}~{new_incarnation()}", b"", over=None)


def opened_index(cache: Caching) -> RunIndex | None:
    """Return the index of the runs; None if it cannot be looked at."""
    try:
        return RunIndex(cache)
    except ChunkstoreError as error:
        logger.info("The runs are read one by one: %s", error)
        return None


class RunIndex:
    """The summaries that can be believed, as they were when this was made.

    Args:
        cache: where they are kept.
    """

    def __init__(self, cache: Caching) -> None:
        self._cache = cache
        # Listed before the head is loaded: a mark is taken away after a head was put that has nothing of its run.
        self._kept = {kept.name: kept.written_at for kept in cache.kept()}
        self._marked = {name[len(_MARKS) :].rpartition("~")[0] for name in self._kept if name.startswith(_MARKS)}
        self._head = _Head(format=_FORMAT, location=cache.location, version="")
        #: Which version of the head was loaded.
        self._over: Hashable | None = None
        #: Which runs each part has summaries of.
        self._runs_in: dict[str, list[str]] = {}
        self._part_of: dict[str, str] = {}
        self._summaries: dict[str, RunSummary] = {}
        if _HEAD in self._kept:
            self._load()

    def get(self, run_id: str) -> RunSummary | None:
        """Return the summary of a run, None if that takes a look at its record."""
        return self._summaries.get(run_id)

    def _load(self) -> None:
        (found,) = self._cache.load_kept([_HEAD])
        if found is None:
            return
        data, self._over = found
        head = _unpacked(data, _Head)
        if head is None or head.format != _FORMAT or head.location != self._cache.location:
            return  # the next one replaces it
        self._head = head
        parts = list(head.parts)
        for part, loaded in zip(parts, self._cache.load_kept(parts) if parts else (), strict=True):
            summaries = None if loaded is None else _unpacked(loaded[0], list[RunSummary])
            if summaries is not None:  # else those runs are read
                self._runs_in[part] = [one.run_id for one in summaries]
                dropped = set(head.parts[part])
                self._take(part, [one for one in summaries if one.run_id not in dropped])
        self._take("", head.summaries)

    def _take(self, part: str, summaries: Iterable[RunSummary]) -> None:
        for summary in summaries:
            if summary.run_id not in self._marked:
                self._summaries[summary.run_id] = summary
                self._part_of[summary.run_id] = part

    # --- adding ------------------------------------------------------------------------------------------------------

    def add(self, read: Iterable[RunSummary], listed: Container[str]) -> None:
        """Keep what was read since this was made, for the next one, if that can be, and nobody else was faster.

        Args:
            read: summaries of runs of which there was none.
            listed: all runs that there are.
        """
        added = {one.run_id: one for one in read if _has_ended(one) and one.run_id not in self._marked}
        now = max(self._kept.values(), default=0)  # it is at least as late as that
        old = {name for name, written_at in self._kept.items() if now - written_at > MARK_LASTS}
        if not added and not any(name.startswith(_MARKS) for name in old):
            return
        try:
            self._renew(added, listed, old)
        except ChunkstoreError as error:
            logger.info("What was found out about the runs is not kept: %s", error)

    def _renew(self, added: Mapping[str, RunSummary], listed: Container[str], old: set[str]) -> None:
        self._take("", added.values())
        living = {run_id: part for run_id, part in self._part_of.items() if run_id in listed}
        head, new_part = self._next_head(living)
        if new_part and not self._cache.keep(*new_part, over=None):
            return
        if self._cache.keep(_HEAD, _packed(head), over=self._over):
            unneeded = [name for name in old if name != _HEAD and name not in head.parts]
            if unneeded:
                self._cache.drop(unneeded)
        elif new_part:
            self._cache.drop([new_part[0]])

    def _next_head(self, living: Mapping[str, str]) -> tuple[_Head, tuple[str, bytes] | None]:
        """Return the next head, and the name and the bytes of a new part, if there is to be one.

        Args:
            living: by the runs of whose summaries some are to be kept, the part that each is in, or "".
        """
        used = Counter(living.values())
        # A part of which little is left is dissolved.
        parts = {part for part, runs in self._runs_in.items() if 2 * used[part] >= len(runs)}
        loose = [run_id for run_id, part in living.items() if part not in parts]
        new_part = None
        if len(loose) > _MOST_IN_HEAD:
            parts = {part for part in parts if len(self._runs_in[part]) >= _FULL}
            summaries = [self._summaries[run_id] for run_id, part in living.items() if part not in parts]
            new_part = f"{_PARTS}{new_incarnation()}", _packed(summaries)
            loose = []
        head = _Head(
            format=_FORMAT,
            location=self._cache.location,
            version=new_incarnation(),
            parts={
                part: [run_id for run_id in runs if living.get(run_id) != part]
                for part, runs in self._runs_in.items()
                if part in parts
            },
            summaries=[self._summaries[run_id] for run_id in loose],
        )
        if new_part:
            head.parts[new_part[0]] = []
        return head, new_part


def _has_ended(summary: RunSummary) -> bool:
    return summary.is_over and not summary.problem


def _packed(value: Any) -> bytes:
    return zlib.compress(encode(value))


def _unpacked(data: bytes, kind: Any) -> Any:
    """Return what was packed, None if it is something else: then it is as if there were none."""
    unpacking = zlib.decompressobj()
    try:
        body = unpacking.decompress(data, MAX_BYTES)
        return decoder_of(kind).decode(body) if unpacking.eof else None  # else the checksum is missing
    except (zlib.error, msgspec.DecodeError, UnicodeDecodeError, RecursionError):
        return None
