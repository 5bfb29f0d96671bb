"""What is measured on an object store."""

from __future__ import annotations

from collections.abc import Callable
from functools import partial
from importlib import import_module
from typing import Any

from benchmarks.buckets.bare import BareRecorder, BareSealedRecorder
from benchmarks.buckets.ours import BucketRecorder
from benchmarks.buckets.server import Server
from benchmarks.example import make_step
from benchmarks.measure import Sample, Scenario, Task, at_most, needs, sample_of, throughput_at_least
from benchmarks.peers import runnable_minio
from benchmarks.recorder import Contestant
from benchmarks.recording import add_steps
from benchmarks.workers import Timed, alone, timed

_PROCESSES = 8
_READS = 5


def scenarios(server: Server) -> tuple[Scenario, ...]:
    """Return what is measured on a server, in the order in which it is shown."""
    bare = Contestant(name="bare puts", role="floor", opens=partial(BareRecorder, server), load=_load)
    creating = Contestant(
        name="bare puts, create-only", role="floor", opens=partial(BareRecorder, server, mode="create"), load=_load
    )
    bare_sealed = Contestant(name="one get, decoded", role="floor", opens=partial(BareSealedRecorder, server))
    ours = Contestant(
        name="chunkstore", role="ours", floor=bare.name, opens=partial(BucketRecorder, server), load=_load
    )
    sealed = Contestant(
        name="chunkstore", role="ours", floor=bare_sealed.name, opens=partial(BucketRecorder, server, sealed=True)
    )
    minio = Contestant(
        name="runnable chunked-minio",
        role="peer",
        opens=partial(runnable_minio.RunnableMinioRecorder, server),
        why_skipped=needs(runnable="runnable"),
        load=runnable_minio.load,
    )
    bare_gets = Contestant(name="the same gets, 32 threads", role="floor", opens=partial(BareRecorder, server))
    decoded = Contestant(name="the same gets, decoded", role="floor", opens=partial(BareRecorder, server))
    many = partial(add_steps, processes=_PROCESSES)
    return (
        Scenario(
            name="append",
            work="one process adds steps to a run",
            costs="time / step",
            count=1_000,
            sides=tuple(one.side(add_steps) for one in (bare, creating, ours, minio)),
            targets=(at_most(1.3, bare.name, measure="median"), at_most(1.3, bare.name)),
        ),
        Scenario(
            name="contend",
            case=f"{_PROCESSES} processes",
            work="processes add steps to one run",
            costs="time / step",
            count=4_000,
            sides=tuple(one.side(many) for one in (bare, creating, ours, minio)),
            targets=(throughput_at_least(0.8, bare.name),),
        ),
        Scenario(
            name="read",
            work="read a run, an object per step",
            costs="time / read",
            count=2_000,
            sides=(
                bare_gets.side(partial(_read, read=lambda recorder: recorder.gets())),
                decoded.side(_read),
                ours.side(_read),
                minio.side(_read),
            ),
            targets=(at_most(1.3, bare_gets.name),),
        ),
        Scenario(
            name="read sealed",
            work="read a run that is sealed into one object",
            costs="time / read",
            count=10_000,
            sides=tuple(one.side(_read) for one in (bare_sealed, sealed)),
            targets=(at_most(1.3, bare_sealed.name),),
        ),
    )


def _load() -> None:
    """Import what each process would import first, so that none of that is measured."""
    import_module("obstore.store")
    import_module("chunkstore.backends.objects.backend")


def _read(
    contestant: Contestant, task: Task, *, read: Callable[[Any], object] = lambda recorder: recorder.read()
) -> Sample:
    """Let a new process read a run some times, each time as one that has read nothing before.

    Args:
        contestant: who reads.
        task: how many steps there are.
        read: how; the whole log, if nothing else is said.
    """

    def create() -> None:
        recorder = contestant.opens(task.folder)
        recorder.create()
        recorder.fill(make_step(number) for number in range(task.count))
        recorder.close()

    def work() -> tuple[Timed, int]:
        recorders = [contestant.opens(task.folder) for _ in range(_READS)]
        for recorder in recorders:
            if isinstance(recorder, BareRecorder):
                recorder.look_up()
        part = timed([(read, recorder) for recorder in recorders], task.limit)
        return part, len(recorders[0].read())

    alone(create)
    part, found = alone(work)
    return sample_of([part], expected=task.count, found=found)
