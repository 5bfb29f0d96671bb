"""One open folder: what it is, and what can be read in it."""

from __future__ import annotations

import errno
import functools
import os
import stat
import time
from collections import OrderedDict
from collections.abc import Callable
from typing import Concatenate, ParamSpec, TypeVar

from chunkstore.backends.disk.freshness import Memory, UnsyncedError, again_if_stale, is_forgotten, look_afresh
from chunkstore.backends.disk.locks import SidecarLock
from chunkstore.backends.disk.os_errors import os_error
from chunkstore.backends.disk.syscalls import Syscalls, has_unnamed_files
from chunkstore.backends.errors import UnreadableFileError
from chunkstore.backends.reader import FolderReader
from chunkstore.names import ASIDE_PREFIX, END_OF_TIME, TEMPORARY_PREFIX, is_appended_to, is_mostly_final
from chunkstore.records.codec import MAX_BYTES

#: Device and inode.
FolderIdentity = tuple[int, int]

_Entry = TypeVar("_Entry")
_P = ParamSpec("_P")
_T = TypeVar("_T")

_BLOCK = 1 << 20
_GLANCE = 1 << 14
_MAX_IDLE_LOCKS = 64
_NOT_THERE = {errno.ENOENT, errno.ENOTDIR, errno.ELOOP}
_NOT_REGULAR = {errno.ELOOP, errno.ENXIO, errno.ENODEV}
#: What a disk says of a file that it cannot read, or a server that does not answer.
_BROKEN = {errno.EIO, errno.ETIMEDOUT}
#: How a file is opened that may by now be something else: no link is followed, and nothing waits for a pipe.
READ_FLAGS = os.O_RDONLY | os.O_NOFOLLOW | os.O_NONBLOCK | os.O_NOCTTY

#: A folder that changed less long ago may be changing still; its listing is repeated.
_QUIET_NS = 1_000_000_000
_MOST_LISTINGS = 32
_LISTINGS_WITHOUT_NEWS = 3


def _again_if_stale(look: Callable[Concatenate[Folder, _P], _T]) -> Callable[Concatenate[Folder, _P], _T]:
    """Do `again_if_stale` what looks for a name in a folder, whose names are asked for before each further attempt.

    Else this host may go on with what it remembers of a name: opening that works, and what was opened is not there.
    """

    @functools.wraps(look)
    def look_again(folder: Folder, /, *arguments: _P.args, **options: _P.kwargs) -> _T:
        try:
            return look(folder, *arguments, **options)
        except OSError as error:
            if not is_forgotten(error):
                raise

        @again_if_stale
        def look_after_asking() -> _T:
            folder.look_afresh()
            return look(folder, *arguments, **options)

        return look_after_asking()

    return look_again


class Folder(FolderReader):
    """A descriptor of a folder, and what is known of the folder.

    The descriptor is closed when the last user of the object is done, so no thread ever works on a number that has
    come to mean another folder.

    Args:
        syscalls: how files are touched.
        path: where the folder is.
        follow: whether the folder may be a symbolic link to one.
        within: the open folder that it is in, so that no link on the way there is followed; None to go by the path.
        memory: what is to be minded where it is, if what others do may be seen late there; see `freshness`.

    Attributes:
        fd: the descriptor.
        syscalls: how files are touched.
        memory: the same; of the folder that it is in if that is given.
        has_unnamed_files: whether the file system has files without a name; yes, until it has refused to make one.
        has_hard_links: whether it has hard links, likewise.
        has_exclusive_renames: whether it has renames that replace nothing, likewise.

    Raises:
        FileNotFoundError: there is no such folder.
        NotADirectoryError: there is something else, or a symbolic link that is not to be followed.
    """

    def __init__(
        self,
        syscalls: Syscalls,
        path: str,
        *,
        follow: bool = False,
        within: Folder | None = None,
        memory: Memory | None = None,
    ) -> None:
        self.location = path
        self.fd = -1
        self.syscalls = syscalls
        self.memory: Memory | None = within.memory if within is not None else memory
        self.has_unnamed_files = has_unnamed_files()
        self.has_hard_links = True
        self.has_exclusive_renames = True
        self._follow = follow
        self._identity: FolderIdentity | None = None
        self._locks: OrderedDict[str, SidecarLock] = OrderedDict()
        # Whether each name that was listed is a regular file.
        self._listed: dict[str, bool] = {}
        self._examined: str | None = None
        flags = os.O_RDONLY | os.O_DIRECTORY | (0 if follow else os.O_NOFOLLOW)
        if within is None:
            self.fd = syscalls.open(path, flags)
        else:
            self.fd = syscalls.open(os.path.basename(path), flags, within.fd)

    def __del__(self) -> None:
        try:
            self.close()
        except Exception:  # noqa: BLE001, S110 - at interpreter exit anything may be gone already
            pass

    def close(self) -> None:
        """Close the descriptor; only for a folder that nobody else uses."""
        self._locks.clear()
        fd, self.fd = self.fd, -1
        if fd >= 0:
            self.syscalls.close(fd)

    def is_current(self) -> bool:
        """Tell whether the folder's path still leads here: it may have been removed, moved, or made anew."""
        identity = None
        try:
            identity = self.identity()
        except OSError as error:
            if error.errno != errno.ESTALE:
                raise
            # Its server knows of no such folder any more: its path leads elsewhere, if the server is asked at all.
        try:
            if self.memory:
                look_afresh(self.syscalls, os.path.dirname(self.location))
            status = (self.syscalls.stat if self._follow else self.syscalls.lstat)(self.location)
        except OSError as error:
            if error.errno in _NOT_THERE:
                return False
            raise  # that the path cannot be looked at does not mean that it leads elsewhere
        return (status.st_dev, status.st_ino) == identity

    @again_if_stale
    def identity(self) -> FolderIdentity:
        """Return what no other folder has while this object is in use."""
        if self._identity is None:
            status = self.syscalls.fstat(self.fd)
            self._identity = status.st_dev, status.st_ino
        return self._identity

    def examined(self, examine: Callable[[FolderReader], str]) -> str:
        """Return what `examine` says of the folder; it is asked once, as this object never comes to mean another."""
        if self._examined is None:
            self._examined = examine(self)
        return self._examined

    def look_afresh(self) -> None:
        """Learn what other hosts have done in the folder since it was opened, where this host would not ask.

        Raises:
            OSError: the folder was removed.
        """
        if self.memory:
            self.syscalls.close(self.syscalls.open(".", os.O_RDONLY | os.O_DIRECTORY, self.fd))

    @again_if_stale
    def names(self, *, to_load: bool = False) -> list[str]:
        """Return the names of all entries.

        A single listing may miss a name that was there all the time, while others come: btrfs hides one that is being
        replaced, and ext4 was seen to leave out one of hundreds. So while the folder keeps changing it is listed again,
        and the union counts. The folder's times only decide how much work is worth doing.
        """
        found = self._listed
        without_news = 0
        for _ in range(_MOST_LISTINGS):
            before = self.syscalls.fstat(self.fd).st_mtime_ns
            known = len(found)
            if to_load and not known:
                found.update(self._listing(self.syscalls.scan))
            else:
                for name in self._listing(self.syscalls.list):
                    found.setdefault(name, False)
            # Temporary files come and go all the time; they are nobody's news. A file that is set aside is there.
            for name in [name for name in found if name.startswith((TEMPORARY_PREFIX, ASIDE_PREFIX))]:
                del found[name]
                if name.startswith(ASIDE_PREFIX):
                    found.setdefault(name.removeprefix(ASIDE_PREFIX), False)
            after = self.syscalls.fstat(self.fd).st_mtime_ns
            if before == after and not 0 <= time.time_ns() - after < _QUIET_NS:
                break
            without_news = without_news + 1 if len(found) == known else 0
            if without_news >= _LISTINGS_WITHOUT_NEWS or (before == after and without_news):
                break
        return list(found)

    def forget_names(self) -> None:
        """Return from `names` no name any more that was found before and is not there."""
        self._listed = {}

    def all_entries(self) -> list[str]:
        return self._listing(self.syscalls.list)

    @again_if_stale
    def _listing(self, listed: Callable[[int], list[_Entry]]) -> list[_Entry]:
        # A fresh descriptor: one that was read before starts at its end, and NFS would answer from its cache.
        fd = self.syscalls.open(".", os.O_RDONLY | os.O_DIRECTORY, self.fd)
        try:
            return listed(fd)
        finally:
            self.syscalls.close(fd)

    @again_if_stale
    def changed_at(self) -> int:
        """Return when anything in the folder was made, replaced or removed last, in nanoseconds.

        Before Linux 6.13 two changes within some milliseconds may have the same time.
        """
        return self.syscalls.fstat(self.fd).st_mtime_ns

    def modified_at(self, file: str) -> int:
        """Return when a file was written last, in nanoseconds."""
        try:
            return written_at(self.status(file))
        except OSError:
            return END_OF_TIME  # who reads it will be told

    def glance(self, folder: str, file: str) -> bytes:
        """Return what a small file in a folder of this one holds, or nothing; see `FolderReader.glance`."""
        path = f"{folder}/{file}" if folder else file
        try:
            if not stat.S_ISREG(self.syscalls.lstat(path, self.fd).st_mode):
                return b""  # a pipe or device is not even opened
            fd = self._open_to_read(path)
            try:
                return self.syscalls.read(fd, _GLANCE)
            finally:
                self.syscalls.close(fd)
        except OSError:
            return b""  # who reads it with care will be told

    def has(self, file: str) -> bool:
        """Tell whether there is a file of that name."""
        return self.has_entry(file) or self.has_entry(ASIDE_PREFIX + file) or self.has_entry(file)

    def has_entry(self, name: str) -> bool:
        """Tell whether there is anything of that name."""
        try:
            self.entry_status(name)
        except FileNotFoundError:
            return False
        return True

    @_again_if_stale
    def entry_status(self, name: str) -> os.stat_result:
        """Return what is known of what has that name, whatever it is."""
        return self.syscalls.lstat(name, self.fd)

    def load(self, file: str) -> bytes:
        """Return the bytes of a regular file; nothing else is opened, no link is followed."""
        try:
            # Most files were listed; what goes wrong with one, the way that takes care will tell.
            if self._listed.get(file):
                return self._read_regular(file)
        except OSError:
            pass
        try:
            return self.load_entry(file)
        except FileNotFoundError:
            pass
        try:
            return self.load_entry(ASIDE_PREFIX + file)
        except (FileNotFoundError, UnreadableFileError):
            return self._load_afresh(file)

    @_again_if_stale
    def _load_afresh(self, file: str) -> bytes:
        """Return the bytes of a file that may have been put back, or replaced elsewhere, since it was looked for."""
        self.look_afresh()
        return self.load_entry(file)

    @_again_if_stale
    def load_entry(self, file: str) -> bytes:
        """Return the bytes of a regular file of this very name; `load` finds it also while it is set aside."""
        try:
            return self._load(file)
        except OSError as error:
            if error.errno in _NOT_REGULAR:
                raise UnreadableFileError.because(file, "it is no regular file") from None
            if error.errno in _BROKEN:
                raise os_error(error, os.path.join(self.location, file)) from error
            raise

    def _load(self, file: str) -> bytes:
        if not self.is_regular(file):
            raise UnreadableFileError.because(file, "it is no regular file, but a folder, link, pipe or device")
        try:
            return self._read_regular(file)
        except PermissionError:
            raise UnreadableFileError.because(file, "permission denied") from None

    def _read_regular(self, file: str) -> bytes:
        fd = self._open_to_read(file)
        try:
            status = self.syscalls.fstat(fd)
            if not stat.S_ISREG(status.st_mode):
                raise UnreadableFileError.because(file, "it is no regular file")
            if status.st_size > MAX_BYTES:
                raise UnreadableFileError.because(file, f"it is larger than {MAX_BYTES:,} bytes")
            # One byte more than expected, so that a single read also finds the end.
            data = self.syscalls.read(fd, status.st_size + 1)
            return data if len(data) == status.st_size else self._read_rest(fd, data)
        finally:
            self.syscalls.close(fd)

    def version(self, file: str) -> tuple[int, int, int]:
        """Return something that is another one after a file was replaced, or appended to."""
        return version_of(self.status(file))

    def size(self, file: str) -> int:
        """Return the length of a file in bytes."""
        return self.status(file).st_size

    @_again_if_stale
    def status(self, file: str) -> os.stat_result:
        """Return what is known of a file; of one that is appended to, what its server knows now."""
        status = self.syscalls.lstat(file, self.fd)
        if not (self.memory and is_appended_to(file) and stat.S_ISREG(status.st_mode)):
            return status
        try:
            return self.status_when_opened(file)
        except PermissionError:
            return status

    def status_when_opened(self, file: str) -> os.stat_result:
        """Return what the server knows of a regular file now, where this host remembers what it knew before."""
        fd = self._open_to_read(file)
        try:
            return self.syscalls.fstat(fd)
        finally:
            self.syscalls.close(fd)

    def _open_to_read(self, path: str) -> int:
        # What is written once, and read often, may be left to this host.
        asking = self.memory.asking if self.memory and not is_mostly_final(path) else 0
        return self.syscalls.open(path, READ_FLAGS | asking, self.fd)

    @_again_if_stale
    def load_part(self, file: str, start: int, size: int) -> bytes:
        """Return up to `size` bytes of a regular file, from the byte `start` on."""
        if not self.is_regular(file):
            raise UnreadableFileError.because(file, "it is no regular file, but a folder, link, pipe or device")
        try:
            fd = self._open_to_read(file)
        except PermissionError:
            raise UnreadableFileError.because(file, "permission denied") from None
        except OSError as error:
            if error.errno in _NOT_REGULAR:
                raise UnreadableFileError.because(file, "it is no regular file") from None
            raise
        try:
            return self.syscalls.pread(fd, size, start)
        finally:
            self.syscalls.close(fd)

    def is_regular(self, file: str) -> bool:
        """Tell whether a file may be opened: that alone can do something where it is a pipe or a device."""
        # Should it have become one since it was listed, fstat will tell.
        return self._listed.get(file, False) or stat.S_ISREG(self.syscalls.lstat(file, self.fd).st_mode)

    def _read_rest(self, fd: int, data: bytes) -> bytes:
        """Return what a file holds that is longer than it was, or of which the first read gave only a part."""
        blocks = [data]
        while data and sum(map(len, blocks)) <= MAX_BYTES:
            data = self.syscalls.read(fd, _BLOCK)
            blocks.append(data)
        return b"".join(blocks)

    def lock(self, file: str) -> SidecarLock:
        """Return the lock on a sidecar file of this folder; the caller holds on to it while using it."""
        lock = self._locks.get(file)
        if lock is None:
            location = os.path.join(self.location, file)
            lock = self._locks.setdefault(file, SidecarLock(self.syscalls, self.fd, file, location))
            while len(self._locks) > _MAX_IDLE_LOCKS:
                self._locks.popitem(last=False)
        return lock

    def sync_self(self) -> None:
        """Bring the names in this folder to stable storage.

        Raises:
            UnsyncedError: its server does not know the folder any more.
            OSError: that cannot be done.
        """
        try:
            self.syscalls.fsync(self.fd)
        except OSError as error:
            if error.errno == errno.ESTALE:
                raise UnsyncedError(*error.args) from error
            raise


def written_at(status: os.stat_result) -> int:
    """Return when a file of which this is known was written last, in nanoseconds.

    An NFS server keeps in the times of a file that is being made who makes it, and there that stays if its maker is
    killed: any time, also one that is decades ahead. So an empty file has the time of its last change of any kind.
    """
    is_empty = stat.S_ISREG(status.st_mode) and not status.st_size
    return status.st_ctime_ns if is_empty else status.st_mtime_ns


def version_of(status: os.stat_result) -> tuple[int, int, int]:
    """Return the version of a file of which this is known."""
    return status.st_ino, status.st_size, status.st_mtime_ns
