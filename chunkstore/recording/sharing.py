"""Whether a worker sees the store of whoever hands out the work; found out by the first record of each branch.

A worker may be in a container, on another host, or have another disk mounted at the same path. A branch is only
recorded into a run that is there: where a worker does not find it, nothing is made, and the worker says so instead.
"""

from __future__ import annotations

import logging
import os
from typing import Any, NamedTuple

from chunkstore.backends.objects.place import is_url
from chunkstore.errors import ChunkstoreError, RunLogNotFoundError, StoreNotSharedError
from chunkstore.recording.answers import SentError, sent
from chunkstore.recording.scope import Scope
from chunkstore.recording.step import BaseStep

logger = logging.getLogger("chunkstore")


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
        if not is_url(location) and not os.path.isdir(location):
            found = "there is no such folder"
        elif run.store.has_run(str(run.run_id)):
            found = "there is another run of that id"
        else:
            found = f"that {'bucket' if is_url(location) else 'folder'} has no such run"
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


def data_put_by(step: BaseStep[Any]) -> tuple[str, str, str] | tuple[()]:
    """Return who has put data in a step, into which catalog, and where in that some of it lies; nothing for none."""
    put = step.first_put
    return (process_here(), step.run.catalog.path, put) if put else ()


def warn_of_unseen(run: Scope, step: str, put: tuple[str, str, str]) -> None:
    """Log a warning if data that a worker has put is not seen here: nothing fails, but others will miss it.

    Args:
        run: the run, or the branch, that the step belongs to.
        step: what the composite step is called.
        put: who has put some, into which catalog, and where in that.
    """
    worker, catalog, relative = put
    if run.catalog.is_seen(relative):
        return
    logger.warning(
        "What branches of step %r of run %s print or put is not seen here: %s puts it into %s, which is not the %s of "
        "%s. Give a catalog_folder at one path of a file system that both have.",
        step,
        run.run_id,
        worker,
        catalog,
        run.catalog.path,
        process_here(),
    )
