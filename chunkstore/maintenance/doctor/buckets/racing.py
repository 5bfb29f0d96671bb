"""What each of several clients does that get in each other's way, and what all of that must have come to."""

from __future__ import annotations

import random
import time

import msgspec

from chunkstore.backends.objects.bare import BareBucket, RefusedError
from chunkstore.maintenance.doctor.report import BAD, CAUTION, GOOD, Check

#: How many objects all try to make, how often each changes one and the same, and for how many seconds at most.
ROUNDS, CHANGES, SECONDS = 15, 5, 4.0
_COUNTER = "counter"
#: All objects that are made.
NAMES = frozenset({_COUNTER, *(f"race-{number + 1}" for number in range(ROUNDS))})
_LONGEST_PAUSE = 0.2


class Raced(msgspec.Struct):
    """What one client did.

    Attributes:
        tried: how many objects it tried to make.
        won: which of them it made, as the server said.
        changed: how often it has counted up.
        refused: how often that was refused, as somebody else had.
        unsure: how many requests failed otherwise, and may have been done.
        error: what the first of these said.
    """

    tried: int = 0
    won: list[int] = []
    changed: int = 0
    refused: int = 0
    unsure: int = 0
    error: str = ""


def race(bucket: BareBucket, number: int) -> Raced:
    """Make objects that others make too, and then count up one that others count up.

    Args:
        bucket: a client of one's own.
        number: which of the racers this is.
    """
    raced = Raced()
    deadline = time.monotonic() + SECONDS
    while raced.tried < ROUNDS and time.monotonic() < deadline:
        raced.tried += 1
        try:
            bucket.create(f"race-{raced.tried}", b"%d" % number)
        except RefusedError:
            continue
        except Exception as error:  # noqa: BLE001 - whatever it is, it may have been done
            _note(raced, error)
        else:
            raced.won.append(raced.tried)
    deadline = time.monotonic() + SECONDS
    while raced.changed < CHANGES and time.monotonic() < deadline:
        try:
            _count_up(bucket, number)
        except RefusedError:
            raced.refused += 1
            time.sleep(random.uniform(0, _LONGEST_PAUSE))  # noqa: S311 - nothing secret
        except Exception as error:  # noqa: BLE001 - as above
            _note(raced, error)
        else:
            raced.changed += 1
    return raced


def prepare(bucket: BareBucket) -> None:
    """Make what is counted up."""
    bucket.put(_COUNTER, b"0 -")


def _count_up(bucket: BareBucket, number: int) -> None:
    found = bucket.get(_COUNTER)
    if found is None:
        raise RefusedError(_COUNTER)
    count = int(found.data.split()[0]) + 1
    # The bytes are unlike those of all others, as the e-tags of many servers are a hash of them.
    bucket.change(_COUNTER, b"%d %d" % (count, number), found.version)


def _note(raced: Raced, error: Exception) -> None:
    raced.unsure += 1
    raced.error = raced.error or str(error).partition("\n")[0]


def creations(bucket: BareBucket, races: list[Raced]) -> Check:
    """Look whether each object was made by one client, as the server told it."""
    title = "Of clients that make the same object, one wins"
    count = max(raced.tried for raced in races)
    unsure = sum(raced.unsure for raced in races)
    wrong = 0
    for tried in range(1, count + 1):
        winners = [number for number, raced in enumerate(races) if tried in raced.won]
        found = bucket.get(f"race-{tried}")
        is_theirs = found is not None and [b"%d" % winner for winner in winners] == [found.data]
        # Where requests failed, the winner may be one that was not told so.
        wrong += not is_theirs and not (unsure and not winners)
    if wrong:
        return _check("create-race", title, BAD, f"In {wrong} of {count} races not: records and runs would be lost.")
    return _told("create-race", title, f"{count} races of {len(races)} clients", races)


def changes(bucket: BareBucket, races: list[Raced]) -> Check:
    """Look whether each change that was acknowledged is in the object."""
    title = "Changes that clients make at once are all kept"
    acknowledged = sum(raced.changed for raced in races)
    unsure = sum(raced.unsure for raced in races)
    found = bucket.get(_COUNTER)
    count = int(found.data.split()[0]) if found else 0
    if not acknowledged <= count <= acknowledged + unsure:
        detail = f"Of {acknowledged} changes, {count} are there: changes would be lost."
        return _check("change-race", title, BAD, detail)
    refused = sum(raced.refused for raced in races)
    return _told("change-race", title, f"{acknowledged} changes by {len(races)} clients, {refused} tried again", races)


def _told(name: str, title: str, seen: str, races: list[Raced]) -> Check:
    unsure = sum(raced.unsure for raced in races)
    if unsure:
        error = next(raced.error for raced in races if raced.error)
        return _check(name, title, CAUTION, f"{seen}; {unsure} requests failed, the first: {error}")
    return _check(name, title, GOOD, seen)


def _check(name: str, title: str, result: str, detail: str) -> Check:
    return Check(name=name, title=title, result=result, detail=detail)
