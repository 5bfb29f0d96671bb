"""Calls that come in the middle of another call of their own thread.

The garbage collector runs finalisers inside of anything that makes an object, and the main thread runs handlers of
signals between any two steps of Python. Both print, log and record, so a call into this library can interrupt another
one at almost any place. What follows from that, here and wherever something is shared:

- Small things are changed by single operations of built-in types, which nothing interrupts, and not under a mutex.
- A mutex may be taken again by the thread that has it. Whoever takes it looks, after the deed, for what others have
  done in between (`Turn`, `StepRecord`), or leaves them another way (`Journals`).
- A call that interrupts another waits for no mutex of other threads, `passable`: they may be waiting for what the
  interrupted call holds.
"""

from __future__ import annotations

import sys
import threading
from collections.abc import Callable
from contextlib import AbstractContextManager, nullcontext
from functools import partial
from types import CodeType, FrameType
from typing import Any, TypeVar, cast

from chunkstore.forks import in_forked_children

_F = TypeVar("_F", bound=Callable[..., Any])

#: For how long a call that interrupts another waits for other threads, in seconds.
_PATIENCE = 0.1
#: Modules whose frames stand between those of this library in one and the same call.
_BETWEEN = ("contextlib",)
_OURS = __name__.partition(".")[0] + "."

_guarded: set[CodeType] = set()
#: Guarded calls in the middle of which this process was forked, as workers are: what they hold is the parent's.
_forked_in: list[FrameType] = []


class _Held:
    """What to enter for a mutex that was taken: it only has to be given back.

    Nothing here is Python code, so that no handler of a signal can raise an exception in between.
    """

    __slots__ = ("__exit__",)

    __enter__ = staticmethod(partial(bool, 1))

    def __init__(self, mutex: threading.RLock) -> None:
        self.__exit__ = mutex.__exit__


_passed: AbstractContextManager[bool] = nullcontext(False)


def guarded(function: _F) -> _F:
    """Mark a function that holds something others wait for, or is in the middle of something, while it calls others."""
    _guarded.add(function.__code__)
    return function


def interrupts_another() -> bool:
    """Tell whether this call has come in the middle of another one of this thread, which holds something."""
    frame: FrameType | None = sys._getframe(1)  # noqa: SLF001 - there is no other way to look
    is_own = True
    while frame is not None:
        name = frame.f_globals.get("__name__") or ""
        if is_own:
            is_own = name.startswith(_OURS) or name in _BETWEEN
        elif frame.f_code in _guarded and not any(frame is call for call in _forked_in):
            return True
        frame = frame.f_back
    return False


def _note_fork() -> None:
    frame: FrameType | None = sys._getframe(1)  # noqa: SLF001 - as above
    calls = []
    while frame is not None:
        if frame.f_code in _guarded:
            calls.append(frame)
        frame = frame.f_back
    _forked_in[:] = calls


def passable(mutex: threading.RLock) -> AbstractContextManager[bool]:
    """Take a mutex, and return what to enter at once, which gives it back; it says whether the mutex is ours.

    It is not if this call interrupts another, or the interpreter is ending, and others do not give it back. What is
    done under it has to be right, if not as quick or as tidy, also when another thread is in the middle of it.
    """
    held = cast("AbstractContextManager[bool]", _Held(mutex))
    try:
        if mutex.acquire(blocking=False) or mutex.acquire(timeout=_patience()):
            return held
    except BaseException:  # an exception that a handler of a signal has raised
        give_back(mutex)
        raise
    return _passed


def _patience() -> float:
    """Return for how many seconds to wait for others, whose threads may wait for this one, or go on no more."""
    return _PATIENCE if interrupts_another() or sys.is_finalizing() else -1


def give_back(mutex: threading.RLock) -> None:
    """Release a mutex if this thread has it; an interrupt may have come before anybody could note that."""
    try:
        mutex.release()
    except RuntimeError:
        pass  # it is not ours


in_forked_children(_note_fork)
