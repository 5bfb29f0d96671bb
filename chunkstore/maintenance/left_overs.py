"""Files that somebody has left who was stopped while writing, and how to tell them from those in use."""

from __future__ import annotations

import os
from collections.abc import Callable

from chunkstore.backends.entries import FILE, FOLDER, Entry
from chunkstore.names import ASIDE_PREFIX, DELETED_PREFIX, TEMPORARY_PREFIX

_SECOND = 1_000_000_000
_DAY = 86_400 * _SECOND

#: A file whose process lives may be in use for so long; the number of a process is given to others after a while.
_SURELY_OVER = 30 * _DAY
#: One whose process is not found here may belong to another host; nothing is written for so long.
SAFE_AGE = _DAY
#: One whose process is not found here is worth mentioning after that.
_MENTIONED_AGE = 60 * _SECOND


def is_temporary(entry: Entry) -> bool:
    """Tell whether an entry is one that its maker renames or removes soon, unless something stops it."""
    return entry.name.startswith((TEMPORARY_PREFIX, DELETED_PREFIX)) and entry.kind in (FILE, FOLDER)


def is_set_aside(entry: Entry) -> bool:
    """Tell whether an entry is a file that readers look for under its true name."""
    return entry.name.startswith(ASIDE_PREFIX)


def is_worth_mentioning(entry: Entry, now: int, is_given_up: Callable[[], bool] = lambda: False) -> bool:
    """Tell whether a temporary entry has been left, as far as can be seen from here.

    Args:
        entry: a temporary one.
        now: the time, in nanoseconds.
        is_given_up: tells whether nobody writes there any more whose process would not be found here.
    """
    age = now - entry.modified_at
    if _lives(_pid_in(entry.name)):
        return age >= SAFE_AGE
    return age >= _MENTIONED_AGE or is_given_up()


def is_surely_over(entry: Entry, now: int) -> bool:
    """Tell whether a temporary entry can be removed.

    Should its process live after all, what that was about to write fails, and nobody was told that it is there.

    Args:
        entry: a temporary one.
        now: the time, in nanoseconds.
    """
    age = now - entry.modified_at
    if entry.name.startswith(DELETED_PREFIX) and age >= _MENTIONED_AGE:
        return True  # it is to be removed anyhow
    return age >= (_SURELY_OVER if _lives(_pid_in(entry.name)) else SAFE_AGE)


def _pid_in(name: str) -> int:
    """Return which process made a temporary file, by its name; 0 if that does not tell."""
    digits = name.removeprefix(TEMPORARY_PREFIX).removeprefix(DELETED_PREFIX).partition("-")[0]
    return int(digits) if digits.isascii() and digits.isdecimal() and len(digits) <= 10 else 0  # noqa: PLR2004 - 32 bits


def _lives(pid: int) -> bool:
    if pid <= 0:
        return False
    try:
        os.kill(pid, 0)
    except (ProcessLookupError, OverflowError):
        return False
    except PermissionError:
        pass  # it is somebody else's
    return True
