"""What a store object remembers of runs: each of one run, and of no other that had its id before or gets it later."""

from __future__ import annotations

from collections import OrderedDict
from collections.abc import Callable, Hashable
from typing import Generic, NamedTuple, Protocol, TypeVar

from chunkstore.backends.reader import FileVersion, FolderReader
from chunkstore.errors import ChunkstoreError
from chunkstore.names import BRANCH, RUN_FILE
from chunkstore.records.late import LateRecords
from chunkstore.records.models import CONTENTS, SUMMING, RunLog
from chunkstore.stores.chunk_files import Key
from chunkstore.stores.stored import is_finished

#: More runs are forgotten, those first that were used least lately, if they have finished.
_MOST_REMEMBERED = 32
_MOST_FORGOTTEN = 100_000


class End(NamedTuple):
    """What a version of a run's own record says of the run's end.

    Attributes:
        version: of the record; None where it is looked at anew each time.
        is_finished: whether the run has ended.
        is_summed: whether it is noted what the chunks hold, or somebody sums that up: then nobody may change it unsaid.
        late: tells what still ran then; None if nothing did.
    """

    version: FileVersion | None
    is_finished: bool
    is_summed: bool
    late: LateRecords | None = None

    @classmethod
    def of(cls, version: FileVersion | None, log: RunLog) -> End:
        """Return what a record says."""
        return cls(version, is_finished(log), CONTENTS in log.notes or SUMMING in log.notes, LateRecords.of(log))


class KnownRun:
    """A run that this store object writes to.

    Args:
        load: reads the run's own record, and checks that this version may write to the run.

    Attributes:
        incarnation: what tells the run from every other of its id; empty before anybody has looked.
        owned: the files that this object wrote, by kind and internal name.
        final: those of the files that are not replaced any more, where what has ended is not.
        overlaid: those of them that are known to have changes over them.
        own_branches: the branches that have steps which this object wrote.
        end: what the run's own record said of its end when that was looked at last; None before.
        is_synced: whether this object has made durable what a run held that had ended.
        own_version: which version of the run's own record this object has written last.
        was_forgotten: whether more was known of it once: a record that this object does not know may be its own.
    """

    def __init__(self, load: Callable[[FolderReader], RunLog]) -> None:
        self.incarnation = ""
        self.owned: dict[Key, str] = {}
        self.final: set[str] = set()
        self.overlaid: set[str] = set()
        self.own_branches: set[str] = set()
        self.end: End | None = None
        self.is_synced = False
        self.own_version: FileVersion | None = None
        self.was_forgotten = False
        self._load = load
        self._seen: tuple[FileVersion, str] | None = None

    def examine(self, reader: FolderReader) -> str:
        """Return what tells the run in an open folder from every other that has, had or gets its id.

        Raises:
            MissingError: there is no run in the folder.
            CorruptChunkError: its record cannot be read.
            UnsupportedFormatError: this version may not write to it.
        """
        version = reader.version(RUN_FILE)
        if self._seen is None or self._seen[0] != version:  # it is the same where the folder was closed for others
            log = self._load(reader)
            self._seen = version, log.incarnation or _unnamed(reader.identity())
            self.end = End.of(version, log)
        return self._seen[1]

    def has_recorded(self, branch: str) -> bool:
        """Tell whether this object has recorded a branch, or anything if that is empty."""
        return (BRANCH, branch) in self.owned if branch else bool(self.owned)

    def is_as_good_as_new(self) -> bool:
        """Tell whether nothing is lost when the run is forgotten."""
        return not self.owned


def _unnamed(identity: Hashable) -> str:
    """Return what tells a run that another tool has made from others: that it lies in this folder."""
    return f"in {identity}"


class _OfOneRun(Protocol):
    incarnation: str
    was_forgotten: bool

    def is_as_good_as_new(self) -> bool: ...


_K = TypeVar("_K", bound=_OfOneRun)


class KnownRuns(Generic[_K]):
    """The runs that a store object writes to, by id."""

    def __init__(self) -> None:
        self._runs: OrderedDict[str, _K] = OrderedDict()
        # Of which runs something was forgotten: 60 bytes each.
        self._forgotten: set[int] = set()

    def __len__(self) -> int:
        return len(self._runs)

    def get(self, run_id: str) -> _K | None:
        """Return what is remembered of the run that had an id when that was looked at last, or None."""
        return self._runs.get(run_id)

    def add(self, run_id: str, known: _K) -> _K:
        """Remember a run, in the place of another of its id; return what another thread has remembered of it before."""
        known.was_forgotten = hash(known.incarnation) in self._forgotten
        present = self._runs.setdefault(run_id, known)
        if present is not known and present.incarnation != known.incarnation:
            self._runs.pop(run_id, None)  # what is added comes last
            self._runs[run_id] = present = known
        return present

    def forget_one_of_many(self, read: Callable[[str], RunLog]) -> str | None:
        """Forget the run that was added longest ago, if there are too many and it has ended; return its id.

        Of one that goes on, what is known may be needed.

        Args:
            read: reads a run's own record.
        """
        found = self._longest_ago()
        if found is None:
            return None
        run_id, known = found
        if not known.is_as_good_as_new() and not _has_ended(run_id, read):
            return None
        self._forget_for_others(run_id, known)
        return run_id

    def _longest_ago(self) -> tuple[str, _K] | None:
        """Return the run that was added longest ago, if there are too many; it is kept for another round."""
        if len(self._runs) <= _MOST_REMEMBERED:
            return None
        run_id = next(iter(list(self._runs)), "")
        try:
            self._runs.move_to_end(run_id)
            return run_id, self._runs[run_id]
        except KeyError:
            return None  # others have forgotten it

    def _forget_for_others(self, run_id: str, known: _K) -> None:
        """Forget what is remembered of a run that goes on no more, but for that."""
        if not known.is_as_good_as_new():
            if len(self._forgotten) >= _MOST_FORGOTTEN:
                self._forgotten.clear()
            self._forgotten.add(hash(known.incarnation))
        self.forget(run_id, known)

    def forget(self, run_id: str, known: _K) -> None:
        """Forget a run, if it is that one."""
        if self._runs.get(run_id) is known:
            self._runs.pop(run_id, None)


def _has_ended(run_id: str, read: Callable[[str], RunLog]) -> bool:
    """Tell whether nobody goes on with a run, as far as can be told."""
    try:
        return is_finished(read(run_id))
    except FileNotFoundError:
        return True
    except ChunkstoreError:
        return False
