"""What lies in a folder, also what readers pass over: for those who check, count and clean."""

from __future__ import annotations

from typing import NamedTuple

from chunkstore.names import END_OF_TIME

FILE, FOLDER, LINK, OTHER = "file", "folder", "link", "other"


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
