"""Names that no reader looks at: for what is not whole yet, and for what is being removed."""

from __future__ import annotations

import itertools
import os

from chunkstore.forks import in_forked_children
from chunkstore.names import DELETED_PREFIX, TEMPORARY_PREFIX


class _TemporaryNames:
    """Names that are unique among threads, processes and hosts."""

    def __init__(self) -> None:
        self.reset()

    def reset(self) -> None:
        # Containers all run as process 1, and a fork copies the counter: random bytes tell them apart.
        self._unique = f"{os.getpid()}-{os.urandom(6).hex()}-"
        self._counter = itertools.count()

    def next(self) -> str:
        """Return a name for a file or folder that is not whole yet."""
        return f"{TEMPORARY_PREFIX}{self._unique}{next(self._counter)}"

    def next_deleted(self) -> str:
        """Return a name for a folder that is being removed."""
        return f"{DELETED_PREFIX}{self._unique}{next(self._counter)}"


temporary_names = _TemporaryNames()
in_forked_children(temporary_names.reset)
