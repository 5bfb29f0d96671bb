"""Objects that tell who records a run: no kernel knows, so whoever does renews one of its own from time to time.

A process that records a run alone has the object `.owner`; each of those that have joined it one of its own, whose name
begins with `.joined`. Both say how often they are renewed. Who has not renewed its object for ten times as long, by the
server's clock, is taken to have died; should it only have been kept from it, it goes on to renew it, and lives again.
"""

from __future__ import annotations

import secrets
import time
from collections.abc import Callable, Sequence
from concurrent.futures import ThreadPoolExecutor
from typing import ClassVar, NamedTuple
from weakref import WeakValueDictionary

from chunkstore.backends.capabilities import Holder, Holding, Joined, cannot_tell, never
from chunkstore.backends.objects.client import Found, Listed, ObjectClient, Version
from chunkstore.backends.objects.place import Place
from chunkstore.backends.objects.renewing import RENEWED_EVERY, HeldObject, Told, leave_at_exit
from chunkstore.backends.objects.server_clock import ServerClock
from chunkstore.clock import clock
from chunkstore.forks import ComputedOnce

#: What the server stamps, and what it says the time is, may both be cut off to whole seconds.
_UNSURE = 10**9
#: So many objects are got at once.
_AT_ONCE = 32
#: Of so many objects it is remembered since when they have not been renewed.
_MOST_SEEN = 10_000


class Heard(NamedTuple):
    """What is known of somebody who holds an object.

    Attributes:
        at: when it was renewed last, in nanoseconds, by the server's clock.
        silence: after how many seconds without a renewal its holder is taken to have died.
        is_alive: whether it was renewed since then; None if nobody can tell.
    """

    at: int
    silence: float
    is_alive: bool | None


class _Seen(NamedTuple):
    """The version of an object that was seen last, since when, by the clock of this process, and after another one."""

    version: Version
    since: float
    has_changed: bool


class Owners:
    """Tells who records the runs of a bucket, and lets others know who does.

    Args:
        client: makes the requests that matter to whoever asks.
        renewing: makes those of the threads that renew objects; it tries none of them again.
        every: how often they are renewed, in seconds.
    """

    def __init__(self, client: ObjectClient, renewing: ObjectClient, every: float = RENEWED_EVERY) -> None:
        self._client = client
        self._renewing = renewing
        self._every = every
        self._server = ServerClock(client.place)
        #: Since when an object has had the version that it had when it was seen last, by the clock of this process.
        self._seen: dict[str, _Seen] = {}
        self._held: WeakValueDictionary[str, HeldObject] = WeakValueDictionary()

    def hold(
        self,
        folder: str,
        file: str,
        data: bytes,
        *,
        together: bool,
        incarnation: str,
        is_there: Callable[[], bool | None],
    ) -> Callable[[], None]:
        """See `Holding.hold`."""
        name = f"{file}-{clock.tick()}-{secrets.token_hex(4)}~{self._every:g}" if together else file
        key = f"{folder}/{name}"
        held = HeldObject(
            self._renewing,
            key,
            data,
            incarnation=incarnation,
            is_there=is_there,
            is_silent=lambda found: self._heard_of(key, found, time.monotonic()).is_alive is False,
            every=self._every,
        )
        if together:
            leave_at_exit(held)
        self._held[key] = held
        return held.release

    def stop_holding(self, folder: str, file: str) -> bool:
        """See `Holding.stop_holding`."""
        held = self._held.pop(f"{folder}/{file}", None)
        if held is not None:
            held.give_up()
        return held is not None

    def holder(self, folder: str, file: str, incarnation: str) -> Holder | None:
        """See `Holding.holder`."""
        key, asked = f"{folder}/{file}", time.monotonic()
        found = self._client.get_or_none(key)
        if found is None or found.incarnation not in {"", incarnation}:
            return None
        heard = self._heard_of(key, found, asked)
        return Holder(found.data, heard.is_alive, heard.at, heard.silence)

    def joined(self, folder: str, file: str, incarnation: str) -> Joined | None:
        """See `Holding.joined`."""
        asked = time.monotonic()
        listed = self._listed(folder, f"{file}-")
        every = [self._heard(each.key, each.version, each.modified_at, _silence_in(each.key), asked) for each in listed]
        # Where all live, only one is named, and the others are counted.
        named = listed[-1:] if all(each.is_alive for each in every) else listed
        told = self._got([each.key for each in named], incarnation)
        known = [
            (data, heard)  # who came last comes first
            for one, heard in zip(reversed(listed), reversed(every), strict=True)
            if (data := told.get(one.key, b"")) is not None
        ]
        if not known:
            return None
        dead = []
        for place, (data, heard) in enumerate(known):
            if heard.is_alive is False:
                dead.append((data, [later for later, _ in known[:place]]))
        return Joined(
            [data for data, heard in known if heard.is_alive],
            dead[::-1],
            [data for data, heard in known if heard.is_alive is None],
            max(heard.at for _, heard in known),
            max(heard.silence for _, heard in known),
        )

    def _listed(self, folder: str, start: str) -> list[Listed]:
        found = []
        for each in self._client.listed(folder, after=f"{folder}/{start}"):
            if not each.key.startswith(f"{folder}/{start}"):
                break
            found.append(each)
        return found

    def _got(self, keys: Sequence[str], incarnation: str) -> dict[str, bytes | None]:
        """Return what objects say; None for those that are gone, or belong to another run."""

        def load(key: str) -> bytes | None:
            found = self._client.get_or_none(key)
            return None if found is None or found.incarnation not in {"", incarnation} else found.data

        with ThreadPoolExecutor(_AT_ONCE) as pool:
            return dict(zip(keys, pool.map(load, keys), strict=True))

    def _heard_of(self, key: str, found: Found, asked: float) -> Heard:
        return self._heard(key, found.version, found.modified_at, Told.read(found.data).silence, asked)

    def _heard(self, key: str, version: Version, stamp: int, silence: float, asked: float) -> Heard:
        """Judge whether the holder of an object lives, which was asked for at a time of this process's own clock."""
        self._server.observe(stamp)
        if len(self._seen) >= _MOST_SEEN:
            self._seen.clear()
        seen = self._seen.get(key)
        if seen is None or seen.version != version:
            seen = self._seen[key] = _Seen(version, time.monotonic(), has_changed=seen is not None)
        # It has been silent for at least so long: neither of the two is ever ahead of what is true.
        silent_for = max(self._server.now() - stamp - _UNSURE, int((asked - seen.since) * 1e9))
        if silent_for >= silence * 1e9:
            return Heard(stamp, silence, is_alive=False)
        return Heard(stamp, silence, is_alive=True if self._server.is_exact or seen.has_changed else None)


class HoldingInBucket(Holding):
    """What a back end over an object store has for those who record runs.

    Attributes:
        place: where the runs are.
        client: makes the requests.
        renewed_every: how often those who record runs say so, in seconds.
    """

    holds_for_incarnations = True
    renewed_every: ClassVar[float] = RENEWED_EVERY
    place: Place
    client: ObjectClient

    @ComputedOnce
    def _owners(self) -> Owners:
        return Owners(self.client, ObjectClient(self.place, patience=0.0), self.renewed_every)

    def hold(
        self,
        folder: str,
        file: str,
        data: bytes,
        *,
        together: bool = False,
        is_over: Callable[[], bool] = never,
        incarnation: str = "",
        is_there: Callable[[], bool | None] = cannot_tell,
    ) -> Callable[[], None]:
        """See `Holding`."""
        del is_over  # each removes what is its own
        if self.place.is_in_memory:
            return lambda: None
        owners: Owners = self._owners
        return owners.hold(folder, file, data, together=together, incarnation=incarnation, is_there=is_there)

    def stop_holding(self, folder: str, file: str) -> bool:
        """See `Holding`."""
        return not self.place.is_in_memory and bool(self._owners.stop_holding(folder, file))

    def holder(self, folder: str, file: str, incarnation: str = "") -> Holder | None:
        """See `Holding`."""
        return self._owners.holder(folder, file, incarnation)

    def joined(self, folder: str, file: str, incarnation: str = "") -> Joined | None:
        """See `Holding`."""
        return self._owners.joined(folder, file, incarnation)


def _silence_in(key: str) -> float:
    """Return after how many seconds without a renewal an object's holder is taken to have died, by its name."""
    every = key.rpartition("~")[2]
    try:
        return Told(renewed_every=float(every)).silence
    except ValueError:
        return Told().silence
