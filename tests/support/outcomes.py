"""How a call ended, and what it left lying about."""

import os

from chunkstore import ChunkstoreError


def error_of(call, *arguments, kinds=ChunkstoreError):
    """Return the error of one of some kinds that a call ends with, or None."""
    try:
        call(*arguments)
    except kinds as error:
        return error
    return None


def temporary_files(folder):
    return {name for _, folders, files in os.walk(folder) for name in (*folders, *files) if name.startswith(".tmp-")}
