"""Sealing a run with its end, where each file costs requests: what is loaded to sum it up is packed as well.

The sealed file is there before the run's own record says that the run has ended and which file that is; then the rest
is removed. So the end of a run is a listing, two puts and a deletion, beside what others have recorded.
"""

from __future__ import annotations

import logging
from collections.abc import Callable

from chunkstore.backends.base import Backend
from chunkstore.backends.capabilities import Holding, RemovingUnchanged
from chunkstore.backends.reader import FolderReader
from chunkstore.backends.remembering import RememberingReader
from chunkstore.errors import ChunkstoreError
from chunkstore.names import OWNER_FILE
from chunkstore.records.assemble import flatten
from chunkstore.records.models import SEALED, RunLog
from chunkstore.stores.reading import ChunkReader, Listing
from chunkstore.stores.runs import KnownRun
from chunkstore.stores.summary import Summary, tally
from chunkstore.stores.writing.sealing_ended import Sealing, pack_ended

logger = logging.getLogger("chunkstore")


class Endings:
    """The runs that are about to end.

    Args:
        backend: where they are.
        most: a run of more chunks is sealed; None for none.
    """

    def __init__(self, backend: Backend, most: int | None) -> None:
        self._backend = backend
        self._most = most
        self._sealed: dict[str, Sealing] = {}

    def sum_up(
        self, run_id: str, known: Callable[[], KnownRun], reader: FolderReader, summing: str, *, whole: bool
    ) -> Summary:
        """Sum up a run that is about to end; where each file costs requests, it is sealed as well.

        Args:
            run_id: the run.
            known: returns what is known of it.
            reader: its folder, opened for a read.
            summing: see `Summary`.
            whole: whether the run's log is returned, too.
        """
        listing = None
        if reader.reads_ahead:
            reader = RememberingReader(reader)  # what is sealed is loaded once for both
            listing = Listing(reader.names())  # which shows whether the run's own record is known already
        chunks = ChunkReader(run_id, reader, listing, keep=whole)
        metadata = chunks.metadata()
        log = chunks.whole() if whole else None
        steps, unended = tally(chunks.stream() if log is None else flatten(log)[0])
        contents = chunks.contents()
        sealing = self._seal_ahead(known(), metadata, reader) if listing else None
        return Summary(steps, log, summing, contents, unended, sealed=sealing.note if sealing else None)

    def _seal_ahead(self, known: KnownRun, log: RunLog, reader: FolderReader) -> Sealing | None:
        """Write the sealed file of a run; None if it is not to be sealed, or not in this way."""
        self._sealed.pop(log.run_id, None)
        if self._most is None or not log.is_packed or isinstance(self._backend, RemovingUnchanged):
            return None
        try:
            sealing = pack_ended(self._backend, log.run_id, reader, within=known, more_than=self._most)
        except ChunkstoreError as error:  # the run ends all the same
            logger.warning("Run %s is not sealed: %s", log.run_id, error)
            return None
        if sealing is not None:
            self._sealed[log.run_id] = sealing
        return sealing

    def finish_sealing(self, log: RunLog) -> bool:
        """Remove what is in the sealed file that the record of a run names; tell whether it names ours.

        Args:
            log: the run's own record, which says that it has ended.
        """
        sealing = self._sealed.pop(log.run_id, None)
        if sealing is None or log.notes.get(SEALED) != sealing.note:
            return False
        # That this process records the run is over: that goes with the rest, at no cost.
        holds = isinstance(self._backend, Holding) and self._backend.stop_holding(log.run_id, OWNER_FILE)
        try:
            self._backend.remove_all(log.run_id, [*sealing.replaced, *([OWNER_FILE] if holds else ())])
        except ChunkstoreError as error:  # it is in the sealed file all the same
            logger.warning("Some chunks of run %s are left beside its sealed file: %s", log.run_id, error)
        return True
