"""Power is cut under running writers; whatever they had acknowledged must be there after the next mount.

The cut is an ioctl of the file system: it stops at once, and what it has not brought to its journal by then is lost.
Writers say each acknowledgement through a pipe after the call has returned, and the parent reads on until all of them
are dead. The parent itself opens nothing on the disk, so that it can be unmounted.
"""

from __future__ import annotations

import os
import random
import tempfile
import time
from typing import Any, NamedTuple

import chunkstore
from chunkstore.errors import ChunkstoreError
from chunkstore.maintenance.checking.findings import PROBLEM
from chunkstore.stores.base import Store

from .children import Children, Say, in_child
from .figures import Figures
from .filesystems import Disk
from .ledger import DELETING, Ledger
from .recordings import Recorder, options_of, wrong_in_recordings
from .recovery import clear_up, findings_of, recover, seal_and_unseal
from .writers import LOGS, RUN, Writer, prepare

#: Levels of durability.
STEP, RUN_LEVEL, PROCESS = "step", "run", "process"

_WRITERS = {STEP: 3, PROCESS: 3, RUN_LEVEL: 2}
#: A cut comes after so many acknowledgements at most, and then within so many seconds.
_MOST_BEFORE = {STEP: 60, PROCESS: 60, RUN_LEVEL: 5}
_LONGEST_PAUSE = {STEP: 0.003, PROCESS: 0.003, RUN_LEVEL: 0.04}
_STEPS = 20


def _is_announced(said: list[Any]) -> bool:
    """Tell whether something was said before it was done: that a run is going to be deleted."""
    return said[-1] == DELETING and said[2:3] == ["run"]


def cut_power(disk: Disk, seed: int, size: int = 20, *, store_type: str = "chunked-fs", level: str = STEP) -> Figures:
    """Cut the power `size` times under writers of one level of durability; no more once something is wrong.

    At level `step` every call that has returned is looked for, at level `run` every run that has been left, and at
    level `process`, which promises nothing here, every new step.
    """
    figures, began = Figures(), time.monotonic()
    decisions = random.Random(f"{seed}-{store_type}-{level}")
    with tempfile.TemporaryDirectory(prefix="cuts-") as scratch:
        for number in range(size):
            base = os.path.join(disk, f"cut-{number}")
            figures.add(_Cut(disk, base, scratch, decisions.getrandbits(32), store_type, level).make())
            if figures.wrong:
                break
    figures.seconds = time.monotonic() - began
    return figures


class _Cut(NamedTuple):
    """One cut.

    Attributes:
        disk: where.
        base: a folder on it, for this cut.
        scratch: a folder elsewhere.
        seed: for all decisions.
        store_type: of the writers' stores.
        level: their durability.
    """

    disk: Disk
    base: str
    scratch: str
    seed: int
    store_type: str
    level: str

    def make(self) -> Figures:
        """Let writers write, cut the power, mount again, and look for what was acknowledged.

        Only what was said before the cut began counts: a sync that the cut meets on its way may return as if it had
        done its work (on ext4 and XFS, also of a file that is written by nothing but `write` and `fsync`).
        """
        figures = Figures()
        decisions = random.Random(self.seed)
        in_child(self._prepare)
        with Children() as children:
            for number in range(_WRITERS[self.level]):
                children.start(self._writer(number))
            said = children.read(decisions.randint(1, _MOST_BEFORE[self.level]))
            time.sleep(decisions.random() * _LONGEST_PAUSE[self.level])
            cut_at = time.monotonic()
            self.disk.cut_power()
            children.kill_all()
            said += children.read_rest()
            for error in children.errors:
                # After the cut every call may fail, but only with an error of the library.
                if error["at"] < cut_at or not error["of_library"]:
                    figures.complain("broken", f"a writer failed: {error['error']}")
        self.disk.unmount()
        self.disk.mount()
        counted = [what for when, what in said if when < cut_at or _is_announced(what)]
        figures.add(in_child(lambda: self._check(counted)))
        figures.cuts = int(figures.acknowledged > 0)
        self.disk.empty()
        return figures

    def _open(self, **options: Any) -> Store:
        return chunkstore.open_store(self.store_type, log_folder=os.path.join(self.base, LOGS), **options)

    def _prepare(self) -> None:
        """Make the folder, and in it the run that all write to, so that they survive the cut."""
        os.mkdir(self.base)
        prepare(self._open(durability=STEP), ended=self._is_sealed)

    @property
    def _is_sealed(self) -> bool:
        """Whether the run has ended before, and is sealed and unsealed meanwhile."""
        return self.store_type == "chunked-fs" and self.level == STEP and self.seed % 2 == 0

    def _writer(self, number: int) -> Any:
        def work(say_now: Say) -> None:
            def say(what: Any) -> None:
                say_now([time.monotonic(), what])

            if self.level == RUN_LEVEL:
                options = options_of(self.store_type, number + self.seed)
                Recorder(self._open(durability=RUN_LEVEL, **options), self.scratch, number, self.seed, say).run()
            others = range(_WRITERS[self.level])
            writer = Writer(
                self.store_type,
                self.base,
                number,
                self.seed,
                say,
                others=others,
                steps=_STEPS,
                durability=self.level,
                new_folders=True,
                sealing=self._is_sealed,
            )
            writer.run(only="" if self.level == STEP else "add_step")

        return work

    def _check(self, said: list[Any]) -> Figures:
        figures = Figures()
        if self.level == RUN_LEVEL:
            self._check_recordings(dict(said), figures)
        else:
            ledger = Ledger(self.store_type, self.base)
            ledger.note(said)
            ledger.check(figures, strict=False)
            figures.acknowledged = ledger.acknowledged
            if self.level == STEP:
                self._recover(ledger, figures)
        self._go_on(figures)
        return figures

    def _recover(self, ledger: Ledger, figures: Figures) -> None:
        store = self._open()

        def check() -> None:
            ledger.check(figures, strict=False)

        recover(store, figures, check, lambda found: not ledger.is_acknowledged(LOGS, found.run_id, found.file))
        if self.store_type == "chunked-fs":
            seal_and_unseal(store, RUN, figures, check)

    def _check_recordings(self, finished: dict[str, str], figures: Figures) -> None:
        store = self._open()
        figures.acknowledged = figures.reads = len(finished)
        for run_id, digest in finished.items():
            for what, text in wrong_in_recordings(store, run_id, digest):
                figures.complain(what, text)
            for found in findings_of(store, run_id):
                if found.severity == PROBLEM:
                    figures.complain("torn", f"verify says of run {run_id}, which has been left: {found}")
            if self.store_type == "chunked-fs":
                store.seal(run_id)
                for what, text in wrong_in_recordings(store, run_id, digest):
                    figures.complain(what, f"{text}, when it was sealed afterwards")
        clear_up(store)
        for summary in store.list_runs():
            if summary.run_id not in finished:
                try:
                    store.get_run_log(summary.run_id)
                except ChunkstoreError:
                    pass  # nobody was told that this run is there

    def _go_on(self, figures: Figures) -> None:
        """Write after the crash, without any repair."""
        store = self._open(lock_timeout=1)
        try:
            store.set_parameters(RUN, {"after": [1, 1]})
            after = store.get_parameters(RUN).get("after")
        except ChunkstoreError as error:
            figures.complain("broken", f"writing after the cut: {error!r}")
        else:
            if after != [1, 1]:
                figures.complain("broken", f"what was written after the cut is {after}")
