"""Timestamps that order chunks: nanoseconds, strictly increasing, never behind what this process has seen.

This is a hybrid logical clock (Kulkarni, Demirbas et al., "Logical Physical Clocks", 2014) folded into one integer:
it follows the wall clock while that is ahead, and counts on by single nanoseconds while it is not. As in that paper,
what others say is believed within bounds alone: a single file with an absurd time must not move anybody's clock.
"""

from __future__ import annotations

import re
import time
from collections.abc import Callable
from datetime import datetime, timedelta, timezone
from heapq import heappushpop

#: By how many nanoseconds the clock of another host may be ahead of ours: somebody may have set a wrong year.
MOST_AHEAD = 3 * 365 * 86_400 * 1_000_000_000

_DURATION = re.compile(r"(?:([0-9]{1,5}) days?, )?([0-9]{1,2}):([0-9]{2}):([0-9]{2}(?:\.[0-9]{1,9})?)\Z", re.ASCII)
_EARLIEST_YEAR, _LATEST_YEAR = 2, 9_998
_LATEST = datetime(9999, 1, 1, tzinfo=timezone.utc).timestamp()


class HybridClock:
    """A source of strictly increasing timestamps.

    Args:
        wall_clock: returns nanoseconds since the epoch; may jump in either direction.
    """

    def __init__(self, wall_clock: Callable[[], int] = time.time_ns) -> None:
        self._wall_clock = wall_clock
        # The latest, in a heap of one: it is raised by a single call, which neither threads nor handlers interrupt.
        self._heap = [0]

    def tick(self) -> int:
        """Return a timestamp later than every one returned or observed before, in nanoseconds."""
        while True:
            new = max(self._latest + 1, self._wall_clock())
            if heappushpop(self._heap, new) < new:
                return new
            # Somebody else has got as far meanwhile.

    def observe(self, timestamp: int) -> None:
        """Make every later `tick` come after `timestamp` (nanoseconds), which another process has issued.

        Nothing happens if that is further ahead than anybody's clock may be.
        """
        if self._latest < timestamp <= self._wall_clock() + MOST_AHEAD:
            heappushpop(self._heap, timestamp)

    def horizon(self) -> int:
        """Return the latest timestamp that is believed, in nanoseconds.

        Who has been moved ahead as far as possible is believed by those whose clock is behind; and so is this process
        itself, whatever its wall clock does.
        """
        return max(self._wall_clock() + 2 * MOST_AHEAD, self._latest)

    @property
    def latest(self) -> int:
        """The newest timestamp issued or observed, in nanoseconds; 0 at the start."""
        return self._latest

    @property
    def _latest(self) -> int:
        return self._heap[0]

    @_latest.setter
    def _latest(self, timestamp: int) -> None:
        self._heap[0] = timestamp  # for tests alone: nothing else takes a clock back


#: One clock per process: whatever any store of this process has seen orders whatever any of them writes next.
clock = HybridClock()


def utc_now() -> str:
    """Return the current time in the form of the run log, `2024-02-02 05:49:41.697142+00:00`."""
    return _in_form(datetime.now(timezone.utc))


def format_time(moment: datetime) -> str:
    """Return an aware `moment` in UTC in the form of the run log."""
    return _in_form(moment.astimezone(timezone.utc))


def _in_form(utc: datetime) -> str:
    return utc.isoformat(sep=" ", timespec="microseconds")


def format_nanoseconds(nanoseconds: int) -> str:
    """Return a number of nanoseconds since the epoch in the form of the run log, the closest that it can hold."""
    seconds = min(max(nanoseconds / 1e9, 0), _LATEST)
    return format_time(datetime.fromtimestamp(seconds, timezone.utc))


def parse_time(text: str) -> datetime | None:
    """Return the moment that a time of the run log stands for, or None if it is empty or no time.

    Times without an offset, as older writers left them, are taken as UTC. Times at either end of all that can be told
    are none: in another zone, or a moment later, they would be beyond it.
    """
    try:
        moment = datetime.fromisoformat(text)
    except ValueError:
        return None
    if not _EARLIEST_YEAR <= moment.year <= _LATEST_YEAR:
        return None
    return moment if moment.tzinfo else moment.replace(tzinfo=timezone.utc)


def parse_duration(text: str) -> float | None:
    """Return the seconds that a duration of the run log stands for, or None if it is empty or no duration."""
    match = _DURATION.match(text)
    if match is None:
        return None
    days, hours, minutes, seconds = (float(group or 0) for group in match.groups())
    return ((days * 24 + hours) * 60 + minutes) * 60 + seconds


def format_duration(seconds: float) -> str:
    """Return a duration of `seconds` in the form of the run log, `0:00:00.005841`."""
    return str(timedelta(seconds=seconds))
