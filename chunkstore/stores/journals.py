"""The container `journal`: chunks as lines of one file per writer, instead of a file each."""

from __future__ import annotations

import os
import threading
import weakref
from collections import OrderedDict
from collections.abc import Callable

from chunkstore.backends.base import Backend, Journal, MissingError
from chunkstore.clock import clock
from chunkstore.names import journal_file
from chunkstore.stores.packed_lines import pack_body

_MOST_OPEN = 64
_ATTEMPTS = 100


class _Open:
    def __init__(self, journal: Journal) -> None:
        self.journal = journal
        # What it holds: only that may be written to it again, as readers look in one place for each chunk.
        self.chunks: set[str] = set()


class Journals:
    """The journals that one process writes to through a backend, one for each run.

    Store objects share them: a worker of a pool gets another one with each task. What they own, they know themselves.
    A journal that was removed, because its run was sealed, or in which a write failed, is not written to any more.

    Args:
        backend: where the runs are.
    """

    def __init__(self, backend: Backend) -> None:
        self._backend = weakref.proxy(backend)  # who has this object has the backend
        self._open: OrderedDict[str, _Open] = OrderedDict()
        self._mutex = threading.Lock()

    def reset_after_fork(self) -> None:
        """In a forked child: the journals are the parent's."""
        self._open = OrderedDict()
        self._mutex = threading.Lock()

    @staticmethod
    def of(backend: Backend) -> Journals:
        """Return the journals that are written through a backend; there is one object for each."""
        found = _of_backends.get(backend)
        return found if found is not None else _of_backends.setdefault(backend, Journals(backend))

    def add(self, run_id: str, chunk: str, body: bytes, prepare: Callable[[str], None]) -> str:
        """Write a chunk that no journal has.

        Args:
            run_id: the run.
            chunk: the name of its file, if it had one.
            body: compact JSON.
            prepare: is called with a run's id when a journal was begun, before anything is written to it.

        Returns:
            The name of the journal.

        Raises:
            MissingError: there is no such run.
        """
        line = pack_body(chunk, body)
        with self._mutex:
            found = self._open.get(run_id)
            if found is not None and self._append(run_id, found, line):
                found.chunks.add(chunk)
                return found.journal.file
            for _ in range(_ATTEMPTS):
                begun = self._begin(run_id, prepare)
                if self._append(run_id, begun, line):
                    begun.chunks.add(chunk)
                    return begun.journal.file
                # Who seals the run has removed it, as it was empty; that the run is gone, the next attempt will tell.
            raise MissingError(run_id)

    def add_again(self, run_id: str, chunk: str, body: bytes) -> str | None:
        """Write to a chunk that the run's present journal has; return the journal's name, or None if it has not."""
        with self._mutex:
            found = self._open.get(run_id)
            if found is None or chunk not in found.chunks:
                return None
            return found.journal.file if self._append(run_id, found, pack_body(chunk, body)) else None

    def close(self, run_id: str | None = None) -> None:
        """Close the journal of a run, or all."""
        with self._mutex:
            for key in [run_id] if run_id is not None else list(self._open):
                if found := self._open.pop(key, None):
                    found.journal.close()

    def _begin(self, run_id: str, prepare: Callable[[str], None]) -> _Open:
        while True:
            try:
                begun = _Open(self._backend.begin_journal(run_id, journal_file(os.getpid(), clock.tick())))
            except FileExistsError:
                continue  # a process of the same number on another host
            break
        try:
            prepare(run_id)
        except BaseException:
            begun.journal.close()
            raise
        self._open[run_id] = begun
        while len(self._open) > _MOST_OPEN:
            self._open.popitem(last=False)[1].journal.close()
        return begun

    def _append(self, run_id: str, to: _Open, line: bytes) -> bool:
        """Append a line; tell whether the journal is there."""
        is_done = False
        try:
            to.journal.append(line)
            is_done = True
        except MissingError:
            pass
        finally:
            if not is_done:
                self._open.pop(run_id, None)
                to.journal.close()
        return is_done


_of_backends: weakref.WeakKeyDictionary[Backend, Journals] = weakref.WeakKeyDictionary()
