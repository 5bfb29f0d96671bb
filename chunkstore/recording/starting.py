"""Starts: what each is called, and who and where it is.

Any number of processes may record one branch, or one step of a run that they have joined, and none knows of the others.
Each calls its own work by a name that nobody else has, so that none of them hides another.
"""

from __future__ import annotations

import os
from base64 import urlsafe_b64encode
from functools import cache

from msgspec import UNSET

from chunkstore.clock import utc_now
from chunkstore.recording.jobs import job_here
from chunkstore.records.models import PROCESSING, StepAttempt


def start_inside(outer: str) -> str:
    """Return what a new start is called that runs inside another one, or inside none."""
    own = urlsafe_b64encode(os.urandom(6)).decode()
    return f"{outer}/{own}" if outer else own


@cache
def _host() -> str:
    return os.uname().nodename


def new_attempt(number: int, process: int, start: str) -> StepAttempt:
    """Return an attempt that begins now, in this process."""
    return StepAttempt(
        attempt_number=number,
        start_time=utc_now(),
        status=PROCESSING,
        host=_host(),
        pid=process,
        start=start,
        job=job_here() or UNSET,
    )


def end_attempt(attempt: StepAttempt, status: str) -> None:
    """Have an attempt end now whose work another one inside it has timed."""
    attempt.end_time, attempt.status = utc_now(), status
