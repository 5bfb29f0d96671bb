"""File systems of our own: in an image that is mounted through a loop device, or in memory.

Mounting needs root. `why_not` says what is missing here; tests call `require`, which skips the test with that reason,
or fails it where the environment variable CHUNKSTORE_NO_SKIPS is set, as CI does.
"""

from __future__ import annotations

import atexit
import fcntl
import functools
import os
import shutil
import struct
import subprocess
import sys
import tempfile
import time
from collections.abc import Iterator
from contextlib import contextmanager

#: The kinds that can be mounted, and those whose power can be cut.
KINDS = ("ext4", "tmpfs", "xfs", "btrfs")
CUTTABLE = ("ext4", "xfs")

_MIB = 1 << 20
#: The images are sparse, so only what is written takes room. XFS and btrfs refuse much smaller ones.
_SIZES = {"ext4": 64 * _MIB, "xfs": 320 * _MIB, "btrfs": 256 * _MIB}
_MKFS = {"ext4": ("mkfs.ext4", "-q", "-F"), "xfs": ("mkfs.xfs", "-q", "-f"), "btrfs": ("mkfs.btrfs", "-q", "-f")}
_PATH = os.pathsep.join((os.environ.get("PATH", os.defpath), "/usr/sbin", "/sbin"))

#: ioctl(2) of ext4, XFS and others: stop at once; with this flag, without writing the journal first.
_FS_IOC_SHUTDOWN = 0x8004587D
_NO_LOG_FLUSH = 2

_BUSY_TRIES = 250
_BUSY_PAUSE = 0.02

#: Where this process keeps its images, and those that are not in use, by kind.
_homes: dict[str, str] = {}
_spare: dict[tuple[str, str], list[str]] = {}


#: Debian's packages of tools.
PACKAGES = {"mkfs.ext4": "e2fsprogs", "mkfs.xfs": "xfsprogs", "mkfs.btrfs": "btrfs-progs"}


class DiskError(Exception):
    """A file system could not be made, mounted or unmounted."""


class Disk:
    """A file system that is mounted; as a path it stands for its top folder.

    Attributes:
        kind: one of `KINDS`.
        path: the top folder.
    """

    def __init__(self, kind: str, path: str, image: str) -> None:
        self.kind = kind
        self.path = path
        self._image = image
        self._mounted = False
        self._cut = False

    def __fspath__(self) -> str:
        return self.path

    def mount(self) -> None:
        """Mount it; after a cut this replays the journal."""
        if self.kind == "tmpfs":
            _run("mount", "-t", "tmpfs", "-o", "size=256m", "tmpfs", self.path)
        else:
            _run("mount", "-t", self.kind, "-o", "loop", self._image, self.path)
        self._mounted, self._cut = True, False

    def unmount(self) -> None:
        """Unmount it; waits for files that dying processes are about to close."""
        for _ in range(_BUSY_TRIES):
            try:
                _run("umount", self.path)
            except DiskError as error:
                busy = error
                time.sleep(_BUSY_PAUSE)
            else:
                self._mounted = False
                return
        raise busy

    def cut_power(self) -> None:
        """Stop the file system at once: what it has not brought to its journal or place by now is lost."""
        fd = os.open(self.path, os.O_RDONLY | os.O_DIRECTORY)
        try:
            fcntl.ioctl(fd, _FS_IOC_SHUTDOWN, struct.pack("I", _NO_LOG_FLUSH))
        finally:
            os.close(fd)
        self._cut = True

    def empty(self) -> None:
        """Remove everything on it."""
        for name in os.listdir(self.path):
            path = os.path.join(self.path, name)
            if os.path.isdir(path) and not os.path.islink(path):
                shutil.rmtree(path)
            else:
                os.unlink(path)

    def give_back(self) -> bool:
        """Unmount it whatever happened; return whether its image can be used again."""
        if not self._mounted:
            return False
        try:
            if not self._cut:
                self.empty()
            self.unmount()
        except (DiskError, OSError):
            _run("umount", "-l", self.path)  # somebody still works in it: it goes when they end
            return False
        return not self._cut


@contextmanager
def mounted(kind: str, folder: str | os.PathLike[str] | None = None) -> Iterator[Disk]:
    """Mount an empty file system, and unmount it in the end.

    Making one takes a while, so images are kept until this process ends, and used again.

    Args:
        kind: one of `KINDS`.
        folder: where the image lies; None for the folder for temporary files.

    Raises:
        DiskError: it cannot be had here.
    """
    home = _home(os.fspath(folder or tempfile.gettempdir()))
    spare = _spare.setdefault((home, kind), [])
    image = spare.pop() if spare else _make_image(kind, home)
    disk = Disk(kind, tempfile.mkdtemp(prefix=f"{kind}-", dir=home), image)
    reusable = False
    try:
        disk.mount()
        yield disk
    finally:
        try:
            reusable = disk.give_back()
        finally:
            if reusable:
                spare.append(image)
            elif image:
                os.unlink(image)
            os.rmdir(disk.path)


def _make_image(kind: str, home: str) -> str:
    if kind == "tmpfs":
        return ""
    fd, image = tempfile.mkstemp(prefix=f"{kind}-", suffix=".img", dir=home)
    try:
        os.ftruncate(fd, _SIZES[kind])
    finally:
        os.close(fd)
    _run(*_MKFS[kind], image)
    return image


def _home(folder: str) -> str:
    """Return where this process keeps its images below a folder; it is removed when the process ends."""
    if folder not in _homes:
        _homes[folder] = tempfile.mkdtemp(prefix="chunkstore-disks-", dir=folder)
        atexit.register(_remove_home, _homes[folder], os.getpid())
    return _homes[folder]


def _remove_home(home: str, pid: int) -> None:
    if os.getpid() == pid and not any(os.path.ismount(entry.path) for entry in os.scandir(home)):
        shutil.rmtree(home, ignore_errors=True)


def _run(*command: str) -> None:
    """Run a tool of the system; `DiskError` says what it complained about."""
    path = shutil.which(command[0], path=_PATH)
    if path is None:
        package = PACKAGES.get(command[0], "util-linux")
        raise DiskError(f"{command[0]} is not installed (Debian's package {package})")
    result = subprocess.run([path, *command[1:]], check=False, capture_output=True, text=True)
    if result.returncode != 0:
        complaint = result.stderr.strip().partition("\n")[0]
        raise DiskError(f"{' '.join(command)}: {complaint or result.returncode}")


@functools.cache
def why_not(kind: str) -> str | None:
    """Return why this kind of file system cannot be mounted here; None if it can."""
    if sys.platform != "linux":
        return "mounting images is written for Linux"
    if os.geteuid() != 0:
        return "mounting a file system needs root"
    try:
        with mounted(kind):
            return None
    except DiskError as error:
        return f"cannot mount {kind} here: {error}"


def require(kind: str) -> None:
    """In a test: skip it if this kind of file system cannot be mounted; fail it where nothing may be skipped."""
    from privileges import skip_or_fail  # of the tests; the command has no use for it

    if reason := why_not(kind):
        skip_or_fail(reason)
