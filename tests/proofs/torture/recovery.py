"""What is done to a store after a crash, more than once: checked, repaired, cleaned, sealed and unsealed."""

from __future__ import annotations

import os
import time
from collections.abc import Callable
from unittest import mock

from chunkstore.errors import ChunkstoreError, RunLogNotFoundError
from chunkstore.maintenance.checking import Finding, verification, verify
from chunkstore.maintenance.checking.findings import PROBLEM
from chunkstore.maintenance.retention import clearing_up, remove_left_overs
from chunkstore.names import ASIDE_PREFIX, DELETED_PREFIX, TEMPORARY_PREFIX, is_sealed_file
from chunkstore.records.models import RunLog
from chunkstore.stores.base import Store

from .figures import Figures

_LEFT_OVERS = (TEMPORARY_PREFIX, DELETED_PREFIX)
#: After so many days nobody has anything in the making any more.
_LATER = 40 * 86_400 * 10**9


def recover(
    store: Store, figures: Figures, check: Callable[[], None], is_tolerated: Callable[[Finding], bool] = lambda _: False
) -> None:
    """Do to a store all that brings it in order, twice; each time everything must be there, and nothing in disorder.

    Args:
        store: where nobody writes any more.
        figures: where it is counted what is wrong.
        check: counts what is lost or torn.
        is_tolerated: tells of a problem that is found whether it is one of what nobody has acknowledged.
    """
    for turn in (1, 2):
        for found in findings_of(store, with_repair=True):
            if found.severity == PROBLEM and not is_tolerated(found):
                figures.complain("broken", f"found the {turn}. time: {found}")
        clear_up(store)
        check()
    left = left_overs(store)
    if left:
        figures.complain("broken", f"left over after all: {left}")


def seal_and_unseal(store: Store, run_id: str, figures: Figures, check: Callable[[], None]) -> None:
    """Seal a run, unseal it and seal it again, whatever earlier tries have left; nothing may change by that."""
    try:
        store.update_run_log(run_id, _succeed)
        for change in (store.seal, store.unseal, store.seal):
            change(run_id)
            check()
    except ChunkstoreError as error:
        figures.complain("broken", f"sealing after all: {error!r}")
        return
    files = sorted(os.listdir(os.path.join(store.backend.location, run_id)))
    if len(list(filter(is_sealed_file, files))) != 1 or [name for name in files if name.startswith(ASIDE_PREFIX)]:
        figures.complain("broken", f"after sealing there are {files}")


def _succeed(log: RunLog) -> None:
    log.status = "SUCCESS"


def findings_of(store: Store, run_id: str | None = None, *, with_repair: bool = False) -> list[Finding]:
    """Return what is wrong in a store to which nobody writes, and so without looking twice."""
    with mock.patch.object(verification, "_PAUSE", 0):
        return list(verify(store, run_id, with_data=True, with_repair=with_repair))


def clear_up(store: Store) -> None:
    """Remove what processes have left that were killed, as some weeks later."""
    with mock.patch.object(clearing_up, "time") as clock:
        clock.time_ns.return_value = time.time_ns() + _LATER
        try:
            remove_left_overs(store, with_data=True)
        except RunLogNotFoundError:
            pass  # a run whose deletion was stopped


def left_overs(store: Store) -> list[str]:
    """Return what nobody needs and is there all the same, in the store and in its catalog."""
    tops = (store.backend.location, store.catalog_path)
    walked = [os.walk(top) for top in tops]
    found = [os.path.join(at, name) for each in walked for at, folders, files in each for name in (*folders, *files)]
    return sorted({path for path in found if os.path.basename(path).startswith(_LEFT_OVERS)})
