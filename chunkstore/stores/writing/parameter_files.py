"""The parameters of a run and of its branches: a file for each scope, changed under the lock of the run."""

from __future__ import annotations

from collections.abc import Callable
from functools import partial
from typing import Any

from chunkstore.backends.base import Change
from chunkstore.backends.capabilities import Locking
from chunkstore.backends.reader import FileVersion, FolderReader
from chunkstore.errors import ChunkstoreError
from chunkstore.names import RUN_FILE, parameter_file
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
        """Set some parameters of a scope; others that are set at the same time are kept.

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

        def change_parameters(change: Change) -> None:
            current, has_file = self._load_to_change(change, run_id, scope)
            before = self._writer.encode(current) if has_file or not isinstance(self.backend, Locking) else None
            merged = {**current.parameters, **stored} if overwrite else {**stored, **current.parameters}
            current.parameters = merged
            after = self._writer.encode(current)
            if undo is not None:
                undo[mine:] = [partial(self._undo, run_id, known, file, after, before)]
            try:
                self._writer.replace_loaded(run_id, known, change, file, after)
            except ChunkstoreError:
                attempt(partial(self._writer.take_back, run_id, known, file, after, before), run_id)
                raise

        mine = len(undo or ())
        self.backend.change(run_id, change_parameters, within=known)

    def _undo(self, run_id: str, known: KnownRun, file: str, after: bytes, before: bytes | None) -> None:
        """Put parameters back that nobody else has changed since; none if there was no file of them."""

        def undo(change: Change) -> None:
            if before is None:
                self._writer.take_back(run_id, known, file, after, None)
            elif change.load(file) == after:
                self._writer.replace_loaded(run_id, known, change, file, before)

        self.backend.change(run_id, undo, within=known)

    def load(self, run_id: str, scope: str) -> Parameters:
        """Return the parameters of a scope as its file holds them; none if there is no such file.

        Raises:
            MissingError: there is no such run.
        """
        with self.backend.reader(run_id) as reader:
            return self._load(reader, run_id, scope, is_changing=False)[0]

    def _load_to_change(self, change: Change, run_id: str, scope: str) -> tuple[Parameters, bool]:
        if not isinstance(self.backend, Locking):
            file = parameter_file(scope)
            try:
                return Parameters.read(without_checksum(change.load(file, known=True), file), file), True
            except FileNotFoundError:
                pass
        with change.reader() as reader:
            return self._load(reader, run_id, scope, is_changing=True)

    @staticmethod
    def _load(reader: FolderReader, run_id: str, scope: str, *, is_changing: bool) -> tuple[Parameters, bool]:
        """Return the parameters of a scope, and whether they lie in a file by themselves."""
        file = parameter_file(scope)
        known: FileVersion | None = None
        while True:
            try:
                return Parameters.read(without_checksum(reader.load(file), file), file), True
            except FileNotFoundError:
                version = None if is_changing else reader.version(RUN_FILE)
                log = checked_run_log(reader.load(RUN_FILE), run_id)
            if log.is_packed:
                try:
                    body, _ = RunFiles(reader, Listing(reader.names())).content(file)
                    return Parameters.read(body, file), False
                except FileNotFoundError:
                    break
            if version == known:
                break
            known = version  # it may have been unsealed in between; who changes something would be overtaken by that
        # A run without such parameters, or one whose parameters are with it.
        return Parameters(branch=scope, parameters=log.parameters if not scope else {}), False
