"""Whole pipelines are killed while they record: steps, points, printed text, data, and changes by other processes.

What was left by then is there, whole; the other runs are LOST, and go with their data when somebody cleans up.
"""

from __future__ import annotations

import os
import random
import tempfile
import time
from typing import Any

import chunkstore
from chunkstore.maintenance.retention import Rule, collect, plan_retention
from chunkstore.stores.base import Store
from chunkstore.stores.runs.liveness import LIVE, LOST

from .children import Children, Say
from .figures import Figures
from .kills import AppendedFile
from .recordings import Recorder, options_of, wrong_in_first_step, wrong_in_recordings
from .recovery import recover
from .writers import LOGS

RECORDERS = 2
#: A kill comes within so many seconds, most often after something new was acknowledged.
_LONGEST_PAUSE, _AFTER_NEWS = 0.1, 0.8
_LOOK, _LONGEST_WAIT = 0.005, 60.0
_KILLS_PER_STORE = 5


def kill_recorders(
    folder: str | os.PathLike[str], seed: int, size: int = 40, store_type: str = "chunked-fs"
) -> Figures:
    """Kill recording processes `size` times, and bring in order what they have left."""
    figures, began = Figures(), time.monotonic()
    decisions = random.Random(f"{seed}-{store_type}")
    while figures.kills < size and not figures.wrong:
        with tempfile.TemporaryDirectory(prefix="recordings-", dir=folder) as base:
            kills = min(_KILLS_PER_STORE, size - figures.kills)
            _kill_in_one_store(base, store_type, decisions, kills, figures)
    figures.seconds = time.monotonic() - began
    return figures


def _kill_in_one_store(base: str, store_type: str, decisions: random.Random, kills: int, figures: Figures) -> None:
    acknowledged = AppendedFile(os.path.join(base, "acknowledged"))
    store, said = _opened(base, store_type), []
    with Children() as children:
        alive = [children.start(_recorder(base, store_type, number, acknowledged)) for number in range(RECORDERS)]
        for number in range(RECORDERS, RECORDERS + kills):
            if decisions.random() < _AFTER_NEWS:
                said += _news(acknowledged, children)
            time.sleep(decisions.random() * _LONGEST_PAUSE)
            children.kill(alive.pop(decisions.randrange(len(alive))))
            figures.kills += 1
            alive.append(children.start(_recorder(base, store_type, number, acknowledged)))
        children.kill_all()
        children.read_rest()
        for error in children.errors:
            figures.complain("broken", f"a pipeline failed: {error['error']}")
    finished: dict[str, str] = {}
    steps: set[str] = set()
    for one in (*said, *acknowledged.new_lines()):
        if isinstance(one, str):
            steps.add(one)
        else:
            finished[one[0]] = one[1]
    acknowledged.close()
    figures.acknowledged += len(finished) + len(steps)

    def check() -> None:
        for run_id in steps - finished.keys():
            for what, text in wrong_in_first_step(store, run_id):
                figures.complain(what, text)
        _check_finished(store, finished, figures)

    check()
    recover(store, figures, check)
    _clean_up(store, finished, figures)
    store.close()


def _news(acknowledged: AppendedFile, children: Children) -> list[Any]:
    """Return what has been said since somebody looked last, as soon as that is anything."""
    deadline = time.monotonic() + _LONGEST_WAIT
    while not (said := list(acknowledged.new_lines())) and time.monotonic() < deadline:
        time.sleep(_LOOK)
    if not said:
        raise RuntimeError(f"nobody has recorded anything: {children.errors}")
    return said


def _check_finished(store: Store, finished: dict[str, str], figures: Figures) -> None:
    for run_id, digest in finished.items():
        figures.reads += 1
        for what, text in wrong_in_recordings(store, run_id, digest):
            figures.complain(what, text)


def _clean_up(store: Store, finished: dict[str, str], figures: Figures) -> None:
    """Delete what was lost, with its data, and nothing else."""
    for run in store.list_runs():
        if not run.is_over and store.liveness(run.run_id).state == LIVE:
            figures.complain("broken", f"run {run.run_id} is said to be recorded by somebody")
    plan = plan_retention(store, Rule(statuses=frozenset({LOST})))
    for outcome in collect(store, plan, with_data=True):
        if not outcome.deleted:
            figures.complain("broken", f"{outcome.run.run_id} was not deleted: {outcome.reason}")
    _check_finished(store, finished, figures)
    there = {run.run_id for run in store.list_runs()}
    names = os.listdir(store.catalog_path) if os.path.isdir(store.catalog_path) else []
    data = {name.partition("~")[0] for name in names if not name.startswith(".")}
    if not data <= there:
        figures.complain("broken", f"data of runs that are gone is left: {sorted(data - there)}")


def _opened(base: str, store_type: str, **options: Any) -> Store:
    return chunkstore.open_store(store_type, log_folder=os.path.join(base, LOGS), lock_timeout=5, **options)


def _recorder(base: str, store_type: str, number: int, acknowledged: AppendedFile) -> Any:
    def work(_: Say) -> None:
        scratch = os.path.join(base, f"scratch-{number}")
        os.mkdir(scratch)
        store = _opened(base, store_type, **options_of(store_type, number))
        Recorder(store, scratch, number, number, acknowledged.say, acknowledged.say).run()

    return work
