"""One open folder: the file operations that are atomic in it."""

from __future__ import annotations

import errno
import itertools
import os
import stat
import time
from collections import OrderedDict
from collections.abc import Callable, Iterable, Iterator, Sequence
from typing import TypeVar

from chunkstore.backends.base import FileVersion, FolderReader, UnreadableFileError
from chunkstore.backends.disk.locks import SidecarLock, lock_now, lock_soon
from chunkstore.backends.disk.os_errors import os_error
from chunkstore.backends.disk.syscalls import Syscalls, has_unnamed_files
from chunkstore.names import ASIDE_PREFIX, END_OF_TIME, TEMPORARY_PREFIX
from chunkstore.records.codec import MAX_BYTES

#: Device and inode.
FolderIdentity = tuple[int, int]

_Entry = TypeVar("_Entry")

_BLOCK = 1 << 20
_GLANCE = 1 << 14
_MAX_IDLE_LOCKS = 64
_READ_ATTEMPTS = 5
_NOT_THERE = {errno.ENOENT, errno.ENOTDIR, errno.ELOOP}
_NOT_REGULAR = {errno.ELOOP, errno.ENXIO, errno.ENODEV}
_READ_FLAGS = os.O_RDONLY | os.O_NOFOLLOW | os.O_NONBLOCK | os.O_NOCTTY

#: Says that a file system has no files without a name. (EISDIR and EINVAL: a kernel or FUSE that ignores the flag.)
_NO_UNNAMED = {errno.EOPNOTSUPP, errno.EISDIR, errno.EINVAL}
#: Says that a file system has no hard links.
_NO_LINKS = {errno.EPERM, errno.EOPNOTSUPP, errno.ENOSYS, errno.EMLINK, errno.EINVAL}

#: A folder that changed less long ago may be changing still; its listing is repeated.
_QUIET_NS = 1_000_000_000
_MOST_LISTINGS = 32
#: Up to so many files are synced one by one; beyond that one call for the whole file system is faster.
_SYNC_ONE_BY_ONE = 256
_LISTINGS_WITHOUT_NEWS = 3


class _TemporaryNames:
    """Names for files that nobody shall read: unique among threads, processes and hosts."""

    def __init__(self) -> None:
        self.reset()

    def reset(self) -> None:
        # Containers all run as process 1, and a fork copies the counter: random bytes tell them apart.
        self._prefix = f"{TEMPORARY_PREFIX}{os.getpid()}-{os.urandom(6).hex()}-"
        self._counter = itertools.count()

    def next(self) -> str:
        return f"{self._prefix}{next(self._counter)}"


temporary_names = _TemporaryNames()
if hasattr(os, "register_at_fork"):
    os.register_at_fork(after_in_child=temporary_names.reset)


class Folder(FolderReader):
    """A descriptor of a folder, and what can be done in it.

    The descriptor is closed when the last user of the object is done, so no thread ever works on a number that has
    come to mean another folder.

    Args:
        syscalls: how files are touched.
        path: where the folder is.
        follow: whether the folder may be a symbolic link to one.

    Raises:
        FileNotFoundError: there is no such folder.
        NotADirectoryError: there is something else, or a symbolic link that is not to be followed.
    """

    def __init__(self, syscalls: Syscalls, path: str, *, follow: bool = False) -> None:
        self.location = path
        self.fd = -1
        self._syscalls = syscalls
        self._unnamed = has_unnamed_files()
        self._links = True
        self._renames_new = True
        self._follow = follow
        self._identity: FolderIdentity | None = None
        self._locks: OrderedDict[str, SidecarLock] = OrderedDict()
        # Whether each name that was listed is a regular file.
        self._listed: dict[str, bool] = {}
        self._examined: str | None = None
        self.fd = syscalls.open(path, os.O_RDONLY | os.O_DIRECTORY | (0 if follow else os.O_NOFOLLOW))

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
            self._syscalls.close(fd)

    def is_current(self) -> bool:
        """Tell whether the folder's path still leads here: it may have been removed, moved, or made anew."""
        try:
            identity = self.identity()
            status = (self._syscalls.stat if self._follow else self._syscalls.lstat)(self.location)
        except OSError as error:
            if error.errno in _NOT_THERE:
                return False
            raise  # that the path cannot be looked at does not mean that it leads elsewhere
        return (status.st_dev, status.st_ino) == identity

    def identity(self) -> FolderIdentity:
        """Return what no other folder has while this object is in use."""
        if self._identity is None:
            status = self._syscalls.fstat(self.fd)
            self._identity = status.st_dev, status.st_ino
        return self._identity

    def examined(self, examine: Callable[[FolderReader], str]) -> str:
        """Return what `examine` says of the folder; it is asked once, as this object never comes to mean another."""
        if self._examined is None:
            self._examined = examine(self)
        return self._examined

    # --- reading -----------------------------------------------------------------------------------------------------

    def names(self, *, to_load: bool = False) -> list[str]:
        """Return the names of all entries.

        A single listing may miss a name that was there all the time, while others come: btrfs hides one that is being
        replaced, and ext4 was seen to leave out one of hundreds. So while the folder keeps changing it is listed again,
        and the union counts. The folder's times only decide how much work is worth doing.
        """
        found = self._listed
        without_news = 0
        for _ in range(_MOST_LISTINGS):
            before = self._syscalls.fstat(self.fd).st_mtime_ns
            known = len(found)
            if to_load and not known:
                found.update(self._listing(self._syscalls.scan))
            else:
                for name in self._listing(self._syscalls.list):
                    found.setdefault(name, False)
            # Temporary files come and go all the time; they are nobody's news. A file that is set aside is there.
            for name in [name for name in found if name.startswith((TEMPORARY_PREFIX, ASIDE_PREFIX))]:
                del found[name]
                if name.startswith(ASIDE_PREFIX):
                    found.setdefault(name.removeprefix(ASIDE_PREFIX), False)
            after = self._syscalls.fstat(self.fd).st_mtime_ns
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
        return self._listing(self._syscalls.list)

    def _listing(self, listed: Callable[[int], list[_Entry]]) -> list[_Entry]:
        # A fresh descriptor: one that was read before starts at its end, and NFS would answer from its cache.
        fd = self._syscalls.open(".", os.O_RDONLY | os.O_DIRECTORY, self.fd)
        try:
            return listed(fd)
        finally:
            self._syscalls.close(fd)

    def changed_at(self) -> int:
        """Return when anything in the folder was made, replaced or removed last, in nanoseconds.

        Before Linux 6.13 two changes within some milliseconds may have the same time.
        """
        return self._syscalls.fstat(self.fd).st_mtime_ns

    def modified_at(self, file: str) -> int:
        """Return when a file was written last, in nanoseconds."""
        try:
            return self._syscalls.lstat(file, self.fd).st_mtime_ns
        except OSError:
            return END_OF_TIME  # who reads it will be told

    def glance(self, folder: str, file: str) -> bytes:
        """Return what a small file in a folder of this one holds, or nothing; see `FolderReader.glance`."""
        path = f"{folder}/{file}" if folder else file
        try:
            if not stat.S_ISREG(self._syscalls.lstat(path, self.fd).st_mode):
                return b""  # a pipe or device is not even opened
            fd = self._syscalls.open(path, _READ_FLAGS, self.fd)
            try:
                return self._syscalls.read(fd, _GLANCE)
            finally:
                self._syscalls.close(fd)
        except OSError:
            return b""  # who reads it with care will be told

    def has(self, file: str) -> bool:
        """Tell whether there is a file of that name."""
        return self._exists(file) or self._exists(ASIDE_PREFIX + file) or self._exists(file)

    def _exists(self, entry: str) -> bool:
        try:
            self._syscalls.lstat(entry, self.fd)
        except FileNotFoundError:
            return False
        return True

    def load(self, file: str) -> bytes:
        """Return the bytes of a regular file; nothing else is opened, no link is followed."""
        try:
            # Most files were listed; what goes wrong with one, the way that takes care will tell.
            if self._listed.get(file):
                return self._read_regular(file)
        except OSError:
            pass
        try:
            return self._load_entry(file)
        except FileNotFoundError:
            pass
        try:
            return self._load_entry(ASIDE_PREFIX + file)
        except (FileNotFoundError, UnreadableFileError):
            return self._load_entry(file)  # it may have been put back

    def _load_entry(self, file: str) -> bytes:
        for attempt in range(1, _READ_ATTEMPTS + 1):
            try:
                return self._load(file)
            except OSError as error:
                if error.errno in _NOT_REGULAR:
                    raise UnreadableFileError.because(file, "it is no regular file") from None
                if error.errno == errno.EIO:
                    raise os_error(error, os.path.join(self.location, file)) from error
                if error.errno != errno.ESTALE or attempt == _READ_ATTEMPTS:
                    raise
                # A file server forgets a file that is replaced while it is read: there is a new one.
        raise AssertionError  # the last attempt has returned or raised

    def _load(self, file: str) -> bytes:
        if not self._is_regular(file):
            raise UnreadableFileError.because(file, "it is no regular file, but a folder, link, pipe or device")
        try:
            return self._read_regular(file)
        except PermissionError:
            raise UnreadableFileError.because(file, "permission denied") from None

    def _read_regular(self, file: str) -> bytes:
        fd = self._syscalls.open(file, _READ_FLAGS, self.fd)
        try:
            status = self._syscalls.fstat(fd)
            if not stat.S_ISREG(status.st_mode):
                raise UnreadableFileError.because(file, "it is no regular file")
            if status.st_size > MAX_BYTES:
                raise UnreadableFileError.because(file, f"it is larger than {MAX_BYTES:,} bytes")
            # One byte more than expected, so that a single read also finds the end.
            data = self._syscalls.read(fd, status.st_size + 1)
            return data if len(data) == status.st_size else self._read_rest(fd, data)
        finally:
            self._syscalls.close(fd)

    def version(self, file: str) -> FileVersion:
        """Return something that is another one after a file was replaced, or appended to."""
        status = self._syscalls.lstat(file, self.fd)
        return status.st_ino, status.st_size, status.st_mtime_ns

    def size(self, file: str) -> int:
        """Return the length of a file in bytes."""
        return self._syscalls.lstat(file, self.fd).st_size

    def load_part(self, file: str, start: int, size: int) -> bytes:
        """Return up to `size` bytes of a regular file, from the byte `start` on."""
        if not self._is_regular(file):
            raise UnreadableFileError.because(file, "it is no regular file, but a folder, link, pipe or device")
        try:
            fd = self._syscalls.open(file, _READ_FLAGS, self.fd)
        except PermissionError:
            raise UnreadableFileError.because(file, "permission denied") from None
        except OSError as error:
            if error.errno in _NOT_REGULAR:
                raise UnreadableFileError.because(file, "it is no regular file") from None
            raise
        try:
            return self._syscalls.pread(fd, size, start)
        finally:
            self._syscalls.close(fd)

    def _is_regular(self, file: str) -> bool:
        """Tell whether a file may be opened: that alone can do something where it is a pipe or a device."""
        # Should it have become one since it was listed, fstat will tell.
        return self._listed.get(file, False) or stat.S_ISREG(self._syscalls.lstat(file, self.fd).st_mode)

    def _read_rest(self, fd: int, data: bytes) -> bytes:
        """Return what a file holds that is longer than it was, or of which the first read gave only a part."""
        blocks = [data]
        while data and sum(map(len, blocks)) <= MAX_BYTES:
            data = self._syscalls.read(fd, _BLOCK)
            blocks.append(data)
        return b"".join(blocks)

    # --- writing -----------------------------------------------------------------------------------------------------

    def publish(self, file: str, data: bytes | Sequence[bytes], *, durable: bool, take_back: bool) -> None:
        """Make a new file, whole from its first moment on; an existing one is never touched.

        Args:
            file: its name.
            data: what it holds.
            durable: whether it survives a loss of power before this returns.
            take_back: whether the file is removed if it cannot be made durable: right where nobody else writes to it.
        """
        if not (self._unnamed and self._publish_unnamed(file, data, durable=durable)):
            self._publish_temporary(file, data, durable=durable)
        if durable:
            try:
                self._syscalls.fsync(self.fd)
            except BaseException:
                if take_back:
                    self.discard(file)
                raise

    def _publish_unnamed(self, file: str, data: bytes | Sequence[bytes], *, durable: bool) -> bool:
        """Publish through a file that has no name before it is whole; False where there is no such thing."""
        try:
            fd = self._syscalls.open(".", os.O_TMPFILE | os.O_WRONLY, self.fd)
        except OSError as error:
            if error.errno not in _NO_UNNAMED:
                raise
            self._unnamed = False
            return False
        try:
            self._fill(fd, data, durable=durable)
            self._syscalls.link_unnamed(fd, file, self.fd)
        except BaseException:
            try:
                if self._syscalls.fstat(fd).st_nlink:
                    self.discard(file)  # named in spite of the error
            finally:
                self._syscalls.close(fd)
            raise
        try:
            self._syscalls.close(fd)
        except BaseException:
            self.discard(file)  # some file systems find out only here that the disk is full
            raise
        return True

    def _publish_temporary(self, file: str, data: bytes | Sequence[bytes], *, durable: bool) -> None:
        temporary = temporary_names.next()
        try:
            self.write_plain(temporary, data, durable=durable)
            self._give_name(temporary, file)
            self.discard(temporary)
        except BaseException:  # also an interrupt that came before the name was discarded
            self.discard(temporary)
            raise

    def _give_name(self, temporary: str, file: str) -> None:
        """Give a file that is whole its name, which must be new; after an error it does not have it."""
        try:
            self._link_or_rename(temporary, file)
        except FileNotFoundError:
            raise  # somebody has removed the temporary file: what has the name now is another's
        except BaseException:
            if self._has_another_name(temporary):
                self.discard(file)
            raise

    def _has_another_name(self, temporary: str) -> bool:
        """Tell whether a file that was written under a temporary name has got, or changed it for, another one."""
        try:
            return self._syscalls.lstat(temporary, self.fd).st_nlink > 1
        except FileNotFoundError:
            return True
        except OSError:
            return False

    def _link_or_rename(self, temporary: str, file: str) -> None:
        if self._links:
            try:
                self._link(temporary, file)
            except OSError as error:
                if error.errno not in _NO_LINKS:
                    raise
                self._links = False
        if not self._links and not self._rename_new(temporary, file):
            self._reserve_and_rename(temporary, file)

    def _link(self, temporary: str, file: str) -> None:
        try:
            self._syscalls.link(temporary, file, self.fd)
        except FileExistsError:
            # NFS repeats a call whose answer was lost, and then finds the name that it has made itself.
            if self._syscalls.lstat(temporary, self.fd).st_nlink == 1:
                raise

    def _rename_new(self, temporary: str, file: str) -> bool:
        """Rename a file to a name that must be new; tell whether that can be done here."""
        if not self._renames_new:
            return False
        try:
            self._syscalls.rename_new(temporary, file, self.fd)
        except OSError as error:
            if isinstance(error, FileExistsError) and not self._exists(temporary):
                return True  # a file server repeats a call whose answer was lost
            if error.errno not in _NO_LINKS:
                raise
            self._renames_new = False
            return False
        return True

    def _reserve_and_rename(self, temporary: str, file: str) -> None:
        """Publish where there are neither hard links nor renames that replace nothing.

        Whoever makes the empty file first may replace it. Readers report an empty chunk as a leftover of a write that
        was not acknowledged, which is what it is.
        """
        fd = self._syscalls.open(file, os.O_CREAT | os.O_EXCL | os.O_WRONLY, self.fd)
        try:
            self._syscalls.close(fd)
            self._syscalls.rename(temporary, file, self.fd)
        except BaseException:
            self.discard(file)
            raise

    def write_together(
        self, files: Sequence[tuple[str, bytes, bool]], *, before: Callable[[], None] | None, durable: bool
    ) -> None:
        """Make or replace several files one after the other; see `Backend.write_together`.

        All are written before any gets its name, so that a full disk is noticed before that, and so that whoever meets
        some of them can see what is to come.
        """
        temporary = [temporary_names.next() for _ in files]
        given: list[str] = []
        try:
            for name, (_, data, _) in zip(temporary, files, strict=True):
                self.write_plain(name, data, durable=durable)
            if before is not None:
                before()
            for name, (file, _, is_new) in zip(temporary, files, strict=True):
                if not is_new:
                    self._syscalls.rename(name, file, self.fd)
                    continue
                given.append(file)
                try:
                    self._give_name(name, file)
                except OSError:
                    given.pop()
                    raise
            if durable:
                self._syscalls.fsync(self.fd)
        except BaseException:
            for name in [*temporary, *given]:
                self.discard(name)
            raise
        for name, (_, _, is_new) in zip(temporary, files, strict=True):
            if is_new:
                self.discard(name)

    def publish_all(self, files: Iterable[tuple[str, bytes]]) -> None:
        """Make many new files that survive a loss of power; see `Backend.publish_all`.

        All are written before any gets its name, so that one sync serves them all.
        """
        temporary: dict[str, str] = {}
        try:
            for file, data in files:
                name = temporary_names.next()
                temporary[name] = file
                self.write_plain(name, data, durable=False)
            self.sync_files(list(temporary))
            for name, file in temporary.items():
                try:
                    self._give_name(name, file)
                except FileExistsError:
                    pass  # it stays
        finally:
            try:
                for name in temporary:
                    self.discard(name)
            except BaseException:  # an interrupt
                for name in temporary:
                    self.discard(name)
                raise
        self._syscalls.fsync(self.fd)

    def replace(self, file: str, data: bytes, *, durable: bool) -> None:
        """Replace a file, or make it: readers see the old bytes or the new ones, whole."""
        temporary = temporary_names.next()
        try:
            self.write_plain(temporary, data, durable=durable)
            self._syscalls.rename(temporary, file, self.fd)
        except BaseException:
            self.discard(temporary)
            raise
        if durable:
            self._syscalls.fsync(self.fd)

    def open_for_append(self, file: str) -> int:
        """Return a descriptor of a regular file, to add to its end."""
        fd = self._syscalls.open(file, os.O_WRONLY | os.O_APPEND | os.O_NOFOLLOW | os.O_NONBLOCK, self.fd)
        is_regular = False
        try:
            is_regular = stat.S_ISREG(self._syscalls.fstat(fd).st_mode)
        finally:
            if not is_regular:
                self._syscalls.close(fd)
        if not is_regular:
            raise OSError(errno.ENXIO, os.strerror(errno.ENXIO), file)
        return fd

    def cut(self, file: str, size: int) -> None:
        """Take back, as far as that goes, what was added to the end of a file of our own."""
        try:
            fd = self.open_for_append(file)
            try:
                self._syscalls.truncate(fd, size)
            finally:
                self._syscalls.close(fd)
        except OSError:
            pass  # it is gone, or the very failure that brought us here

    def close_file(self, fd: int) -> None:
        """Close a file that was opened for nothing."""
        self._syscalls.close(fd)

    def write_plain(self, file: str, data: bytes | Sequence[bytes], *, durable: bool) -> None:
        """Make a new file, not atomically: under a name, or in a folder, that nobody reads."""
        fd = self._syscalls.open(file, os.O_CREAT | os.O_EXCL | os.O_WRONLY | os.O_NOFOLLOW, self.fd)
        try:
            self._fill(fd, data, durable=durable)
        except BaseException:
            self._syscalls.close(fd)
            raise
        self._syscalls.close(fd)

    def _fill(self, fd: int, data: bytes | Sequence[bytes], *, durable: bool) -> None:
        for part in (data,) if isinstance(data, bytes) else _in_blocks(data):
            write_whole(self._syscalls, fd, part)
        if durable:
            self._syscalls.fsync(fd)

    def discard(self, file: str) -> None:
        """Remove a file of our own on the way out of an error, if it is there."""
        try:
            self._syscalls.unlink(file, self.fd)
        except OSError:
            pass  # never made, already gone, or the very failure that brought us here

    def remove(self, file: str, *, durable: bool) -> None:
        """Remove a file for good."""
        self._syscalls.unlink(file, self.fd)
        if durable:
            self._syscalls.fsync(self.fd)

    def remove_unchanged(self, file: str, data: bytes) -> bool:
        """Remove a file unless it holds anything but `data`; see `Backend.remove_unchanged`.

        Nothing tells apart, in one call, a file that was read from one that has replaced it since. So the file is set
        aside, where readers still look for it, compared, and put back if it was replaced.
        """
        aside = ASIDE_PREFIX + file
        if self._exists(aside) and self._exists(file):
            self._syscalls.unlink(aside, self.fd)  # put back, or replaced; a file is not renamed to a link of itself
        try:
            self._syscalls.rename(file, aside, self.fd)
        except FileNotFoundError:
            if not self._exists(aside):
                return True
            # else whoever set it aside before was stopped on the way
        if self._load_entry(aside) == data:
            self._syscalls.unlink(aside, self.fd)
            return True
        self.put_back(aside, file)
        return False

    def put_back(self, aside: str, file: str) -> None:
        """Give a file that was set aside its name back, unless there is a newer one of that name."""
        try:
            self._syscalls.link(aside, file, self.fd)
        except FileExistsError:
            pass  # it was replaced once more, which is newer than what was set aside
        except OSError as error:
            if error.errno not in _NO_LINKS:
                raise
            try:
                self._rename_new(aside, file)
            except FileExistsError:
                pass  # as above
            else:
                return  # if that cannot be done, it stays aside: another way could undo what its owner writes now
        self._syscalls.unlink(aside, self.fd)

    def remove_complete(self, file: str, size: int) -> bool:
        """Remove a file that is appended to, unless anything was added since; see `Backend.remove_complete`."""
        try:
            fd = self.open_for_append(file)
        except FileNotFoundError:
            return True
        try:
            if not lock_now(fd) or self._syscalls.fstat(fd).st_size != size:
                return False
            self._syscalls.unlink(file, self.fd)
            return True
        finally:
            self._syscalls.close(fd)

    # --- locks and durability ----------------------------------------------------------------------------------------

    def lock(self, file: str) -> SidecarLock:
        """Return the lock on a sidecar file of this folder; the caller holds on to it while using it."""
        lock = self._locks.get(file)
        if lock is None:
            location = os.path.join(self.location, file)
            lock = self._locks.setdefault(file, SidecarLock(self._syscalls, self.fd, file, location))
            while len(self._locks) > _MAX_IDLE_LOCKS:
                self._locks.popitem(last=False)
        return lock

    def sync_file(self, file: str) -> None:
        """Bring one file to stable storage, if it is a regular file."""
        entry = file if self._exists(file) else ASIDE_PREFIX + file if self._exists(ASIDE_PREFIX + file) else file
        if not self._is_regular(entry):
            return
        fd = self._syscalls.open(entry, _READ_FLAGS, self.fd)
        try:
            self._syscalls.fsync(fd)
        finally:
            self._syscalls.close(fd)

    def sync_files(self, files: list[str]) -> None:
        """Bring files to stable storage, but for those that are gone: one by one, or with all of their file system."""
        if len(files) > _SYNC_ONE_BY_ONE:
            try:
                self._syscalls.syncfs(self.fd)
            except OSError as error:
                if error.errno != errno.ENOSYS:
                    raise
            else:
                return
        for file in files:
            try:
                self.sync_file(file)
            except FileNotFoundError:
                pass  # a temporary file that has its true name by now

    def sync_self(self) -> None:
        """Bring the names in this folder to stable storage."""
        self._syscalls.fsync(self.fd)

    def sync_anew(self, files: list[str]) -> None:
        """Bring files to stable storage after that has failed, but for those that are gone.

        When a sync fails, the kernel takes what it could not write for written: syncing again would say that all is
        well. So the bytes, which it still has, are written again, each in its old place; readers notice nothing.

        Raises:
            OSError: they cannot be written, or somebody appends to one of them all the time.
        """
        for file in files:
            try:
                if self._is_regular(file):
                    self._write_again(file)
            except FileNotFoundError:
                pass  # removed, or packed

    def _write_again(self, file: str) -> None:
        fd = self._syscalls.open(file, os.O_RDWR | os.O_NOFOLLOW | os.O_NONBLOCK, self.fd)
        try:
            if not lock_soon(fd):  # whoever appends takes back, on an error, what it has written
                raise OSError(errno.EBUSY, os.strerror(errno.EBUSY), file)
            offset = 0
            while block := self._syscalls.pread(fd, _BLOCK, offset):
                view = memoryview(block)
                while view:
                    written = self._syscalls.pwrite(fd, view, offset)
                    view, offset = view[written:], offset + written
            self._syscalls.fsync(fd)
        finally:
            self._syscalls.close(fd)

    def leave_mark(self, file: str) -> None:
        """Make an empty file, as far as that goes: for what is worth knowing later, and no more."""
        try:
            self._syscalls.close(self._syscalls.open(file, os.O_CREAT | os.O_WRONLY | os.O_NOFOLLOW, self.fd))
        except OSError:
            pass

    def has_entry(self, name: str) -> bool:
        """Tell whether there is anything of that name."""
        return self._exists(name)


def write_whole(syscalls: Syscalls, fd: int, data: bytes) -> None:
    """Write all of `data`, however little the system takes at a time."""
    written = syscalls.write(fd, data)
    while written < len(data):
        written += syscalls.write(fd, memoryview(data)[written:])


def _in_blocks(parts: Sequence[bytes]) -> Iterator[bytes]:
    """Yield the same bytes in fewer pieces."""
    block: list[bytes] = []
    size = 0
    for part in parts:
        block.append(part)
        size += len(part)
        if size >= _BLOCK:
            yield b"".join(block)
            block, size = [], 0
    yield b"".join(block)


def sync_way_to(syscalls: Syscalls, path: str) -> None:
    """Make the names of a folder or file, and of all folders above it, durable: any of them may be new.

    Args:
        syscalls: how files are touched.
        path: an absolute path.
    """
    while (parent := os.path.dirname(path)) != path:
        try:
            Folder(syscalls, parent, follow=True).sync_self()
        except PermissionError:
            return  # whoever made the folder we are in could open this one: it was there before
        except OSError as error:
            if error.errno not in (errno.EINVAL, errno.EROFS):
                raise
            return  # a file system that keeps nothing, or that nobody writes to
        path = parent
