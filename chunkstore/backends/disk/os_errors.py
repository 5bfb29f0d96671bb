"""What errors of the operating system mean for users of a store."""

from __future__ import annotations

import errno
import os
from typing import NoReturn

from chunkstore.backends.errors import MissingError
from chunkstore.errors import ChunkstoreError, StoreAccessError, StoreFullError, StoreIOError

#: What to do next; the disk is to be checked after all others.
_HINTS = {
    **dict.fromkeys((errno.EMFILE, errno.ENFILE), "Raise the limit with `ulimit -n`."),
    errno.ESTALE: "The file server does not know it any more, though it was looked for again: if its export was made "
    "anew, mount it again; if others replace it all the time, try again.",
    errno.ETIMEDOUT: "The file server does not answer: see whether it is there. Mounted `hard`, not `soft`, it is "
    "waited for.",
}
#: What settings are called in messages, if not by their own names.
_NAMES = {"catalog_folder": "the catalog"}


def os_error(error: OSError, where: str, setting: str = "log_folder") -> ChunkstoreError:
    """Return the error that tells users what an `OSError` at `where` means for them.

    Args:
        error: what the operating system says.
        where: the file or folder.
        setting: what in the configuration names the folder that it is in.
    """
    if error.errno in (errno.ENOSPC, errno.EDQUOT):
        return StoreFullError(
            f"Cannot write {where}: {os.strerror(error.errno)}. What was recorded before is untouched; free some "
            "space or inodes and try again.",
            file=where,
            errno=error.errno,
        )
    if error.errno in (errno.EACCES, errno.EPERM, errno.EROFS, errno.ENOTDIR, errno.ELOOP):
        called = _NAMES.get(setting, setting)
        return StoreAccessError(
            f"Cannot work in {where}: {os.strerror(error.errno)}. Check that {called} is a folder that you may use, or "
            "choose another one.",
            file=where,
            key=setting,
            expected="a folder that can be written to",
            errno=error.errno,
        )
    hint = _HINTS.get(error.errno or 0, "Check the disk.")
    reason = os.strerror(error.errno) if error.errno else str(error)
    return StoreIOError(f"Cannot use {where}: {reason}. {hint}", file=where, errno=error.errno)


def fail(error: OSError, where: str) -> NoReturn:
    """Raise what the contract of `Backend` says for an error of the operating system at `where`."""
    if isinstance(error, (ChunkstoreError, MissingError, FileExistsError)):
        raise error
    if isinstance(error, FileNotFoundError):
        raise MissingError(where) from None
    raise os_error(error, where) from error
