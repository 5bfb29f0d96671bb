"""Removing files, also such that others replace or append to just then."""

from __future__ import annotations

from chunkstore.backends.disk.appended import open_to_append
from chunkstore.backends.disk.folder import Folder
from chunkstore.backends.disk.freshness import is_forgotten
from chunkstore.backends.disk.locks import lock_now
from chunkstore.backends.disk.naming import put_back
from chunkstore.names import ASIDE_PREFIX


def remove(folder: Folder, file: str, *, durable: bool) -> None:
    """Remove a file for good."""
    try:
        folder.syscalls.unlink(file, folder.fd)
    except OSError as error:
        # That a server has forgotten the file may be told of one that is removed by now.
        if not is_forgotten(error) or folder.has_entry(file):
            raise
    if durable:
        folder.sync_self()


def remove_unchanged(folder: Folder, file: str, data: bytes) -> bool:
    """Remove a file unless it holds anything but `data`; see `Backend.remove_unchanged`.

    Nothing tells apart, in one call, a file that was read from one that has replaced it since. So the file is set
    aside, where readers still look for it, compared, and put back if it was replaced.
    """
    aside = ASIDE_PREFIX + file
    if folder.has_entry(aside) and folder.has_entry(file):
        # Put back, or replaced; a file is not renamed to a link of itself.
        folder.syscalls.unlink(aside, folder.fd)
    try:
        folder.syscalls.rename(file, aside, folder.fd)
    except FileNotFoundError:
        if not folder.has_entry(aside):
            return True
        # else whoever set it aside before was stopped on the way
    if folder.load_entry(aside) == data:
        folder.syscalls.unlink(aside, folder.fd)
        return True
    put_back(folder, aside, file)
    return False


def remove_complete(folder: Folder, file: str, size: int) -> bool:
    """Remove a file that is appended to, unless anything was added since; see `Backend.remove_complete`."""
    try:
        fd = open_to_append(folder, file)
    except FileNotFoundError:
        return True
    try:
        if not lock_now(fd) or folder.syscalls.fstat(fd).st_size != size:
            return False
        folder.syscalls.unlink(file, folder.fd)
        return True
    finally:
        folder.syscalls.close(fd)
