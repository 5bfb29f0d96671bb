"""Waiting until something changes in a folder."""

from __future__ import annotations

import os
from collections.abc import Iterator

from chunkstore.backends.polling import poll

#: Seconds after which a waiting follower looks for itself: what the system reports is a hint, and may be lost.
_PATIENCE = 0.1
#: Milliseconds for which changes are gathered: until none comes for the first time, at most for the second.
_QUIET, _MOST_GATHERED = 5, 40


def changes_in(folder: str) -> Iterator[set[str]]:
    """Yield the names of files that may have changed in a folder, whenever that happens, and nothing now and then.

    The operating system wakes it up if `watchfiles` is installed; else it polls, and names no files.

    Args:
        folder: a path.
    """
    try:
        import watchfiles  # noqa: PLC0415 - an extra
    except ImportError:
        yield from poll()
        return
    # The first look comes before the system has begun to report.
    yield set()
    try:
        for changes in watchfiles.watch(
            folder,
            watch_filter=None,
            recursive=False,
            step=_QUIET,
            debounce=_MOST_GATHERED,
            rust_timeout=int(_PATIENCE * 1_000),
            yield_on_timeout=True,
        ):
            yield {os.path.basename(path) for _, path in changes}
    except (OSError, RuntimeError):  # no more watches, or the folder is gone: looking will tell
        yield from poll()
