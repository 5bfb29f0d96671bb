"""What steps print, kept in the catalog while it still goes where it went before.

`sys.stdout` and `sys.stderr` are replaced by a tee while at least one step is recorded in this process. The tee asks
a context variable where a step's copy goes, so threads and async tasks keep apart. What other programs print that a
step starts goes around it.
"""

from __future__ import annotations

import contextvars
import hashlib
import logging
import os
import sys
import threading
from collections.abc import Iterator
from contextlib import contextmanager
from typing import Any, TextIO, cast

from chunkstore.backends.disk.folder import Folder
from chunkstore.backends.disk.os_errors import os_error
from chunkstore.backends.disk.syncing import sync_way_to
from chunkstore.backends.disk.syscalls import SYSTEM
from chunkstore.backends.disk.temporary_names import temporary_names
from chunkstore.backends.disk.writing import discard
from chunkstore.errors import ChunkstoreError
from chunkstore.forks import in_forked_children
from chunkstore.names import encode_for_file
from chunkstore.recording.catalog import LOG_SUFFIX, PUT, Catalog
from chunkstore.recording.catalog.retrieval import newest
from chunkstore.recording.catalog.versions import add_copy, hash_of, kept_current
from chunkstore.records.models import DataCatalog

logger = logging.getLogger("chunkstore")

#: What is printed goes to a new file, which is read again if another process takes its place.
_NEW = os.O_CREAT | os.O_EXCL | os.O_RDWR | os.O_APPEND | os.O_NOFOLLOW

_BLOCK = 1 << 20

_sink: contextvars.ContextVar[OutputFile | None] = contextvars.ContextVar("chunkstore_output", default=None)


class OutputFile:
    """The copy of what one step prints; the file is made at the first character.

    Args:
        catalog: where it goes.
        internal_name: the step.
    """

    def __init__(self, catalog: Catalog, internal_name: str) -> None:
        self._catalog = catalog
        self._name = f"{encode_for_file(internal_name)}{LOG_SUFFIX}"
        self._relative = self._name  # until the file is made
        self._fd = -1
        self._broken = False
        self._closed = False
        #: What waits while a file of the same name is taken over, after which this one goes on from its end.
        self._waiting: bytearray | None = None
        self._goes_on = False
        self._digest = hashlib.sha256()
        self._mutex = threading.Lock()
        self._pid = os.getpid()

    def write(self, text: str) -> None:
        """Add text; a failure is logged once, and does not fail the step."""
        # A task or thread can outlive its step; a forked child prints for itself.
        if not text or os.getpid() != self._pid:
            return
        try:
            with self._mutex:
                data = text.encode(errors="backslashreplace")
                if self._waiting is not None:
                    self._waiting += data
                elif not self._broken and not self._closed:
                    self._append(data)
        except (OSError, ChunkstoreError) as error:
            # Outside of the mutex: what is logged may be printed, and so come back here.
            logger.warning("What a step prints is no longer kept in %s: %s", self._relative, error)

    def _append(self, data: bytes) -> None:
        try:
            if self._fd < 0 and self._goes_on:
                self._open_going_on()
            elif self._fd < 0:
                self._fd = self._open()
            self._add(data)
        except (OSError, ChunkstoreError):
            self._broken = True
            raise

    def _add(self, data: bytes) -> None:
        view = memoryview(data)
        while view:
            written = SYSTEM.write(self._fd, view)
            self._digest.update(view[:written])
            view = view[written:]

    def _open_going_on(self) -> None:
        """Open a new file that begins with what is there: that itself belongs to the records that name it."""
        before = newest(self._catalog.path, self._catalog.relative_path(self._name, ""))
        self._fd = self._open()
        if before is not None:
            with before:
                while block := before.read(_BLOCK):
                    self._add(block)

    def suspend(self) -> None:
        """Write nothing until `resume` is called: a file of the same name is about to be taken over."""
        with self._mutex:
            self._waiting = bytearray()
            fd, self._fd = self._fd, -1
            if fd >= 0:
                with os.fdopen(fd, "rb", buffering=0) as content:
                    content.seek(0)
                    self._waiting += content.read()
                _, folder, file = self._catalog.open_folder_of(self._relative)
                discard(folder, file)
            self._digest, self._goes_on = hashlib.sha256(), True

    def resume(self) -> None:
        """Go on at the end of what was taken over."""
        with self._mutex:
            waiting, self._waiting = self._waiting, None
            if waiting and not self._broken:
                self._append(bytes(waiting))

    def _open(self) -> int:
        self._relative = self._catalog.relative_path(self._name, "")
        top, folder, file = self._catalog.open_folder_of(self._relative)
        try:
            return SYSTEM.open(file, _NEW, folder.fd)
        except FileExistsError:
            with kept_current(top, folder, file, sync=self._catalog.sync_writes):
                return self._open_anew(folder, file)

    @staticmethod
    def _open_anew(folder: Folder, file: str) -> int:
        temporary = temporary_names.next()
        fd = -1
        try:
            fd = SYSTEM.open(temporary, _NEW, folder.fd)
            SYSTEM.rename(temporary, file, folder.fd)  # before anything is written
        except BaseException:
            if fd >= 0:
                SYSTEM.close(fd)
            discard(folder, temporary)
            raise
        return fd

    def finish(self) -> DataCatalog | None:
        """Close the file; return its record, or None if nothing was printed or kept.

        Raises:
            StoreIOError: it was to survive a loss of power, and cannot be made to.
        """
        with self._mutex:
            self._closed = True
            fd, self._fd = self._fd, -1
        if fd < 0:
            return None
        target = os.path.join(self._catalog.path, self._relative)
        digest = self._digest.hexdigest()
        try:
            with os.fdopen(fd, "rb", buffering=0) as content:
                if self._broken:
                    digest = hash_of(content)  # a write that failed may have written something
                if self._catalog.sync_writes and not self._broken:
                    SYSTEM.fsync(fd)
                    sync_way_to(SYSTEM, target)
                if not SYSTEM.fstat(fd).st_nlink:  # another process has taken its place
                    top, _, _ = self._catalog.open_folder_of(self._relative)
                    add_copy(top, content, sync=self._catalog.sync_writes)
        except OSError as error:
            if self._broken:
                return None
            raise os_error(error, target, "catalog_folder") from error
        return self._catalog.entry(self._name, digest, self._relative, PUT)


class _Tee:
    """A text stream that also writes to the current step's file; all else is the original's."""

    def __init__(self, original: TextIO) -> None:
        self._original = original

    def write(self, text: str) -> int:
        sink = _sink.get()
        if sink is not None:
            sink.write(text)
        return self._original.write(text)

    def writelines(self, lines: Any) -> None:
        for line in lines:
            self.write(line)

    def __getattr__(self, name: str) -> Any:
        return getattr(self._original, name)

    def __iter__(self) -> Iterator[str]:
        return iter(self._original)


class _Installation:
    """Keeps the tees in place while anybody needs them."""

    def __init__(self) -> None:
        self.reset()

    def reset(self) -> None:
        self._mutex = threading.Lock()
        self._users = 0
        self._tees: dict[str, _Tee] = {}

    def __enter__(self) -> None:
        with self._mutex:
            self._users += 1
            for name in ("stdout", "stderr"):
                stream = getattr(sys, name)
                if stream is not None and not isinstance(stream, _Tee):
                    self._tees[name] = _Tee(stream)
                    setattr(sys, name, cast("TextIO", self._tees[name]))

    def __exit__(self, *_: object) -> None:
        with self._mutex:
            self._users -= 1
            if self._users:
                return
            for name, tee in self._tees.items():
                if getattr(sys, name) is tee:
                    setattr(sys, name, tee._original)  # noqa: SLF001 - its own class
            self._tees.clear()


_installation = _Installation()
in_forked_children(_installation.reset)


@contextmanager
def kept_output(output: OutputFile | None) -> Iterator[None]:
    """Keep what is printed inside the block; with None, keep nothing."""
    if output is None:
        yield
        return
    token = _sink.set(output)
    try:
        with _installation:
            yield
    finally:
        _sink.reset(token)
