"""Recording: new steps, steps that are replaced by their owner, and steps that others change."""

from __future__ import annotations

from dataclasses import replace
from functools import partial

from benchmarks.floors import DURABLE_FLOOR, DURABLE_JOURNAL_FLOOR, FLOOR, JOURNAL_FLOOR
from benchmarks.measure import Scenario, Target, at_most, throughput_at_least
from benchmarks.ours import CHUNKSTORE, DURABLE, DURABLE_JOURNAL, JOURNAL
from benchmarks.peers import sqlite
from benchmarks.peers.disk_cache import DISKCACHE
from benchmarks.peers.mlflow_stores import MLFLOW_FILES, MLFLOW_SQLITE
from benchmarks.peers.optuna_journal import OPTUNA
from benchmarks.peers.runnable_peer import RUNNABLE_CHUNKED, RUNNABLE_FILE
from benchmarks.recorder import Contestant
from benchmarks.recording import add_and_replace_steps, add_steps, count_up_steps, replace_steps

_ALL_PEERS = (sqlite.NORMAL, DISKCACHE, OPTUNA, MLFLOW_FILES, MLFLOW_SQLITE, RUNNABLE_CHUNKED, RUNNABLE_FILE)
#: When many processes want its lock, Optuna sleeps for up to a second between two attempts.
_CONTENDING_PEERS = tuple(replace(one, slow=True) if one is OPTUNA else one for one in _ALL_PEERS)
#: As many processes as the small scenarios have, and as the large ones.
_FEW, _MANY = 8, 32

_APPEND = Scenario(
    name="append",
    work="one process adds steps to a run",
    costs="time / step",
    count=10_000,
    sides=tuple(one.side(add_steps) for one in (FLOOR, CHUNKSTORE, *_ALL_PEERS)),
    targets=(at_most(1.35, "floor"), throughput_at_least(1, "SQLite NORMAL")),
    rounds=5,
)

_APPEND_JOURNAL = Scenario(
    name="append journal",
    work="one process adds steps to a run of journals",
    costs="time / step",
    count=10_000,
    sides=tuple(one.side(add_steps) for one in (JOURNAL_FLOOR, JOURNAL, sqlite.NORMAL, DISKCACHE, OPTUNA)),
    targets=(throughput_at_least(5, "SQLite NORMAL"),),
    rounds=5,
)


def _contend(processes: int, peers: tuple[Contestant, ...], *targets: Target) -> Scenario:
    work = partial(add_and_replace_steps, processes=processes)
    return Scenario(
        name="contend",
        case=f"{processes} processes",
        work="processes add steps to one run, and replace each of their own right after",
        costs="time / operation",
        count=9_600,
        sides=tuple(one.side(work) for one in (FLOOR, CHUNKSTORE, *peers)),
        targets=(throughput_at_least(1, "SQLite NORMAL"), *targets),
    )


def _durable(processes: int) -> Scenario:
    work = partial(add_steps, processes=processes)
    return Scenario(
        name="durable",
        case=_count_of(processes),
        work="each step survives a loss of power before the call returns",
        costs="time / step",
        count=1_000,
        sides=tuple(one.side(work) for one in (DURABLE_FLOOR, DURABLE, sqlite.FULL, OPTUNA)),
        targets=(at_most(1.2, "floor"), at_most(2.5, "SQLite FULL")),
    )


def _durable_journal(processes: int) -> Scenario:
    work = partial(add_steps, processes=processes)
    return Scenario(
        name="durable journal",
        case=_count_of(processes),
        work="the same with a run of journals",
        costs="time / step",
        count=1_000,
        sides=tuple(one.side(work) for one in (DURABLE_JOURNAL_FLOOR, DURABLE_JOURNAL, sqlite.FULL, OPTUNA)),
        targets=(throughput_at_least(1.2, "SQLite FULL"),),
    )


def _count_of(processes: int) -> str:
    return f"{processes} processes" if processes > 1 else "1 process"


_OWNER_UPDATE = Scenario(
    name="update",
    case="by the owner",
    work="one process replaces steps that it has added",
    costs="time / step",
    count=10_000,
    sides=tuple(
        one.side(replace_steps)
        for one in (FLOOR, CHUNKSTORE, sqlite.NORMAL, DISKCACHE, OPTUNA, RUNNABLE_CHUNKED, RUNNABLE_FILE)
    ),
    targets=(at_most(1.35, "floor"),),
)

_FOREIGN_UPDATE = Scenario(
    name="update",
    case="by others",
    work=f"{_FEW} processes count up the same 10 steps, which another one has added",
    costs="time / update",
    count=2_000,
    sides=tuple(
        one.side(partial(count_up_steps, processes=_FEW))
        for one in (FLOOR, CHUNKSTORE, sqlite.NORMAL, DISKCACHE, RUNNABLE_CHUNKED, RUNNABLE_FILE)
    ),
)

SCENARIOS: tuple[Scenario, ...] = (
    _APPEND,
    _APPEND_JOURNAL,
    _contend(_FEW, _CONTENDING_PEERS),
    _contend(
        _MANY,
        tuple(one for one in _CONTENDING_PEERS if one is not MLFLOW_SQLITE),
        at_most(0.2, "SQLite NORMAL", measure="p99"),
    ),
    _durable(1),
    _durable(_FEW),
    _durable_journal(1),
    _durable_journal(_FEW),
    _OWNER_UPDATE,
    _FOREIGN_UPDATE,
)
