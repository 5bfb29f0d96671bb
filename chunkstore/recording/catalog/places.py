"""The folders of the catalog, opened from its top down: no link is followed that somebody has planted on the way."""

from __future__ import annotations

import errno
import os
import stat
from collections.abc import Sequence
from pathlib import PurePosixPath

from chunkstore.backends.disk.folder import READ_FLAGS, Folder
from chunkstore.backends.disk.freshness import again_if_stale, looked_at_afresh, memory_at
from chunkstore.backends.disk.os_errors import os_error
from chunkstore.backends.disk.syscalls import SYSTEM
from chunkstore.errors import ChunkstoreError, InvalidNameError, StoreAccessError
from chunkstore.recording.catalog.data_names import too_long

#: How often somebody may remove a folder just when something is about to be done in it.
_ATTEMPTS = 5
#: What the operating system says where there is nothing, or something that is no file of the catalog.
NOT_THERE = frozenset({errno.ENOENT, errno.ENOTDIR, errno.ELOOP, errno.ENAMETOOLONG, errno.ENXIO, errno.ENODEV})
_NOT_A_FOLDER = {errno.ENOTDIR, errno.ELOOP}
_IS_A_FOLDER = {errno.EISDIR, errno.ENOTEMPTY, errno.EEXIST}
SETTING = "catalog_folder"


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


@again_if_stale
def open_folder(top: str, parts: Sequence[str], *, make: bool = False) -> Folder:
    """Open a folder of the catalog; the top may be a link, as its owner chose it, and nothing below.

    Args:
        top: the path of the catalog.
        parts: the names on the way, each in the one before.
        make: whether what is not there is made.

    Raises:
        FileNotFoundError: there is no such folder.
        NotADirectoryError: there is something else on the way.
    """
    for attempt in range(1, _ATTEMPTS + 1):
        try:
            if make:
                make_folders(top)
            folder = Folder(SYSTEM, looked_at_afresh(top), follow=True, memory=memory_at(top))
            for part in parts:
                folder = inner_folder(folder, part, make=make)
        except FileNotFoundError:
            if not make or attempt == _ATTEMPTS:
                raise
        else:
            return folder
    raise AssertionError  # the last attempt has returned or raised


def inner_folder(folder: Folder, name: str, *, make: bool = False) -> Folder:
    """Open a folder in an open one; for the rest see `open_folder`."""
    path = os.path.join(folder.location, name)
    try:
        return Folder(folder.syscalls, path, within=folder)
    except FileNotFoundError:
        if not make:
            raise
    try:
        folder.syscalls.mkdir(name, folder.fd)
    except FileExistsError:
        pass  # another process was faster
    return Folder(folder.syscalls, path, within=folder)


@again_if_stale
def open_file(folder: Folder, name: str) -> int:
    """Return a descriptor of a regular file, of which nothing else is opened, and nobody waits for a pipe.

    Raises:
        FileNotFoundError: there is none, or something else.
    """
    if stat.S_ISREG(folder.syscalls.lstat(name, folder.fd).st_mode):
        fd = folder.syscalls.open(name, READ_FLAGS, folder.fd)
        if stat.S_ISREG(folder.syscalls.fstat(fd).st_mode):
            return fd
        folder.syscalls.close(fd)
    raise FileNotFoundError(errno.ENOENT, os.strerror(errno.ENOENT), os.path.join(folder.location, name))


def catalog_error(error: OSError, top: str, relative: str, name: str) -> ChunkstoreError:
    """Return what an error of the operating system means for somebody who puts data.

    Args:
        error: what it says.
        top: the path of the catalog.
        relative: where in it the data was to lie.
        name: what it was to be called.
    """
    where = os.path.join(top, relative)
    if error.errno == errno.ENAMETOOLONG:
        return too_long(name)
    if error.errno in _IS_A_FOLDER:
        return _taken(name, "there is a folder of that name in the catalog, with data that others have put")
    if error.errno in _NOT_A_FOLDER:
        path = top
        for part in PurePosixPath(relative).parts[:-1]:
            path = os.path.join(path, part)
            if os.path.islink(path):
                return StoreAccessError(
                    f"Cannot work in {where}: {path} is a symbolic link, and none is followed inside of the catalog. "
                    "Replace it by what it leads to; only the whole catalog may be a link.",
                    file=where,
                    key=SETTING,
                    expected="a folder without links in it",
                    errno=error.errno,
                )
            if os.path.isfile(path):
                return _taken(name, f"{os.path.relpath(path, top)} in the catalog is a file, and no folder")
    return os_error(error, where, SETTING)


def _taken(name: str, reason: str) -> InvalidNameError:
    return InvalidNameError(f"Cannot call data {name!r}: {reason}. Pass another name.", name=name, reason=reason)
