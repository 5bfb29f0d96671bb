"""Making folders that hold their first files from the first moment on."""

from __future__ import annotations

import errno
import os
from collections.abc import Callable, Iterable, Mapping

from chunkstore.backends.disk.folder import Folder
from chunkstore.backends.disk.freshness import again_if_stale
from chunkstore.backends.disk.open_folders import OpenFolders
from chunkstore.backends.disk.os_errors import fail, os_error
from chunkstore.backends.disk.publishing import publish, replace
from chunkstore.backends.disk.syscalls import Syscalls
from chunkstore.backends.disk.temporary_names import temporary_names
from chunkstore.backends.disk.trees import discard_tree, remove_tree
from chunkstore.backends.disk.writing import discard, write_plain
from chunkstore.backends.errors import MissingError

#: How often a folder may be removed while somebody else makes it.
_CREATIONS = 100
_IS_THERE = {errno.ENOTEMPTY, errno.EEXIST}

#: Does something while nobody else makes or removes a folder.
WhileLocked = Callable[[Callable[[], None]], None]


def make_top(syscalls: Syscalls, path: str) -> None:
    """Make a folder and those above it, unless they are there.

    Args:
        syscalls: how files are touched.
        path: an absolute path.

    Raises:
        OSError: that cannot be done.
    """
    missing = []
    while not _exists(syscalls, path):
        missing.append(path)
        path = os.path.dirname(path)
    for made in reversed(missing):
        try:
            syscalls.mkdir(made)
        except FileExistsError:
            pass  # another process was faster


def _exists(syscalls: Syscalls, path: str) -> bool:
    try:
        syscalls.lstat(path)
    except FileNotFoundError:
        return False
    return True


def create_folder(
    folders: OpenFolders, folder: str, files: Mapping[str, bytes], *, durable: bool, while_locked: WhileLocked
) -> None:
    """Make a folder, and those above it; see `Backend.create_folder`.

    Args:
        folders: where to make it.
        folder: its name.
        files: what it holds.
        durable: whether all that survives a loss of power.
        while_locked: locks this folder.
    """
    path = folders.path(folder)
    try:
        for _ in range(_CREATIONS):
            make_top(folders.syscalls, folders.top)
            if _fill_and_rename(folders, folder, files, durable=durable) or _complete(
                folders, folder, files, durable=durable, while_locked=while_locked
            ):
                return
        raise MissingError(path)
    except FileNotFoundError as error:
        raise os_error(error, path) from error  # somebody removes the top folder right now
    except OSError as error:
        fail(error, path)


def _fill_and_rename(folders: OpenFolders, folder: str, files: Mapping[str, bytes], *, durable: bool) -> bool:
    """Make a folder, unless there is one; tell whether that is done.

    It is filled under another name and renamed when it is whole: nobody sees half a run, and rename refuses to replace
    a folder that has something in it.
    """
    syscalls, path = folders.syscalls, folders.path(folder)
    handle = _filled(folders, files, durable=durable)
    temporary = handle.location
    try:
        syscalls.rename(temporary, path)
    except OSError as error:
        if error.errno in _IS_THERE:
            remove_tree(syscalls, temporary)
            return False
        if error.errno != errno.ESTALE or not _has_become(handle, path):
            _discard_new(syscalls, handle, temporary, files)
            raise
    except BaseException:
        _discard_new(syscalls, handle, temporary, files)
        raise
    folders.forget(folder)
    if durable:
        # If this fails the run stays, though nobody was told of it: others may have joined it by now.
        folders.sync_way_to(folder)
    return True


@again_if_stale
def _filled(folders: OpenFolders, files: Mapping[str, bytes], *, durable: bool) -> Folder:
    """Return a new folder that holds some files, under a temporary name."""
    syscalls = folders.syscalls
    temporary = folders.path(temporary_names.next())
    handle = None
    try:
        syscalls.mkdir(temporary)
        handle = Folder(syscalls, temporary)
        for file, data in files.items():
            write_plain(handle, file, data, durable=durable)
        if durable:
            handle.sync_self()
    except BaseException:
        _discard_new(syscalls, handle, temporary, files)
        raise
    return handle


def _has_become(handle: Folder, path: str) -> bool:
    """Tell whether a path leads to an open folder: that may have been renamed though it was said that it was not."""
    try:
        status = handle.syscalls.lstat(path)
        return (status.st_dev, status.st_ino) == handle.identity()
    except OSError:
        return False


def _discard_new(syscalls: Syscalls, handle: Folder | None, path: str, files: Iterable[str]) -> None:
    """Remove a folder that was not to be renamed, also where no descriptor is left to list it with."""
    try:
        if handle is not None and handle.is_current():  # else it has its true name by now: it is a run
            for file in files:
                discard(handle, file)
    except OSError:
        pass  # then it is left to what comes next
    discard_tree(syscalls, path)


def _complete(
    folders: OpenFolders, folder: str, files: Mapping[str, bytes], *, durable: bool, while_locked: WhileLocked
) -> bool:
    """Put the files into a folder that is there already; the last one decides whether it was a run.

    Returns:
        Whether that is done, and the folder still there.
    """
    *others, last = files

    def complete(handle: Folder) -> None:
        if last in handle.names():
            raise FileExistsError(folders.path(folder))
        for file in others:
            replace(handle, file, files[file], durable=durable)
        publish(handle, last, files[last], durable=durable, take_back=False)

    try:
        if last in folders.fresh(folder).names():
            raise FileExistsError(folders.path(folder))  # the usual case: nobody waits for a lock to hear that
        # Whoever removes the folder takes the lock too: from here on it is one and the same.
        while_locked(lambda: folders.do(folder, complete))
    except FileNotFoundError:
        return False
    if durable:
        folders.sync_way_to(folder)
    return True
