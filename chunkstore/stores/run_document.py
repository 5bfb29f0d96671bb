"""The document that holds a run: its records, changes by others, and what stands beside them."""

from __future__ import annotations

import os
from typing import Any, TypeVar

import msgspec
from msgspec import UNSET, UnsetType, field

from chunkstore.clock import clock
from chunkstore.names import STEP, readable_name
from chunkstore.records import overlay
from chunkstore.records.assemble import assemble, flatten
from chunkstore.records.codec import encode
from chunkstore.records.decoding import RecordCodec
from chunkstore.records.late import LateRecords
from chunkstore.records.models import BranchLog, Problem, RunLog, StepLog
from chunkstore.stores.chunk_files import Key, key_of
from chunkstore.stores.reading import MetricLine, add_lines
from chunkstore.stores.stored import as_json

_R = TypeVar("_R", bound=StepLog | BranchLog)

#: The stamp of whoever recorded something first; it stands in no document.
_FIRST_OWNER = "first"


class Bookkeeping(msgspec.Struct, kw_only=True, omit_defaults=True):
    """What a document holds beside the run: what `ChunkedStore` keeps in files beside a record.

    Attributes:
        changes: what others than the owner have changed, by record; the records are shown with it.
        owners: the stamp of the owner who took a record over from another, by record.
        metrics: points of metric series that were appended.
    """

    changes: dict[str, overlay.Change] = field(default_factory=dict)
    owners: dict[str, str] = field(default_factory=dict)
    metrics: list[MetricLine] = field(default_factory=list)


class RunDocument(RunLog, kw_only=True):
    """A run log as it stands in `<run_id>.json`."""

    bookkeeping: Bookkeeping | UnsetType = UNSET


class Document:
    """A run taken apart, so that records can be changed and all put together again."""

    def __init__(self, document: RunDocument) -> None:
        self.log = document
        records, self.parameters = flatten(document)
        self.records: dict[Key, StepLog | BranchLog] = {key_of(record): record for record in records}
        self.bookkeeping = Bookkeeping() if document.bookkeeping is UNSET else document.bookkeeping
        self._late = LateRecords.of(document)
        self.altered = False

    def to_write(self) -> RunDocument:
        """Return the run put together for the file."""
        log = assemble(self.log, self.records.values(), self.parameters)
        assert isinstance(log, RunDocument)
        log.bookkeeping = self.bookkeeping if self.bookkeeping != Bookkeeping() else UNSET
        log.found_problems = UNSET  # found anew by every reader
        return log

    def to_show(self) -> RunLog:
        """Return the run put together for readers."""
        problems = []
        lines: dict[str, list[MetricLine]] = {}
        for line in self.bookkeeping.metrics:
            lines.setdefault(line.internal_name, []).append(line)
        for name, of_step in lines.items():
            step = self.records.get((STEP, name))
            if isinstance(step, StepLog):
                stamp = self.bookkeeping.owners.get(_text(STEP, name), _FIRST_OWNER)
                add_lines(step, (line for line in of_step if line.over in ("", stamp)))
            else:
                problems.append(Problem("orphan", name, f"there is no step {readable_name(name)}"))
        for key in self.records if self._late else ():
            self.records[key] = self.seen(key)
        log = assemble(self.log, self.records.values(), self.parameters, problems)
        return RunLog(**{name: getattr(log, name) for name in RunLog.__struct_fields__})

    def seen(self, key: Key) -> StepLog | BranchLog:
        """Return a record as readers see it, should it have come after the end of the run."""
        record = self.records[key]
        if self._late is None:
            return record
        told = msgspec.structs.replace(record)
        is_late = self._late.tell(told, overlay.set_by(self.bookkeeping.changes.get(_text(*key))))
        return told if is_late else record

    def change(self, key: Key, new: StepLog | BranchLog) -> None:
        """Lay a change over a record: what makes another of it."""
        changes = self.bookkeeping.changes
        earlier = changes.get(_text(*key))
        difference = overlay.merge(as_json(self.seen(key)), earlier, as_json(new))
        if difference is not None and difference is not earlier:
            changes[_text(*key)] = difference
            self.records[key] = new
            self.altered = True

    def put(self, record: StepLog | BranchLog, owned: OwnRecords) -> str:
        """Put a record into the document; return the stamp it was written under.

        Whoever puts a record that somebody else owns takes it over: what others have changed of the earlier one counts
        no more, and neither does what its owner still writes.

        Args:
            record: as it shall be stored.
            owned: what the writer has put before.
        """
        key = key_of(record)
        self.altered = True
        holder = self.bookkeeping.owners.get(_text(*key), _FIRST_OWNER)
        stamp = owned.stamps.get(key)
        if stamp is None and owned.was_forgotten and key in self.records:
            stamp = holder
        if key in self.records and stamp is not None:
            if stamp == holder:
                self.records[key] = _with_change(
                    record, self.bookkeeping.changes.get(_text(*key)), as_json(self.records[key])
                )
            return stamp
        if key in self.records:
            stamp = f"{clock.tick()}-{os.urandom(4).hex()}"
            self.bookkeeping.owners[_text(*key)] = stamp
            self.bookkeeping.changes.pop(_text(*key), None)
            del self.records[key]  # the newer record takes its own place in the order of execution
        self.records[key] = record
        return stamp or _FIRST_OWNER


class OwnRecords:
    """What a store object wrote of one run.

    Attributes:
        incarnation: what tells the run from every other of its id.
        stamps: by record, the stamp it was written under.
        was_forgotten: whether more was known once: a record that has no stamp here may be this object's own.
    """

    def __init__(self, incarnation: str) -> None:
        self.incarnation = incarnation
        self.stamps: dict[Key, str] = {}
        self.was_forgotten = False

    def is_as_good_as_new(self) -> bool:
        """Tell whether nothing is lost when this is forgotten."""
        return not self.stamps


def _text(kind: str, internal_name: str) -> str:
    """Return a key of a record as text, as JSON has no other keys."""
    return f"{kind} {internal_name}"


def _with_change(record: _R, change: overlay.Change | None, seen: Any) -> _R:
    """Return what is seen of a record when its owner writes it anew, which was seen as `seen` before."""
    if change is None:
        return record
    own = overlay.without_appended(change, seen, as_json(record))
    return RecordCodec.of(type(record)).decode(encode(overlay.apply(change, own)))
