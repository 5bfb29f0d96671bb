"""The order of execution, as the names of chunks tell it."""

from __future__ import annotations

from collections.abc import Iterable

from chunkstore.clock import clock
from chunkstore.names import ChunkName, encode_for_file, parse_chunk_file
from chunkstore.stores.reading.listing import Listing
from chunkstore.stores.reading.run_files import RunFiles


def in_order(files: Iterable[str]) -> list[ChunkName]:
    """Return the chunks among some files in order of execution; whoever asks writes later timestamps from now on.

    A time that nobody believes must not hide what is recorded from now on. So such chunks come before all others.
    """
    chunks = [chunk for chunk in map(parse_chunk_file, files) if chunk]
    if not chunks:
        return chunks
    chunks.sort(key=_place)
    horizon = clock.horizon()
    if chunks[-1].timestamp > horizon:
        end = next(place for place, chunk in enumerate(chunks) if chunk.timestamp > horizon)
        chunks = chunks[end:] + chunks[:end]
    clock.observe(chunks[-1].timestamp)
    return chunks


def _place(chunk: ChunkName) -> tuple[int, str]:
    """Return what chunks are ordered by; equal timestamps are ordered by name."""
    return chunk.timestamp, chunk.file


def all_listed(listing: Listing | RunFiles, kind: str, internal_name: str) -> list[ChunkName]:
    """Return the files that are named after a record, in order."""
    encoded = encode_for_file(internal_name)
    files = listing.starting_with(f"{kind}-{encoded}-")
    return [chunk for chunk in in_order(files) if chunk.encoded == encoded]


def newest_listed(listing: Listing | RunFiles, kind: str, internal_name: str) -> ChunkName | None:
    """Return the newest of the files that are named after a record, or None."""
    return next(reversed(all_listed(listing, kind, internal_name)), None)
