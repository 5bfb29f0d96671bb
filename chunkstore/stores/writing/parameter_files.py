"""The parameters of a run and of its branches: a file for each scope, changed under the lock of the run."""

from __future__ import annotations

from collections.abc import Callable
from functools import partial
from typing import Any

from chunkstore.backends.reader import FileVersion
from chunkstore.errors import ChunkstoreError
from chunkstore.names import LOCK_FILE, RUN_FILE, parameter_file
from chunkstore.records.integrity import without_checksum
from chunkstore.stores.chunk_files import Parameters, checked_run_log
from chunkstore.stores.reading import Listing, RunFiles
from chunkstore.stores.runs import KnownRun
from chunkstore.stores.stored import as_stored
from chunkstore.stores.writing.chunk_writer import ChunkWriter, attempt


class ParameterFiles:
    """Sets and returns parameters.

    Args:
        writer: writes the files.
    """

    def __init__(self, writer: ChunkWriter) -> None:
        self.backend = writer.backend
        self._writer = writer

    def set(
        self,
        run_id: str,
        known: KnownRun,
        scope: str,
        parameters: dict[str, Any],
        *,
        overwrite: bool,
        undo: list[Callable[[], None]] | None = None,
    ) -> None:
        """Set some parameters of a scope under the lock.

        Args:
            run_id: the run.
            known: what is known of it.
            scope: the internal name of a branch, or "" for the run.
            parameters: values by name.
            overwrite: whether those that are set already get the new value.
            undo: before anything is written, what takes it back, unless others have set some since, is added here.
        """
        stored = as_stored(Parameters(branch=scope, parameters=parameters)).parameters
        file = parameter_file(scope)

        def change_parameters() -> None:
            current = self.load(run_id, scope)
            before = self._writer.encode(current) if self.backend.has(run_id, file) else None
            merged = {**current.parameters, **stored} if overwrite else {**stored, **current.parameters}
            current.parameters = merged
            after = self._writer.encode(current)
            take_back = partial(self._writer.take_back, run_id, known, file, after, before)
            if undo is not None:
                undo.append(partial(self.backend.while_locked, run_id, LOCK_FILE, take_back, within=known))
            try:
                self._writer.replace_locked(run_id, known, file, after)
            except ChunkstoreError:
                attempt(take_back, run_id)
                raise

        self.backend.while_locked(run_id, LOCK_FILE, change_parameters, within=known)

    def load(self, run_id: str, scope: str) -> Parameters:
        """Return the parameters of a scope as its file holds them; none if there is no such file.

        Raises:
            MissingError: there is no such run.
        """
        file = parameter_file(scope)
        with self.backend.reader(run_id) as reader:
            known: FileVersion | None = None
            while True:
                try:
                    return Parameters.read(without_checksum(reader.load(file), file), file)
                except FileNotFoundError:
                    version = reader.version(RUN_FILE)
                    log = checked_run_log(reader.load(RUN_FILE), run_id)
                if log.is_packed:
                    try:
                        body, _ = RunFiles(reader, Listing(reader.names())).content(file)
                        return Parameters.read(body, file)
                    except FileNotFoundError:
                        break
                if version == known:
                    break
                known = version  # it may have been unsealed in between
            # A run without such parameters, or one whose parameters another tool has left with it.
            return Parameters(branch=scope, parameters=log.parameters if not scope else {})
