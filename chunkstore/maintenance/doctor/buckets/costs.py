"""What recording and reading take in requests, and in money."""

from __future__ import annotations

from collections.abc import Iterator

from chunkstore.maintenance.doctor.buckets.prices import Prices, Requests
from chunkstore.maintenance.doctor.report import Cost

#: How many objects a page of a listing has, and how many are deleted with one request.
PAGE = 1_000
_DAY = 86_400

ADD = Requests(puts=1)
STEP = ADD * 2
CHANGE_BY_OTHERS = Requests(puts=1, lists=1)
PARAMETERS = Requests(puts=1, gets=1)
BEGIN = Requests(puts=2, gets=1, lists=1)
FINISH = Requests(puts=2, gets=1, lists=1)
READ_SEALED = Requests(gets=2, lists=1)
LIST_RUNS = Requests(gets=5, lists=10)


def sealing(chunks: int) -> Requests:
    """Return what it takes to put the chunks of a run into one object."""
    pages = -(-chunks // PAGE)
    return Requests(puts=2, gets=chunks, lists=pages, deletes=pages)


def reading(chunks: int) -> Requests:
    """Return what it takes to read a run that is not sealed."""
    return Requests(gets=chunks + 1, lists=-(-(chunks + 1) // PAGE))


def living(renewed_every: float) -> Requests:
    """Return what it takes to say for a day that a run lives.

    Args:
        renewed_every: seconds between two renewals.
    """
    return Requests(puts=_DAY / renewed_every)


def watching(looked_every: float) -> Requests:
    """Return what it takes to follow a run for a day.

    Args:
        looked_every: seconds between two looks.
    """
    return Requests(lists=_DAY / looked_every)


def costs(prices: Prices | None, *, renewed_every: float, looked_every: float) -> list[Cost]:
    """Return what people ask for.

    Args:
        prices: of the service; None if nobody knows them.
        renewed_every: seconds between two renewals of a run's owner.
        looked_every: seconds between two looks of somebody who follows a run.
    """

    def listed() -> Iterator[tuple[str, Requests]]:
        yield "a step, put when it starts and when it ends", STEP
        yield "a change of what another process has recorded", CHANGE_BY_OTHERS
        yield "a change of parameters", PARAMETERS
        yield "a run begun and finished", BEGIN + FINISH
        yield f"sealing a run of {PAGE:,} steps", sealing(PAGE)
        yield "reading a sealed run", READ_SEALED
        yield f"reading a run of {PAGE:,} steps that is not sealed", reading(PAGE)
        yield "listing 10,000 finished runs", LIST_RUNS
        yield "a day of a live run", living(renewed_every)
        yield "a day of following a run", watching(looked_every)

    return [
        Cost(
            action=action,
            puts=requests.puts,
            gets=requests.gets,
            lists=requests.lists,
            deletes=requests.deletes,
            dollars=None if prices is None else prices.of(requests),
        )
        for action, requests in listed()
    ]
