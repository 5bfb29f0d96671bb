"""All that was put into the catalog under one name after the other, each version by the hash that records name.

The plain file `<folder>/<name>` is the newest version, for people and other tools; `<folder>/.versions/<SHA-256>` is
there as long as the folder is. Both are one file with two names where the file system has such a thing, so a version
costs no room; equal bytes under several names are there once. The version gets its name first: so whoever replaces the
plain file takes nothing away, and whoever is stopped before leaves no more than a version that nobody names.
"""

from __future__ import annotations

import hashlib
import os
import stat
from collections.abc import Iterator
from contextlib import contextmanager
from typing import BinaryIO

from chunkstore.backends.disk.folder import Folder
from chunkstore.backends.disk.syscalls import REFUSED
from chunkstore.backends.disk.temporary_names import temporary_names
from chunkstore.backends.disk.writing import discard, write_whole
from chunkstore.recording.catalog.data_names import VERSIONS
from chunkstore.recording.catalog.places import NOT_THERE, inner_folder, open_file

_BLOCK = 1 << 20
#: Who may do what with a file; what makes a program run as somebody else is not kept.
_PERMISSIONS = 0o777


def permissions_of(fd: int) -> int:
    """Return who may do what with an open file; its owner can always read it."""
    return os.fstat(fd).st_mode & _PERMISSIONS | stat.S_IRUSR


def write_copy(folder: Folder, file: str, content: BinaryIO, *, mode: int, sync: bool) -> str:
    """Copy to a new file and hash on the way; return the SHA-256."""
    digest = hashlib.sha256()
    syscalls = folder.syscalls
    fd = syscalls.open(file, os.O_CREAT | os.O_EXCL | os.O_WRONLY | os.O_NOFOLLOW, folder.fd)
    try:
        try:
            syscalls.chmod(fd, mode)  # before there is anything to be read
        except OSError:
            pass  # not on this file system
        while block := content.read(_BLOCK):
            digest.update(block)
            write_whole(syscalls, fd, block)
        if sync:
            syscalls.fsync(fd)
    finally:
        syscalls.close(fd)
    return digest.hexdigest()


def put_version(top: Folder, folder: Folder, file: str, content: BinaryIO, *, mode: int, sync: bool) -> str:
    """Make some bytes the newest version of a file, and keep all others; return the SHA-256.

    Args:
        top: the folder with the data of the run.
        folder: the folder of the file, in there or the same.
        file: its name.
        content: the bytes.
        mode: who may do what with the file.
        sync: whether the files survive a loss of power; their names are left to the caller.
    """
    temporary = temporary_names.next()
    try:
        digest = write_copy(folder, temporary, content, mode=mode, sync=sync)
        versions = inner_folder(top, VERSIONS, make=True)
        _keep_current(folder, file, versions, sync=sync)
        _add(versions, digest, folder, temporary, sync=sync)
        folder.syscalls.rename(temporary, file, folder.fd)
        # A rename onto another name of the same file leaves both: others may have put equal bytes just now.
        discard(folder, temporary)
    except BaseException:
        discard(folder, temporary)
        raise
    return digest


def make_newest(versions: Folder, digest: str, folder: Folder, file: str, *, sync: bool) -> None:
    """Make a version that is kept the newest of a file."""
    _keep_current(folder, file, versions, sync=sync)
    bring(versions, digest, folder, file, sync=sync)


@contextmanager
def kept_current(top: Folder, folder: Folder, file: str, *, sync: bool) -> Iterator[None]:
    """Keep a copy of what a file holds that is replaced inside the block; another process may still add to it."""
    try:
        fd = open_file(folder, file)
    except FileNotFoundError:
        yield
        return
    with os.fdopen(fd, "rb", buffering=0) as content:
        add_copy(top, content, sync=sync)
        size = content.tell()
        yield
        if os.fstat(fd).st_size != size:
            add_copy(top, content, sync=sync)


def add_copy(top: Folder, content: BinaryIO, *, sync: bool) -> str:
    """Keep a copy of some bytes; return their SHA-256."""
    versions = inner_folder(top, VERSIONS, make=True)
    temporary = temporary_names.next()
    content.seek(0)
    try:
        mode = permissions_of(content.fileno())
        digest = write_copy(versions, temporary, content, mode=mode, sync=sync)
        versions.syscalls.rename(temporary, digest, versions.fd)
    except BaseException:
        discard(versions, temporary)
        raise
    return digest


def _keep_current(folder: Folder, file: str, versions: Folder, *, sync: bool) -> None:
    """Keep a version that is about to be replaced and may be kept nowhere: an older version of this library put it."""
    try:
        status = folder.syscalls.lstat(file, folder.fd)
    except FileNotFoundError:
        return
    if stat.S_ISREG(status.st_mode) and not _is_kept(folder, file, versions, status):
        take(folder, file, versions, sync=sync)


def _is_kept(folder: Folder, file: str, versions: Folder, status: os.stat_result) -> bool:
    """Tell whether a file is another name of a version; only what is slower to hash is looked for in the listing."""
    if status.st_nlink == 1:
        return False
    if status.st_size > _BLOCK:
        return _has_inode(versions, status.st_ino)
    try:
        return versions.syscalls.lstat(hash_in(folder, file), versions.fd).st_ino == status.st_ino
    except FileNotFoundError:
        return False


def take(source: Folder, file: str, versions: Folder, *, sync: bool) -> str | None:
    """Keep the bytes of a file, which others may replace at any moment; return their hash, None if it is gone."""
    temporary = temporary_names.next()
    try:
        try:
            bring(source, file, versions, temporary, sync=sync)
        except FileNotFoundError:
            return None
        digest = hash_in(versions, temporary)
        if _kept(versions, digest, versions, temporary) is None:
            versions.syscalls.rename(temporary, digest, versions.fd)
        discard(versions, temporary)
    except BaseException:
        discard(versions, temporary)
        raise
    return digest


def _has_inode(folder: Folder, inode: int) -> bool:
    fd = folder.syscalls.open(".", os.O_RDONLY | os.O_DIRECTORY, folder.fd)
    try:
        with os.scandir(fd) as entries:
            return any(entry.inode() == inode for entry in entries)
    finally:
        folder.syscalls.close(fd)


def hash_in(folder: Folder, file: str) -> str:
    """Return the SHA-256 of a regular file."""
    with os.fdopen(open_file(folder, file), "rb", buffering=0) as content:
        return hash_of(content)


def hash_of(content: BinaryIO) -> str:
    """Return the SHA-256 of an open file."""
    content.seek(0)
    digest = hashlib.sha256()
    while block := content.read(_BLOCK):
        digest.update(block)
    return digest.hexdigest()


def _add(versions: Folder, digest: str, folder: Folder, temporary: str, *, sync: bool) -> None:
    """Keep a file that has no name yet by its hash; if equal bytes are kept already, make it another name of these."""
    try:
        versions.syscalls.link(temporary, digest, versions.fd, folder.fd)
    except OSError:  # mostly there is such a version
        kept = _kept(versions, digest, folder, temporary)
        if kept is None:
            bring(folder, temporary, versions, digest, sync=sync)
        elif kept == folder.syscalls.lstat(temporary, folder.fd).st_mode:
            bring(versions, digest, folder, temporary, sync=sync)


def _kept(versions: Folder, digest: str, folder: Folder, file: str) -> int | None:
    """Return the mode of the version that is kept under a hash, if it has the bytes of a file; it may be damaged."""
    try:
        kept = versions.syscalls.lstat(digest, versions.fd)
        if kept.st_size != folder.syscalls.lstat(file, folder.fd).st_size:
            return None
        return kept.st_mode if hash_in(versions, digest) == digest else None
    except OSError as error:
        if error.errno in NOT_THERE or isinstance(error, PermissionError):
            return None
        raise


def bring(source: Folder, file: str, target: Folder, name: str, *, sync: bool) -> None:
    """Have a file also in another folder, in place of what is there: by another name, shared bytes, or a copy."""
    temporary = temporary_names.next()
    try:
        try:
            target.syscalls.link(file, temporary, target.fd, source.fd)
        except OSError as error:
            if error.errno not in REFUSED:
                raise  # else there are no hard links, or the file has as many as it can
            _copy_or_clone(source, file, target, temporary, sync=sync)
        target.syscalls.rename(temporary, name, target.fd)
        discard(target, temporary)  # a rename onto the same file leaves it
    except BaseException:
        discard(target, temporary)
        raise


def _copy_or_clone(source: Folder, file: str, target: Folder, name: str, *, sync: bool) -> None:
    with os.fdopen(open_file(source, file), "rb", buffering=0) as content:
        mode = permissions_of(content.fileno())
        try:
            fd = target.syscalls.open(name, os.O_CREAT | os.O_EXCL | os.O_WRONLY | os.O_NOFOLLOW, target.fd)
            try:
                target.syscalls.clone(content.fileno(), fd)
                target.syscalls.chmod(fd, mode)
                if sync:
                    target.syscalls.fsync(fd)
            finally:
                target.syscalls.close(fd)
        except OSError:
            discard(target, name)
            write_copy(target, name, content, mode=mode, sync=sync)
