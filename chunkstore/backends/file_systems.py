"""Which file system a device holds, and what is known of how it behaves."""

from __future__ import annotations

import os
from functools import lru_cache

_MOUNTS = "/proc/self/mountinfo"

#: On these a listing holds every name that was there throughout, also those whose file is replaced meanwhile. btrfs
#: hides such names for a moment; of others nothing is known.
_LISTING_IS_COMPLETE = frozenset({"ext4", "xfs"})


def listing_is_complete(device: int) -> bool:
    """Tell whether a single listing of a folder is known to miss no name.

    Args:
        device: the `st_dev` of the folder.
    """
    return _type_of(device) in _LISTING_IS_COMPLETE


@lru_cache(maxsize=64)
def _type_of(device: int) -> str:
    """Return the type of the file system on a device, from Linux's table of mounts (proc_pid_mountinfo(5))."""
    number = f"{os.major(device)}:{os.minor(device)}"
    try:
        with open(_MOUNTS, encoding="utf-8", errors="replace") as mounts:
            for line in mounts:
                fields, _, rest = line.partition(" - ")
                if fields.split()[2] == number:
                    return rest.split()[0]
    except (OSError, IndexError):
        pass  # no such table here, or one that looks different: nothing is known then
    return ""
