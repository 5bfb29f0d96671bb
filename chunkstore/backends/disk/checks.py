"""Whether a file system does what the end of a run needs: to be told before the work, not after it."""

from __future__ import annotations

import os

from chunkstore.backends.disk.folder import Folder
from chunkstore.backends.disk.locks import SidecarLock
from chunkstore.backends.disk.publishing import replace
from chunkstore.backends.disk.syscalls import REFUSED
from chunkstore.backends.disk.temporary_names import temporary_names
from chunkstore.backends.disk.trees import discard_tree
from chunkstore.backends.disk.writing import discard
from chunkstore.backends.errors import UnreadableFileError
from chunkstore.errors import LockTimeoutError, StoreIOError

_FILE, _LOCK = "RunLog.json", ".lock"
_DATA = b"{}"
#: Seconds to wait for a lock that nobody else can know of.
_NO_TIME = 0.0


def check_what_ending_needs(top: Folder, *, syncs: bool) -> None:
    """Try to sync a folder, and in one inside it to replace a file, read it, and lock one.

    Args:
        top: the top folder.
        syncs: whether what is written has to be synced.

    Raises:
        OSError: a call has failed.
        StoreIOError: a call is refused; the message says what to do.
    """
    if syncs:
        try:
            top.sync_self()
        except OSError as error:
            if error.errno not in REFUSED:
                raise
            reason = f"nothing can be brought to stable storage there ({os.strerror(error.errno)})"
            advice = "set `durability: process`, at which a loss of power may take what was recorded last"
            raise _refused(top, reason, advice) from error
    path = os.path.join(top.location, temporary_names.next())
    try:
        top.syscalls.mkdir(path)
        _try_in(Folder(top.syscalls, path), top)
        discard_tree(top.syscalls, path)
    except BaseException:
        discard_tree(top.syscalls, path)  # an interrupt may have come just as that was done
        raise


def _try_in(folder: Folder, top: Folder) -> None:
    try:
        replace(folder, _FILE, _DATA, durable=False)
        folder.names(to_load=True)
        folder.load(_FILE)
        lock = SidecarLock(folder.syscalls, folder.fd, _LOCK, top.location)
        lock.acquire(_NO_TIME)
        lock.release()
        lock.close_if_idle()
    except UnreadableFileError as error:
        raise _refused(top, f"what is written there cannot be read: {error.reason}") from error
    except LockTimeoutError as error:
        raise _refused(top, "locks that nobody holds are refused") from error
    finally:  # by the folder that is open: there may be no other descriptor left
        discard(folder, _LOCK)
        discard(folder, _FILE)


def _refused(folder: Folder, reason: str, advice: str = "") -> StoreIOError:
    return StoreIOError(
        f"Cannot record in {folder.location}: {reason}, and the end of a run needs that. Move log_folder to another "
        f"file system{advice and ', or '}{advice}.",
        file=folder.location,
        errno=None,
    )
