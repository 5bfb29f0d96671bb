"""Whole runs through the recording API, acknowledged when their `with` block has been left."""

from __future__ import annotations

import hashlib
import itertools
import os
import random
import sys
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from typing import Any

import chunkstore
from chunkstore.errors import ChunkstoreError, RunLogNotFoundError, StepLogNotFoundError
from chunkstore.records.models import RunLog
from chunkstore.stores.base import Store

from .children import Say, in_child
from .records import all_steps
from .writers import container_of

#: A run of so many files and more is brought to the disk by one call for the whole file system.
_MANY = 260
_KINDS = ("threads", "processes", "many")
_POINTS = 5


def options_of(store_type: str, number: int) -> dict[str, Any]:
    """Return the options of a recorder's store: files or a journal, and every third seals its runs when they finish."""
    is_sealing = store_type == "chunked-fs" and number % 3 == 0
    return {**container_of(store_type, number), **({"seal_finished_runs": 3} if is_sealing else {})}


class Recorder:
    """A pipeline that runs again and again.

    Args:
        store: where it is recorded.
        scratch: a folder for files that become data, not on the disk that is cut.
        number: of this recorder.
        seed: for its decisions.
        say: says a run's id and the hash of its log, after the run's block has been left.
        say_step: says the id of a run whose first step has been left, which survives a kill from then on.
    """

    def __init__(
        self, store: Store, scratch: str, number: int, seed: int, say: Say, say_step: Say = lambda _: None
    ) -> None:
        self._store = store
        self._number = number
        self._seed = seed
        self._random = random.Random(f"{seed}-{number}")
        self._say = say
        self._say_step = say_step
        # Nothing here is code in a repository, and nothing that steps print shall reach the terminal.
        os.chdir(scratch)
        sys.stdout = sys.stderr = open(os.devnull, "w", encoding="ascii")  # noqa: SIM115 - for as long as this runs

    def run(self) -> None:
        """Record until this process is killed or a call fails."""
        for turn in itertools.count():
            run_id = f"w{self._number}-{turn}"
            self._record(run_id, _KINDS[(turn + self._seed) % len(_KINDS)] if self._number else "threads")
            self._say([run_id, digest_of(self._store.get_run_log(run_id, strict=True))])

    def _record(self, run_id: str, kind: str) -> None:
        with self._store.start_run(run_id, tag=kind, parameters={"turn": run_id}) as run:
            with run.step("load") as step:
                step.log_metrics({"rows": self._random.getrandbits(32)})
                for number in range(_POINTS):
                    step.log_metric("loss", 1 / (number + 1), step=number)
                data = f"{run_id}.bin"
                with open(data, "wb") as file:
                    file.write(self._random.randbytes(self._random.randrange(100_000)))
                step.put_data(data, "folder/data.bin")
                print("printed by", run_id)
            self._say_step(run_id)
            run.set_parameters({"late": [run_id]})
            if kind == "many":
                for number in range(_MANY):
                    self._store.add_step_log(run_id, chunkstore.StepLog(name=f"s{number}", internal_name=f"s{number}"))
            elif kind == "threads":
                with ThreadPoolExecutor(2) as pool:
                    run.map("square", range(4), square, executor=pool)
            else:
                run.map("square", range(4), square)
                in_child(lambda: _record_elsewhere(self._store, run_id))
            in_child(lambda: self._store.update_step_log(run_id, "load", _add_from_afar))


def square(number: int) -> int:
    """What branches do: they log, print and put data."""
    with open(f"{os.getpid()}-{number}.txt", "w", encoding="ascii") as file:
        file.write(str(number) * 1_000)
    step = chunkstore.current_step()
    step.put_data(file.name, "number.txt")
    step.log_metric("number", number)
    print(number)
    return number * number


def _add_from_afar(step: chunkstore.StepLog) -> None:
    step.user_defined_metrics["from afar"] = 1


def _record_elsewhere(store: Store, run_id: str) -> None:
    """Add a step to a run, as another process that has joined it."""
    with store.join_run(run_id) as run, run.step("elsewhere") as step:
        step.log_metric("pid", os.getpid())


def digest_of(log: RunLog) -> str:
    """Return a hash of all that is in a run, but for how it is packed."""
    shown = RunLog.from_json(log.to_json())
    shown.notes.pop("format", None)
    return hashlib.sha256(shown.to_json().encode()).hexdigest()


def wrong_in_recordings(store: Store, run_id: str, digest: str) -> Iterator[tuple[str, str]]:
    """Yield what is wrong with a run that has been left: what kind of thing, and in words."""
    try:
        log = store.get_run_log(run_id, strict=True)
    except RunLogNotFoundError:
        yield "lost", f"run {run_id}"
        return
    except ChunkstoreError as error:
        yield "torn", f"run {run_id}: {error!r}"
        return
    if digest_of(log) != digest:
        yield "lost", f"a part of run {run_id}: {log.to_json()[:500]}"
    yield from _wrong_in_data(store, run_id, list(all_steps(log)))


def wrong_in_first_step(store: Store, run_id: str) -> Iterator[tuple[str, str]]:
    """Yield what is wrong with the first step of a run, which has been left."""
    try:
        step = store.get_step_log(run_id, "load")
    except (RunLogNotFoundError, StepLogNotFoundError):
        yield "lost", f"the first step of run {run_id}"
        return
    except ChunkstoreError as error:
        yield "torn", f"the first step of run {run_id}: {error!r}"
        return
    points = (step.metric_series or {}).get("loss", [])
    if step.status != "SUCCESS" or len(points) != _POINTS or "rows" not in step.user_defined_metrics:
        yield "lost", f"a part of the first step of run {run_id}: {step.status}, {len(points)} points"
    yield from _wrong_in_data(store, run_id, [step])


def _wrong_in_data(store: Store, run_id: str, steps: list[chunkstore.StepLog]) -> Iterator[tuple[str, str]]:
    entries = [entry for step in steps for entry in step.data_catalog if entry.stage == "put"]
    if len(entries) < 2:
        yield "lost", f"data of run {run_id}: {entries}"
    for entry in entries:
        try:
            with open(os.path.join(store.catalog_path, entry.catalog_relative_path), "rb") as file:
                data = file.read()
        except OSError as error:
            yield "lost", f"data of run {run_id}: {error!r}"
            continue
        if hashlib.sha256(data).hexdigest() != entry.data_hash:
            yield "torn", f"data of run {run_id}: {entry}, {len(data)} bytes"
