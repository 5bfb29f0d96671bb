"""No request is sent by a child that was forked when obstore was in use.

Its threads and what they wait on are of the process, not of a client: in the child, every request waits for ever, also
one of a client made there. Worse, the two share what tells them of answers: a request of the child has its parent wait
for ever, too. So a child raises before it sends anything. One whose parent has sent nothing can do what it likes.
"""

from __future__ import annotations

import os
import sys
from collections.abc import Iterator
from contextlib import suppress

from chunkstore.errors import StoreUsageError
from chunkstore.forks import in_forked_children

#: What to do instead of forking.
START_ANEW = (
    'Start processes with "forkserver" or "spawn": '
    'ProcessPoolExecutor(mp_context=multiprocessing.get_context("forkserver")), or '
    'multiprocessing.get_context("forkserver").Pool(); or use threads, or loky.'
)
#: What the threads of obstore are called, as far as the kernel tells.
_THREAD = "tokio-rt-worker"
_THREADS = "/proc/self/task"

#: The process in which obstore is in use.
_user = 0
_is_forked = False


def check_process(location: str) -> None:
    """To be called before each request: check that one can be sent in this process, and note that one is.

    Args:
        location: where it goes, for people.

    Raises:
        StoreUsageError: this process was forked from one in which obstore was in use.
    """
    global _user  # noqa: PLW0603 - obstore is one for the process, too
    present = os.getpid()
    if _is_forked or _user not in {0, present}:  # some fork without telling Python
        raise StoreUsageError(
            f"Cannot use {location} in process {present}: it was forked from one that had used object stores, and its "
            f"requests would wait for ever. {START_ANEW}"
        )
    _user = present


def _look() -> None:
    """Before a fork: find out whether somebody else has used obstore."""
    global _user  # noqa: PLW0603 - as above
    if not _user and "obstore" in sys.modules and _THREAD in _names_of_threads():
        _user = os.getpid()


def _names_of_threads() -> Iterator[str]:
    for thread in os.listdir(_THREADS) if os.path.isdir(_THREADS) else ():  # else this is another system
        with suppress(OSError), open(f"{_THREADS}/{thread}/comm") as file:  # it has ended
            yield file.read().strip()


def _note_fork() -> None:
    global _is_forked  # noqa: PLW0603 - as above
    _is_forked = _is_forked or bool(_user)


if hasattr(os, "register_at_fork"):
    os.register_at_fork(before=_look)
in_forked_children(_note_fork)
