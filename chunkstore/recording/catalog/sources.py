"""What authors put into the catalog: their files, and those in their folders."""

from __future__ import annotations

import errno
import os
import stat
from pathlib import Path
from typing import BinaryIO, NoReturn

from chunkstore.backends.disk.os_errors import os_error
from chunkstore.errors import InvalidNameError

#: Errors of which Python says best what is wrong with a file of the author's.
_AS_THEY_ARE = (FileNotFoundError, PermissionError, IsADirectoryError, NotADirectoryError)
_KINDS = ((stat.S_ISFIFO, "a pipe"), (stat.S_ISSOCK, "a socket"), (stat.S_ISDIR, "a folder"))
_DEVICE = "a device"


def is_folder(source: Path) -> bool:
    """Tell whether a folder is to be put, or a file.

    Raises:
        FileNotFoundError: there is neither.
        InvalidNameError: it is something else, or there can be nothing of that name.
    """
    try:
        mode = source.stat().st_mode
    except (OSError, ValueError) as error:
        raise told(error, str(source)) from error
    if not stat.S_ISDIR(mode) and not stat.S_ISREG(mode):
        raise _refused(str(source), f"it is {_kind(mode)}, and no file or folder")
    return stat.S_ISDIR(mode)


def files_below(folder: Path) -> list[Path]:
    """Return all files in a folder and in those inside.

    Links to files stand for these.

    Raises:
        InvalidNameError: something in it is no file: to leave it out would be to lose it.
        OSError: one of the folders cannot be looked into.
    """
    found: list[Path] = []
    for inner, folders, names in os.walk(folder, onerror=_raise_told):
        found.extend(path for name in names if _is_file(path := Path(inner, name), folder))
        for name in folders:
            if os.path.islink(path := Path(inner, name)):
                raise _refused(str(folder), f"{path} is a link to a folder")
    return sorted(found)


def _is_file(path: Path, folder: Path) -> bool:
    try:
        mode = path.stat().st_mode
    except (FileNotFoundError, NotADirectoryError):
        if not path.is_symlink():
            return False  # removed since it was listed
        raise _refused(str(folder), f"{path} is a link that leads nowhere") from None
    except OSError as error:
        raise told(error, str(path)) from error
    if not stat.S_ISREG(mode):
        raise _refused(str(folder), f"{path} is {_kind(mode)}")
    return True


def opened(file: Path) -> BinaryIO:
    """Open a file to be read; nobody waits for a pipe that has taken its place.

    Raises:
        InvalidNameError: it is no file.
        OSError: what is wrong with it.
    """
    try:
        fd = os.open(file, os.O_RDONLY | os.O_NONBLOCK | os.O_NOCTTY | os.O_CLOEXEC)
    except (OSError, ValueError) as error:
        raise told(error, str(file)) from error
    mode = os.fstat(fd).st_mode
    if stat.S_ISREG(mode):
        return os.fdopen(fd, "rb", buffering=0)
    os.close(fd)
    if stat.S_ISDIR(mode):
        raise IsADirectoryError(errno.EISDIR, os.strerror(errno.EISDIR), str(file))
    raise _refused(str(file), f"it is {_kind(mode)}")


def _kind(mode: int) -> str:
    return next((kind for is_kind, kind in _KINDS if is_kind(mode)), _DEVICE)


def _raise_told(error: OSError) -> NoReturn:
    raise told(error, str(error.filename))


def told(error: OSError | ValueError, where: str) -> Exception:
    """Return what to raise for a file of the author's that cannot be used."""
    if isinstance(error, ValueError) or error.errno in (errno.ENAMETOOLONG, errno.ELOOP):
        reason = os.strerror(error.errno) if isinstance(error, OSError) and error.errno else str(error)
        return _refused(where, f"there can be no such path: {reason}")
    return error if isinstance(error, _AS_THEY_ARE) else os_error(error, where)


def _refused(source: str, reason: str) -> InvalidNameError:
    shown = repr(source) if len(source) <= 200 else f"{source[:197]!r}…"  # noqa: PLR2004 - only a message
    return InvalidNameError(
        f"Cannot put {shown} into the catalog: {reason}. Put files, or a folder that holds nothing but files.",
        name=source,
        reason=reason,
    )
