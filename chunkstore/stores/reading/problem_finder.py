"""Looking through a whole run for what is wrong with it, in little memory."""

from __future__ import annotations

from collections import deque

from chunkstore.backends.reader import FolderReader
from chunkstore.names import METRIC
from chunkstore.records.models import Problem
from chunkstore.stores.chunk_files import TYPE_OF
from chunkstore.stores.reading.chunk_reader import ChunkReader


class ProblemFinder(ChunkReader):
    """Reads every chunk of a run, and keeps none.

    Args:
        run_id: the run.
        reader: its folder, opened for this read.
    """

    def __init__(self, run_id: str, reader: FolderReader) -> None:
        super().__init__(run_id, reader, keep=False)

    def find(self) -> list[Problem]:
        """Return what cannot be read, or is not what the run finished with; not whether each record has its place."""
        metadata = self.metadata()
        self._expect(self._chunks, (*TYPE_OF, METRIC), with_parameters=True)
        updates = self.updates.over_all(self._chunks)
        for chunk in self._chunks:
            if chunk.kind in TYPE_OF:
                self._record(chunk, updates.get(chunk.file))
                self._origins.clear()
                self._changes.clear()
            elif chunk.kind == METRIC and self._files.sums is None:  # else the sums tell it, and faster
                deque(self._metric_lines(chunk), maxlen=0)
        self.parameters()
        self._find_lost(metadata)
        return self.problems
