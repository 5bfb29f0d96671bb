"""What is done one after the other, the same on a bucket and on a folder, and what each takes."""

from __future__ import annotations

import time
from collections.abc import Callable, Iterator
from contextlib import AbstractContextManager, contextmanager, nullcontext
from itertools import islice
from typing import Any, Protocol

import msgspec

import chunkstore
from benchmarks.example import make_step, step_name
from benchmarks.scale.filling import add_runs
from benchmarks.scale.places import StorePlace
from benchmarks.scale.writers import Work, Written, all_written
from chunkstore.maintenance.retention import Rule, plan_retention, remove_left_overs

_NEWEST = 20
#: Runs in which left-overs are looked for: each takes requests of its own.
_FEW = 20


class Phase(msgspec.Struct, kw_only=True):
    """What something took.

    Attributes:
        name: a short identifier.
        operations: how many were acknowledged.
        seconds: how long it took altogether.
        median: seconds for one operation; of what is done once, the same as `seconds`.
        p99: likewise, the slowest of a hundred.
        failed: how many operations failed.
        lost: how many that were acknowledged are not there.
        error: what the first failure said.
        processor: seconds of processor time of the workers, for all operations.
        requests: how many requests of each kind there were, on a bucket.
        slowed: how many of them the server told to come more slowly.
    """

    name: str
    operations: int = 1
    seconds: float = 0.0
    median: float = 0.0
    p99: float = 0.0
    failed: int = 0
    lost: int = 0
    error: str = ""
    processor: float = 0.0
    requests: dict[str, int] = {}
    slowed: int = 0

    def per_operation(self, kind: str) -> float:
        """Return how many requests of a kind one operation took, on average."""
        return self.requests.get(kind, 0) / max(1, self.operations)


class Size(msgspec.Struct, frozen=True, kw_only=True):
    """How much is done.

    Attributes:
        writers: how many workers there are at once.
        seconds: how long each goes on.
        pause: seconds that the work of a step takes.
        runs: how many runs are begun and finished.
        chunks: how many steps the run has that is read.
    """

    writers: int
    seconds: float
    pause: float
    runs: int
    chunks: int


class Counter(Protocol):
    """Counts requests while a block runs."""

    def __call__(self) -> AbstractContextManager[Any]:
        """Begin to count."""


def _nobody() -> AbstractContextManager[Any]:
    return nullcontext()


def measured(
    place: StorePlace,
    size: Size,
    say: Callable[[str], None],
    counter: Counter = _nobody,
    slow_down: Callable[[], AbstractContextManager[Any]] = _nobody,
) -> Iterator[Phase]:
    """Do one thing after the other; yield what each took.

    Args:
        place: where; there are runs already.
        size: how much is done.
        say: is told what comes next.
        counter: counts requests.
        slow_down: while that lasts, writers are told to come more slowly.
    """
    store = place.open()
    say("runs are begun and finished")
    yield _begin_and_finish(store, size, counter)
    run = store.create_run_log("shared")
    for name, work in (
        ("steps", Work(kind="steps", run_id="shared", seconds=size.seconds, pause=size.pause)),
        ("steps slowed", Work(kind="steps", run_id="slowed", seconds=size.seconds, pause=size.pause)),
        ("parameters", Work(kind="parameters", run_id="shared", seconds=size.seconds, pause=size.pause * 5)),
        ("record", Work(kind="record", run_id="shared", seconds=size.seconds, pause=size.pause * 5)),
    ):
        if name == "record":
            store.add_step_log(run.run_id, make_step(0))
        say(f"{size.writers} writers: {name}")
        if name == "steps slowed":
            store.create_run_log(work.run_id)
        with slow_down() if name == "steps slowed" else nullcontext():
            phase, written = _written(place, work, size.writers, name, counter)
        phase.lost = lost_of(store, work, written)
        yield phase
    say("a run is read, sealed and read again")
    yield from _reading(place, store, size, counter)
    say("runs are listed and cleaned")
    yield from _listing(place, counter)


@contextmanager
def _noted(phase: Phase, counter: Counter) -> Iterator[None]:
    """Note how long a block takes, and what requests it makes."""
    with counter() as counted:
        start = time.perf_counter()
        yield
        phase.seconds = time.perf_counter() - start
    if counted is not None:
        phase.requests = {
            "puts": counted.puts + counted.by_operation["part"] + counted.by_operation["copy"],
            "gets": counted.gets + counted.heads,
            "lists": counted.lists,
            "deletes": counted.deletes,
        }
        phase.slowed = sum(request.status == 503 for request in counted.requests)  # noqa: PLR2004 - slow down


def _once(name: str, action: Callable[[], object], counter: Counter) -> Phase:
    phase = Phase(name=name)
    with _noted(phase, counter):
        action()
    phase.median = phase.p99 = phase.seconds
    return phase


def _begin_and_finish(store: chunkstore.Store, size: Size, counter: Counter) -> Phase:
    phase = Phase(name="runs", operations=size.runs)
    taken = []
    with _noted(phase, counter):
        for _ in range(size.runs):
            start = time.perf_counter()
            with store.start_run(capture_output=False):
                pass
            taken.append(time.perf_counter() - start)
    _note_times(phase, taken)
    return phase


def _note_times(phase: Phase, taken: list[float]) -> None:
    ordered = sorted(taken)
    if ordered:
        phase.median = ordered[len(ordered) // 2]
        phase.p99 = ordered[int(len(ordered) * 0.99)]


def _written(place: StorePlace, work: Work, writers: int, name: str, counter: Counter) -> tuple[Phase, Written]:
    phase = Phase(name=name)
    with _noted(phase, counter):
        written = all_written(place, work, writers)
    phase.operations, phase.failed, phase.error = len(written.taken), written.failed, written.error
    phase.seconds, phase.processor = written.seconds, written.processor
    _note_times(phase, written.taken)
    return phase, written


def lost_of(store: chunkstore.Store, work: Work, written: Written) -> int:
    """Return how much of what was acknowledged is not there.

    Args:
        store: where the run is.
        work: what they did.
        written: what writers were told.
    """
    if work.kind == "steps":
        there: dict[str, Any] = dict.fromkeys(
            record.internal_name for record in store.iter_records(work.run_id) if record.status == "SUCCESS"
        )
        return len(written.names.keys() - there.keys())
    if work.kind == "parameters":
        there = store.get_parameters("shared")
    else:
        there = store.get_step_log("shared", step_name(0)).user_defined_metrics
    return sum(there.get(key, 0) < value for key, value in written.names.items())


def _reading(place: StorePlace, store: chunkstore.Store, size: Size, counter: Counter) -> Iterator[Phase]:
    store.create_run_log("read")
    for number in range(size.chunks):
        store.add_step_log("read", make_step(number))
    yield _once("read", lambda: place.open().get_run_log("read"), counter)

    def finish(log: chunkstore.RunLog) -> None:
        log.status = "SUCCESS"

    def end() -> None:
        opened = place.open()
        opened.update_run_log("read", finish)  # where that is configured, it seals the run
        opened.seal("read")

    yield _once("seal", end, counter)
    yield _once("read sealed", lambda: place.open().get_run_log("read"), counter)


def _listing(place: StorePlace, counter: Counter) -> Iterator[Phase]:
    found = 0

    def list_all() -> None:
        nonlocal found
        found = len(list(place.open().list_runs()))

    for name in ("list first", "list again"):
        phase = _once(name, list_all, counter)
        phase.operations = found
        yield phase
    yield _once("list newest", lambda: list(islice(place.open().list_runs(), _NEWEST)), counter)

    few = place.beside("few")
    add_runs(few, _FEW, seal=True)

    def clean() -> None:
        store = few.open()
        plan_retention(store, Rule(keep_last=1))
        remove_left_overs(store, dry_run=True)

    phase = _once("gc", clean, counter)
    phase.operations = _FEW
    yield phase
