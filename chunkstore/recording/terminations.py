"""SIGTERM in a job of a batch system: taken for what it means there, the notice that SIGKILL follows.

Slurm, Kubernetes and their like send it to a job that is cancelled, preempted or out of time. Python's default is to be
gone at once, and nothing would say why. So there, and only where nobody handles the signal, it is raised in the main
thread, as Ctrl-C is: steps and runs end as failed, and their records say what ended them. Elsewhere, SIGTERM does what
it always does.
"""

from __future__ import annotations

import os
import signal
import threading
from collections.abc import Callable

from chunkstore.recording.jobs import job_here

#: What shells and batch systems take for the end by a signal.
_EXIT_CODE = 128 + signal.SIGTERM

_is_recording: Callable[[], bool] = bool
_told = ""
#: Of threads that fork just now: which signals they held back before.
_masks: dict[int, set[int | signal.Signals]] = {}


class Terminated(SystemExit):
    """The batch system has told the job to end."""

    def __init__(self, text: str) -> None:
        super().__init__(text)
        self.code = _EXIT_CODE


def note_terminations(is_recording: Callable[[], bool]) -> None:
    """Have SIGTERM raised in the main thread, if this is a job of a batch system, and nobody else handles it.

    Args:
        is_recording: tells whether there is something to end; where not, the process is gone at once, as by default.
    """
    global _is_recording  # noqa: PLW0603 - one for the process, as the handler is
    if not job_here() or threading.current_thread() is not threading.main_thread():
        return
    if signal.getsignal(signal.SIGTERM) is signal.SIG_DFL:
        _is_recording = is_recording
        signal.signal(signal.SIGTERM, _end)


def _end(_number: int, _frame: object) -> None:
    if not _is_recording():
        _end_at_once()
        return
    global _told  # noqa: PLW0603 - as above
    signal.signal(signal.SIGTERM, _ignore)  # srun passes on what the job has got too; SIGKILL waits for nobody
    _told = f"SIGTERM: {job_here()} was told to end: cancelled, out of time, or its place is needed"
    raise Terminated(_told)


def told_to_end() -> str:
    """Return what is recorded of that, if the batch system has told this process to end; else nothing."""
    return _told


def _end_at_once() -> None:
    signal.signal(signal.SIGTERM, signal.SIG_DFL)
    os.kill(os.getpid(), signal.SIGTERM)


def _ignore(_number: int, _frame: object) -> None:
    """Do nothing; unlike SIG_IGN, programs that are started from now on do not inherit it."""


def _has_handler() -> bool:
    return signal.getsignal(signal.SIGTERM) in {_end, _ignore}


# A child forgets what reached it before it knows that it is one: for so long, the signal waits.


def _hold_back() -> None:
    if _has_handler():
        _masks[threading.get_ident()] = signal.pthread_sigmask(signal.SIG_BLOCK, {signal.SIGTERM})


def _let_through() -> None:
    mask = _masks.pop(threading.get_ident(), None)
    if mask is not None:
        signal.pthread_sigmask(signal.SIG_SETMASK, mask)


def _leave_to_parent() -> None:
    """In a forked child: workers of pools are ended by SIGTERM, and do nothing else."""
    global _told  # noqa: PLW0603 - as above
    _told = ""
    if _has_handler():
        signal.signal(signal.SIGTERM, signal.SIG_DFL)
    _let_through()


if hasattr(os, "register_at_fork"):
    os.register_at_fork(before=_hold_back, after_in_parent=_let_through, after_in_child=_leave_to_parent)
