"""The list of runs, the newest first, without reading more of them than are asked for."""

from __future__ import annotations

from collections import deque
from collections.abc import Callable, Generator, Iterable, Iterator, Mapping, Sequence
from operator import attrgetter
from typing import Any, ClassVar

import msgspec

from chunkstore.clock import format_nanoseconds
from chunkstore.errors import RunLogNotFoundError
from chunkstore.names import is_incarnation
from chunkstore.records.codec import decoder_of
from chunkstore.records.integrity import has_checksum
from chunkstore.records.models import NOTES, RunLog
from chunkstore.records.summaries import RunSummary
from chunkstore.stores.runs.liveness import Liveness

#: By how much the time of a file may be behind the clock that programs read, in nanoseconds: systems write down the
#: time of their last tick.
_TICK = 100_000_000
#: How many runs are read before the first is yielded, at least; then twice as many, and so on.
_FIRST_READ = 32
#: Of more runs, notebooks show the newest.
_MOST_SHOWN = 50


#: What may be a run: when it was changed last, in nanoseconds, as it has not started later; and its id.
Candidate = tuple[int, str]


class _Notes(msgspec.Struct):
    created: str = ""
    incarnation: str = ""
    finished: str = ""
    steps: dict[str, int] | None = None


class _RunConfig(msgspec.Struct, rename={"notes": NOTES}):
    notes: _Notes = msgspec.field(default_factory=_Notes)


class _Record(msgspec.Struct):
    """What a summary takes of a run's own record."""

    run_id: str
    status: str
    tag: str | None = ""
    original_run_id: str | None = ""
    run_config: _RunConfig = msgspec.field(default_factory=_RunConfig)


def summary_in(data: bytes) -> RunSummary | None:
    """Return the summary of the run whose own record these bytes are, if they surely are that and all of it."""
    if not has_checksum(data):
        return None
    try:
        record: _Record = decoder_of(_Record).decode(data)
    except (msgspec.DecodeError, RecursionError):
        return None
    notes = record.run_config.notes
    return RunSummary(
        run_id=record.run_id,
        status=record.status,
        tag=record.tag or "",
        original_run_id=record.original_run_id or "",
        start_time=notes.created,
        end_time=notes.finished,
        steps=notes.steps,
        incarnation=notes.incarnation if is_incarnation(notes.incarnation) else "",
    )


def summary_of(log: RunLog) -> RunSummary:
    """Return the summary of a run, of which its own record is enough."""
    notes = log.notes
    return RunSummary(
        run_id=log.run_id,
        status=log.status,
        tag=log.tag or "",
        original_run_id=log.original_run_id or "",
        start_time=str(notes.get("created", "")),
        end_time=str(notes.get("finished", "")),
        steps=_counts(notes.get("steps")),
        incarnation=log.incarnation,
        problem=log.problems[0].message if log.problems else "",
    )


def _counts(noted: Any) -> dict[str, int] | None:
    try:
        return msgspec.convert(noted, dict[str, int] | None)
    except msgspec.ValidationError:
        return None  # not ours


class RunList(Iterator[RunSummary]):
    """The runs of a store, the newest first: an iterator that reads them when they are asked for.

    Notebooks show it as a table of the newest; that takes none of them from the iterator.

    Args:
        runs: yields them.
        liveness: tells of a run whether somebody still records it.
        location: where they are.
    """

    #: Returns runs as HTML: the runs, by id the liveness of those that have not ended, and whether there are more. The
    #: package sets it: it is imported in notebooks alone.
    as_html: ClassVar[Callable[[Sequence[RunSummary], Mapping[str, Liveness], bool], str]]

    def __init__(
        self, runs: Generator[RunSummary, None, None], liveness: Callable[[str], Liveness], location: str
    ) -> None:
        self._runs = runs
        self._liveness = liveness
        self._location = location
        #: What was read to be shown, and what ended that; both wait to be asked for.
        self._read: deque[RunSummary] = deque()
        self._error: Exception | None = None

    def __next__(self) -> RunSummary:
        if self._read:
            return self._read.popleft()
        if self._error is not None:
            error, self._error = self._error, None
            raise error
        return next(self._runs)

    def close(self) -> None:
        """Yield no more runs, and give back what is held open."""
        self._read.clear()
        self._error = None
        self._runs.close()

    def __repr__(self) -> str:
        return f"<RunList in {self._location}>"

    def _repr_html_(self) -> str:
        self._read_ahead(_MOST_SHOWN + 1)
        shown = list(self._read)[:_MOST_SHOWN]
        liveness = {run.run_id: alive for run in shown if (alive := self._liveness_of(run)) is not None}
        return type(self).as_html(shown, liveness, len(self._read) > _MOST_SHOWN)

    def _read_ahead(self, count: int) -> None:
        while len(self._read) < count and self._error is None:
            try:
                self._read.append(next(self._runs))
            except StopIteration:
                return
            except Exception as error:  # noqa: BLE001 - whoever iterates gets it, in its place
                self._error = error

    def _liveness_of(self, run: RunSummary) -> Liveness | None:
        if run.is_over:
            return None
        try:
            return self._liveness(run.run_id)
        except RunLogNotFoundError:
            return None  # deleted since


def newest_first(
    candidates: Iterable[Candidate], summary_of_run: Callable[[str], RunSummary | None]
) -> Iterator[RunSummary]:
    """Yield summaries, the newest first, those of one time by their ids, and those of no time last.

    Args:
        candidates: in any order.
        summary_of_run: reads one; returns None if it is no run.
    """
    ordered = sorted(candidates, reverse=True)
    waiting: list[RunSummary] = []
    begin, size = 0, _FIRST_READ
    while begin < len(ordered):
        end = begin + size
        waiting += filter(None, [summary_of_run(run_id) for _, run_id in ordered[begin:end]])
        waiting.sort(key=_run_id)
        waiting.sort(key=_start_time, reverse=True)
        latest = format_nanoseconds(ordered[end][0] + _TICK) if end < len(ordered) else ""
        known = next((place for place, summary in enumerate(waiting) if summary.start_time <= latest), len(waiting))
        yield from waiting[:known]
        del waiting[:known]
        begin, size = end, 2 * size
    yield from waiting


_run_id = attrgetter("run_id")
_start_time = attrgetter("start_time")
