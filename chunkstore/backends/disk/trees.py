"""Removing folders with all that is in them, also while others write to them."""

from __future__ import annotations

import errno
import os
import stat

from chunkstore.backends.disk.folder import Folder
from chunkstore.backends.disk.syscalls import Syscalls
from chunkstore.backends.disk.temporary_names import temporary_names
from chunkstore.names import DELETED_PREFIX

_NFS_PREFIX = ".nfs"


def move_and_remove(syscalls: Syscalls, path: str) -> None:
    """Remove a folder; it is gone at once for everybody, as it changes its name first.

    Args:
        syscalls: how files are touched.
        path: the folder.

    Raises:
        OSError: that cannot be done.
    """
    aside = _deleted_beside(path)
    try:
        syscalls.rename(path, aside)
        remove_tree(syscalls, aside)
    except BaseException:
        discard_tree(syscalls, aside)  # gone it is by now, so no interrupt shall leave a part of it
        raise


def remove_left_over(syscalls: Syscalls, path: str) -> None:
    """Remove a file or folder that somebody left who was stopped; see `Backend.remove_left_over`.

    Args:
        syscalls: how files are touched.
        path: the file or folder.

    Raises:
        FileNotFoundError: it has its true name by now, or somebody else has removed it.
        OSError: that cannot be done.
    """
    if not stat.S_ISDIR(syscalls.lstat(path).st_mode):
        syscalls.unlink(path)
        return
    # As above: should anybody still be about to give it its true name, that one finds it gone.
    if not os.path.basename(path).startswith(DELETED_PREFIX):
        aside = _deleted_beside(path)
        syscalls.rename(path, aside)
        path = aside
    remove_tree(syscalls, path)


def _deleted_beside(path: str) -> str:
    return os.path.join(os.path.dirname(path), temporary_names.next_deleted())


def remove_tree(syscalls: Syscalls, path: str) -> None:
    """Remove a folder that has no name that anybody looks at.

    Args:
        syscalls: how files are touched.
        path: the folder.

    Raises:
        OSError: that cannot be done.
    """
    while True:
        handle = Folder(syscalls, path)
        for name in handle.all_entries():
            try:
                syscalls.unlink(name, handle.fd)
            except (IsADirectoryError, PermissionError):  # the latter is what POSIX says of a folder
                if name not in handle.all_entries():
                    continue  # it was removed all the same, as when the answer of a file server is lost
                if not stat.S_ISDIR(syscalls.lstat(name, handle.fd).st_mode):
                    raise
                remove_tree(syscalls, os.path.join(path, name))
            except OSError as error:
                if error.errno not in (errno.ENOENT, errno.EBUSY):
                    raise
        try:
            syscalls.rmdir(path)
        except OSError as error:
            if error.errno not in (errno.ENOTEMPTY, errno.EEXIST):
                raise
            names = handle.all_entries()
            if names and all(name.startswith(_NFS_PREFIX) for name in names):
                return  # NFS keeps files that somebody has open under such names, and removes them later
            continue  # a writer that still had the folder open added a file
        return


def discard_tree(syscalls: Syscalls, path: str) -> None:
    """Remove a folder of our own on the way out of an error, as far as that goes.

    Args:
        syscalls: how files are touched.
        path: the folder.
    """
    try:
        syscalls.rmdir(path)  # an empty one needs no descriptor
    except OSError:
        try:
            remove_tree(syscalls, path)
        except OSError:
            pass  # never made, or the very failure that brought us here
