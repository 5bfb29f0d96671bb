"""Writing files that nobody reads yet, and removing them again."""

from __future__ import annotations

import os
from collections.abc import Iterator, Sequence

from chunkstore.backends.base import Data
from chunkstore.backends.disk.folder import Folder
from chunkstore.backends.disk.syscalls import Syscalls

_BLOCK = 1 << 20


def write_plain(folder: Folder, file: str, data: Data, *, durable: bool) -> None:
    """Make a new file, not atomically: under a name, or in a folder, that nobody reads."""
    syscalls = folder.syscalls
    fd = syscalls.open(file, os.O_CREAT | os.O_EXCL | os.O_WRONLY | os.O_NOFOLLOW, folder.fd)
    try:
        fill(syscalls, fd, data, durable=durable)
    except BaseException:
        syscalls.close(fd)
        raise
    syscalls.close(fd)


def fill(syscalls: Syscalls, fd: int, data: Data, *, durable: bool) -> None:
    """Write all that a new file holds."""
    for part in (data,) if isinstance(data, bytes) else _in_blocks(data):
        write_whole(syscalls, fd, part)
    if durable:
        syscalls.fsync(fd)


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


def discard(folder: Folder, file: str) -> None:
    """Remove a file of our own on the way out of an error, if it is there."""
    try:
        folder.syscalls.unlink(file, folder.fd)
    except OSError:
        pass  # never made, already gone, or the very failure that brought us here
