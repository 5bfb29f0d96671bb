"""The container `journal`: chunks as lines of one file per writer, instead of a file each."""

from __future__ import annotations

import os
import threading
import weakref
from collections import OrderedDict
from collections.abc import Callable, Iterable, Iterator, Mapping
from collections.abc import Set as AbstractSet
from contextlib import contextmanager
from itertools import starmap

from chunkstore.backends.base import Backend, Expected, Journal
from chunkstore.backends.errors import MissingError
from chunkstore.backends.mutexes import give_back
from chunkstore.clock import clock
from chunkstore.names import journal_file
from chunkstore.stores.packed.packed_lines import pack_body

#: How many journals are kept open; of those that were closed for others, so many can be gone on with.
_MOST_OPEN = 64
_MOST_KNOWN = 10_000
_ATTEMPTS = 100


class _Writer:
    """What one process appends to one run.

    Attributes:
        mutex: held for the length of one write, and while a journal is begun, which may wait for the lock of the run:
            whoever needs both takes this one first.
        journal: the present one, if it is open.
        file: its name, if one was begun that may be gone on with.
        chunks: what it holds: only that may be written to it again, as readers look in one place for each chunk.
        incarnation: which run it belongs to.
    """

    def __init__(self) -> None:
        self.mutex = threading.RLock()
        self.journal: Journal | None = None
        self.file = ""
        self.chunks: set[str] = set()
        self.incarnation = ""

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

    def __init__(self, backend: Backend) -> None:
        self._backend = weakref.proxy(backend)  # who has this object has the backend
        self.reset_after_fork()

    def reset_after_fork(self) -> None:
        """In a forked child: the journals are the parent's."""
        # Both in the order of their last use; of those that are not in the second, the journal is closed.
        self._writers: OrderedDict[str, _Writer] = OrderedDict()
        self._opened: OrderedDict[str, _Writer] = OrderedDict()
        self._guard = threading.Lock()

    @staticmethod
    def of(backend: Backend) -> Journals:
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
    ) -> None:
        """Write chunks that no journal has, all of them or none.

        Args:
            run_id: the run.
            chunks: compact JSON, by the name that the chunk's file would have.
            within: which of all runs of that id.
            prepare: is called when a journal was begun, before anything is written to it.
            is_durable: see `Backend.append`.

        Raises:
            MissingError: there is no such run.
        """
        lines = b"".join(starmap(pack_body, chunks.items()))
        with self.held(run_id) as writer:
            for _ in range(_ATTEMPTS):
                self._open(run_id, writer, within, prepare)
                if self._append(writer, lines, is_durable):
                    writer.chunks.update(chunks)
                    return
                # Who seals the run has removed it, as it was empty; that the run is gone, the next attempt will tell.
        raise MissingError(run_id)

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
            is_durable: see `Backend.append`.

        Returns:
            Whether the journal is there and has those, so that all was written.
        """
        if run_id not in self._writers:
            return False
        with self.held(run_id) as writer:
            if not present <= writer.chunks or writer.incarnation != within.incarnation:
                return False
            if writer.journal is None and not self._continue(run_id, writer, within):
                return False
            is_there = self._append(writer, b"".join(starmap(pack_body, chunks.items())), is_durable)
            if is_there:
                writer.chunks.update(chunks)
            return is_there

    @contextmanager
    def held(self, run_id: str) -> Iterator[_Writer]:
        """Keep other threads from a run's journal; who is going to write to it under the run's lock takes it before."""
        while True:
            writer = self._writer(run_id)
            with writer.mutex:
                # Else it was closed while we waited; should it be ours already, nobody can have closed it.
                if self._writers.get(run_id) is writer:
                    yield writer
                    return

    def not_in_journal(self, run_id: str, chunks: Iterable[str]) -> set[str]:
        """Return which of some chunks the run's present journal does not have."""
        with self.held(run_id) as writer:
            return set(chunks) - writer.chunks

    def close(self, run_id: str | None = None) -> None:
        """Close the journal of a run, or all; not to be called under a run's lock."""
        for run in [run_id] if run_id is not None else list(self._writers):
            writer = self._writers.get(run)
            if writer is None:
                continue
            with writer.mutex:
                writer.leave()
                with self._guard:
                    if self._writers.get(run) is writer:
                        del self._writers[run]
                        self._opened.pop(run, None)

    def _writer(self, run_id: str) -> _Writer:
        with self._guard:
            writer = self._writers.setdefault(run_id, _Writer())
            for recent, most in ((self._writers, _MOST_KNOWN), (self._opened, _MOST_OPEN)):
                recent[run_id] = writer
                recent.move_to_end(run_id)
                idle = recent.popitem(last=False)[1] if len(recent) > most else None
        if idle is not None:
            try:
                if idle.mutex.acquire(blocking=False):
                    idle.pause()
            finally:
                give_back(idle.mutex)
        return writer

    def _open(self, run_id: str, writer: _Writer, within: Expected, prepare: Callable[[], None]) -> None:
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

    def _continue(self, run_id: str, writer: _Writer, within: Expected) -> bool:
        """Open a journal again that was closed for others; tell whether there is such a one."""
        if not writer.file or writer.incarnation != within.incarnation:
            return False
        try:
            writer.journal = self._backend.continue_journal(run_id, writer.file, within=within)
        except MissingError:
            writer.leave()  # sealed, or gone
        return writer.journal is not None

    def _append(self, writer: _Writer, line: bytes, is_durable: Callable[[], bool]) -> bool:
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


_of_backends: weakref.WeakKeyDictionary[Backend, Journals] = weakref.WeakKeyDictionary()
