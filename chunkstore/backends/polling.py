"""Waiting where nothing tells of changes."""

from __future__ import annotations

import time
from collections.abc import Iterator

#: Seconds between two looks where nothing wakes a follower.
_POLL = 0.02


def poll() -> Iterator[set[str]]:
    """Yield nothing, again and again, with a pause before each time."""
    while True:
        yield set()
        time.sleep(_POLL)
