"""Reading what others than its owner have changed of a record, from the files beside it."""

from __future__ import annotations

from collections.abc import Iterable

import msgspec

from chunkstore.names import ChunkName, parse_chunk_file
from chunkstore.records import codec, overlay
from chunkstore.stores.chunk_files import TYPE_OF, UPDATE_KINDS, Update, update_file
from chunkstore.stores.reading.problems import UNREADABLE, Problems, as_error
from chunkstore.stores.reading.run_files import RunFiles


class UpdateReader:
    """The changes of one run.

    Args:
        files: the run's files.
        problems: what cannot be read is added to these.
    """

    def __init__(self, files: RunFiles, problems: Problems) -> None:
        self._files = files
        self._problems = problems

    def over_all(self, chunks: Iterable[ChunkName]) -> dict[str, overlay.Change]:
        """Return the changes among some chunks, by the file that each lies over."""
        found: dict[str, overlay.Change] = {}
        for chunk in chunks:
            if chunk.kind in UPDATE_KINDS and (update := self._update(chunk.file)) is not None:
                over = parse_chunk_file(update.over)
                if over and over.kind in TYPE_OF and update_file(over, update.internal_name) == chunk.file:
                    found[update.over] = update.change
                else:
                    self._problems.report(
                        chunk.file, codec.corrupt(chunk.file, 0, "it is not the file for what it changes")
                    )
        return found

    def over(self, chunk: ChunkName, internal_name: str, *, strict: bool) -> overlay.Change | None:
        """Return the change over one file; its name tells where it is, so that no listing can miss it."""
        update = self._update(update_file(chunk, internal_name), is_listed=False, strict=strict)
        return update.change if update is not None and update.over == chunk.file else None

    def changed_file(self, update: ChunkName) -> ChunkName | None:
        """Return the chunk that a file of changes lies over.

        Raises:
            CorruptChunkError: the file cannot be read.
        """
        found = self._update(update.file, strict=True)
        return parse_chunk_file(found.over) if found else None

    def _update(self, file: str, *, is_listed: bool = True, strict: bool = False) -> Update | None:
        try:
            body, _ = self._files.content(file, is_listed=is_listed)
            update: Update = codec.decode(body, file, codec.decoder_of(Update))
        except FileNotFoundError:
            return None
        except (*UNREADABLE, msgspec.ValidationError) as error:
            if strict:
                raise as_error(file, error) from None
            self._problems.report(file, error)
            return None
        return update
