"""Whole runs through the recording API, acknowledged when their `with` block has been left."""

from __future__ import annotations

import hashlib
import itertools
import os
import random
import sys
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor

import chunkstore
from chunkstore.errors import ChunkstoreError, RunLogNotFoundError
from chunkstore.records.models import RunLog
from chunkstore.stores.base import Store

from .children import Say, in_child
from .records import all_steps

#: A run of so many files and more is brought to the disk by one call for the whole file system.
_MANY = 260
_KINDS = ("threads", "processes", "many")


class Recorder:
    """A pipeline that runs again and again.

    Args:
        store: where it is recorded.
        scratch: a folder for files that become data, not on the disk that is cut.
        number: of this recorder.
        seed: for its decisions.
        say: says a run's id and the hash of its log, after the run's block has been left.
    """

    def __init__(self, store: Store, scratch: str, number: int, seed: int, say: Say) -> None:
        self._store = store
        self._number = number
        self._seed = seed
        self._random = random.Random(f"{seed}-{number}")
        self._say = say
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
                for number in range(5):
                    step.log_metric("loss", 1 / (number + 1), step=number)
                data = f"{run_id}.bin"
                with open(data, "wb") as file:
                    file.write(self._random.randbytes(self._random.randrange(100_000)))
                step.put_data(data, "folder/data.bin")
                print("printed by", run_id)
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


def square(number: int) -> int:
    """What branches do: they log, print and put data."""
    with open(f"{os.getpid()}-{number}.txt", "w", encoding="ascii") as file:
        file.write(str(number) * 1_000)
    step = chunkstore.current_step()
    step.put_data(file.name, "number.txt")
    step.log_metric("number", number)
    print(number)
    return number * number


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
    entries = [entry for step in all_steps(log) for entry in step.data_catalog if entry.stage == "put"]
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
