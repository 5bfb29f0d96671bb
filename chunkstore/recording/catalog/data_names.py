"""What data may be called, and where in the catalog it lies."""

from __future__ import annotations

import os
from pathlib import PurePosixPath
from typing import Any

from chunkstore.errors import InvalidNameError
from chunkstore.names import DELETED_PREFIX, TEMPORARY_PREFIX, UNSYNCED_FILE, check_name, encode_for_file

#: What the file ends in that keeps what a step printed.
LOG_SUFFIX = ".execution.log"
#: In there is all that has been put, by its hash; see `versions`.
VERSIONS = ".versions"
#: The same in a bucket: some servers hide what is called as they call versions of their own.
BY_HASH = ".by-hash"
_BRANCHES = ".branches"
#: What no file system takes for a file (NAME_MAX), and what leaves room for the way to the catalog (PATH_MAX).
_LONGEST_PART = 255
_LONGEST = 3_072


def path_of(folder: str, name: str, branch: str) -> str:
    """Return where data lies, below the top of the catalog."""
    parts = (folder, _BRANCHES, encode_for_file(branch), name) if branch else (folder, name)
    return str(PurePosixPath(*parts))


def default_name(source: str | os.PathLike[str]) -> str:
    """Return the path of `source` if that is a relative one that leads down, else its last part."""
    path = PurePosixPath(os.path.normpath(os.fspath(source)))
    return path.name if path.is_absolute() or ".." in path.parts else str(path)


def check_data_name(name: Any) -> None:
    """Raise `InvalidNameError` unless data may be called so: a relative path that leads down."""
    if not isinstance(name, str) or not name:
        check_name(name)
    parts = name.split("/")
    if "\0" in name or any(part in ("", ".", "..") for part in parts):
        raise refused(name, "it is no relative path that leads down")
    check_name(name)  # it must be text that a record can hold
    is_own = parts[0] in (_BRANCHES, VERSIONS, BY_HASH) or (len(parts) == 1 and name.endswith(LOG_SUFFIX))
    if is_own or any(part.startswith((TEMPORARY_PREFIX, DELETED_PREFIX)) or part == UNSYNCED_FILE for part in parts):
        raise refused(name, "it is a name that the catalog uses")


def is_too_long(name: str) -> bool:
    """Tell whether no file system has room for a name."""
    return len(name.encode()) > _LONGEST or any(len(part.encode()) > _LONGEST_PART for part in name.split("/"))


def refused(name: str, reason: str) -> InvalidNameError:
    """Return the error for a name that data cannot have."""
    shown = repr(name) if len(name) <= 100 else f"{name[:97]!r}…"  # noqa: PLR2004 - only a message
    return InvalidNameError(f"Cannot call data {shown}: {reason}. Pass another name.", name=name, reason=reason)


def too_long(name: str) -> InvalidNameError:
    """Return the error for a name that is too long for a file."""
    return refused(name, f"no part of it may be longer than {_LONGEST_PART} bytes, and all of it than {_LONGEST:,}")
