"""Reading: whole runs in their containers, the list of all runs, and how much memory reading takes."""

from __future__ import annotations

import os
import sqlite3
from collections.abc import Callable
from itertools import islice
from pathlib import Path

import msgspec

import chunkstore
from benchmarks.example import make_step
from benchmarks.floors import FLOOR, JOURNAL_FLOOR, SEALED_FLOOR, read_file
from benchmarks.fresh import peak_memory
from benchmarks.measure import Sample, Scenario, Side, Target, Task, at_most, sample_of, throughput_at_least
from benchmarks.ours import CHUNKSTORE, JOURNAL, SEALED, open_store
from benchmarks.peers import sqlite
from benchmarks.peers.disk_cache import DISKCACHE
from benchmarks.peers.optuna_journal import OPTUNA
from benchmarks.peers.runnable_peer import RUNNABLE_CHUNKED, RUNNABLE_FILE
from benchmarks.recorder import Contestant
from benchmarks.recording import let_rest, read_steps
from benchmarks.workers import Timed, alone, timed
from chunkstore.records.decoding import RecordCodec

_NEWEST = 20
_LISTINGS = 3


def _read(name: str, work: str, contestants: tuple[Contestant, ...], targets: tuple[Target, ...]) -> Scenario:
    return Scenario(
        name=name,
        work=work,
        costs="time / read",
        count=10_000,
        sides=tuple(one.side(read_steps) for one in contestants),
        targets=targets,
    )


# --- all runs --------------------------------------------------------------------------------------------------------


def _create_runs(task: Task) -> None:
    store = open_store(task.folder)
    for _ in range(task.count):
        store.create_run_log()
    store.close()


def _list(task: Task, listing: Callable[[Path], int], *, expected: int) -> Sample:
    """Let a new process list runs that nobody has changed for a while."""
    alone(lambda: _create_runs(task))
    let_rest(task.folder)

    def work() -> tuple[Timed, int]:
        part = timed([(listing, task.folder)] * _LISTINGS, task.limit)
        return part, listing(task.folder)

    part, found = alone(work)
    return sample_of([part], expected=expected, found=found)


def _list_all(folder: Path) -> int:
    return len([summary for summary in open_store(folder).list_runs() if not summary.problem])


def _list_newest(folder: Path) -> int:
    return len(list(islice(open_store(folder).list_runs(), _NEWEST)))


def _list_bare(folder: Path) -> int:
    """List the folder; open, read, close and decode each run's own record."""
    decode = RecordCodec.of(chunkstore.RunLog).decode
    fd = os.open(folder / "logs", os.O_RDONLY | os.O_DIRECTORY)
    logs = [decode(read_file(fd, f"{name}/RunLog.json")) for name in os.listdir(folder / "logs")]
    os.close(fd)
    return len(logs)


def _list_sqlite(task: Task) -> Sample:
    """Select and decode a row per run."""
    decode = RecordCodec.of(chunkstore.RunLog).decode
    path = task.folder / "runs.sqlite"

    def create() -> None:
        store = chunkstore.open_store("buffered")
        bodies = [msgspec.json.encode(store.create_run_log()) for _ in range(task.count)]
        with sqlite3.connect(path) as database:
            database.execute("CREATE TABLE run (body BLOB)")
            database.executemany("INSERT INTO run VALUES (?)", [(body,) for body in bodies])
        database.close()

    def listing(_: None) -> int:
        database = sqlite3.connect(path)
        logs = [decode(body) for (body,) in database.execute("SELECT body FROM run")]
        database.close()
        return len(logs)

    alone(create)
    part, found = alone(lambda: (timed([(listing, None)] * _LISTINGS, task.limit), listing(None)))
    return sample_of([part], expected=task.count, found=found)


_LIST = Scenario(
    name="list",
    work="list all runs of a store, the newest first",
    costs="time / listing",
    count=10_000,
    counted="runs",
    sides=(
        Side(name="floor", role="floor", measure=lambda task: _list(task, _list_bare, expected=task.count)),
        Side(
            name="chunkstore",
            role="ours",
            floor="floor",
            measure=lambda task: _list(task, _list_all, expected=task.count),
        ),
        Side(
            name=f"chunkstore, newest {_NEWEST}",
            role="ours",
            floor="floor",
            measure=lambda task: _list(task, _list_newest, expected=min(_NEWEST, task.count)),
        ),
        Side(name="SQLite", role="peer", measure=_list_sqlite),
    ),
    targets=(at_most(1.3, "floor"), at_most(1, "chunkstore", side=f"chunkstore, newest {_NEWEST}")),
)


# --- memory ----------------------------------------------------------------------------------------------------------


def _memory(task: Task, *, sealed: bool = False, whole: bool = False) -> Sample:
    """Let a fresh interpreter read a run, and compare its memory with one that only imports the library."""
    contestant = SEALED if sealed else CHUNKSTORE

    def create() -> None:
        recorder = contestant.opens(task.folder)
        recorder.create()
        recorder.fill(make_step(number) for number in range(task.count))
        recorder.close()

    alone(create)
    nothing = peak_memory("import")
    reading = peak_memory("whole" if whole else "stream", task.folder / "logs")
    return Sample(cost=reading.peak - nothing.peak, operations=1, expected=task.count, found=reading.records)


def _memory_side(name: str, *, slow: bool = False, **options: bool) -> Side:
    return Side(
        name=name,
        role="ours",
        measure=lambda task: _memory(task, **options),
        slow=slow,
    )


_STREAM, _STREAM_SEALED = "iter_records", "iter_records, sealed"
_MEMORY = Scenario(
    name="memory",
    work="the most memory that reading a run takes, over an interpreter that has imported the library",
    costs="memory",
    count=100_000,
    unit="bytes",
    sides=(
        _memory_side(_STREAM),
        _memory_side(_STREAM_SEALED, sealed=True),
        _memory_side("get_run_log", whole=True, slow=True),
    ),
    targets=tuple(
        Target(side=side, limit=100e6, how="value", unit="bytes", text=f"{side} ≤ 100 MB")
        for side in (_STREAM, _STREAM_SEALED)
    ),
    rounds=1,
)

SCENARIOS: tuple[Scenario, ...] = (
    _read(
        "read",
        "read a run, a file per step",
        (FLOOR, CHUNKSTORE, sqlite.NORMAL, DISKCACHE, OPTUNA, RUNNABLE_CHUNKED, RUNNABLE_FILE),
        (at_most(1.3, "floor"),),
    ),
    _read(
        "read sealed",
        "read a run that is sealed into one file",
        (SEALED_FLOOR, SEALED, sqlite.NORMAL),
        (at_most(1.5, "floor"), throughput_at_least(1, "SQLite NORMAL")),
    ),
    _read("read journal", "read a run of journals", (JOURNAL_FLOOR, JOURNAL, sqlite.NORMAL, OPTUNA), ()),
    _LIST,
    _MEMORY,
)
