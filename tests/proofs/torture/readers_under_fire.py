"""Readers read over and over while writers replace, add and change what they read.

None may meet anything torn, miss what had been acknowledged before its read began, or see a record go back.
"""

from __future__ import annotations

import os
import random
import tempfile
import time
from collections.abc import Iterable
from multiprocessing.sharedctypes import RawArray
from typing import Any, ClassVar

import chunkstore
from chunkstore.errors import StepLogNotFoundError
from chunkstore.records.models import StepLog
from chunkstore.stores.base import Store

from .children import Children, Gate, Say
from .figures import Figures
from .records import count_by, counted_by, make_step, make_value, value_of, version_of, wrong_in_step
from .writers import RUN

READERS = WRITERS = 4

#: Each writer's own steps and parameters, and how many of the steps are there before anybody reads. With what others
#: have changed of them, a run has up to 49 files.
_STEPS, _STEPS_AT_FIRST = 6, 3
_KEYS = 2
#: After so many reads a new run is begun, so that there is always something to be added.
_READS_PER_RUN = 2_500
_MOST_COMPLAINTS = 5

#: What writers do, and how often: replacing is what makes file systems hide names.
_MIX = {"replace": 70, "add": 2, "change": 18, "set": 10}
_READS = ("run", "step", "parameters")


def read_under_fire(
    folder: str | os.PathLike[str], seed: int, size: int = 25_000, store_type: str = "chunked-fs"
) -> Figures:
    """Read `size` times in all, by `READERS` processes, against `WRITERS` others; a third are reads of whole runs."""
    figures, began = Figures(), time.monotonic()
    decisions = random.Random(seed)
    while figures.reads < size and not figures.wrong:
        with tempfile.TemporaryDirectory(prefix="readers-", dir=folder) as base:
            reads = min(_READS_PER_RUN, size - figures.reads)
            _read_one_run(base, store_type, decisions.getrandbits(32), -(-reads // READERS), figures)
    figures.seconds = time.monotonic() - began
    return figures


def _read_one_run(base: str, store_type: str, seed: int, reads_each: int, figures: Figures) -> None:
    def opened() -> Store:
        return chunkstore.open_store(store_type, log_folder=base)

    store = opened()
    store.create_run_log(RUN)
    store.close()
    board, gate = Board(), Gate()

    def write(number: int) -> Any:
        def work(say: Say) -> None:
            writer = BoardWriter(opened(), number, seed, board)
            for _ in range(_STEPS_AT_FIRST):
                writer.add()
            say("ready")
            gate.wait()
            writer.run()

        return work

    def read(number: int) -> Any:
        def work(say: Say) -> None:
            gate.wait()
            reader = BoardReader(opened(), number, seed, board)
            reader.run(reads_each)
            say([reader.figures.reads, reader.figures.complaints])

        return work

    with Children() as children:
        for number in range(WRITERS):
            children.start(write(number))
        for number in range(READERS):
            children.start(read(number))
        children.read(WRITERS)
        gate.open()
        for reads, complaints in children.read(READERS):
            figures.reads += reads
            for complaint in complaints:
                what, _, text = complaint.partition(": ")
                figures.complain(what, text)
        children.kill_all()
        figures.acknowledged += sum(board.versions)
        for error in children.errors:
            figures.complain("broken", f"a reader or writer failed: {error['error']}")


class Board:
    """Versions that were acknowledged, in memory that all processes share; each place has one writer.

    Args:
        more: further places.
    """

    def __init__(self, more: Iterable[tuple[Any, ...]] = ()) -> None:
        places: list[tuple[Any, ...]] = [("step", name) for name in all_names()]
        places += [("changes", name, number) for name in all_names() for number in range(WRITERS)]
        places += [("parameter", f"w{number}-{key}") for number in range(WRITERS) for key in range(_KEYS)]
        places += more
        self.places = {place: index for index, place in enumerate(places)}
        self.versions = RawArray("Q", len(places))

    def acknowledge(self, *place: Any) -> None:
        """Note that the next version of a place has been acknowledged."""
        self.versions[self.places[place]] += 1

    def version(self, *place: Any) -> int:
        """Return the version of a place that was acknowledged last."""
        return self.versions[self.places[place]]


def all_names() -> list[str]:
    return [f"w{number}-{step}" for number in range(WRITERS) for step in range(_STEPS)]


class BoardWriter:
    """Writes until it is killed: the run is not looked at any more by then."""

    mix: ClassVar[dict[str, int]] = _MIX

    def __init__(self, store: Store, number: int, seed: int, board: Board) -> None:
        self._store = store
        self._number = number
        self._random = random.Random(f"{seed}-writer-{number}")
        self._board = board
        self._added = 0

    def run(self) -> None:
        while True:
            self.write()

    def write(self) -> None:
        """Do one thing."""
        getattr(self, self._random.choices(list(self.mix), list(self.mix.values()))[0])()

    def add(self) -> None:
        if self._added < _STEPS:
            self._added += 1
            self._put(f"w{self._number}-{self._added - 1}")
        else:
            self.replace()

    def replace(self) -> None:
        if self._added:
            self._put(f"w{self._number}-{self._random.randrange(self._added)}")
        else:
            self.add()

    def _put(self, name: str) -> None:
        self._store.add_step_log(RUN, make_step(name, self._board.version("step", name) + 1))
        self._board.acknowledge("step", name)

    def change(self) -> None:
        name = self._random.choice(all_names())
        try:
            self._store.update_step_log(RUN, name, count_by(self._number))
        except StepLogNotFoundError:
            return  # nobody has added it yet
        self._board.acknowledge("changes", name, self._number)

    def set(self) -> None:
        key = f"w{self._number}-{self._random.randrange(_KEYS)}"
        self._store.set_parameters(RUN, {key: make_value(self._board.version("parameter", key) + 1)})
        self._board.acknowledge("parameter", key)


class BoardReader:
    """Reads, and compares with what was acknowledged before each read began and with what it saw itself before."""

    reads = _READS

    def __init__(self, store: Store, number: int, seed: int, board: Board) -> None:
        self._store = store
        self._random = random.Random(f"{seed}-reader-{number}")
        self._places = board.places
        self._versions = board.versions
        self._least: list[int] = []
        self._seen = [0] * len(board.versions)
        self.figures = Figures()

    def run(self, count: int) -> None:
        for number in range(count):
            what = self.reads[number % len(self.reads)]
            acknowledged = self._versions[:]  # before the read begins
            self._least = list(map(max, acknowledged, self._seen))
            try:
                getattr(self, f"_read_{what}")()
            except Exception as error:
                self._complain("torn", f"reading the {what}: {error!r}")
            self.figures.reads += 1

    def _complain(self, what: str, text: str) -> None:
        if self.figures.wrong < _MOST_COMPLAINTS:  # all that is said must fit into one line
            self.figures.complain(what, text[:300])

    def _read_run(self) -> None:
        log = self._store.get_run_log(RUN)
        for problem in log.problems:
            self._complain("torn", str(problem))
        for name in all_names():
            self._look_at_step(name, log.steps.get(name))
        self._look_at_parameters(log.parameters)

    def _read_step(self) -> None:
        name = self._random.choice(all_names())
        try:
            step = self._store.get_step_log(RUN, name)
        except StepLogNotFoundError:
            step = None
        self._look_at_step(name, step)

    def _read_parameters(self) -> None:
        self._look_at_parameters(self._store.get_parameters(RUN))

    def _look_at_step(self, name: str, step: StepLog | None) -> None:
        if step is not None and (wrong := wrong_in_step(step)):
            self._complain("torn", wrong)
            return
        self._look_at(("step", name), version_of(step) if step is not None else 0)
        if ("points", name) in self._places:
            series = step.metric_series or {} if step is not None else {}
            self._look_at(("points", name), sum(map(len, series.values())))
        for number in range(WRITERS):
            self._look_at(("changes", name, number), counted_by(step, number) if step is not None else 0)

    def _look_at_parameters(self, parameters: dict[str, Any]) -> None:
        for (kind, key, *_), index in self._places.items():
            if kind == "parameter":
                value = parameters.get(key)
                if value is not None and value_of(value) < 0:
                    self._complain("torn", f"parameter {key}: {value}")
                self._look_at((kind, key), 0 if value is None else value_of(value), index)

    def _look_at(self, place: tuple[Any, ...], version: int, index: int = -1) -> None:
        index = self._places[place] if index < 0 else index
        if version < self._least[index]:
            before = "seen" if self._seen[index] > version else "acknowledged"
            self._complain("missed", f"{place}: version {version}, but {self._least[index]} was {before} before")
        self._seen[index] = max(version, self._seen[index])
