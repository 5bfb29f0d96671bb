"""What data may be called, and where in the catalog it lies."""

from __future__ import annotations

import os
from pathlib import PurePosixPath

from chunkstore.errors import InvalidNameError
from chunkstore.names import check_name, encode_for_file

#: What the file ends in that keeps what a step printed.
LOG_SUFFIX = ".execution.log"
_BRANCHES = ".branches"


def path_of(folder: str, name: str, branch: str) -> str:
    """Return where data lies, below the top of the catalog."""
    parts = (folder, _BRANCHES, encode_for_file(branch), name) if branch else (folder, name)
    return str(PurePosixPath(*parts))


def default_name(source: str | os.PathLike[str]) -> str:
    """Return the path of `source` if that is a relative one that leads down, else its last part."""
    path = PurePosixPath(os.path.normpath(os.fspath(source)))
    return path.name if path.is_absolute() or ".." in path.parts else str(path)


def check_data_name(name: str) -> None:
    """Raise `InvalidNameError` unless data may be called so: a relative path that leads down."""
    parts = name.split("/")
    if not name or "\0" in name or name.startswith("/") or any(part in ("", ".", "..") for part in parts):
        raise InvalidNameError(
            f"Cannot call data {name!r}: the name must be a relative path without '..'. Pass another name.",
            name=name,
            reason="it is no relative path that leads down",
        )
    check_name(name)  # it must be text that a record can hold
    if parts[0] == _BRANCHES or (len(parts) == 1 and name.endswith(LOG_SUFFIX)):
        raise InvalidNameError(
            f"Cannot call data {name!r}: the catalog keeps that for itself. Pass another name.",
            name=name,
            reason="it is a name that the catalog uses",
        )
