"""What is done to a folder: names, bytes, syncing, and what was said meanwhile."""

from __future__ import annotations

from dataclasses import dataclass, field
from typing import NamedTuple


class TraceError(Exception):
    """A recording failed, or did something to the folder that cannot be followed."""


class Name(NamedTuple):
    """A name in a folder; `folder` is the number of the folder's inode."""

    folder: int
    name: str


@dataclass(frozen=True)
class Naming:
    """Names that were made, removed or replaced, all in one step: the inode of each, or None for none.

    Attributes:
        names: what each name leads to from then on.
        folder: the number of the folder that was made with it, or None.
    """

    names: dict[Name, int | None]
    folder: int | None = None


@dataclass(frozen=True)
class Writing:
    """Bytes that were written to a file; without bytes, the file was cut off or stretched at `offset`."""

    inode: int
    offset: int
    data: bytes | None


@dataclass(frozen=True)
class Syncing:
    """A file or folder, or with None all of them, was brought to stable storage."""

    inode: int | None


@dataclass(frozen=True)
class Acknowledgement:
    """The code said that something is done."""

    text: str


Operation = Naming | Writing | Syncing | Acknowledgement

#: The inode of the folder that is watched.
TOP = 0


@dataclass
class Trace:
    """What a piece of code did to a folder.

    Attributes:
        files: what the files held when the recording began, by inode.
        names: the inode of each name then.
        folders: the inodes that are folders then.
        operations: what was done since.
    """

    files: dict[int, bytes] = field(default_factory=dict)
    names: dict[Name, int] = field(default_factory=dict)
    folders: set[int] = field(default_factory=lambda: {TOP})
    operations: list[Operation] = field(default_factory=list)
