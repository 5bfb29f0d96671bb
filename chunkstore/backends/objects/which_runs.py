"""Which of the runs of one name are meant that this process makes and removes one after the other."""

from __future__ import annotations

import itertools

#: So many names are remembered; without, what is known of a run is looked at again a little later.
_MOST = 10_000

_numbers = itertools.count(1)
_which: dict[tuple[str, str], int] = {}


def which_run_has(location: str, folder: str) -> int:
    """Return a number that is another one after this process has made or removed a folder, through whatever object."""
    return _which.get((location, folder), 0)


def another_run_has(location: str, folder: str) -> None:
    """Note that a folder is made or removed."""
    if len(_which) >= _MOST:
        _which.clear()
    _which[location, folder] = next(_numbers)
