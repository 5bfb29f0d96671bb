"""Who of those that wait for a lock comes next, so that somebody who takes it all the time leaves it to others too.

Whoever waits locks a byte of the lock file, far behind its end, and nobody else asks for the lock itself meanwhile.
That is a lock of the kernel as well: it is gone with who holds it. It is used where those of flock(2) and on bytes
surely do not meet, and never relied upon: a process that is stopped in its turn delays others, and keeps nobody out.
"""

from __future__ import annotations

import os
import time

from chunkstore.backends.disk.mounts import mount_of
from chunkstore.backends.disk.range_locks import ARE_THERE, lock_range, locked_range, unlock_range

_PLACE, _LENGTH = 1 << 40, 1
#: Seconds between two questions: of who comes next, of others, and where nobody has turns.
_LONGEST_PAUSE_OF_NEXT, _LONGEST_PAUSE, _LONGEST_PAUSE_WITHOUT_TURNS = 0.5e-3, 1e-3, 5e-3
#: Seconds after which nobody waits for a turn any longer.
_PATIENCE = 0.1

#: By device, whether there are turns on it.
_known: dict[int, bool] = {}


class Turn:
    """The turn of one who is going to lock a file.

    Args:
        fd: the file, open for writing.
        has_turns: whether there are turns where it is; else everybody comes next.
    """

    def __init__(self, fd: int, *, has_turns: bool) -> None:
        self._fd = fd
        self._has_turns = has_turns
        self._is_next = False
        self._impatient_at = 0.0

    def has_come(self) -> bool:
        """Tell whether nobody else comes before us."""
        if not self._has_turns or self._is_next or 0 < self._impatient_at <= time.monotonic():
            return True
        try:
            return locked_range(self._fd, _PLACE, _LENGTH) is None
        except OSError:
            self._has_turns = False
            return True

    def wait_for(self) -> None:
        """Come next, if nobody else does."""
        self._impatient_at = self._impatient_at or time.monotonic() + _PATIENCE
        try:
            if self._has_turns and not self._is_next:
                self._is_next = lock_range(self._fd, _PLACE, _LENGTH)
        except OSError:
            self._has_turns = False

    def end(self) -> None:
        """Let others come next."""
        try:
            if self._is_next:
                unlock_range(self._fd, _PLACE, _LENGTH)
        except OSError:
            pass  # it is closed
        self._is_next = False

    @property
    def longest_pause(self) -> float:
        """For how many seconds to sleep at most before the next question."""
        if not self._has_turns:
            return _LONGEST_PAUSE_WITHOUT_TURNS
        return _LONGEST_PAUSE_OF_NEXT if self._is_next else _LONGEST_PAUSE


def has_turns(fd: int, location: str) -> bool:
    """Tell whether there are turns on the file system of an open file; it is found out once."""
    if not ARE_THERE:
        return False
    device = os.fstat(fd).st_dev
    known = _known.get(device)
    if known is None:
        mount = mount_of(location)
        known = _known[device] = mount is not None and mount.is_local
    return known
