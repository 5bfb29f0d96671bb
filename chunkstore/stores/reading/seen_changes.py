"""Which chunks this process has seen with changes by others over them."""

from __future__ import annotations

from itertools import islice

_MOST_SEEN = 100_000


class ChangesSeen:
    """Chunks that somebody in this process has seen with what others have changed of them.

    Only for those the owner has to find out whether the record that it writes again has such a change in it.
    """

    def __init__(self) -> None:
        self._files: dict[str, None] = {}

    def __contains__(self, file: str) -> bool:
        return file in self._files

    def add(self, file: str) -> None:
        """Note a chunk; beyond a number of them, those are forgotten that were noted first."""
        self._files[file] = None
        if len(self._files) > _MOST_SEEN:
            for oldest in list(islice(self._files, _MOST_SEEN // 10)):
                self._files.pop(oldest, None)


changes_seen = ChangesSeen()
