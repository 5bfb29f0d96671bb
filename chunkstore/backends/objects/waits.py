"""The pauses between the tries of one request."""

from __future__ import annotations

import random
import time

#: Seconds of the first pause, at most, and of the longest one.
_FIRST_PAUSE, _LONGEST_PAUSE = 0.05, 2.0


class Waits:
    """How long is waited before the next try, and whether there is one.

    Args:
        patience: for how many seconds it is tried; twice at least, however long the first took.
    """

    def __init__(self, patience: float) -> None:
        self._deadline = time.monotonic() + patience
        self._longest = _FIRST_PAUSE
        self._is_first = True

    def is_worth_it(self) -> bool:
        """Wait, unless it has been tried for long; tell whether to try again."""
        if time.monotonic() >= self._deadline and not self._is_first:
            return False
        self._is_first = False
        time.sleep(random.uniform(0, self._longest))  # noqa: S311 - so that not all come at once
        self._longest = min(2 * self._longest, _LONGEST_PAUSE)
        return True
