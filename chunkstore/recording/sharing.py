"""Whether a worker sees the store of whoever hands out the work; found out by the first record of each branch.

A worker may be in a container, on another host, or have another disk mounted at the same path. A branch is only
recorded into a run that is there: where a worker does not find it, nothing is made, and the worker says so instead.
"""

from __future__ import annotations

import os
from typing import NamedTuple

from chunkstore.errors import ChunkstoreError, RunLogNotFoundError, StoreNotSharedError
from chunkstore.recording.answers import SentError, sent
from chunkstore.recording.scope import Scope


class NotSeen(NamedTuple):
    """The answer of a worker that does not see the run of a branch which it was sent.

    Attributes:
        worker: who that is.
        location: where it looked.
        found: what is there instead.
        error: what it met.
    """

    worker: str
    location: str
    found: str
    error: SentError

    @classmethod
    def here(cls, run: Scope, error: RunLogNotFoundError, *, by_value: bool) -> NotSeen:
        """Return the answer of this process."""
        location = run.store.backend.location
        if not os.path.isdir(location):
            found = "there is no such folder"
        elif run.store.has_run(str(run.run_id)):
            found = "there is another run of that id"
        else:
            found = "that folder has no such run"
        return cls(process_here(), location, found, sent(error, by_value=by_value))


def process_here() -> str:
    """Return which process this is, for people."""
    return f"process {os.getpid()} on {os.uname().nodename}"


def check_sees(run: Scope, step: str, answer: NotSeen) -> None:
    """Raise `StoreNotSharedError` if the run is seen here, as it is not where the answer comes from.

    Args:
        run: the run, or the branch, that the step belongs to.
        step: what the composite step is called.
        answer: the worker's.
    """
    try:
        run.store.get_run_log(run.identity, full=False)
    except ChunkstoreError:
        return  # it was deleted: the worker is right
    here, location = process_here(), run.store.backend.location
    raise StoreNotSharedError(
        f"Cannot run branches of step {step!r} on these workers: {answer.worker} does not see run {run.run_id!r} in "
        f"{answer.location} ({answer.found}), which {here} records in {location}. They are not the same folder. Give "
        "a log_folder at one path of a file system that both have; `chunkstore doctor --with …` tries it.",
        driver=here,
        worker=answer.worker,
        run_id=run.run_id,
        location=answer.location,
    )
