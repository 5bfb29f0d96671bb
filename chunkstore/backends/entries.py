"""What lies in a folder, also what readers pass over: for those who check, count and clean."""

from __future__ import annotations

import os
import stat
from typing import TYPE_CHECKING, NamedTuple

from chunkstore.backends.disk.syscalls import Syscalls
from chunkstore.names import END_OF_TIME

if TYPE_CHECKING:  # it stands on the base of all backends, which says what an entry is
    from chunkstore.backends.disk.folder import Folder

FILE, FOLDER, LINK, OTHER = "file", "folder", "link", "other"

#: In what stat(2) counts blocks, whatever the file system does.
_BLOCK = 512


class Entry(NamedTuple):
    """An entry of a folder.

    Attributes:
        name: its name.
        kind: `file`, `folder`, `link`, or `other`: a pipe, a socket, a device, or what cannot be looked at.
        space: how many bytes of the disk are free again when it is removed; a file with two names takes none.
        modified_at: when it was changed last, in nanoseconds; far ahead if nobody knows.
    """

    name: str
    kind: str
    space: int = 0
    modified_at: int = END_OF_TIME


def entries_in(syscalls: Syscalls, folder: Folder) -> list[Entry]:
    """Return all entries of an open folder; a single listing, without those that are removed meanwhile.

    Args:
        syscalls: how files are touched.
        folder: the folder.
    """
    found = []
    for name in folder.all_entries():
        try:
            found.append(_entry(name, syscalls.lstat(name, folder.fd)))
        except FileNotFoundError:
            pass  # removed since it was listed
        except OSError:
            found.append(Entry(name, OTHER))
    return found


def _entry(name: str, status: os.stat_result) -> Entry:
    kind = next((kind for kind, test in _TESTS if test(status.st_mode)), OTHER)
    is_the_only_name = kind == FOLDER or status.st_nlink <= 1
    return Entry(name, kind, status.st_blocks * _BLOCK if is_the_only_name else 0, status.st_mtime_ns)


_TESTS = ((FILE, stat.S_ISREG), (FOLDER, stat.S_ISDIR), (LINK, stat.S_ISLNK))
