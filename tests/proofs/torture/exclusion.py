"""Read-modify-writes by many at once: each one counts, and no two happen at the same time."""

from __future__ import annotations

import mmap
import os
import tempfile
import threading
import time
from collections.abc import Callable
from typing import Any

import chunkstore
from chunkstore.records.models import StepLog
from chunkstore.stores.base import Store

from .children import Children, Forked, Gate, Say
from .figures import Figures

WORKERS = 8
#: How the eight are made: processes; threads, four in each of two processes; processes of which each forks a child
#: in the middle of an update, which then does the other half.
ARRANGEMENTS = ("processes", "threads", "forks")
UPDATES = ("step", "run", "parameters")

_RUN, _STEP = "run", "counted"
_THREADS = 4
#: Rewriting parameters takes longer with each of them, so those of one scope do not get too many.
_SCOPES = ("", "map.1", "map.2", "map.3")


def count_at_once(
    folder: str | os.PathLike[str],
    seed: int,
    size: int = 4_000,
    *,
    store_type: str = "chunked-fs",
    update: str = "step",
    arrangement: str = "processes",
) -> Figures:
    """Let eight make `size` updates in all, at once, and count what is left of them.

    Args:
        folder: where.
        seed: the same for all scenarios; nothing here is left to chance but the timing.
        size: how many updates in all.
        store_type: of the store.
        update: one of `UPDATES`: of a step, of the run's own record, or of parameters, each under a key of its own.
        arrangement: one of `ARRANGEMENTS`.
    """
    figures, began = Figures(), time.monotonic()
    with tempfile.TemporaryDirectory(prefix="exclusion-", dir=folder) as base:
        store = chunkstore.open_store(store_type, log_folder=base)
        store.create_run_log(_RUN)
        store.add_step_log(_RUN, StepLog(name=_STEP, internal_name=_STEP))
        updater = _Updater(store, size // WORKERS, update)
        with Children() as children:
            gate = Gate()
            for number in range(WORKERS if arrangement == "processes" else 2 if arrangement == "threads" else 4):
                children.start(_worker(updater, gate, arrangement, number))
            gate.open()
            figures.acknowledged = sum(children.wait())
            for error in children.errors:
                figures.complain("broken", f"an update failed: {error['error']}")
        found = updater.count()
        if found != size:
            what = "lost" if found < figures.acknowledged else "broken"
            figures.complain(what, f"{found:,} of {size:,} updates are there; {figures.acknowledged:,} acknowledged")
        if updater.met:
            figures.complain("broken", "two were inside an update at once")
        updater.close()
        store.close()
    figures.seconds = time.monotonic() - began
    return figures


def count_in_every_way(
    folder: str | os.PathLike[str], seed: int, size: int = 800, *, store_type: str = "chunked-fs"
) -> Figures:
    """Count `size` updates of each kind in each arrangement."""
    figures = Figures()
    for arrangement in ARRANGEMENTS:
        for update in UPDATES:
            figures.add(
                count_at_once(folder, seed, size, store_type=store_type, update=update, arrangement=arrangement)
            )
    return figures


def _worker(updater: _Updater, gate: Gate, arrangement: str, number: int) -> Any:
    def work(say: Say) -> None:
        gate.wait()
        say(getattr(updater, arrangement)(number))

    return work


class _Updater:
    """Makes the updates, and watches that nobody else is inside one at the same time.

    Args:
        store: shared by all, as threads and forked children share it.
        times: how often each of the eight updates.
        update: one of `UPDATES`.
    """

    def __init__(self, store: Store, times: int, update: str) -> None:
        self._store = store
        self._times = times
        self._update = getattr(self, f"_update_{update}")
        # Shared by all processes: whether anybody is inside an update, and whether any two ever met there.
        self._inside = mmap.mmap(-1, 2)
        self._in_the_middle: Callable[[], None] | None = None

    @property
    def met(self) -> bool:
        """Whether two were ever inside an update at once."""
        return bool(self._inside[1])

    def close(self) -> None:
        """Give back the shared memory."""
        self._inside.close()

    def count(self) -> int:
        """Return how many updates are there."""
        log = self._store.get_run_log(_RUN, strict=True)
        in_step = log.steps[_STEP].user_defined_metrics.get("count", 0)
        in_parameters = sum(len(self._store.get_parameters(_RUN, scope)) for scope in _SCOPES)
        return in_step + log.run_config.get("count", 0) + in_parameters

    # --- arrangements ------------------------------------------------------------------------------------------------

    def processes(self, number: int) -> int:
        return self._updates(f"{number}", self._times)

    def threads(self, number: int) -> int:
        done: list[int] = []
        threads = [
            threading.Thread(target=lambda name=name: done.append(self._updates(name, self._times)))
            for name in (f"{number}-{thread}" for thread in range(_THREADS))
        ]
        for thread in threads:
            thread.start()
        for thread in threads:
            thread.join()
        return sum(done)

    def forks(self, number: int) -> int:
        children: list[Forked] = []
        first = self._updates(f"{number}-first", self._times // 2)
        # From inside an update, where the child finds the lock taken and its parent's descriptors open.
        self._in_the_middle = lambda: children.append(Forked(lambda: self._updates(f"{number}-child", self._times)))
        second = self._updates(f"{number}-second", self._times - self._times // 2)
        return first + second + sum(child.result() for child in children)

    # --- updates -----------------------------------------------------------------------------------------------------

    def _updates(self, name: str, times: int) -> int:
        """Update so many times; return how often that was acknowledged."""
        for turn in range(times):
            self._update(f"{name}-{turn}", _SCOPES[turn * len(_SCOPES) // times])
        return times

    def _update_step(self, *_: str) -> None:
        self._store.update_step_log(_RUN, _STEP, lambda step: self._count_alone(step.user_defined_metrics))

    def _update_run(self, *_: str) -> None:
        self._store.update_run_log(_RUN, lambda log: self._count_alone(log.run_config))

    def _update_parameters(self, key: str, scope: str) -> None:
        self._begin_half()
        self._store.set_parameters(_RUN, {key: 1}, scope)

    def _count_alone(self, counts: dict[str, Any]) -> None:
        if self._inside[0]:
            self._inside[1] = 1
        self._inside[0] = 1
        self._begin_half()
        counts["count"] = counts.get("count", 0) + 1
        self._inside[0] = 0

    def _begin_half(self) -> None:
        half, self._in_the_middle = self._in_the_middle, None
        if half is not None:
            half()
