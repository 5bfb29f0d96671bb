"""What a step prints, where no object can be added to: kept on the disk of this host until the step ends.

Meanwhile what has been printed goes up in parts, at most one every few seconds, so that others can read along.
"""

from __future__ import annotations

import logging
import os
import tempfile
import threading
import time
import weakref
from typing import TYPE_CHECKING, NamedTuple, Protocol

from chunkstore.backends.data import PART, DataFiles
from chunkstore.clock import clock
from chunkstore.errors import ChunkstoreError
from chunkstore.forks import in_forked_children
from chunkstore.recording.catalog.data_names import BY_HASH

if TYPE_CHECKING:
    from typing import BinaryIO

logger = logging.getLogger("chunkstore")

#: Seconds between two parts of what a step prints.
SECONDS_BETWEEN_PARTS = 3.0
#: In there, beside the versions, are the parts of what is printed: a folder for each attempt.
_PARTS = "printing"
_DIGITS = 20


class PrintedPart(NamedTuple):
    """A part of what a step prints that goes on.

    Attributes:
        key: where it is.
        start: how much was printed before.
        end: how much that is, with this part.
    """

    key: str
    start: int
    end: int


class Keeper(Protocol):
    """The catalog that keeps what a step prints."""

    @property
    def files(self) -> DataFiles:
        """Where the bytes are."""

    def put_output(self, relative: str, content: BinaryIO) -> str:
        """Keep all that was printed; return its SHA-256."""


def _folder_of(relative: str) -> str:
    folder, _, name = relative.partition("/")
    return f"{folder}/{BY_HASH}/{_PARTS}/{name}"


def printed_parts(files: DataFiles, relative: str) -> list[PrintedPart]:
    """Return the parts of what a step prints, or was printing as it died; of several attempts, the latest.

    Args:
        files: where they are.
        relative: where in the catalog all of it shall be at the end.
    """
    found: dict[str, list[PrintedPart]] = {}
    for entry in files.below(_folder_of(relative)):
        attempt, _, start = entry.name.rpartition("/")
        if start.isdecimal():
            found.setdefault(attempt, []).append(PrintedPart(entry.name, int(start), int(start) + entry.space))
    return sorted(found[max(found)]) if found else []


class OutputInStore:
    """What a step prints; see `Output`."""

    def __init__(self, keeper: Keeper, relative: str) -> None:
        self._keeper = keeper
        self._relative = relative
        self._attempt = f"{_folder_of(relative)}/{clock.tick():0{_DIGITS}}-{os.urandom(4).hex()}"
        self._sent: list[str] = []
        self._size_sent = 0
        self._mutex = threading.Lock()
        fd, path = tempfile.mkstemp(prefix="chunkstore-")
        try:
            # Two descriptors of their own, as others close theirs; and what is added goes to the end, whoever reads.
            self.fd = os.open(path, os.O_RDWR | os.O_APPEND | os.O_CLOEXEC)
            self._own = os.fdopen(fd, "rb", buffering=0)
        finally:
            os.unlink(path)
        _sender.add(self)

    def send(self) -> None:
        """Send what was printed since the last part, if it has not ended meanwhile."""
        with self._mutex:
            if self._own.closed:
                return
            self._own.seek(self._size_sent)
            if part := self._own.read(PART):
                key = f"{self._attempt}/{self._size_sent:0{_DIGITS}}"
                self._keeper.files.put(key, part, {})
                self._sent.append(key)
                self._size_sent += len(part)

    def discard(self) -> None:
        """See `Output.discard`."""
        with self._mutex:
            self._own.close()
        self._keeper.files.delete(self._sent)

    def end(self, *, is_still: bool, is_whole: bool) -> str:  # noqa: ARG002 - what comes later is not read any more
        """See `Output.end`."""
        with self._mutex:  # a part may be on its way
            try:
                digest = self._keeper.put_output(self._relative, self._own)
            finally:
                self._own.close()
        if self._sent:
            self._keeper.files.delete(self._sent)
        return digest


class _Sender:
    """Sends parts of what steps print, in a thread of its own that is there while any do."""

    def __init__(self) -> None:
        self.reset()

    def reset(self) -> None:
        """Begin anew, as in a forked child: what its parent prints is not its own."""
        self._outputs: weakref.WeakSet[OutputInStore] = weakref.WeakSet()
        self._thread: threading.Thread | None = None

    def add(self, output: OutputInStore) -> None:
        self._outputs.add(output)
        if self._thread is None or not self._thread.is_alive():
            self._thread = threading.Thread(target=self._run, name="chunkstore-printed", daemon=True)
            self._thread.start()

    def _run(self) -> None:
        while True:
            time.sleep(SECONDS_BETWEEN_PARTS)
            try:
                outputs = list(self._outputs)
            except RuntimeError:
                continue  # another thread has added one meanwhile
            for output in outputs:
                try:
                    output.send()
                except (ChunkstoreError, OSError, ValueError) as error:
                    self._outputs.discard(output)
                    logger.warning("What a step prints is kept when it ends, and not before: %s", error)


_sender = _Sender()
in_forked_children(_sender.reset)
