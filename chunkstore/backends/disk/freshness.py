"""Looking afresh at what other hosts may have changed, where a host remembers what it has seen on a file server.

NFS remembers names, also that a name was *not* there, for half a minute and more, and sizes for seconds. What others
have acknowledged is found all the same: opening a folder makes the host ask the server whether anything in it has
changed ("close to open"), and only what has changed is asked for anew. None of this is done on a disk of this host.
"""

from __future__ import annotations

import errno
import functools
import os
from collections.abc import Callable
from typing import NamedTuple, ParamSpec, TypeVar

from chunkstore.backends.disk.mounts import mount_of
from chunkstore.backends.disk.syscalls import SYSTEM, Syscalls
from chunkstore.backends.mount import Mount

_P = ParamSpec("_P")
_T = TypeVar("_T")

_OF_SERVERS = {"nfs", "nfs4"}
#: How often something is looked for again that a file server has forgotten just then.
_ATTEMPTS = 5
#: That somebody may not list a folder, or that it is none, is told by what is going to be done in it.
_TO_BE_TOLD_LATER = {errno.EACCES, errno.EPERM, errno.ENOTDIR, errno.ELOOP}


class Memory(NamedTuple):
    """That what other hosts have done may be seen late on a file system.

    Attributes:
        asking: the flags with which a file is opened about which the server is asked each time. Else an NFS server may
            leave a file to a host for a while (a delegation), which then answers for it, also what is locked.
    """

    asking: int


def memory_of(mount: Mount | None) -> Memory | None:
    """Return what is to be minded on a file system, None for nothing; where nobody knows what it is, it may be any."""
    if mount is not None and (mount.is_local or mount.is_coherent):
        return None
    return Memory(getattr(os, "O_DIRECT", 0) if mount is not None and mount.type in _OF_SERVERS else 0)


class UnsyncedError(OSError):
    """What was done in a folder could not be made durable: to do it again would be something else."""


def is_forgotten(error: OSError) -> bool:
    """Tell whether a server no longer knew what something was to be done with, so that it may be done again."""
    return error.errno == errno.ESTALE and not isinstance(error, UnsyncedError)


def again_if_stale(look: Callable[_P, _T]) -> Callable[_P, _T]:
    """Let something that changes nothing be done again when the server no longer knows what it was done with (ESTALE).

    Whoever replaces or removes a file does not ask who reads it. Looked for by its name, there is a new one, or none.
    """

    @functools.wraps(look)
    def look_again(*arguments: _P.args, **options: _P.kwargs) -> _T:
        for _ in range(_ATTEMPTS - 1):
            try:
                return look(*arguments, **options)
            except OSError as error:
                if not is_forgotten(error):
                    raise
        return look(*arguments, **options)

    return look_again


@functools.lru_cache(maxsize=64)
def memory_at(path: str) -> Memory | None:
    """Return what is to be minded where a path leads."""
    return memory_of(mount_of(path))


def looked_at_afresh(path: str) -> str:
    """Return a path for a look at what is there, and at what is in it if that is a folder, as other hosts have left it.

    Args:
        path: an absolute path; nothing need be there.
    """
    if memory_at(path):
        try:
            look_afresh(SYSTEM, path)
        except OSError:
            pass  # whoever looks will be told
    return path


def look_afresh(syscalls: Syscalls, folder: str) -> None:
    """Have this host ask the server what is in a folder, and in those above it that were not there before.

    Args:
        syscalls: how files are touched.
        folder: an absolute path.

    Raises:
        FileNotFoundError: there is no such folder, now that it was asked for.
    """
    try:
        _open_and_close(syscalls, folder)
    except FileNotFoundError:
        above = os.path.dirname(folder)
        if above == folder:
            raise
        look_afresh(syscalls, above)
        _open_and_close(syscalls, folder)


@again_if_stale
def _open_and_close(syscalls: Syscalls, folder: str) -> None:
    try:
        syscalls.close(syscalls.open(folder, os.O_RDONLY | os.O_DIRECTORY))
    except OSError as error:
        if error.errno not in _TO_BE_TOLD_LATER:
            raise


class PatientSyscalls(Syscalls):
    """System calls of which those that go by a name are made again when its server has forgotten what that stood for.

    Those that go by an open file are not: it takes another one.

    Args:
        syscalls: makes them.
    """

    def __init__(self, syscalls: Syscalls) -> None:
        for name in _METHODS:
            method = getattr(syscalls, name)
            setattr(self, name, again_if_stale(method) if name in _BY_NAME else method)


_METHODS = [name for name in vars(Syscalls) if not name.startswith("_")]
_BY_NAME = {"open", "stat", "lstat", "link", "link_unnamed", "rename", "rename_new", "unlink", "mkdir", "rmdir"}
