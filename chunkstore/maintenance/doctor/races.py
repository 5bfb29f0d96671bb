"""What takes several processes: they get in each other's way on purpose, and tell what they saw."""

from __future__ import annotations

import os
import time
from collections.abc import Callable
from functools import partial
from typing import Any

from chunkstore.backends.disk.folder import Folder
from chunkstore.backends.disk.locks import SidecarLock
from chunkstore.backends.disk.publishing import publish, replace
from chunkstore.errors import ChunkstoreError, LockTimeoutError
from chunkstore.maintenance.doctor.children import Child, ChildError, hear_all
from chunkstore.maintenance.doctor.probes import Place, reason_of
from chunkstore.maintenance.doctor.report import BAD, CAUTION, GOOD, Check

Tell = Callable[[Any], None]

_SECONDS = 0.4
#: How long a process is waited for that should have answered long ago, however slow the file system is.
_TIMEOUT = 10.0
_SIZE = 8_192
_RACERS, _ROUNDS = 3, 60
_LISTED = 24
_COUNTERS, _COUNTS = 3, 40


def replacing(place: Place) -> Check:
    """Read a file in one process while another replaces it: it must be there always, and whole."""
    title = "Readers see a file whole while it is replaced"

    def read(tell: Tell) -> None:
        folder = place.opened()
        reads = missing = torn = 0
        deadline = time.monotonic() + _SECONDS
        while time.monotonic() < deadline:
            try:
                data = folder.load("replaced")
            except FileNotFoundError:
                missing += 1
            else:
                torn += len(data) != _SIZE or data.count(data[:1]) != _SIZE
            reads += 1
        tell([reads, missing, torn])

    def work() -> tuple[str, str]:
        place.make("replaced", b"a" * _SIZE)
        with Child(read) as reader:
            replacements = _replace_until(place.opened(), ["replaced"], time.monotonic() + _SECONDS)
            reads, missing, torn = reader.hear(_TIMEOUT)
        seen = f"{reads:,} reads, {replacements:,} replacements"
        if missing or torn:
            return BAD, f"{seen}: {missing:,} times it was gone, {torn:,} times it was not whole."
        return GOOD, seen

    return _tried("replace", title, work)


def _replace_until(folder: Folder, names: list[str], deadline: float) -> int:
    count = 0
    while time.monotonic() < deadline:
        letter = b"abcdefgh"[count % 8 : count % 8 + 1]
        replace(folder, names[count % len(names)], letter * _SIZE, durable=False)
        count += 1
    return count


def publishing(place: Place) -> Check:
    """Let processes publish files of the same names: of each, one must win, and its bytes must be there."""
    title = "Of processes that make the same file, one wins"

    def race(number: int, tell: Tell) -> None:
        folder = place.opened()
        won = []
        tried = 0
        deadline = time.monotonic() + _SECONDS
        while tried < _ROUNDS and time.monotonic() < deadline:
            tried += 1
            try:
                publish(folder, f"race-{tried}", b"%d" % number, durable=False, take_back=False)
            except FileExistsError:
                continue
            won.append(tried)
        tell([tried, won])

    def work() -> tuple[str, str]:
        heard = hear_all([partial(race, number) for number in range(_RACERS)], _TIMEOUT)
        races = max(count for count, _ in heard)
        folder = place.opened()
        overwritten = 0
        for tried in range(1, races + 1):
            winners = [number for number, (_, won) in enumerate(heard) if tried in won]
            overwritten += len(winners) != 1 or folder.load(f"race-{tried}") != b"%d" % winners[0]
        if overwritten:
            return BAD, f"In {overwritten} of {races} races there was not one winner: records would be lost."
        return GOOD, f"{races} races of {_RACERS} processes"

    return _tried("publish", title, work)


def listing(place: Place) -> Check:
    """List a folder while files in it are replaced: some file systems leave names out at times."""
    title = "Listings are complete while files are replaced"
    names = [f"listed-{number}" for number in range(_LISTED)]

    def replace(tell: Tell) -> None:
        tell("ready")
        tell(_replace_until(place.opened(), names, time.monotonic() + _SECONDS))

    def work() -> tuple[str, str]:
        for name in names:
            place.make(name, b"a" * _SIZE)
        listings = incomplete = unions = lost = 0
        with Child(replace) as writer:
            writer.hear(_TIMEOUT)
            deadline = time.monotonic() + _SECONDS
            while time.monotonic() < deadline:
                incomplete += not set(names) <= set(place.opened().all_entries())
                listings += 1
                if listings % 10 == 1:  # as readers of runs list: again, while anything changes
                    lost += not set(names) <= set(place.opened().names())
                    unions += 1
            writer.hear(_TIMEOUT)
        if lost:
            return BAD, f"{lost} of {unions} repeated listings missed a file that was there all the time."
        if incomplete:
            return CAUTION, f"{incomplete:,} of {listings:,} missed a name; chunkstore lists again, and missed none."
        return GOOD, f"{listings:,} listings"

    return _tried("listing", title, work)


# --- locks -----------------------------------------------------------------------------------------------------------


def _lock(place: Place, folder: Folder, name: str) -> SidecarLock:
    return SidecarLock(place.syscalls, folder.fd, name, os.path.join(place.path, name))


def exclusion(place: Place) -> Check:
    """Let processes count together under a lock, and one ask for it while it is held: no count must be lost."""
    title = "A lock keeps other processes out"

    def count(tell: Tell) -> None:
        folder = place.opened()
        lock = _lock(place, folder, "count-lock")
        counted = 0
        deadline = time.monotonic() + _SECONDS
        while counted < _COUNTS and time.monotonic() < deadline:
            lock.acquire(_TIMEOUT)
            number = int(folder.load("count"))
            replace(folder, "count", b"%d" % (number + 1), durable=False)
            lock.release()
            counted += 1
        tell(counted)

    def work() -> tuple[str, str]:
        place.make("count", b"0")
        expected = sum(hear_all([count] * _COUNTERS, _TIMEOUT))
        counted = int(place.opened().load("count"))
        if counted != expected:
            return BAD, f"Of {expected} counts under a lock, {expected - counted} were lost: changes would be lost."
        folder = place.opened()
        held = _lock(place, folder, "count-lock")
        held.acquire(_TIMEOUT)
        try:
            is_free = _is_free_elsewhere(place, "count-lock")
        finally:
            held.release()
        if is_free:
            return BAD, "It was free while another process held it: changes would be lost."
        return GOOD, f"{expected} counts of {_COUNTERS} processes, none lost"

    return _tried("lock", title, work)


def lock_of_the_dead(place: Place) -> Check:
    """Kill a process that holds a lock: the lock must be free at once."""
    title = "The lock of a killed process is free at once"
    folder = place.opened()
    lock = _lock(place, folder, "dead-lock")

    def hold(tell: Tell) -> None:
        own = place.opened()
        held = _lock(place, own, "dead-lock")
        held.acquire(_TIMEOUT)
        tell("held")
        time.sleep(10 * _TIMEOUT)
        held.release()

    def work() -> tuple[str, str]:
        with Child(hold) as holder:
            holder.hear(_TIMEOUT)
            if _is_free(lock, 0.0):
                return BAD, "It was free while a process held it."
            holder.kill()
            start = time.monotonic()
            if not _is_free(lock, 1.0):
                return BAD, "It was not within a second: others wait for a process that is dead."
            return GOOD, f"after {(time.monotonic() - start) * 1000:.0f} ms"

    return _tried("lock-of-the-dead", title, work)


def lock_of_a_parent(place: Place) -> Check:
    """Lock, fork, let the child end: the parent must still hold its lock."""
    title = "A forked child does not free its parent's lock"
    folder = place.opened()
    lock = _lock(place, folder, "parent-lock")

    def end(tell: Tell) -> None:
        tell("ends")

    def work() -> tuple[str, str]:
        lock.acquire(_TIMEOUT)
        try:
            with Child(end) as child:
                child.hear(_TIMEOUT)
            # Locks of POSIX are gone when any descriptor of the file is closed.
            place.syscalls.close(place.syscalls.open("parent-lock", os.O_RDONLY, folder.fd))
            is_free = _is_free_elsewhere(place, "parent-lock")
        finally:
            lock.release()
        return (BAD, "It was free while its parent held it.") if is_free else (GOOD, "")

    return _tried("lock-of-a-parent", title, work)


def _is_free_elsewhere(place: Place, name: str) -> bool:
    """Tell whether another process finds a lock free."""

    def ask(tell: Tell) -> None:
        own = place.opened()
        tell(_is_free(_lock(place, own, name), 0.0))

    return bool(hear_all([ask], _TIMEOUT)[0])


def _is_free(lock: SidecarLock, timeout: float) -> bool:
    try:
        lock.acquire(timeout)
    except LockTimeoutError:
        return False
    lock.release()
    return True


def _tried(name: str, title: str, work: Callable[[], tuple[str, str]]) -> Check:
    try:
        result, detail = work()
    except (OSError, ChunkstoreError, ChildError, ValueError) as error:
        return Check(name=name, title=title, result=BAD, detail=f"It could not be tried: {reason_of(error)}")
    return Check(name=name, title=title, result=result, detail=detail)
