"""Writers are killed with SIGKILL at random moments; whatever they had acknowledged must be there.

In a chunked store, every other writer keeps a journal, and in every other run, which has ended before, all of them
seal and unseal it. After all, what was left is brought in order, twice.
"""

from __future__ import annotations

import json
import os
import random
import tempfile
import time
from collections.abc import Collection, Iterator
from typing import Any

import chunkstore
from chunkstore.errors import ChunkstoreError, LockTimeoutError
from chunkstore.maintenance.checking.findings import ORPHAN
from chunkstore.stores.base import Store

from .children import Children, Say
from .figures import Figures
from .ledger import Ledger
from .recovery import recover, seal_and_unseal
from .writers import LOGS, RUN, Writer, prepare

WRITERS = 3
#: Seconds that a lock may take that somebody was killed with.
LOCK_TIMEOUT = 1.0
_LOCK_TRIES = 30

#: After so many kills a new run is begun, so that reading all of it after each kill stays quick.
_KILLS_PER_RUN = 20
_STEPS = 4
#: A kill comes within so many seconds after the last one: some within a writer's first call, most in the middle.
_LONGEST_PAUSE = 0.008


def kill_writers(folder: str | os.PathLike[str], seed: int, size: int = 500, store_type: str = "chunked-fs") -> Figures:
    """Kill writers `size` times; after each kill read the run while the other writers go on."""
    figures, began = Figures(), time.monotonic()
    decisions = random.Random(seed)
    while figures.kills < size and not figures.wrong:
        with tempfile.TemporaryDirectory(prefix="kills-", dir=folder) as base:
            kills = min(_KILLS_PER_RUN, size - figures.kills)
            _kill_in_one_run(base, store_type, decisions, kills, figures)
    figures.seconds = time.monotonic() - began
    return figures


def _kill_in_one_run(base: str, store_type: str, decisions: random.Random, kills: int, figures: Figures) -> None:
    logs = os.path.join(base, LOGS)
    store = chunkstore.open_store(store_type, log_folder=logs, lock_timeout=LOCK_TIMEOUT)
    is_sealed = store_type == "chunked-fs" and decisions.random() < 0.5
    prepare(store, ended=is_sealed)
    ledger, acknowledged = Ledger(store_type, base), AppendedFile(os.path.join(base, "acknowledged"))
    seed, number = decisions.getrandbits(32), 0
    alive: dict[int, int] = {}  # the number of each writer, and its pid
    with Children() as children:

        def start() -> None:
            nonlocal number
            alive[number] = children.start(_writer(store_type, base, number, seed, acknowledged, sealing=is_sealed))
            number += 1

        for _ in range(WRITERS):
            start()
        for turn in range(1, kills + 1):
            time.sleep(decisions.random() * _LONGEST_PAUSE)
            victim = decisions.choice(list(alive))
            children.kill(alive.pop(victim))
            figures.kills += 1
            start()
            # The others write while this reads: what they acknowledged until now must be in it as well.
            touched = ledger.note(acknowledged.new_lines())
            _try_lock(store, turn, alive.values(), figures)
            ledger.check_run(store, LOGS, RUN, figures, strict=True)
            own = {run for run in touched if run[1].startswith(f"w{victim}-")}
            ledger.check(figures, own, strict=True)
        children.kill_all()
        _try_lock(store, kills, (), figures)
        children.read_rest()
        for error in children.errors:
            figures.complain("broken", f"a writer failed: {error['error']}")
    ledger.note(acknowledged.new_lines())
    acknowledged.close()
    ledger.check(figures, strict=True)
    recover(
        store,
        figures,
        lambda: ledger.check(figures, strict=True),
        lambda found: found.kind == ORPHAN and not ledger.is_acknowledged(LOGS, found.run_id, found.file),
    )
    if store_type == "chunked-fs":
        seal_and_unseal(store, RUN, figures, lambda: ledger.check(figures, strict=True))
    figures.acknowledged += ledger.acknowledged
    store.close()


def _writer(store_type: str, base: str, number: int, seed: int, acknowledged: AppendedFile, *, sealing: bool) -> Any:
    def work(_: Say) -> None:
        others = range(number + 1)
        Writer(store_type, base, number, seed, acknowledged.say, others=others, steps=_STEPS, sealing=sealing).run()

    return work


def _try_lock(store: Store, turn: int, alive: Collection[int], figures: Figures) -> None:
    """Change something under the lock: a killed holder must not keep it."""
    for _ in range(_LOCK_TRIES):
        try:
            store.set_parameters(RUN, {"parent": [turn] * (1 + turn % 31)})
        except LockTimeoutError as error:
            failure = f"a lock stayed: {error}"
            # On a busy machine those that are alive may keep us waiting longer; what counts is who has it.
            if error.holder not in alive and not (error.holder is None and alive):  # on a file server, nobody tells
                break
        except ChunkstoreError as error:
            failure = f"a change under the lock: {error!r}"
            break
        else:
            return
    figures.complain("broken", failure)


class AppendedFile:
    """A file to whose end many processes add lines, and that one reads.

    Each line also begins with a line break: what a killed writer left of its last line then spoils no other line.
    """

    def __init__(self, path: str) -> None:
        self._fd = os.open(path, os.O_RDWR | os.O_APPEND | os.O_CREAT | os.O_CLOEXEC)
        self._offset = 0

    def say(self, said: Any) -> None:
        """Add a line."""
        os.write(self._fd, b"\n" + json.dumps(said).encode() + b"\n")

    def new_lines(self) -> Iterator[Any]:
        """Yield the lines that are whole and have not been read."""
        size = os.fstat(self._fd).st_size
        block = os.pread(self._fd, size - self._offset, self._offset)
        block = block[: block.rfind(b"\n") + 1]
        self._offset += len(block)
        for line in block.split(b"\n"):
            try:
                yield json.loads(line)
            except ValueError:
                continue  # empty, or cut off: nobody was told of it

    def close(self) -> None:
        """Close it."""
        os.close(self._fd)
