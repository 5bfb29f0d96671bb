"""What imports, repairs and cleans up is killed at random calls, and then done again: nothing that counts is lost."""

from __future__ import annotations

import os
import random
import tempfile
import time

from .figures import Figures
from .shared import UPKEEP, Prepared

#: More calls than any of them makes.
_MOST_CALLS = 500


def kill_upkeep(folder: str | os.PathLike[str], seed: int, size: int = 200) -> Figures:
    """Kill `size` processes, each at some call, or let it come to its end; each time finish what was begun."""
    figures, began = Figures(), time.monotonic()
    decisions = random.Random(seed)
    with tempfile.TemporaryDirectory(prefix="upkeep-", dir=folder) as base:
        for name in UPKEEP:
            prepared = Prepared(name, os.path.join(base, name))
            most = _MOST_CALLS
            for _ in range(size // len(UPKEEP)):
                number, late = decisions.randint(1, most), decisions.random() < 0.5
                was_killed = prepared.killed_at(number, late=late)
                most = most if was_killed else number  # it makes fewer calls than that
                figures.kills += was_killed
                figures.acknowledged += not was_killed
                figures.reads += 1
                try:
                    prepared.check_after_kill(f"{name}, {'after' if late else 'before'} call {number}")
                except AssertionError as error:
                    figures.complain("broken", str(error))
    figures.seconds = time.monotonic() - began
    return figures
