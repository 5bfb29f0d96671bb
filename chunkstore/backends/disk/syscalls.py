"""The system calls through which all file I/O of chunkstore goes.

One thin method each, so that tests can count them, make the Nth one fail, cut a write short or kill the process there,
and so that another platform has one place to look at.
"""

from __future__ import annotations

import errno
import os
import sys

_PROC_SELF_FD = "/proc/self/fd"
#: What a file system, or a sandbox, says that does not have a call, or does not let us make it.
REFUSED = frozenset(
    {errno.EPERM, errno.EACCES, errno.EOPNOTSUPP, errno.ENOTSUP, errno.ENOSYS, errno.EINVAL, errno.EXDEV, errno.EMLINK}
)
#: From linux/fs.h.
_RENAME_NOREPLACE = 1
_FICLONE = 0x40049409


#: Names, and whether each is that of a regular file.
Entries = list[tuple[str, bool]]


class Syscalls:
    """The system calls of POSIX that chunkstore uses; paths are relative to `dir_fd` where one is given."""

    def open(self, path: str, flags: int, dir_fd: int | None = None) -> int:
        """Open a file with mode 0666 less the umask, never inherited by other programs."""
        return os.open(path, flags | os.O_CLOEXEC, 0o666, dir_fd=dir_fd)

    def write(self, fd: int, data: bytes | memoryview) -> int:
        """Write at least a byte of `data`; return how many were written."""
        return os.write(fd, data)

    def read(self, fd: int, size: int) -> bytes:
        """Read up to `size` bytes; nothing at the end of the file."""
        return os.read(fd, size)

    def fstat(self, fd: int) -> os.stat_result:
        """Return what is known of an open file."""
        return os.fstat(fd)

    def stat(self, path: str) -> os.stat_result:
        """Return what is known of a file, or of what a symbolic link leads to."""
        return os.stat(path)

    def lstat(self, path: str, dir_fd: int | None = None) -> os.stat_result:
        """Return what is known of a file, or of the symbolic link itself."""
        return os.stat(path, dir_fd=dir_fd, follow_symlinks=False)

    def statvfs(self, fd: int) -> os.statvfs_result:
        """Return what is known of the file system that an open file or folder is on."""
        return os.statvfs(fd)

    def fsync(self, fd: int) -> None:
        """Bring a file, or the names in a folder, to stable storage.

        Some file systems refuse that for folders; then all that is on them is brought there.
        """
        try:
            if sys.platform == "darwin":
                import fcntl  # noqa: PLC0415 - not on every platform

                fcntl.fcntl(fd, fcntl.F_FULLFSYNC)  # fsync(2) of macOS leaves data in the drive's cache
            else:
                os.fsync(fd)
        except OSError as error:
            if error.errno not in REFUSED:
                raise
            try:
                self.syncfs(fd)
            except OSError:
                raise error from None

    def fdatasync(self, fd: int) -> None:
        """Bring what a file holds, and how long it is, to stable storage."""
        if hasattr(os, "fdatasync"):
            os.fdatasync(fd)
        else:  # macOS
            self.fsync(fd)

    def truncate(self, fd: int, size: int) -> None:
        """Cut an open file off after `size` bytes."""
        os.ftruncate(fd, size)

    def pread(self, fd: int, size: int, offset: int) -> bytes:
        """Read up to `size` bytes from `offset` on; nothing at the end of the file."""
        return os.pread(fd, size, offset)

    def pwrite(self, fd: int, data: bytes | memoryview, offset: int) -> int:
        """Write at least a byte of `data` at `offset`; return how many were written."""
        return os.pwrite(fd, data, offset)

    def syncfs(self, fd: int) -> None:
        """Bring everything of the file system that `fd` is on to stable storage (syncfs(2), Linux).

        Raises:
            OSError: with ENOSYS where there is no such call.
        """
        import ctypes  # noqa: PLC0415 - for this call alone

        function = getattr(ctypes.CDLL(None, use_errno=True), "syncfs", None)
        if function is None:
            raise OSError(errno.ENOSYS, os.strerror(errno.ENOSYS))
        if function(fd) != 0:
            code = ctypes.get_errno()
            raise OSError(code, os.strerror(code))

    def close(self, fd: int) -> None:
        """Close a descriptor."""
        os.close(fd)

    def flush(self, fd: int) -> None:
        """Send what was written to an open file to its server, if it has one, so that others can read it.

        It waits for no disk, as a sync would; but what is wrong with the writing is known then.
        """
        os.close(os.dup(fd))  # closing any descriptor of a file does that

    def link(self, source: str, target: str, dir_fd: int, source_fd: int | None = None) -> None:
        """Give a file, which may be in another folder, another name; fails if the name exists."""
        if not hasattr(os, "link"):  # as on Android
            raise OSError(errno.ENOSYS, os.strerror(errno.ENOSYS), target)
        source_fd = dir_fd if source_fd is None else source_fd
        os.link(source, target, src_dir_fd=source_fd, dst_dir_fd=dir_fd, follow_symlinks=False)

    def clone(self, source: int, target: int) -> None:
        """Have an open file share the bytes of another until either is written to (FICLONE of ioctl(2), Linux).

        Raises:
            OSError: the file system has no such thing.
        """
        import fcntl  # noqa: PLC0415 - where there are no hard links alone

        fcntl.ioctl(target, _FICLONE, source)

    def chmod(self, fd: int, mode: int) -> None:
        """Set who may do what with an open file."""
        os.fchmod(fd, mode)

    def link_unnamed(self, fd: int, target: str, dir_fd: int) -> None:
        """Give an open file without a name (O_TMPFILE) its first; fails if the name exists."""
        if not hasattr(os, "link"):
            raise OSError(errno.ENOSYS, os.strerror(errno.ENOSYS), target)
        os.link(f"{_PROC_SELF_FD}/{fd}", target, dst_dir_fd=dir_fd, follow_symlinks=True)

    def rename(self, source: str, target: str, dir_fd: int | None = None) -> None:
        """Rename a file or folder, replacing an existing file."""
        os.rename(source, target, src_dir_fd=dir_fd, dst_dir_fd=dir_fd)

    def rename_new(self, source: str, target: str, dir_fd: int) -> None:
        """Rename a file; fails if the new name exists (renameat2(2), Linux).

        Raises:
            OSError: with ENOSYS where there is no such call, with EINVAL where the file system does not have it.
        """
        import ctypes  # noqa: PLC0415 - where there are no hard links alone

        function = getattr(ctypes.CDLL(None, use_errno=True), "renameat2", None)
        if function is None:
            raise OSError(errno.ENOSYS, os.strerror(errno.ENOSYS), target)
        if function(dir_fd, os.fsencode(source), dir_fd, os.fsencode(target), _RENAME_NOREPLACE) != 0:
            code = ctypes.get_errno()
            raise OSError(code, os.strerror(code), target)

    def unlink(self, path: str, dir_fd: int | None = None) -> None:
        """Remove a name of a file."""
        os.unlink(path, dir_fd=dir_fd)

    def mkdir(self, path: str, dir_fd: int | None = None) -> None:
        """Make a folder with mode 0777 less the umask."""
        os.mkdir(path, 0o777, dir_fd=dir_fd)

    def rmdir(self, path: str, dir_fd: int | None = None) -> None:
        """Remove an empty folder."""
        os.rmdir(path, dir_fd=dir_fd)

    def list(self, fd: int) -> list[str]:
        """Return the names in an open folder."""
        return os.listdir(fd)

    def scan(self, fd: int) -> Entries:
        """Return the names in an open folder, and of each whether it is a regular file."""
        with os.scandir(fd) as entries:
            return [(entry.name, entry.is_file(follow_symlinks=False)) for entry in entries]

    def scan_folders(self, fd: int) -> dict[str, int]:
        """Return the folders in an open folder whose names do not begin with a dot, and when each changed last.

        With them come links, pipes and devices, as -1.
        """
        found = {}
        with os.scandir(fd) as entries:
            for entry in entries:
                name = entry.name
                if name[0] == "." or entry.is_file(follow_symlinks=False):
                    continue
                try:
                    is_folder = entry.is_dir(follow_symlinks=False)
                    found[name] = entry.stat(follow_symlinks=False).st_mtime_ns if is_folder else -1
                except FileNotFoundError:
                    pass  # deleted since it was listed
        return found


def has_unnamed_files() -> bool:
    """Tell whether this platform can make files without a name and name them later."""
    return hasattr(os, "O_TMPFILE") and os.path.isdir(_PROC_SELF_FD)


#: What everything uses unless a test passes something else.
SYSTEM = Syscalls()
