"""Where bytes live: what every backend does, and the one in memory; that on a disk is in `disk`."""

from chunkstore.backends.base import (
    AT_THE_END,
    DURABILITY_LEVELS,
    PROCESS,
    STEP,
    Backend,
    Expected,
    Joined,
    Journal,
    Judge,
)
from chunkstore.backends.entries import FILE, FOLDER, LINK, OTHER, Entry
from chunkstore.backends.errors import MissingError, UnreadableFileError
from chunkstore.backends.memory import MemoryBackend
from chunkstore.backends.mount import Mount
from chunkstore.backends.reader import FileVersion, FolderReader

__all__ = [
    "AT_THE_END",
    "DURABILITY_LEVELS",
    "FILE",
    "FOLDER",
    "LINK",
    "OTHER",
    "PROCESS",
    "STEP",
    "Backend",
    "Entry",
    "Expected",
    "FileVersion",
    "FolderReader",
    "Joined",
    "Journal",
    "Judge",
    "MemoryBackend",
    "MissingError",
    "Mount",
    "UnreadableFileError",
]
