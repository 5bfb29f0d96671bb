"""The files of the catalog, brought to stable storage; and small things that are done to it."""

from __future__ import annotations

import os

from chunkstore.backends.disk.folder import Folder
from chunkstore.backends.disk.syncing import leave_mark, sync_anew, sync_file
from chunkstore.backends.disk.syscalls import SYSTEM
from chunkstore.backends.disk.writing import discard as discard_in
from chunkstore.names import TEMPORARY_PREFIX, UNSYNCED_FILE

#: What is another one when a file is replaced, or something in a folder changes.
Version = tuple[int, ...]


def sync_path(path: str) -> None:
    """Bring a file, or the names in a folder, to stable storage."""
    fd = SYSTEM.open(path, os.O_RDONLY)
    try:
        SYSTEM.fsync(fd)
    finally:
        SYSTEM.close(fd)


def sync_folder(path: str, done: set[Version]) -> None:
    """Bring the files in a folder, and their names, to stable storage.

    A sync that has failed is not made good by another one; see `sync_anew`.

    Args:
        path: the folder.
        done: what has been synced, and need not be again; what is synced here is added.
    """
    folder = Folder(SYSTEM, path)
    has_failed = folder.has_entry(UNSYNCED_FILE)
    versions = {name: version for name in folder.all_entries() if (version := _version(folder, name)) is not None}
    changed = {name: version for name, version in versions.items() if version not in done}
    if not changed and _folder_version(folder) in done:
        return
    try:
        if has_failed:
            sync_anew(folder, list(changed))
        for name in () if has_failed else changed:
            try:
                sync_file(folder, name)
            except FileNotFoundError:
                pass  # removed since it was listed
        folder.sync_self()
    except OSError:
        leave_mark(folder, UNSYNCED_FILE)
        raise
    done.update(changed.values())
    if has_failed:
        discard_in(folder, UNSYNCED_FILE)
    done.add(_folder_version(folder))


def _version(folder: Folder, name: str) -> Version | None:
    """Return what is another one when a file is replaced; None for what need not be durable, or is no file."""
    if name.startswith(TEMPORARY_PREFIX) or name == UNSYNCED_FILE:
        return None
    try:
        return folder.version(name)
    except FileNotFoundError:
        return None


def _folder_version(folder: Folder) -> Version:
    return (*folder.identity(), folder.changed_at())


def listed(path: str) -> list[str]:
    """Return the names in a folder, none if there is no such folder."""
    try:
        return os.listdir(path)
    except FileNotFoundError:
        return []


def discard_folder(path: str) -> None:
    """Remove an empty folder of our own on the way out of an error, if it is there."""
    try:
        SYSTEM.rmdir(path)
    except OSError:
        pass  # never made, or the very failure that brought us here
