"""A run is sealed and unsealed over and over while processes write to it and others read.

Writers use both containers. No reader may miss what had been acknowledged before its read began, and in the end every
counter is exact, and every point of a series is there once.
"""

from __future__ import annotations

import os
import random
import tempfile
import time
from collections.abc import Callable
from typing import Any, ClassVar

import chunkstore
from chunkstore.errors import StepLogNotFoundError
from chunkstore.records.models import RunLog, StepLog
from chunkstore.stores.base import Store

from .children import Children, Gate, Say
from .figures import Figures
from .readers_under_fire import WRITERS, Board, BoardReader, BoardWriter, all_names
from .records import make_points
from .writers import RUN

READERS = 2
_STEPS_AT_FIRST = 3
_READS_PER_RUN = 1_000
#: How much each writer writes at least, however fast the readers are.
_LEAST_WRITES = 20
#: What each writer's store is like: by its number.
_OPTIONS: tuple[dict[str, Any], ...] = (
    {"container": "files", "durability": "process"},
    {"container": "journal", "durability": "process"},
    {"container": "files", "durability": "run"},
    {"container": "journal", "durability": "run"},
)
#: Places on the board: how often the run was sealed, and whether writers shall stop.
_SEALS, _STOP = ("seals", ""), ("stop", "")


def seal_under_fire(folder: str | os.PathLike[str], seed: int, size: int = 2_000) -> Figures:
    """Read `size` times in all, by `READERS` processes, while `WRITERS` others write and one seals and unseals.

    However slow these writers are, they write four times to every ten reads.
    """
    figures, began = Figures(), time.monotonic()
    decisions = random.Random(seed)
    while (figures.reads < size or figures.acknowledged < 0.4 * size) and not figures.wrong:
        with tempfile.TemporaryDirectory(prefix="sealing-", dir=folder) as base:
            reads = min(_READS_PER_RUN, max(size - figures.reads, READERS))
            _seal_one_run(base, decisions.getrandbits(32), -(-reads // READERS), figures)
    figures.seconds = time.monotonic() - began
    return figures


def _seal_one_run(base: str, seed: int, reads_each: int, figures: Figures) -> None:
    store = _opened(base)
    store.create_run_log(RUN)
    store.update_run_log(RUN, _succeed)  # only a run that has ended may be sealed
    scene = _Scene(base, seed)
    with Children() as children:
        for number in range(WRITERS):
            children.start(scene.writer(number))
        for number in range(READERS):
            children.start(scene.reader(number, reads_each))
        children.start(scene.seal)
        children.read(WRITERS)
        scene.gate.open()
        for reads, complaints in children.read(READERS):
            figures.reads += reads
            for complaint in complaints:
                what, _, text = complaint.partition(": ")
                figures.complain(what, text)
        scene.board.acknowledge(*_STOP)
        children.read(WRITERS)
        children.kill_all()  # whoever seals is killed in the middle of it
        for error in children.errors:
            figures.complain("broken", f"a process failed: {error['error']}")
    figures.acknowledged += sum(scene.board.versions)
    scene.check_exactly(store, figures)
    store.close()


def _opened(base: str, **options: Any) -> Store:
    return chunkstore.open_store("chunked-fs", log_folder=base, **options)


class _Scene:
    """What all processes of one run share.

    Args:
        base: the log folder.
        seed: for all that is left to chance.
    """

    def __init__(self, base: str, seed: int) -> None:
        self.board = Board([*(("points", name) for name in all_names()), _SEALS, _STOP])
        self.gate = Gate()
        self._base = base
        self._seed = seed

    def writer(self, number: int) -> Callable[[Say], None]:
        def work(say: Say) -> None:
            writer = _Writer(_opened(self._base, **_OPTIONS[number]), number, self._seed, self.board)
            for _ in range(_STEPS_AT_FIRST):
                writer.add()
            say("ready")
            self.gate.wait()
            written = 0
            while written < _LEAST_WRITES or not self.board.version(*_STOP):
                writer.write()
                written += 1
            say("done")

        return work

    def reader(self, number: int, reads: int) -> Callable[[Say], None]:
        def work(say: Say) -> None:
            self.gate.wait()
            reader = _Reader(_opened(self._base), number, self._seed, self.board)
            reader.run(reads)
            say([reader.figures.reads, reader.figures.complaints])

        return work

    def seal(self, _: Say) -> None:
        """Seal and unseal until this process is killed."""
        self.gate.wait()
        decisions, store = random.Random(f"{self._seed}-sealer"), _opened(self._base, durability="process")
        while True:
            store.seal(RUN)
            self.board.acknowledge(*_SEALS)
            if decisions.random() < 0.5:
                store.unseal(RUN)

    def check_exactly(self, store: Store, figures: Figures) -> None:
        """Complain of whatever is not exactly as it was acknowledged, however the run is packed."""
        if not self.board.version(*_SEALS):
            figures.complain("broken", "the run was never sealed")
        for change in (None, store.seal, store.unseal, store.seal):
            if change is not None:
                change(RUN)
            reader = _Reader(_opened(self._base), WRITERS, self._seed, self.board)
            reader.check_exactly()
            figures.add(reader.figures)
        left = [name for name in os.listdir(os.path.join(self._base, RUN)) if not name.startswith((".tmp-", "Sealed-"))]
        if sorted(left) != [".lock", "RunLog.json"]:
            figures.complain("broken", f"beside the sealed file there are {left}")


def _succeed(log: RunLog) -> None:
    log.status = "SUCCESS"


class _Writer(BoardWriter):
    mix: ClassVar[dict[str, int]] = {"replace": 30, "add": 4, "change": 30, "set": 12, "append": 24}

    def append(self) -> None:
        """Add a point to the series of one of its own steps."""
        name = f"w{self._number}-{self._random.randrange(self._added)}"
        number = self._board.version("points", name)
        self._store.append_metrics(RUN, name, {"m": make_points(range(number, number + 1))})
        self._board.acknowledge("points", name)


class _Reader(BoardReader):
    reads = ("run", "step", "parameters", "records", "names")

    def _read_records(self) -> None:
        found = {record.internal_name: record for record in self._store.iter_records(RUN)}
        for name in all_names():
            step = found.get(name)
            self._look_at_step(name, step if isinstance(step, StepLog) else None)

    def _read_names(self) -> None:
        name = self._random.choice(all_names())
        if not self._store.has_step_log(RUN, name) and self._least[self._places["step", name]]:
            self._complain("missed", f"step {name} is said not to be there")

    def check_exactly(self) -> None:
        """Complain of whatever is not exactly as it was acknowledged, now that nobody writes any more."""
        self.run(len(self.reads))
        for place, index in self._places.items():
            if place not in {_SEALS, _STOP} and self._seen[index] != self._versions[index]:
                self._complain("broken", f"{place}: {self._versions[index]} acknowledged, {self._seen[index]} there")
        for name in all_names():
            try:
                step = self._store.get_step_log(RUN, name)
            except StepLogNotFoundError:
                step = None
            self._least = list(self._versions)
            self._look_at_step(name, step)
