"""The files of the catalog: opened, hashed, copied under a temporary name, and brought to stable storage."""

from __future__ import annotations

import hashlib
import os
from pathlib import Path
from typing import BinaryIO, NoReturn

from chunkstore.backends.disk.folder import Folder
from chunkstore.backends.disk.os_errors import os_error
from chunkstore.backends.disk.syncing import leave_mark, sync_anew, sync_file, sync_way_to
from chunkstore.backends.disk.syscalls import SYSTEM
from chunkstore.backends.disk.temporary_names import temporary_names
from chunkstore.backends.disk.writing import discard as discard_in
from chunkstore.names import TEMPORARY_PREFIX, UNSYNCED_FILE

_BLOCK = 1 << 20

#: What is another one when a file is replaced, or something in a folder changes.
Version = tuple[int, ...]


def files_below(folder: Path) -> list[Path]:
    """Return all files in a folder and in those inside; one that cannot be looked into is an error."""
    found: list[Path] = []
    for inner, _, names in os.walk(folder, onerror=_raise_told):
        found.extend(file for name in names if (file := Path(inner, name)).is_file())
    return sorted(found)


def _raise_told(error: OSError) -> NoReturn:
    raise _told(error, str(error.filename))


def opened(file: Path) -> BinaryIO:
    """Return a file that can be read from; what is wrong with one of the author's, Python says best."""
    try:
        return file.open("rb")
    except OSError as error:
        raise _told(error, str(file)) from error


def _told(error: OSError, where: str) -> Exception:
    """Return what to raise for a file that cannot be read: Python says best what is wrong with one of the author's."""
    if isinstance(error, (FileNotFoundError, PermissionError, IsADirectoryError, NotADirectoryError)):
        return error
    return os_error(error, where)


def hash_of_file(file: Path) -> str:
    """Return the SHA-256 of a file."""
    digest = hashlib.sha256()
    with opened(file) as content:
        while block := content.read(_BLOCK):
            digest.update(block)
    return digest.hexdigest()


def copy(content: BinaryIO, target: str, *, sync: bool) -> str:
    """Copy to `target` under a temporary name, hash on the way, and rename; return the SHA-256."""
    folder = os.path.dirname(target)
    temporary = os.path.join(folder, temporary_names.next())
    digest = hashlib.sha256()
    try:
        make_folders(folder)
        fd = SYSTEM.open(temporary, os.O_CREAT | os.O_EXCL | os.O_WRONLY | os.O_NOFOLLOW)
        try:
            while block := content.read(_BLOCK):
                digest.update(block)
                view = memoryview(block)
                while view:
                    view = view[SYSTEM.write(fd, view) :]
            if sync:
                SYSTEM.fsync(fd)
        finally:
            SYSTEM.close(fd)
        SYSTEM.rename(temporary, target)
        if sync:
            # The folders may be new, and who made them need not have come to making them durable.
            sync_way_to(SYSTEM, target)
    except BaseException as error:
        discard(temporary)
        if isinstance(error, OSError):
            raise os_error(error, target) from error
        raise
    return digest.hexdigest()


def make_folders(path: str) -> None:
    """Make a folder and those above it."""
    missing: list[str] = []
    while not os.path.isdir(path):
        missing.append(path)
        path = os.path.dirname(path)
    for folder in reversed(missing):
        try:
            SYSTEM.mkdir(folder)
        except FileExistsError:
            pass  # another process was faster


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


def discard(path: str) -> None:
    """Remove a file of our own on the way out of an error, if it is there."""
    try:
        SYSTEM.unlink(path)
    except OSError:
        pass  # never made, or the very failure that brought us here


def discard_folder(path: str) -> None:
    """Remove an empty folder of our own on the way out of an error, if it is there."""
    try:
        SYSTEM.rmdir(path)
    except OSError:
        pass  # as above
