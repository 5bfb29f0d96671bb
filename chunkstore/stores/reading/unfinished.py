"""Records on their way: those inside another one are written before it."""

from __future__ import annotations

import msgspec
from msgspec import UNSET

from chunkstore.backends.reader import FolderReader
from chunkstore.errors import ChunkstoreError
from chunkstore.names import TEMPORARY_PREFIX, parse_chunk_file
from chunkstore.records import codec
from chunkstore.records.models import RunLog


class _Named(msgspec.Struct):
    """What any record says first."""

    internal_name: str = ""


def without_unfinished(log: RunLog, reader: FolderReader, listed: list[str]) -> RunLog:
    """Take what is on its way out of the problems of a log.

    What has no outer record is no problem as long as that lies beside it in a temporary file: it is being written, or
    will never be since its writer was killed.

    Args:
        log: a whole run.
        reader: its folder.
        listed: the files that were read.
    """
    if log.found_orphans is not UNSET:
        to_come = _names_to_come(reader, listed)
        log.found_problems = [
            problem
            for problem in log.problems
            if problem.kind != "orphan" or not any(f"{problem.file}.".startswith(start) for start in to_come)
        ] or UNSET
    return log


def _names_to_come(reader: FolderReader, listed: list[str]) -> list[str]:
    """Return what the names of records begin with that may be on their way; every name does with an empty one."""
    found = []
    known = set(listed)
    for file in reader.all_entries():
        if file.startswith(TEMPORARY_PREFIX) or (file not in known and parse_chunk_file(file)):
            try:
                name = codec.decoder_of(_Named).decode(reader.load(file)).internal_name
            except FileNotFoundError:
                found.append("")  # it has got its name since
            except (OSError, ChunkstoreError, msgspec.DecodeError, UnicodeDecodeError, RecursionError):
                pass  # it is not even written: nothing inside it is there
            else:
                found.append(f"{name}.")
    return found
