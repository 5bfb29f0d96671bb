"""Making and replacing files so that readers see all of what is written or nothing."""

from __future__ import annotations

import errno
import os
from collections.abc import Callable, Iterable, Sequence

from chunkstore.backends.base import Data
from chunkstore.backends.disk.folder import Folder
from chunkstore.backends.disk.naming import give_name
from chunkstore.backends.disk.syncing import sync_files
from chunkstore.backends.disk.syscalls import REFUSED
from chunkstore.backends.disk.temporary_names import temporary_names
from chunkstore.backends.disk.writing import discard, fill, write_plain

#: Says that a file system has no files without a name. (EISDIR and EINVAL: a kernel or FUSE that ignores the flag.)
_NO_UNNAMED = REFUSED | {errno.EISDIR}
#: Says that such a file cannot be named: by no link, or there is no /proc any more through which.
_NO_NAMING = REFUSED | {errno.ENOENT, errno.ELOOP}


def publish(folder: Folder, file: str, data: Data, *, durable: bool, take_back: bool) -> None:
    """Make a new file, whole from its first moment on; an existing one is never touched.

    Args:
        folder: where to make it.
        file: its name.
        data: what it holds.
        durable: whether it survives a loss of power before this returns.
        take_back: whether the file is removed if it cannot be made durable: right where nobody else writes to it.
    """
    if not (folder.has_unnamed_files and _publish_unnamed(folder, file, data, durable=durable)):
        _publish_temporary(folder, file, data, durable=durable)
    if durable:
        try:
            folder.sync_self()
        except BaseException:
            if take_back:
                discard(folder, file)
            raise


def _publish_unnamed(folder: Folder, file: str, data: Data, *, durable: bool) -> bool:
    """Publish through a file that has no name before it is whole; False where there is no such thing."""
    syscalls = folder.syscalls
    try:
        fd = syscalls.open(".", os.O_TMPFILE | os.O_WRONLY, folder.fd)
    except OSError as error:
        if error.errno not in _NO_UNNAMED:
            raise
        folder.has_unnamed_files = False
        return False
    is_whole = False
    try:
        fill(syscalls, fd, data, durable=durable)
        is_whole = True
        syscalls.link_unnamed(fd, file, folder.fd)
    except BaseException as error:
        try:
            if syscalls.fstat(fd).st_nlink:
                discard(folder, file)  # named in spite of the error
        finally:
            syscalls.close(fd)
        if is_whole and isinstance(error, OSError) and error.errno in _NO_NAMING:
            folder.has_unnamed_files = False
            return False
        raise
    try:
        syscalls.close(fd)
    except BaseException:
        discard(folder, file)  # some file systems find out only here that the disk is full
        raise
    return True


def _publish_temporary(folder: Folder, file: str, data: Data, *, durable: bool) -> None:
    temporary = temporary_names.next()
    try:
        write_plain(folder, temporary, data, durable=durable)
        give_name(folder, temporary, file)
        discard(folder, temporary)
    except BaseException:  # also an interrupt that came before the name was discarded
        discard(folder, temporary)
        raise


def write_together(
    folder: Folder, files: Sequence[tuple[str, bytes, bool]], *, before: Callable[[], None] | None, durable: bool
) -> None:
    """Make or replace several files one after the other; see `Backend.write_together`.

    All are written before any gets its name, so that a full disk is noticed before that, and so that whoever meets
    some of them can see what is to come.
    """
    temporary = [temporary_names.next() for _ in files]
    given: list[str] = []
    try:
        for name, (_, data, _) in zip(temporary, files, strict=True):
            write_plain(folder, name, data, durable=durable)
        if before is not None:
            before()
        for name, (file, _, is_new) in zip(temporary, files, strict=True):
            if not is_new:
                folder.syscalls.rename(name, file, folder.fd)
                continue
            given.append(file)
            try:
                give_name(folder, name, file)
            except OSError:
                given.pop()
                raise
        if durable:
            folder.sync_self()
    except BaseException:
        for name in [*temporary, *given]:
            discard(folder, name)
        raise
    for name, (_, _, is_new) in zip(temporary, files, strict=True):
        if is_new:
            discard(folder, name)


def publish_all(folder: Folder, files: Iterable[tuple[str, bytes]]) -> None:
    """Make many new files that survive a loss of power; see `Backend.publish_all`.

    All are written before any gets its name, so that one sync serves them all.
    """
    temporary: dict[str, str] = {}
    try:
        for file, data in files:
            name = temporary_names.next()
            temporary[name] = file
            write_plain(folder, name, data, durable=False)
        sync_files(folder, list(temporary))
        for name, file in temporary.items():
            try:
                give_name(folder, name, file)
            except FileExistsError:
                pass  # it stays
    finally:
        try:
            for name in temporary:
                discard(folder, name)
        except BaseException:  # an interrupt
            for name in temporary:
                discard(folder, name)
            raise
    folder.sync_self()


def replace(folder: Folder, file: str, data: bytes, *, durable: bool) -> None:
    """Replace a file, or make it: readers see the old bytes or the new ones, whole."""
    temporary = temporary_names.next()
    try:
        write_plain(folder, temporary, data, durable=durable)
        folder.syscalls.rename(temporary, file, folder.fd)
    except BaseException:
        discard(folder, temporary)
        raise
    if durable:
        folder.sync_self()
