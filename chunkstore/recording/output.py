"""What steps print, kept in the catalog: the copy of one step's output.

Nothing here is done under a mutex: what prints may come in the middle of what prints, as handlers of signals and
finalisers do.
"""

from __future__ import annotations

import logging
import os
import threading
import time
from collections import deque
from collections.abc import Callable

from chunkstore.backends.disk.os_errors import os_error
from chunkstore.backends.disk.syscalls import SYSTEM
from chunkstore.errors import ChunkstoreError
from chunkstore.names import encode_for_file
from chunkstore.recording.catalog import LOG_SUFFIX, PUT, Catalog, Output
from chunkstore.records.models import DataCatalog

logger = logging.getLogger("chunkstore")

_BLOCK = 1 << 20
#: For how long the end of a step waits for threads that are printing just then, in seconds.
_PATIENCE = 1.0
_PAUSE = 1e-3


class _Descriptor:
    """An open file, closed when the last one who writes to it is done: its number never comes to mean another."""

    def __init__(self, place: Output) -> None:
        self.place = place
        self.fd = place.fd

    def write(self, data: bytes) -> None:
        """Add bytes at the end."""
        view = memoryview(data)
        while view:
            view = view[SYSTEM.write(self.fd, view) :]

    def close(self) -> None:
        """Close the file; only if nobody else uses it."""
        fd, self.fd = self.fd, -1
        if fd >= 0:
            SYSTEM.close(fd)

    def __del__(self) -> None:
        try:
            self.close()
        except Exception:  # noqa: BLE001, S110 - at interpreter exit anything may be gone already
            pass


class OutputFile:
    """The copy of what one step prints; the file is made at the first character.

    Args:
        catalog: where it goes.
        internal_name: the step.
        later: has something done soon, in another thread, by one call after the other; None to write at once.
    """

    def __init__(
        self, catalog: Catalog, internal_name: str, *, later: Callable[[Callable[[], None]], None] | None = None
    ) -> None:
        self._catalog = catalog
        self._later = later
        #: What is to be written later.
        self._printed: deque[str] = deque()
        self._name = f"{encode_for_file(internal_name)}{LOG_SUFFIX}"
        self._relative = self._name  # until the file is made
        # Of each at most one, under its own name: dicts are changed by single operations.
        self._opened: dict[str, _Descriptor] = {}
        #: What waits while the file is made, or while one of the same name is taken over.
        self._waiting: dict[str, deque[bytes]] = {}
        #: Whether it begins with what is there under its name.
        self._goes_on = False
        self._broken = False
        self._closed = False
        # The threads that are writing, each as often as it is: one write may come in the middle of another.
        self._writing: list[int] = []
        self._pid = os.getpid()

    def write(self, text: str) -> None:
        """Add text; a failure is logged once, and does not fail the step."""
        # A task or thread can outlive its step; a forked child prints for itself.
        if not text or os.getpid() != self._pid:
            return
        if self._later is None:
            self._write(text)
        elif not self._closed:
            self._printed.append(text)
            self._later(self._write_printed)

    def _write_printed(self) -> None:
        self._write("".join([self._printed.popleft() for _ in range(len(self._printed))]))

    def _write(self, text: str) -> None:
        thread = threading.get_ident()
        try:
            self._writing.append(thread)
            try:
                self._put(text.encode(errors="backslashreplace"))
            finally:
                self._writing.remove(thread)
        except (OSError, ChunkstoreError) as error:
            # Not before it is done: what is logged may be printed, and so come back here.
            logger.warning("What a step prints is no longer kept in %s: %s", self._relative, error)

    def _put(self, data: bytes) -> None:
        if self._broken or self._closed:
            return
        own: deque[bytes] = deque()
        waiting = self._waiting.get(self._name) if self._opened else self._waiting.setdefault(self._name, own)
        if waiting is None:
            self._add(data)
            return
        waiting.append(data)
        if waiting is own:
            self._make()
        if self._waiting.get(self._name) is not waiting:  # it waits no more
            self._add_all(waiting)

    def _make(self) -> None:
        try:
            self._opened[self._name] = self._open()
        except (OSError, ChunkstoreError):
            self._broken = True
            raise
        finally:
            self._waiting.pop(self._name, None)

    def _add_all(self, waiting: deque[bytes]) -> None:
        while waiting:
            try:
                data = waiting.popleft()
            except IndexError:
                return  # others have added the rest
            self._add(data)

    def _add(self, data: bytes) -> None:
        file = self._opened.get(self._name)
        if file is None or self._closed or self._broken:
            return
        try:
            file.write(data)
        except OSError:
            self._broken = True
            raise

    def suspend(self) -> None:
        """Write nothing until `resume` is called: a file of the same name is about to be taken over."""
        self._is_still()
        waiting = self._waiting.setdefault(self._name, deque())
        file = self._opened.pop(self._name, None)
        if file is not None:
            with os.fdopen(file.fd, "rb", buffering=0, closefd=False) as content:
                content.seek(0)
                waiting.appendleft(content.read())
            file.place.discard()
        self._goes_on = True

    def resume(self) -> None:
        """Go on at the end of what was taken over."""
        waiting = self._waiting.pop(self._name, None)
        while waiting:
            self._put(waiting.popleft())

    def _open(self) -> _Descriptor:
        self._relative = self._catalog.relative_path(self._name, "")
        before = self._catalog.newest(self._relative) if self._goes_on else None
        file = _Descriptor(self._catalog.begin_output(self._relative))
        if before is not None:
            with before.content as content:
                # That itself belongs to the records that name it.
                while block := content.read(_BLOCK):
                    file.write(block)
        return file

    def finish(self) -> DataCatalog | None:
        """Close the file; return its record, or None if nothing was printed or kept.

        Raises:
            StoreIOError: it was to survive a loss of power, and cannot be made to.
        """
        if self._printed:
            self._write_printed()
        self._closed = True
        is_still = self._is_still()
        file = self._opened.pop(self._name, None)
        if file is None:
            return None
        try:
            digest = file.place.end(is_still=is_still, is_whole=not self._broken)
            if is_still:
                file.close()
        except OSError as error:
            if self._broken:
                return None
            if isinstance(error, ChunkstoreError):
                raise
            raise os_error(error, os.path.join(self._catalog.path, self._relative), "catalog_folder") from error
        return self._catalog.entry(self._name, digest, self._relative, PUT)

    def _is_still(self) -> bool:
        """Tell whether nobody writes any more; the end of a step may have come in the middle of a write."""
        me, deadline = threading.get_ident(), time.monotonic() + _PATIENCE
        while self._writing and me not in self._writing and time.monotonic() < deadline:
            time.sleep(_PAUSE)
        return not self._writing
