"""What runs in a job of submitit, which may put the job back into the queue while it runs."""

from __future__ import annotations

import os
import signal
from collections.abc import Callable
from types import FrameType
from typing import Any

#: What submitit calls its handler of the signal that tells a job that its place is needed, or its time almost over.
_HANDLER = "checkpoint_and_try_requeue"


class Requeued(SystemExit):
    """The job ends, and will be started again."""


class JobWork:
    """Calls a function, which has no result yet if the job goes back into the queue meanwhile, whatever it returns.

    submitit's handler leaves by `SystemExit`; a branch records that, as it does whatever its function raises, and
    answers as if it were over.
    """

    def __init__(self, function: Callable[[], Any]) -> None:
        self._function = function

    def __call__(self) -> Any:
        """Return what the function returns."""
        left: list[Requeued] = []
        for number in (signal.SIGUSR1, signal.SIGUSR2):
            handler = signal.getsignal(number)
            if callable(handler) and getattr(handler, "__name__", "") == _HANDLER:
                signal.signal(number, _noting(handler, left))
        result = self._function()
        if left:
            raise left[0]
        return result


def _noting(
    handler: Callable[[int, FrameType | None], Any], left: list[Requeued]
) -> Callable[[int, FrameType | None], None]:
    def note(number: int, frame: FrameType | None) -> None:
        try:
            handler(number, frame)
        except SystemExit:
            job = os.environ.get("SLURM_JOB_ID", "")
            left.append(Requeued(f"submitit puts job {job} back into the queue: its place is needed, or its time over"))
            raise left[0] from None

    return note
