"""Moving damaged files out of the way, while those who own them go on writing.

A file is never moved by name after it was looked at: its owner could have replaced it in between. It is set aside
first, where readers still look for it, judged there, and put back if it is not damaged. Whoever is stopped on the way
leaves it where it was, set aside, or in quarantine; doing it again finishes what was begun.
"""

from __future__ import annotations

import errno
import itertools
import os
import stat

from chunkstore.backends.capabilities import Judge
from chunkstore.backends.disk.folder import Folder
from chunkstore.backends.disk.naming import put_back
from chunkstore.names import ASIDE_PREFIX

#: The folder, inside that of the run, that damaged files are moved to; nobody reads what is in it.
QUARANTINE = "quarantine"


def quarantine(folder: Folder, file: str, is_damaged: Judge) -> str:
    """Move a file to the quarantine of its folder, if it is damaged; to be called under the run's lock.

    Nothing that is in quarantine is overwritten, and nothing is removed.

    Args:
        folder: where the file is.
        file: its name.
        is_damaged: judges it, perhaps more than once.

    Returns:
        Where it is now, below the folder; empty if it is gone, or not damaged.

    Raises:
        OSError: it cannot be moved.
    """
    aside = ASIDE_PREFIX + file
    if folder.has_entry(file):
        if not is_damaged(lambda: folder.load(file)):
            return ""
        if folder.has_entry(aside):
            # Left by somebody who was stopped after `file` had been put back, or replaced: it does not count.
            _move(folder, aside, file)
        folder.syscalls.rename(file, aside, folder.fd)
    elif not folder.has_entry(aside):
        return ""
    if is_damaged(lambda: folder.load(aside)):
        return _move(folder, aside, file)
    put_back(folder, aside, file)
    return ""


def _move(folder: Folder, entry: str, file: str) -> str:
    """Move an entry to a name in quarantine that is not taken; return its path below the folder."""
    try:
        folder.syscalls.mkdir(QUARANTINE, folder.fd)
    except FileExistsError:
        if not stat.S_ISDIR(folder.syscalls.lstat(QUARANTINE, folder.fd).st_mode):  # a link could lead anywhere
            raise NotADirectoryError(errno.ENOTDIR, os.strerror(errno.ENOTDIR), QUARANTINE) from None
    for number in itertools.count(1):
        path = f"{QUARANTINE}/{file}" if number == 1 else f"{QUARANTINE}/{file}.{number}"
        # Whoever moves anything here holds the lock, so the name stays free.
        if not folder.has_entry(path):
            folder.syscalls.rename(entry, path, folder.fd)
            return path
    raise AssertionError  # numbers do not end
