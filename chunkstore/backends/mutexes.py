"""Mutexes that stay in order when the user interrupts."""

from __future__ import annotations

import threading


def give_back(mutex: threading.RLock) -> None:
    """Release a mutex if this thread has it; an interrupt may have come before anybody could note that."""
    try:
        mutex.release()
    except RuntimeError:
        pass  # it is not ours
