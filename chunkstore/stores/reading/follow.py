"""Yielding a run whenever it has changed."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Iterator

from chunkstore.records.models import RunLog
from chunkstore.stores.reading.following import FollowedRun, Patience
from chunkstore.stores.stored import is_finished


def follow(run: FollowedRun, changes: Iterable[set[str]], is_abandoned: Callable[[], bool]) -> Iterator[RunLog]:
    """Yield a run as it is, and again when it has changed, until it has ended.

    Args:
        run: the run.
        changes: yields the names of files that may have changed, and nothing from time to time.
        is_abandoned: tells whether nobody goes on with the run.
    """
    state = run.state()
    log = run.read_all()
    yield log
    patience = Patience(dear=run.looks_are_dear)
    for names in changes:
        if is_finished(log):
            return
        before, state = state, run.state()
        newer = run.read_all() if run.looks_are_dear else log
        if newer is not log:
            pass  # what has changed was told by the request that tells whether anything has
        elif names and not patience.is_at_an_end():
            newer = run.read_changed(names)
        elif not run.looks_are_dear and (state != before or patience.is_at_an_end()):
            newer = patience.look(run)
        elif patience.may_be_over() and is_abandoned():
            newer = run.read_all()
            if newer is not log:
                yield newer
            return
        else:
            continue
        if is_finished(newer):
            newer = run.read_all()
        if newer is not log:
            yield newer
        log = newer
