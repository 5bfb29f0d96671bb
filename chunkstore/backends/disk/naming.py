"""Giving a file that is whole its name, never over another file, with whatever the file system has for that."""

from __future__ import annotations

import os

from chunkstore.backends.disk.folder import Folder
from chunkstore.backends.disk.syscalls import REFUSED
from chunkstore.backends.disk.writing import discard


def give_name(folder: Folder, temporary: str, file: str) -> None:
    """Give a file that is whole its name, which must be new; after an error it does not have it.

    Args:
        folder: where it is.
        temporary: its present name, which it may keep.
        file: its name.

    Raises:
        FileExistsError: there is such a file; it is not touched.
    """
    try:
        _link_or_rename(folder, temporary, file)
    except FileNotFoundError:
        raise  # somebody has removed the temporary file: what has the name now is another's
    except BaseException:
        if _has_another_name(folder, temporary):
            discard(folder, file)
        raise


def _has_another_name(folder: Folder, temporary: str) -> bool:
    """Tell whether a file that was written under a temporary name has got, or changed it for, another one."""
    try:
        return _link_count(folder, temporary) > 1
    except FileNotFoundError:
        return True
    except OSError:
        return False


def _link_or_rename(folder: Folder, temporary: str, file: str) -> None:
    if folder.has_hard_links:
        try:
            _link(folder, temporary, file)
        except OSError as error:
            if error.errno not in REFUSED:
                raise
            folder.has_hard_links = False
    if not folder.has_hard_links and not _rename_new(folder, temporary, file):
        _reserve_and_rename(folder, temporary, file)


def _link(folder: Folder, temporary: str, file: str) -> None:
    try:
        folder.syscalls.link(temporary, file, folder.fd)
    except FileExistsError:
        # NFS repeats a call whose answer was lost, and then finds the name that it has made itself.
        if _link_count(folder, temporary) == 1:
            raise


def _link_count(folder: Folder, file: str) -> int:
    """Return how many names a file of our own has; a host that remembers it would not know of a lost answer."""
    status = folder.status_when_opened(file) if folder.memory else folder.syscalls.lstat(file, folder.fd)
    return status.st_nlink


def _rename_new(folder: Folder, temporary: str, file: str) -> bool:
    """Rename a file to a name that must be new; tell whether that can be done here."""
    if not folder.has_exclusive_renames:
        return False
    try:
        folder.syscalls.rename_new(temporary, file, folder.fd)
    except OSError as error:
        if isinstance(error, FileExistsError) and not folder.has_entry(temporary):
            return True  # a file server repeats a call whose answer was lost
        if error.errno not in REFUSED:
            raise
        folder.has_exclusive_renames = False
        return False
    return True


def _reserve_and_rename(folder: Folder, temporary: str, file: str) -> None:
    """Publish where there are neither hard links nor renames that replace nothing.

    Whoever makes the empty file first may replace it. Readers report an empty chunk as a leftover of a write that was
    not acknowledged, which is what it is.
    """
    fd = folder.syscalls.open(file, os.O_CREAT | os.O_EXCL | os.O_WRONLY, folder.fd)
    try:
        folder.syscalls.close(fd)
        folder.syscalls.rename(temporary, file, folder.fd)
    except BaseException:
        discard(folder, file)
        raise


def put_back(folder: Folder, aside: str, file: str) -> None:
    """Give a file that was set aside its name back, unless there is a newer one of that name."""
    try:
        folder.syscalls.link(aside, file, folder.fd)
    except FileExistsError:
        pass  # it was replaced once more, which is newer than what was set aside
    except OSError as error:
        if error.errno not in REFUSED:
            raise
        try:
            _rename_new(folder, aside, file)
        except FileExistsError:
            pass  # as above
        else:
            return  # if that cannot be done, it stays aside: another way could undo what its owner writes now
    folder.syscalls.unlink(aside, folder.fd)
