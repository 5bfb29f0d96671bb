"""Which process may use object stores: what carries out the requests does not outlive a fork."""

from __future__ import annotations

import os
import sys

from chunkstore.errors import StoreUsageError


class _Runtime:
    """obstore's threads, of which there is one set per process: a child has a copy without them, and would hang."""

    def __init__(self) -> None:
        #: The process that may have started them; 0 if none has.
        self.pid = 0


_runtime = _Runtime()


def check_process(location: str) -> None:
    """Check that requests can be made in this process, and note that some are.

    Raises:
        StoreUsageError: it was forked from one that has made some.
    """
    pid = os.getpid()
    if _runtime.pid == pid:
        return
    if _runtime.pid:
        raise StoreUsageError(
            f"Cannot use {location} in process {pid}: it was forked from process {_runtime.pid}, which has used object "
            "stores, and no client outlives a fork. Start processes in another way: "
            "multiprocessing.get_context('forkserver') or 'spawn', which executors take as mp_context=."
        )
    _runtime.pid = pid


def _before_fork() -> None:
    # Also what else in this process may have used it.
    if not _runtime.pid and "obstore" in sys.modules:
        _runtime.pid = os.getpid()


if hasattr(os, "register_at_fork"):
    os.register_at_fork(before=_before_fork)
