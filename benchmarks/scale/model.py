"""Carrying what was measured further: to thousands of workers, and to the prices and the limits of real services."""

from __future__ import annotations

from typing import Any

import msgspec

from benchmarks.scale.phases import Phase, Size
from chunkstore.backends.objects.renewing import RENEWED_EVERY
from chunkstore.maintenance.doctor.buckets.prices import Prices, Requests

_DAY = 86_400


class Load(msgspec.Struct, frozen=True, kw_only=True):
    """What is to be carried.

    Attributes:
        workers: how many record at the same time.
        steps_a_day: how many steps they record together.
        steps_a_run: how many of them one run has.
        runs_kept: how many finished runs there are.
        renewed_every: seconds between two signs of life of a run.
        workers_a_run: how many workers record one run.
    """

    workers: int = 10_000
    steps_a_day: float = 1e8
    steps_a_run: int = 1_000
    runs_kept: int = 1_000_000
    renewed_every: float = RENEWED_EVERY
    workers_a_run: int = 100

    @property
    def steps_a_second(self) -> float:
        """How many steps are recorded in a second, on average."""
        return self.steps_a_day / _DAY

    @property
    def runs_a_day(self) -> float:
        """How many runs begin and end in a day."""
        return self.steps_a_day / self.steps_a_run

    @property
    def live_runs(self) -> float:
        """How many runs go on at the same time."""
        return self.workers / self.workers_a_run


class Measured(msgspec.Struct, frozen=True, kw_only=True):
    """What the simulation found on one kind of store, by the names of its phases.

    Attributes:
        phases: what each took.
        sizes: bytes of a chunk, of a step in a sealed run, and of a run's own record; files of a sealed run.
    """

    phases: dict[str, Phase]
    sizes: dict[str, float]

    def requests(self, phase: str, *, per: float | None = None) -> Requests:
        """Return what one operation of a phase takes.

        Args:
            phase: its name.
            per: of how many operations, if not of those that were acknowledged.
        """
        found = self.phases[phase]
        count = per or max(1, found.operations)
        return Requests(**{kind: number / count for kind, number in found.requests.items()})


class Result(msgspec.Struct, kw_only=True):
    """What was found.

    Attributes:
        environment: the machine and the versions.
        latency: seconds that each request takes longer.
        rate: requests a second above which clients are told to come more slowly.
        objects: how many objects there were before.
        size: how much was done.
        bucket: what it took there.
        folder: what it took in a folder.
    """

    environment: dict[str, str]
    latency: float
    rate: float
    objects: int
    size: Size
    bucket: Measured
    folder: Measured


class Day(msgspec.Struct, frozen=True, kw_only=True):
    """One part of what a day takes.

    Attributes:
        what: what it is for.
        requests: how many requests.
        a_second: how many of them in a second, on average.
        dollars: what they cost.
    """

    what: str
    requests: Requests
    a_second: float
    dollars: float


def a_day(load: Load, bucket: Measured, prices: Prices, chunks: int) -> list[Day]:
    """Return what a day takes of a bucket.

    Args:
        load: what is to be carried.
        bucket: what was measured.
        prices: of the service.
        chunks: how many steps the run had that was sealed and read.
    """
    step = bucket.requests("steps", per=bucket.phases["steps"].operations / 2)
    sealing = bucket.requests("seal", per=chunks) * load.steps_a_day
    parts = {
        "steps, put when they start and when they end": step * load.steps_a_day,
        "beginning and finishing runs": bucket.requests("runs") * load.runs_a_day,
        "sealing the runs that have ended": sealing,
        "signs of life": Requests(puts=load.live_runs * _DAY / load.renewed_every),
        "a listing of all runs every minute": bucket.requests("list again", per=1)
        * (load.runs_kept / max(1, bucket.phases["list again"].operations) * _DAY / 60),
    }
    return [_day(what, requests, prices) for what, requests in parts.items()]


def by_copies(load: Load, prices: Prices) -> Day:
    """Return what a day takes if runs are recorded elsewhere, and sent to the bucket when they have ended."""
    return _day(
        "runs recorded on the workers' disks, and copied", Requests(puts=2, gets=1, lists=1) * load.runs_a_day, prices
    )


def _day(what: str, requests: Requests, prices: Prices) -> Day:
    total = requests.puts + requests.gets + requests.lists + requests.deletes
    return Day(what=what, requests=requests, a_second=total / _DAY, dollars=prices.of(requests))


def most_changes_a_second(measured: Measured, phase: str) -> float:
    """Return how many changes of one shared record get through in a second, with as many writers as there were."""
    found = measured.phases[phase]
    return found.operations / found.seconds if found.seconds else 0.0


def document(value: Any) -> Any:
    """Return plain values."""
    return msgspec.to_builtins(value)
