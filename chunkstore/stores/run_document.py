"""The document that holds a run: its records, changes by others, and what stands beside them."""

from __future__ import annotations

import os
from typing import Any, TypeVar

import msgspec
from msgspec import UNSET, UnsetType, field

from chunkstore.clock import clock
from chunkstore.names import BRANCH, STEP, readable_name
from chunkstore.records import overlay
from chunkstore.records.assemble import assemble, flatten
from chunkstore.records.codec import encode
from chunkstore.records.decoding import RecordCodec
from chunkstore.records.late import LateRecords
from chunkstore.records.models import BranchLog, Problem, RunLog, StepLog
from chunkstore.records.starts import start_of
from chunkstore.stores.chunk_files import Key, key_of
from chunkstore.stores.reading import MetricLine, RecordsFound, add_lines
from chunkstore.stores.stored import as_json

_R = TypeVar("_R", bound=StepLog | BranchLog)

#: The stamp of whoever recorded something first; it stands in no document.
_FIRST_OWNER = "first"


class Earlier(msgspec.Struct, kw_only=True, omit_defaults=True):
    """What another start has recorded of a step or branch before the one whose record stands in the run.

    Attributes:
        stamp: that of its owner.
        record: the record, as JSON has it.
        change: what others have changed of it; the record is with it.
    """

    stamp: str
    record: dict[str, Any]
    change: overlay.Change | None = None

    def read(self, kind: type[_R]) -> _R:
        """Return the record."""
        return RecordCodec.of(kind).decode(encode(self.record))


class Bookkeeping(msgspec.Struct, kw_only=True, omit_defaults=True):
    """What a document holds beside the run: what `ChunkedStore` keeps in files beside a record.

    Attributes:
        changes: what others than the owner have changed, by record; the records are shown with it.
        owners: the stamp of the owner who took a record over from another, by record.
        metrics: points of metric series that were appended.
        starts: by record, what earlier starts have recorded of it, in order.
    """

    changes: dict[str, overlay.Change] = field(default_factory=dict)
    owners: dict[str, str] = field(default_factory=dict)
    metrics: list[MetricLine] = field(default_factory=list)
    starts: dict[str, list[Earlier]] = field(default_factory=dict)


class RunDocument(RunLog, kw_only=True):
    """A run log as it stands in `<run_id>.json`."""

    bookkeeping: Bookkeeping | UnsetType = UNSET


class Document:
    """A run taken apart, so that records can be changed and all put together again."""

    def __init__(self, document: RunDocument) -> None:
        self.altered = False
        self.put_whole(document)

    def put_whole(self, document: RunDocument) -> None:
        """Let this be another run log, with all that belongs to it."""
        self.log = document
        records, self.parameters = flatten(document)
        self.records: dict[Key, StepLog | BranchLog] = {key_of(record): record for record in records}
        self.bookkeeping = Bookkeeping() if document.bookkeeping is UNSET else document.bookkeeping
        self._late = LateRecords.of(document)

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
        found, accounts, changes = self._found()
        lines: dict[str, list[MetricLine]] = {}
        for line in self.bookkeeping.metrics:
            lines.setdefault(line.internal_name, []).append(line)
        for name, of_step in lines.items():
            steps = accounts.get((STEP, name), {})
            counting = found.starts.chosen(list(steps.values())) if steps else None
            for stamp, step in steps.items():
                over = (stamp, "") if step is counting else (stamp,)
                add_lines(step, (line for line in of_step if line.over in over))
            if not steps:
                problems.append(Problem("orphan", name, f"there is no step {readable_name(name)}"))
        records = found.all(may_be_inside_several=False)
        if self._late:
            records = [self._seen(record, changes.get(id(found.account_of(record)))) for record in records]
        log = assemble(self.log, records, self.parameters, problems)
        return RunLog(**{name: getattr(log, name) for name in RunLog.__struct_fields__})

    def _found(self) -> tuple[RecordsFound, dict[Key, dict[str, Any]], dict[int, overlay.Change | None]]:
        """Return what all starts have recorded; the same by record and stamp; and by `id`, what others have changed."""
        found = RecordsFound(lambda _: ())
        accounts: dict[Key, dict[str, Any]] = {}
        changes: dict[int, overlay.Change | None] = {}
        for key, record in self.records.items():
            text = _text(*key)
            by_stamp: dict[str, Any] = {}
            for start in self.bookkeeping.starts.get(text, ()):
                by_stamp[start.stamp] = start.read(type(record))
                changes[id(by_stamp[start.stamp])] = start.change
            by_stamp[self.bookkeeping.owners.get(text, _FIRST_OWNER)] = record
            changes[id(record)] = self.bookkeeping.changes.get(text)
            accounts[key] = by_stamp
            for account in by_stamp.values():
                found.add(account)
        return found, accounts, changes

    def counting(self, key: Key) -> StepLog | BranchLog | None:
        """Return what was recorded of something by the start that counts; None if there is no such record."""
        return self._counting(key)[1] if key in self.records else None

    def _counting(self, key: Key) -> tuple[Earlier | None, StepLog | BranchLog]:
        starts = self.bookkeeping.starts.get(_text(*key))
        if not starts:
            return None, self._seen(self.records[key], self.bookkeeping.changes.get(_text(*key)))
        found, accounts, _ = self._found()
        counting: StepLog | BranchLog = found.starts.chosen(list(accounts[key].values()))
        stamp = next(stamp for stamp, account in accounts[key].items() if account is counting)
        start = next((each for each in starts if each.stamp == stamp), None)
        return start, self._seen(counting, start.change if start else self.bookkeeping.changes.get(_text(*key)))

    def _seen(self, record: StepLog | BranchLog, change: overlay.Change | None) -> StepLog | BranchLog:
        """Return a record as readers see it, should it have come after the end of the run."""
        if self._late is None:
            return record
        told = msgspec.structs.replace(record)
        return told if self._late.tell(told, overlay.set_by(change)) else record

    def change(self, key: Key, new: StepLog | BranchLog) -> None:
        """Lay a change over a record, of several that of the start that counts: what makes another of it."""
        start, counting = self._counting(key)
        changes = self.bookkeeping.changes
        earlier = start.change if start else changes.get(_text(*key))
        difference = overlay.merge(as_json(counting), earlier, as_json(new))
        if difference is None or difference is earlier:
            return
        self.altered = True
        if start:
            start.record, start.change = as_json(new), difference
        else:
            changes[_text(*key)] = difference
            self.records[key] = new

    def put(self, record: StepLog | BranchLog, owned: OwnRecords) -> str:
        """Put a record into the document; return the stamp it was written under.

        Whoever puts a record that somebody else owns takes it over: what others have changed of the earlier one counts
        no more, and neither does what its owner still writes. But if they are of different starts, both are kept.

        Args:
            record: as it shall be stored.
            owned: what the writer has put before.
        """
        key, text = key_of(record), _text(*key_of(record))
        self.altered = True
        holder = self.bookkeeping.owners.get(text, _FIRST_OWNER)
        stamp = owned.stamps.get(key)
        if stamp is None and owned.was_forgotten and key in self.records:
            stamp = holder
        if key in self.records and stamp is not None:
            if stamp == holder:
                self.records[key] = _with_change(record, self.bookkeeping.changes.get(text), as_json(self.records[key]))
            for start in self.bookkeeping.starts.get(text, ()):
                if start.stamp == stamp:
                    start.record = as_json(_with_change(record, start.change, start.record))
            return stamp
        if key in self.records:
            stamp = f"{clock.tick()}-{os.urandom(4).hex()}"
            earlier = self.records[key]
            if None in {start_of(earlier), start_of(record)}:
                self.bookkeeping.starts.pop(text, None)
            else:
                start = Earlier(stamp=holder, record=as_json(earlier), change=self.bookkeeping.changes.get(text))
                self.bookkeeping.starts.setdefault(text, []).append(start)
            self.bookkeeping.owners[text] = stamp
            self.bookkeeping.changes.pop(text, None)
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

    def has_recorded(self, branch: str) -> bool:
        """Tell whether this object has recorded a branch, or anything if that is empty."""
        return (BRANCH, branch) in self.stamps if branch else bool(self.stamps)

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
