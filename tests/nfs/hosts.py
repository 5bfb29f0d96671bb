"""Inside the kernel: two hosts, as far as programs can tell, that have one export mounted at the same path.

Each is the client of one mount. Processes of the second find its mount where those of the first find theirs, another
host name, and another start of the kernel. The numbers of processes are common, so that those of one host can be killed
from the other.
"""

from __future__ import annotations

import ctypes
import functools
import os
import subprocess
import uuid
from collections.abc import Callable
from pathlib import Path
from typing import TypeVar

from processes import Forked
from proofs.torture.children import in_child

_T = TypeVar("_T")

FIRST, SECOND = 0, 1

_CLONE_NEWNS, _MS_BIND, _MS_REC, _MS_PRIVATE = 1 << 17, 1 << 12, 1 << 14, 1 << 18
_SERVERS = ("127.0.0.1", "10.9.0.1")
_NAMESPACES = ("/run/netns/second", "/run/second")
_ENTER_SECOND = ("nsenter", f"--net={_NAMESPACES[0]}", f"--uts={_NAMESPACES[1]}")
_BOOT_ID = "/proc/sys/kernel/random/boot_id"
_libc = ctypes.CDLL(None, use_errno=True)


class Hosts:
    """Two hosts, and what they have mounted; this process is on the first.

    Args:
        options: further mount options, of both.

    Attributes:
        mounts: the top of the export as each host has mounted it, as seen from the first.
    """

    def __init__(self, options: str = "") -> None:
        self.mounts = _mounts(options)

    def on(self, host: int, work: Callable[..., _T]) -> Callable[..., _T]:
        """Return a function that moves its process, which must have one thread, to a host for good, and does the work.

        Args:
            host: `FIRST` or `SECOND`.
            work: finds the export at the path that it has on the first.
        """

        def moved(*arguments: object) -> _T:
            if host == SECOND:
                _move_to_second(*self.mounts)
            return work(*arguments)

        return moved

    def call(self, host: int, function: Callable[..., _T], *arguments: object) -> _T:
        """Return what a function returns in a process on a host, or raise what it raises."""
        return in_child(lambda: self.on(host, function)(*arguments))

    def forked(self, host: int, work: Callable[[Callable[[str], int]], object]) -> Forked:
        """Return a process on a host that talks until it is killed."""
        return Forked(self.on(host, work))


@functools.cache
def _mounts(options: str) -> tuple[str, str]:
    if not options:
        return os.environ["NFS_A"], os.environ["NFS_B"]
    paths = f"/mnt/{options}-a", f"/mnt/{options}-b"
    for path, server, enter in zip(paths, _SERVERS, ((), _ENTER_SECOND), strict=True):
        os.mkdir(path)
        command = ("mount", "-t", "nfs", "-o", f"vers=4.2,nosharecache,{options}", f"{server}:/", path)
        subprocess.run([*enter, *command], check=True)
    return paths


def _move_to_second(first: str, second: str) -> None:
    _check(_libc.unshare(_CLONE_NEWNS), "unshare")
    _mount("none", "/", _MS_REC | _MS_PRIVATE)
    _mount(second, first, _MS_BIND)
    _mount(_another_boot_id(), _BOOT_ID, _MS_BIND)
    for name in _NAMESPACES:
        fd = os.open(name, os.O_RDONLY)
        try:
            _check(_libc.setns(fd, 0), name)
        finally:
            os.close(fd)


def _another_boot_id() -> str:
    path = Path("/run/boot_id")
    if not path.exists():
        path.write_text(f"{uuid.uuid4()}\n", encoding="ascii")
    return os.fspath(path)


def _mount(source: str, target: str, flags: int) -> None:
    _check(_libc.mount(source.encode(), target.encode(), None, flags, None), target)


def _check(result: int, what: str) -> None:
    if result:
        raise OSError(ctypes.get_errno(), os.strerror(ctypes.get_errno()), what)
