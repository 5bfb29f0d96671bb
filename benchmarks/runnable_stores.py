"""Measure the store for runnable against runnable's own: `python -m benchmarks.runnable_stores [--folder DIR]`.

The same work goes through runnable's `chunked-fs` and through the store of chunkstore, in turns: the calls that
runnable's executors make for one step of a run that holds 100, 1,000 or 2,000 of them, for the branches of a map, and
a read of the full log. Medians are shown, and how many bytes were written. After each measurement the log is compared
with what it should hold. About three minutes, most of it spent in runnable's own store.
"""

from __future__ import annotations

import argparse
import statistics
import sys
import tempfile
import time
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import NamedTuple

from runnable import defaults, exceptions
from runnable.datastore import BaseRunLogStore, JsonParameter, RunLog, StepAttempt

from benchmarks.environment import describe, scratch, written_bytes
from benchmarks.peers.runnable_peer import make_attempt, open_store
from chunkstore.plugins.runnable import ChunkstoreRunLogStore

_RUN = "benchmark"
_FLAT = (100, 1_000, 2_000)
#: How many steps are measured in a run of each size; those before them are put there at once.
_MEASURED_STEPS = 20
_BRANCHES = 1_000
_READS = 5

_STORES: dict[str, Callable[[Path], BaseRunLogStore]] = {
    "chunkstore": lambda folder: ChunkstoreRunLogStore(log_folder=str(folder)),
    "chunked-fs": lambda folder: open_store("chunked-fs", folder),
}


class _Result(NamedTuple):
    """What one measurement gives.

    Attributes:
        seconds: for one step, branch or read.
        written: bytes, likewise.
    """

    seconds: float
    written: float


def _attempt(number: int) -> StepAttempt:
    return make_attempt({"loss": number / 7}, file=f"data/file-{number}.csv")


def _execute(store: BaseRunLogStore, name: str, number: int) -> None:
    """Make the calls that runnable's executor makes for one task."""
    branch = name.rpartition(".")[0]
    step = store.create_step_log(name, name)
    step.status = defaults.PROCESSING
    store.add_step_log(step, _RUN)
    store.get_step_log(name, _RUN)
    step = store.get_step_log(name, _RUN)
    store.get_parameters(_RUN, internal_branch_name=branch)
    store.set_parameters(
        run_id=_RUN,
        parameters={"rows": JsonParameter(kind="json", value=number)},
        internal_branch_name=branch,
    )
    step.status = defaults.SUCCESS
    step.attempts.append(_attempt(number))
    store.add_step_log(step, _RUN)
    store.get_step_log(name, _RUN)


def _run_of(store: BaseRunLogStore, count: int) -> RunLog:
    log = RunLog(run_id=_RUN, status=defaults.PROCESSING)
    for number in range(count):
        step = store.create_step_log(f"step{number}", f"step{number}")
        step.status = defaults.SUCCESS
        step.attempts.append(_attempt(number))
        log.steps[step.internal_name] = step
    return log


def _flat(store: BaseRunLogStore, count: int) -> _Result:
    store.put_run_log(_run_of(store, count - _MEASURED_STEPS))
    before = written_bytes()
    started = time.perf_counter()
    for number in range(count - _MEASURED_STEPS, count):
        _execute(store, f"step{number}", number)
    seconds = time.perf_counter() - started
    _check(len(store.get_run_log_by_id(_RUN, full=True).steps), count)
    return _Result(seconds / _MEASURED_STEPS, (written_bytes() - before) / _MEASURED_STEPS)


def _mapped(store: BaseRunLogStore, count: int) -> _Result:
    store.create_run_log(_RUN, status=defaults.PROCESSING)
    step = store.create_step_log("map", "map")
    step.step_type = "map"
    store.add_step_log(step, _RUN)
    before = written_bytes()
    started = time.perf_counter()
    for number in range(count):
        name = f"map.{number}"
        try:
            branch = store.get_branch_log(name, _RUN)
        except exceptions.BranchLogNotFoundError:
            branch = store.create_branch_log(name)
        branch.status = defaults.PROCESSING
        store.add_branch_log(branch, _RUN)
    for number in range(count):
        name = f"map.{number}"
        _execute(store, f"{name}.work", number)
        branch = store.get_branch_log(name, _RUN)
        branch.status = defaults.SUCCESS
        store.add_branch_log(branch, _RUN)
        _execute(store, f"{name}.success", number)
        store.get_branch_log(name, _RUN)
    statuses = [store.get_branch_log(f"map.{number}", _RUN).status for number in range(count)]
    seconds = time.perf_counter() - started
    _check(statuses.count(defaults.SUCCESS), count)
    return _Result(seconds / count, (written_bytes() - before) / count)


def _read(store: BaseRunLogStore) -> float:
    started = time.perf_counter()
    store.get_run_log_by_id(_RUN, full=True)
    return time.perf_counter() - started


def _check(found: int, expected: int) -> None:
    if found != expected:
        raise SystemExit(f"{expected - found} of {expected} records are missing")


def _scenarios() -> Iterator[tuple[str, Callable[[BaseRunLogStore, int], _Result], int]]:
    for count in _FLAT:
        yield f"a step in a run of {count:,}", _flat, count
    yield f"a branch of {_BRANCHES:,}", _mapped, _BRANCHES


def main() -> None:
    """Measure every scenario and print the table."""
    parser = argparse.ArgumentParser(prog="python -m benchmarks.runnable_stores", description=__doc__)
    parser.add_argument("--folder", type=Path, default=Path(tempfile.gettempdir()), help="chooses the file system")
    parser.add_argument("--rounds", type=int, default=3, help="how often each side runs (default: %(default)s)")
    arguments = parser.parse_args()
    arguments.folder.mkdir(parents=True, exist_ok=True)

    print(describe(arguments.folder))
    print(f"{'':<26}{'chunkstore':>14}{'chunked-fs':>14}{'times':>8}   median of {arguments.rounds} rounds")
    for title, measure, count in _scenarios():
        work: dict[str, list[_Result]] = {name: [] for name in _STORES}
        reads: dict[str, list[float]] = {name: [] for name in _STORES}
        for _ in range(arguments.rounds):
            with scratch(arguments.folder) as folder:
                stores = {name: opens(folder / name) for name, opens in _STORES.items()}
                for name, store in stores.items():
                    work[name].append(measure(store, count))
                for _ in range(_READS):
                    for name, store in stores.items():
                        reads[name].append(_read(store))
        _print(title, "ms", {name: [result.seconds * 1e3 for result in results] for name, results in work.items()})
        _print(
            "  bytes written", "kB", {name: [one.written / 1e3 for one in results] for name, results in work.items()}
        )
        _print("  full read", "ms", {name: [seconds * 1e3 for seconds in times] for name, times in reads.items()})


def _print(title: str, unit: str, sides: dict[str, list[float]]) -> None:
    ours, theirs = (statistics.median(sides[name]) for name in _STORES)
    print(f"{title:<26}{ours:>11.2f} {unit}{theirs:>11.2f} {unit}{theirs / ours:>8.1f}")
    sys.stdout.flush()


if __name__ == "__main__":
    main()
