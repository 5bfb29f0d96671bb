"""Waiting where nothing tells of changes."""

from __future__ import annotations

import time
from collections.abc import Iterator

#: Seconds between two looks where nothing wakes a follower.
_POLL = 0.02


def poll(pause: float = _POLL) -> Iterator[set[str]]:
    """Yield nothing, again and again.

    Args:
        pause: seconds before each time but the first.
    """
    while True:
        yield set()
        time.sleep(pause)
