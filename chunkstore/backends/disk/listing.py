"""Listing all that lies in a folder."""

from __future__ import annotations

import os
import stat

from chunkstore.backends.disk.folder import Folder, written_at
from chunkstore.backends.entries import FILE, FOLDER, LINK, OTHER, Entry

#: In what stat(2) counts blocks, whatever the file system does.
BLOCK = 512
_TESTS = ((FILE, stat.S_ISREG), (FOLDER, stat.S_ISDIR), (LINK, stat.S_ISLNK))


def entries_in(folder: Folder) -> list[Entry]:
    """Return all entries of an open folder; a single listing, without those that are removed meanwhile."""
    found = []
    for name in folder.all_entries():
        try:
            found.append(_entry(name, folder.entry_status(name)))
        except FileNotFoundError:
            pass  # removed since it was listed
        except OSError:
            found.append(Entry(name, OTHER))
    return found


def _entry(name: str, status: os.stat_result) -> Entry:
    kind = next((kind for kind, test in _TESTS if test(status.st_mode)), OTHER)
    is_the_only_name = kind == FOLDER or status.st_nlink <= 1
    return Entry(name, kind, status.st_blocks * BLOCK if is_the_only_name else 0, written_at(status))
