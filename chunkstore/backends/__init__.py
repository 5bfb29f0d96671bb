"""Where bytes live: what every back end does, what some do beyond that, and the one in memory; a disk is in `disk`."""

from chunkstore.backends.base import (
    AT_THE_END,
    DURABILITY_LEVELS,
    PROCESS,
    STEP,
    Backend,
    Change,
    Data,
    Expected,
    Within,
)
from chunkstore.backends.capabilities import (
    Appending,
    Grouping,
    Holder,
    Holding,
    Joined,
    Journal,
    Judge,
    Locking,
    Looking,
    Quarantining,
    RemovingUnchanged,
    Syncing,
    Watching,
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
    "Appending",
    "Backend",
    "Change",
    "Data",
    "Entry",
    "Expected",
    "FileVersion",
    "FolderReader",
    "Grouping",
    "Holder",
    "Holding",
    "Joined",
    "Journal",
    "Judge",
    "Locking",
    "Looking",
    "MemoryBackend",
    "MissingError",
    "Mount",
    "Quarantining",
    "RemovingUnchanged",
    "Syncing",
    "UnreadableFileError",
    "Watching",
    "Within",
]
