"""A folder of a file system as the place of bytes: names, locks, syncs, and what file systems do wrong."""

from chunkstore.backends.disk.directory import DirectoryBackend
from chunkstore.backends.disk.syscalls import SYSTEM, Syscalls

__all__ = ["SYSTEM", "DirectoryBackend", "Syscalls"]
