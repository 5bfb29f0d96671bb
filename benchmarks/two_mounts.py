"""chunkstore and its peers on two mounts of one network folder: what is lost, what fails, and how fast it is.

`python -m benchmarks.two_mounts FOLDER FOLDER`: the folder as two hosts see it, each through its own mount. Processes
on both record into one run at once; then each side of it is read back through both mounts. On one machine, as root,
`python -m tests.nfs python -m benchmarks.two_mounts` does it on a real NFS in a user-mode kernel.
"""

from __future__ import annotations

import argparse
import itertools
import os
import random
import select
import shutil
import statistics
import struct
import sys
import tempfile
import time
from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import contextmanager
from dataclasses import dataclass, field, replace
from pathlib import Path
from typing import Any, TypeVar

from benchmarks.environment import describe
from benchmarks.example import make_step, step_name
from benchmarks.ours import CHUNKSTORE, JOURNAL
from benchmarks.peers import sqlite
from benchmarks.peers.mlflow_stores import MLFLOW_FILES
from benchmarks.peers.optuna_journal import OPTUNA, OPTUNA_OPEN_LOCK
from benchmarks.peers.runnable_peer import RUNNABLE_CHUNKED
from benchmarks.recorder import Contestant
from benchmarks.workers import FORK, Timed, message_of, timed
from chunkstore.backends.disk.mounts import mount_of

_T = TypeVar("_T")

#: Processes on each mount, steps that each adds, steps that all count up, and how often each does that.
_PROCESSES, _STEPS, _COUNTED, _TURNS = 2, 50, 3, 30
#: How many are killed, each within so many seconds after all have done something; and how many steps one adds at most.
_KILLS, _LONGEST_PAUSE, _MOST_STEPS = 2, 0.5, 1_000_000
#: What a process tells of a step: its own number, that of the step, and how many nanoseconds it took.
_SAID = struct.Struct("=qqq")
#: Seconds after which a process is ended that has not come to its end.
_LIMIT = 60.0

_CONTESTANTS = (
    CHUNKSTORE,
    replace(JOURNAL, name="chunkstore, journals"),
    replace(sqlite.NORMAL, name="SQLite WAL"),
    sqlite.ROLLBACK,
    OPTUNA,
    OPTUNA_OPEN_LOCK,
    MLFLOW_FILES,
    RUNNABLE_CHUNKED,
)
#: Those that can change a step that another process has added.
_COUNTING = ("chunkstore", "SQLite", "runnable")

#: The same folder, through one mount and the other.
Mounts = tuple[Path, Path]


@dataclass
class Outcome:
    """What became of the work of one round, or of several.

    Attributes:
        asked: operations that were to be done.
        acknowledged: those that returned.
        missing: of those, the most that one of the mounts did not show afterwards.
        errors: what the others said, and what reading said.
        rates: acknowledged operations in a second, by round.
        pauses: the most seconds that a living process waited for one operation, by round.
    """

    asked: int = 0
    acknowledged: int = 0
    missing: int = 0
    errors: list[str] = field(default_factory=list)
    rates: list[float] = field(default_factory=list)
    pauses: list[float] = field(default_factory=list)

    def add(self, other: Outcome) -> None:
        """Add another round."""
        self.asked += other.asked
        self.acknowledged += other.acknowledged
        self.missing += other.missing
        self.errors += other.errors
        self.rates += other.rates
        self.pauses += other.pauses


def add_steps(contestant: Contestant, mounts: Mounts) -> Outcome:
    """Let processes on both mounts add steps of their own to one run."""
    _alone(lambda: contestant.opens(mounts[0]).create())
    numbers = [range(each * _STEPS, (each + 1) * _STEPS) for each in range(2 * _PROCESSES)]

    def work(each: int) -> Timed:
        recorder = contestant.opens(mounts[each % 2])
        records = [recorder.prepare(make_step(number)) for number in numbers[each]]
        done = timed([(recorder.add, record) for record in records], _LIMIT)
        recorder.close()
        return done

    results = _at_once(2 * _PROCESSES, work)
    acknowledged = {
        step_name(number)
        for numbered, result in zip(numbers, results, strict=True)
        if isinstance(result, Timed)
        for number in result.acknowledged(numbered)
    }
    return _outcome(results, sum(map(len, numbers)), lambda found: len(acknowledged - found.keys()), contestant, mounts)


def count_up(contestant: Contestant, mounts: Mounts) -> Outcome:
    """Let processes on both mounts count up the same few steps of one run."""

    def prepare() -> None:
        recorder = contestant.opens(mounts[0])
        recorder.create()
        recorder.fill(make_step(number, 0) for number in range(_COUNTED))
        recorder.close()

    _alone(prepare)

    def work(each: int) -> Timed:
        recorder = contestant.opens(mounts[each % 2])
        names = [step_name(turn % _COUNTED) for turn in range(_TURNS)]
        done = timed([(recorder.count_up, name) for name in names], _LIMIT)
        recorder.close()
        return done

    results = _at_once(2 * _PROCESSES, work)
    acknowledged = sum(len(result.latencies) for result in results if isinstance(result, Timed))

    def missing(found: Mapping[str, int]) -> int:
        return acknowledged - sum(found.values())

    return _outcome(results, 2 * _PROCESSES * _TURNS, missing, contestant, mounts)


def kill_writers(contestant: Contestant, mounts: Mounts) -> Outcome:
    """Kill processes on both mounts while they and others add steps."""
    _alone(lambda: contestant.opens(mounts[0]).create())
    with _Writers(contestant, mounts) as writers:
        for _ in range(2 * _PROCESSES):
            writers.start()
        writers.wait_for_all()
        decisions = random.Random(_KILLS)
        for _ in range(_KILLS):
            time.sleep(decisions.random() * _LONGEST_PAUSE)
            if writers.alive:
                writers.kill(decisions.choice(list(writers.alive)))
            writers.start()
            writers.wait_for_all()
    names = set(map(step_name, writers.acknowledged))
    outcome = _outcome([], len(names), lambda found: len(names - found.keys()), contestant, mounts)
    return replace(
        outcome, acknowledged=len(names), errors=outcome.errors + writers.errors, rates=[], pauses=[writers.longest]
    )


class _Writers:
    """Processes that add steps and tell of each that was acknowledged, until they are killed."""

    def __init__(self, contestant: Contestant, mounts: Mounts) -> None:
        self._contestant = contestant
        self._mounts = mounts
        self._started = 0
        self.alive: dict[int, Any] = {}
        self.acknowledged: list[int] = []
        self.errors: list[str] = []
        self.longest = 0.0

    def __enter__(self) -> _Writers:
        self._reader, self._writer = os.pipe()
        return self

    def __exit__(self, *_: object) -> None:
        for each in list(self.alive):
            self.kill(each)
        os.close(self._writer)
        while self._read():
            pass
        os.close(self._reader)

    def start(self) -> None:
        """Start one, on the one mount and the other in turn."""
        number = self._started
        process = FORK.Process(target=self._write, args=(number,), daemon=True)
        process.start()
        self.alive[number] = process
        self._started += 1

    def _write(self, number: int) -> None:
        recorder = self._contestant.opens(self._mounts[number % 2])
        for step in itertools.count(number * _MOST_STEPS):
            record, began = recorder.prepare(make_step(step)), time.perf_counter_ns()
            recorder.add(record)
            os.write(self._writer, _SAID.pack(number, step, time.perf_counter_ns() - began))

    def kill(self, number: int) -> None:
        """Kill one; what it has told is still read."""
        process = self.alive.pop(number)
        process.kill()
        process.join()

    def wait_for_all(self) -> None:
        """Return when each that lives has added a step since; of one that does not, say so."""
        silent, deadline = set(self.alive), time.monotonic() + _LIMIT
        while silent and time.monotonic() < deadline:
            ended = {each for each in silent if self.alive[each].exitcode is not None}
            silent -= ended
            self.errors += ["a process ended by itself"] * len(ended)
            for each in ended:
                del self.alive[each]
            if select.select([self._reader], [], [], 0 if ended else 1)[0]:
                silent -= set(self._read())
        self.errors += [f"waits for more than {_LIMIT:.0f} s"] * len(silent)

    def _read(self) -> list[int]:
        """Note what was told; return by whom."""
        block = os.read(self._reader, _SAID.size * 1_000)
        said = list(_SAID.iter_unpack(block))
        self.acknowledged += [step for _, step, _ in said]
        self.longest = max([self.longest, *(took / 1e9 for _, _, took in said)])
        return [number for number, _, _ in said]


def _outcome(
    results: Sequence[Timed | str],
    asked: int,
    missing: Callable[[Mapping[str, int]], int],
    contestant: Contestant,
    mounts: Mounts,
) -> Outcome:
    """Sum up what processes did, after a look through each mount."""
    worked = [result for result in results if isinstance(result, Timed)]
    errors = [result for result in results if isinstance(result, str)]
    for result in worked:
        errors += [result.error] * len(result.failed)
    acknowledged = sum(len(result.latencies) for result in worked)
    most = 0
    for mount in mounts:
        try:
            most = max(most, missing(_alone(lambda mount=mount: contestant.opens(mount).versions())))  # type: ignore[misc]
        except RuntimeError as error:
            errors.append(f"reading: {error}")
            most = acknowledged
    seconds = (max(one.ended for one in worked) - min(one.started for one in worked)) / 1e9 if worked else _LIMIT
    return Outcome(asked, acknowledged, max(most, 0), errors, [acknowledged / seconds])


def _alone(work: Callable[[], _T]) -> _T:
    """Return what some work returns in a process of its own.

    Raises:
        RuntimeError: it failed, or did not end.
    """
    (result,) = _at_once(1, lambda _: (work(),))
    if isinstance(result, str):
        raise RuntimeError(result)  # noqa: TRY004 - it is what the process said of its end
    return result[0]


def _at_once(count: int, work: Callable[[int], _T]) -> list[_T | str]:
    """Return what processes return that begin at once; of one that fails or does not end, what there is to say."""
    barrier, started = FORK.Barrier(count), []

    def in_child(each: int, sender: Any) -> None:
        try:
            barrier.wait(_LIMIT)
            result: _T | str = work(each)
        except BaseException as error:  # noqa: BLE001 - a peer may raise anything: that is a result too
            result = message_of(error)
        sender.send(result)

    for each in range(count):
        receiver, sender = FORK.Pipe(duplex=False)
        process = FORK.Process(target=in_child, args=(each, sender), daemon=True)
        process.start()
        sender.close()
        started.append((process, receiver))
    deadline = time.monotonic() + 2 * _LIMIT
    results = []
    for process, receiver in started:
        try:
            ended = receiver.poll(max(0.0, deadline - time.monotonic()))
            results.append(receiver.recv() if ended else f"has not ended after {2 * _LIMIT:.0f} s")
        except EOFError:
            results.append("the process died")
        process.kill()
        process.join()
        receiver.close()
    return results


_WORK: dict[str, tuple[Callable[[Contestant, Mounts], Outcome], Callable[[str], bool]]] = {
    f"{2 * _PROCESSES} processes, half of them on each mount, add {_STEPS} steps each": (add_steps, lambda _: True),
    f"{2 * _PROCESSES} processes, half of them on each mount, count up {_COUNTED} steps {_TURNS} times each": (
        count_up,
        lambda name: name.startswith(_COUNTING),
    ),
    f"{2 * _PROCESSES} processes add steps, and {_KILLS} of them are killed, one after the other": (
        kill_writers,
        lambda _: True,
    ),
}


def main() -> None:
    """Measure all in turns, and print a table for each kind of work."""
    parser = argparse.ArgumentParser(prog="python -m benchmarks.two_mounts", description=__doc__)
    default = [Path(os.environ[name]) for name in ("NFS_A", "NFS_B") if name in os.environ]
    parser.add_argument("folders", type=Path, nargs="*", default=default, help="default: $NFS_A and $NFS_B")
    parser.add_argument("--only", type=int, choices=range(len(_WORK)), help="one kind of work, by its number")
    parser.add_argument("--rounds", type=int, default=3, help="how often each side runs (default: %(default)s)")
    arguments = parser.parse_args()
    if len(arguments.folders) != 2:  # noqa: PLR2004 - two hosts
        parser.error("give the same folder twice, as each mount has it")
    print(describe(arguments.folders[0]))
    print("\n".join(map(_options_of, arguments.folders)))
    contestants = [one for one in _CONTESTANTS if not one.why_skipped()]
    for contestant in contestants:
        contestant.load()
    for number, (title, (work, is_able)) in enumerate(_WORK.items()):
        if arguments.only not in {None, number}:
            continue
        sides = [one for one in contestants if is_able(one.name)]
        outcomes = {one.name: Outcome() for one in sides}
        for turn in range(arguments.rounds):
            for contestant in sides:
                print(f"{turn + 1}: {contestant.name}", file=sys.stderr, flush=True)
                with _new_folder(arguments.folders) as mounts:
                    outcomes[contestant.name].add(work(contestant, mounts))
        _print(title, outcomes)


@contextmanager
def _new_folder(mounts: Sequence[Path]) -> Iterator[Mounts]:
    made = Path(tempfile.mkdtemp(prefix="two-mounts-", dir=mounts[0]))
    try:
        yield made, mounts[1] / made.name
    finally:
        shutil.rmtree(made, ignore_errors=True)  # of what is open somewhere, NFS keeps a file


def _options_of(folder: Path) -> str:
    mount = mount_of(os.fspath(folder))
    return f"{folder}: {mount.type} {','.join(sorted(mount.options))}" if mount else f"{folder}: not known"


def _print(title: str, outcomes: Mapping[str, Outcome]) -> None:
    measured = "longest wait" if any(one.pauses for one in outcomes.values()) else "a second"
    print(f"\n{title}\n\n| | acknowledged | of these missing | {measured} | errors |\n|---|--:|--:|--:|---|")
    for name, one in outcomes.items():
        said = (
            f"{len(one.errors):,}, such as `{max(set(one.errors), key=one.errors.count)[:120]}`" if one.errors else ""
        )
        number = f"{max(one.pauses):.2g} s" if one.pauses else f"{statistics.median(one.rates):,.0f}"
        print(f"| {name} | {one.acknowledged:,} of {one.asked:,} | {one.missing:,} | {number} | {said} |", flush=True)


if __name__ == "__main__":
    main()
