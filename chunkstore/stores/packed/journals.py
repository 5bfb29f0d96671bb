"""The container `journal`: chunks as lines of one file per writer, instead of a file each."""

from __future__ import annotations

import os
import threading
import weakref
from collections import OrderedDict
from collections.abc import Callable, Iterable, Mapping
from collections.abc import Set as AbstractSet
from itertools import starmap
from typing import TypeVar

from chunkstore.backends.base import Expected
from chunkstore.backends.capabilities import Appending, Journal
from chunkstore.backends.errors import MissingError
from chunkstore.clock import clock
from chunkstore.interrupts import give_back, guarded, passable
from chunkstore.names import journal_file
from chunkstore.stores.packed.packed_lines import pack_body

_T = TypeVar("_T")

#: How many journals are kept open; of those that were closed for others, so many can be gone on with.
_MOST_OPEN = 64
_MOST_KNOWN = 10_000
_ATTEMPTS = 100


class JournalWriter:
    """What one process appends to one run.

    Attributes:
        mutex: held for the length of one write, and while a journal is begun, which may wait for the lock of the run:
            whoever needs both takes this one first.
        journal: the present one, if it is open.
        file: its name, if one was begun that may be gone on with.
        chunks: what it holds: only that may be written to it again, as readers look in one place for each chunk.
        incarnation: which run it belongs to.
        is_busy: whether it is being written to. A call that comes in the middle, on the same thread, leaves it alone.
    """

    def __init__(self) -> None:
        self.mutex = threading.RLock()
        self.journal: Journal | None = None
        self.file = ""
        self.chunks: set[str] = set()
        self.incarnation = ""
        self.is_busy = False

    def leave(self) -> None:
        """Write no more to the present journal."""
        self.pause()
        self.file = ""
        self.chunks = set()

    def pause(self) -> None:
        """Close the present journal; it can be gone on with."""
        journal, self.journal = self.journal, None
        if journal is not None:
            journal.close()


class Journals:
    """The journals that one process writes to through a backend, one for each run.

    Store objects share them: a worker of a pool gets another one with each task. What they own, they know themselves.
    A journal that was removed, because its run was sealed, or in which a write failed, is not written to any more.

    Args:
        backend: where the runs are.
    """

    def __init__(self, backend: Appending) -> None:
        self._backend = weakref.proxy(backend)  # who has this object has the backend
        self.reset_after_fork()

    def reset_after_fork(self) -> None:
        """In a forked child: the journals are the parent's."""
        # Both in the order of their last use; of those that are not in the second, the journal is closed.
        self._writers: OrderedDict[str, JournalWriter] = OrderedDict()
        self._opened: OrderedDict[str, JournalWriter] = OrderedDict()

    @staticmethod
    def of(backend: Appending) -> Journals:
        """Return the journals that are written through a backend; there is one object for each."""
        found = _of_backends.get(backend)
        return found if found is not None else _of_backends.setdefault(backend, Journals(backend))

    def add(
        self,
        run_id: str,
        chunks: Mapping[str, bytes],
        *,
        within: Expected,
        prepare: Callable[[], None],
        is_durable: Callable[[], bool],
    ) -> bool:
        """Write chunks that no journal has, all of them or none.

        Args:
            run_id: the run.
            chunks: compact JSON, by the name that the chunk's file would have.
            within: which of all runs of that id.
            prepare: is called when a journal was begun, before anything is written to it.
            is_durable: see `Appending.append`.

        Returns:
            Whether they are written. If this call interrupts another that writes to the journal, they are not, and
            have to lie by themselves.

        Raises:
            MissingError: there is no such run.
        """
        lines = b"".join(starmap(pack_body, chunks.items()))

        def write(writer: JournalWriter) -> bool:
            for _ in range(_ATTEMPTS):
                self._open(run_id, writer, within, prepare)
                if self._append(writer, lines, is_durable):
                    writer.chunks.update(chunks)
                    return True
                # Who seals the run has removed it, as it was empty; that the run is gone, the next attempt will tell.
            raise MissingError(run_id)

        return self.holding(run_id, chunks, lambda writer: writer is not None and _while_busy(writer, write))

    def add_again(
        self,
        run_id: str,
        chunks: Mapping[str, bytes],
        present: AbstractSet[str],
        *,
        within: Expected,
        is_durable: Callable[[], bool],
    ) -> bool:
        """Write chunks, some of which the run's present journal has; all of them or none.

        Args:
            run_id: the run.
            chunks: compact JSON, by the name that the chunk's file would have.
            present: those that only the journal may be written to which has them: in another one they would be older,
                for readers, than what the run was sealed in since.
            within: which of all runs of that id.
            is_durable: see `Appending.append`.

        Returns:
            Whether the journal is there and has those, so that all was written.
        """

        def write(writer: JournalWriter) -> bool:
            if not present <= writer.chunks or writer.incarnation != within.incarnation:
                return False
            if writer.journal is None and not self._continue(run_id, writer, within):
                return False
            is_there = self._append(writer, b"".join(starmap(pack_body, chunks.items())), is_durable)
            if is_there:
                writer.chunks.update(chunks.keys() - present)  # what was there may lie by itself meanwhile
            return is_there

        if run_id not in self._writers:
            return False
        return self.holding(run_id, chunks, lambda writer: writer is not None and _while_busy(writer, write))

    @guarded
    def holding(self, run_id: str, chunks: Iterable[str], action: Callable[[JournalWriter | None], _T]) -> _T:
        """Return what an action returns that is called while other threads are kept from a run's journal.

        Who is going to write to it under the run's lock takes it before.

        Args:
            run_id: the run.
            chunks: what is going to be written.
            action: gets who writes to the journal; or None, if this call interrupts another that does so. Then the
                chunks have to lie by themselves, now and from now on.
        """
        while True:
            writer = self._writer(run_id)
            with passable(writer.mutex) as is_ours:
                if not is_ours or writer.is_busy:
                    writer.chunks.difference_update(chunks)
                    return action(None)
                # Else it was closed while we waited; should it be ours already, nobody can have closed it.
                if self._writers.get(run_id) is writer:
                    return action(writer)

    @guarded
    def close(self, run_id: str | None = None) -> None:
        """Close the journal of a run, or all; not to be called under a run's lock."""
        for run in [run_id] if run_id is not None else list(self._writers):
            writer = self._writers.get(run)
            if writer is None:
                continue
            with passable(writer.mutex) as is_ours:
                if is_ours and not writer.is_busy:
                    writer.leave()
                # Else the call that writes to it is the last one to do so.
                if self._writers.get(run) is writer:
                    self._writers.pop(run, None)
                    self._opened.pop(run, None)

    def _writer(self, run_id: str) -> JournalWriter:
        writer = self._writers.setdefault(run_id, JournalWriter())
        for recent, most in ((self._writers, _MOST_KNOWN), (self._opened, _MOST_OPEN)):
            recent.setdefault(run_id, writer)
            try:
                recent.move_to_end(run_id)
                idle = recent.popitem(last=False)[1] if len(recent) > most else None
            except KeyError:
                continue  # others have closed it meanwhile
            if idle is not None:
                _pause_if_idle(idle)
        return writer

    def _open(self, run_id: str, writer: JournalWriter, within: Expected, prepare: Callable[[], None]) -> None:
        """Make sure that a journal is open that belongs to the run which is meant."""
        if writer.incarnation != within.incarnation:
            writer.leave()
        if writer.journal is not None or self._continue(run_id, writer, within):
            return
        while True:
            file = journal_file(os.getpid(), clock.tick())
            try:
                journal = self._backend.begin_journal(run_id, file, within=within)
            except FileExistsError:
                continue  # a process of the same number on another host
            break
        try:
            prepare()
        except BaseException:
            journal.close()
            raise
        writer.journal, writer.file, writer.incarnation = journal, file, within.incarnation

    def _continue(self, run_id: str, writer: JournalWriter, within: Expected) -> bool:
        """Open a journal again that was closed for others; tell whether there is such a one."""
        if not writer.file or writer.incarnation != within.incarnation:
            return False
        try:
            writer.journal = self._backend.continue_journal(run_id, writer.file, within=within)
        except MissingError:
            writer.leave()  # sealed, or gone
        return writer.journal is not None

    def _append(self, writer: JournalWriter, line: bytes, is_durable: Callable[[], bool]) -> bool:
        """Append a line; tell whether the journal is there."""
        assert writer.journal is not None
        is_done = False
        try:
            writer.journal.append(line, is_durable=is_durable)
            is_done = True
        except MissingError:
            pass
        finally:
            if not is_done:
                writer.leave()
        return is_done


def _pause_if_idle(writer: JournalWriter) -> None:
    try:
        if writer.mutex.acquire(blocking=False) and not writer.is_busy:
            writer.pause()
    finally:
        give_back(writer.mutex)


def _while_busy(writer: JournalWriter, write: Callable[[JournalWriter], bool]) -> bool:
    try:
        writer.is_busy = True
        is_done = write(writer)
        writer.is_busy = False
    except BaseException:
        writer.is_busy = False
        raise
    return is_done


_of_backends: weakref.WeakKeyDictionary[Appending, Journals] = weakref.WeakKeyDictionary()
