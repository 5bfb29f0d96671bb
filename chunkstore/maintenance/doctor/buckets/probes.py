"""What one client can try of a bucket alone."""

from __future__ import annotations

import os
import time
from collections.abc import Callable, Iterator
from datetime import datetime, timezone
from itertools import repeat
from typing import NamedTuple

from chunkstore.backends.objects.bare import AT_ONCE, BareBucket, Listed, RefusedError, Version
from chunkstore.maintenance.doctor.probes import in_words
from chunkstore.maintenance.doctor.report import BAD, CAUTION, GOOD, TOLD, Check

#: How many objects are made, which takes more than one page of a listing and more than one request to delete them.
MANY = 1_001
_PARTS, _PART = 3, 4_000_000
_TIMES = 15
#: The latest moment at which no more is measured.
_PATIENCE = 5.0
#: Names as chunkstore has them, or users in the catalog: of long steps, escaped dots, dot folders, upper case, umlauts.
_NAMES = (
    "StepLog-a%2Eb.1.c-1700000000000000000.json",
    ".hidden/of-all",
    f"StepLog-{'n' * 240}.json",
    "Case",
    "case",
    "caf\u00e9 au lait+~",
)
_CHUNK = b"x" * 1_000
#: From here on a clock that differs deserves a word; from there on servers refuse what is signed.
_SKEWED, _REFUSED = 5.0, 600.0


class Latencies(NamedTuple):
    """How many seconds requests take, the median; and how many objects come in a second, many got at once."""

    put: float
    create: float
    change: float
    get: float
    listing: float
    delete: float
    gets_per_second: float


def create_only(bucket: BareBucket) -> Check:
    """Try whether a put that must not replace anything does."""
    title = "A put can be made to fail where an object is (create-only)"
    name = "created"
    seen = bucket.create(name, b"first")
    refused = _refuses(lambda: bucket.create(name, b"second"))
    found = bucket.get(name)
    if not refused or found is None or found.data != b"first":
        detail = "The server puts it over the one that is there: records and runs would be lost."
        return _check("create-only", title, BAD, detail)
    if seen != found.version:
        detail = "The put names another version than the get after it: what was lost on the way cannot be told."
        return _check("create-only", title, BAD, detail)
    return _check("create-only", title, GOOD)


def if_match(bucket: BareBucket) -> Check:
    """Try whether a put on the condition that an object is still the same holds to that."""
    title = "A put can be made to fail where an object has changed (if-match)"
    name = "changed"
    first = bucket.put(name, b"first")
    second = bucket.put(name, b"second")
    if not _refuses(lambda: bucket.change(name, b"third", first)):
        detail = "The server replaces an object that others have changed: their changes would be lost."
        return _check("if-match", title, BAD, detail)
    if _refuses(lambda: bucket.change(name, b"third", second)):
        return _check("if-match", title, BAD, "The server refuses it also where nothing has changed.")
    if not _refuses(lambda: bucket.change("never-made", b"third", second)):
        detail = "The server makes an object that is not there: what others have deleted would come back."
        return _check("if-match", title, BAD, detail)
    return _check("if-match", title, GOOD)


def _refuses(put: Callable[[], Version]) -> bool:
    try:
        put()
    except RefusedError:
        return True
    return False


def metadata(bucket: BareBucket) -> Check:
    """Try whether what is kept with an object comes back with it, whichever way it was put."""
    title = "What is noted with an object stays with it (metadata)"
    ways: dict[str, Callable[[str, dict[str, str]], Version]] = {
        "put": lambda name, notes: bucket.put(name, b"1", notes),
        "create-only": lambda name, notes: bucket.create(name, b"1", notes),
        "if-match": lambda name, notes: bucket.change(name, b"2", bucket.put(name, b"1"), notes),
    }
    for way, put in ways.items():
        notes = {"incarnation": os.urandom(8).hex()}
        put(f"noted-{way}", notes)
        found = bucket.get(f"noted-{way}")
        if found is None or not notes.items() <= found.attributes.items():
            detail = f"It is gone after a put ({way}): records of a run that was deleted could be shown in a new one."
            return _check("metadata", title, BAD, detail)
    return _check("metadata", title, GOOD)


def names(bucket: BareBucket) -> Check:
    """Try whether names come back as they were given, and are different where they differ in case."""
    title = "Names stay as they are"
    for number, name in enumerate(_NAMES):
        bucket.put(name, b"%d" % number)
    listed = bucket.listed()
    for number, name in enumerate(_NAMES):
        found = bucket.get(name)
        if found is None or found.data != b"%d" % number or name not in listed:
            return _check("names", title, BAD, f"`{name[:40]}` does not come back.")
    return _check("names", title, GOOD)


def versions(bucket: BareBucket, scheme: str) -> Check:
    """See what tells one state of an object from the next, and whether old ones are kept."""
    title = "Objects that are replaced or deleted are gone"
    version = bucket.put("versioned", b"1")
    if scheme == "s3" and version.version is not None:
        detail = (
            "The bucket keeps versions: what is replaced and what is deleted stays, and is paid for. Have old versions "
            "expire by a rule (`NoncurrentVersionExpiration`)."
        )
        return _check("versions", title, CAUTION, detail)
    return _check("versions", title, TOLD, "as far as puts tell")


def read_after_write(bucket: BareBucket, other: BareBucket) -> Check:
    """Put, replace and delete with one client, and look with another after each."""
    title = "What was put is there at once, for every client"
    rounds = 10
    for number in range(rounds):
        name = f"read-{number}"
        for data in (b"first", b"second"):
            bucket.put(name, data)
            found = other.get(name)
            if found is None or found.data != data:
                return _check("read-after-write", title, BAD, "Another client reads what was there before.")
        bucket.delete([name])
        if other.get(name) is not None:
            return _check("read-after-write", title, BAD, "Another client still reads what was deleted.")
    return _check("read-after-write", title, GOOD, f"{rounds} objects put, replaced and deleted")


def listings(bucket: BareBucket, other: BareBucket) -> Iterator[Check]:
    """Put objects and list them with another client: all of them, from some place on, and over more than one page."""
    title = "Listings are complete at once"
    seen: dict[str, Version] = {}
    for number in range(10):
        name = f"listed-{number:04}"
        seen[name] = bucket.put(name, b"%d" % number)
        if name not in other.listed():
            yield _check("listing", title, BAD, "Another client does not see at once what was put: records are missed.")
            return
    bucket.delete(["listed-0000"])
    if "listed-0000" in other.listed():
        yield _check("listing", title, BAD, "Another client still sees what was deleted.")
        return
    wanted = {f"many-{number:05}" for number in range(MANY)}
    bucket.put_all(sorted(wanted), b"1")
    start = time.perf_counter()
    listed = other.listed()
    taken = time.perf_counter() - start
    if missed := len(wanted - listed.keys()):
        yield _check("listing", title, BAD, f"{missed} of {MANY:,} objects are missing from a listing.")
        return
    yield _check("listing", title, GOOD, f"{len(listed):,} objects in {in_words(taken)}")
    yield _offset(other, wanted)
    yield _listed_versions(seen, listed)


def _offset(bucket: BareBucket, wanted: set[str]) -> Check:
    title = "Listings can begin at a name"
    middle = sorted(wanted)[MANY - 11]
    expected = {name for name in wanted if name > middle}
    found = bucket.listed(middle).keys()
    if not expected <= found:
        return _check("listing-offset", title, BAD, "Objects after that name are left out: records are not found.")
    if any(name <= middle for name in found):
        return _check("listing-offset", title, CAUTION, "What comes before it is listed too: look-ups cost more.")
    return _check("listing-offset", title, GOOD)


def _listed_versions(seen: dict[str, Version], listed: dict[str, Listed]) -> Check:
    title = "Listings name the same versions as puts"
    wrong = [name for name, version in seen.items() if name in listed and listed[name].version.e_tag != version.e_tag]
    if wrong:
        detail = f"Not of {len(wrong)} of {len(seen)}: what is known already is got again, and reads take longer."
        return _check("listed-versions", title, CAUTION, detail)
    return _check("listed-versions", title, GOOD)


def deleting(bucket: BareBucket) -> Check:
    """Delete many objects at once."""
    title = "Many objects can be deleted at once"
    names = [f"many-{number:05}" for number in range(MANY)]
    start = time.perf_counter()
    bucket.delete(names)
    taken = time.perf_counter() - start
    if left := len(bucket.listed().keys() & set(names)):
        return _check("deleting", title, BAD, f"{left} of {MANY:,} are still there, and nothing was said.")
    return _check("deleting", title, GOOD, f"{MANY:,} objects in {in_words(taken)}")


def large_objects(bucket: BareBucket) -> Check:
    """Put something large in parts, as the data of a run goes up, and get it back."""
    title = "Large files go up in parts"
    parts = [os.urandom(_PART) for _ in range(_PARTS)]
    bucket.put_in_parts("large", parts)
    found = bucket.get("large")
    if found is None or found.data != b"".join(parts):
        return _check("parts", title, BAD, "What comes back is something else.")
    return _check("parts", title, GOOD, f"{_PARTS * _PART / 1e6:.0f} MB")


def clock(bucket: BareBucket) -> Check:
    """Compare the server's clock with this one."""
    title = "Clocks agree"
    before = datetime.now(timezone.utc)
    bucket.put("timed", b"1")
    after = datetime.now(timezone.utc)
    found = bucket.get("timed")
    if found is None:
        return _check("clock", title, BAD, "What was put is not there.")
    # The server may leave out what is less than a second.
    early = (before - found.modified).total_seconds() - 1
    late = (found.modified - after).total_seconds()
    difference = max(early, late, 0.0)
    which = "before" if late > 0 else "behind"
    detail = f"the server's is {difference:.1f} seconds {which} this one" if difference else "within a second"
    if difference >= _REFUSED:
        return _check("clock", title, BAD, f"{_sentence(detail)}: servers refuse what is signed so far off.")
    if difference >= _SKEWED:
        return _check("clock", title, CAUTION, f"{_sentence(detail)}: times in records look wrong by that.")
    return _check("clock", title, GOOD, detail)


def latencies(bucket: BareBucket) -> tuple[Latencies, Check]:
    """Measure how long requests take."""
    names = [f"lasting-{number}" for number in range(AT_ONCE)]
    versions: dict[str, Version] = {}

    def create(number: int) -> None:
        versions[names[number]] = bucket.create(names[number], _CHUNK)

    def change(number: int) -> None:
        bucket.change(names[number], _CHUNK + b" ", versions[names[number]])

    created = _median(create)
    changed = _median(change)
    bucket.put_all(names, _CHUNK)
    start = time.perf_counter()
    bucket.get_all(names * 4)
    at_once = time.perf_counter() - start
    found = Latencies(
        put=_median(lambda number: bucket.put(f"put-{number}", _CHUNK)),
        create=created,
        change=changed,
        get=_median(lambda number: bucket.get(names[number])),
        listing=_median(lambda _: bucket.listed("lasting-0")),
        delete=_median(lambda number: bucket.delete([names[number]])),
        gets_per_second=AT_ONCE * 4 / at_once,
    )
    named = (
        ("put", found.put),
        ("create-only", found.create),
        ("if-match", found.change),
        ("get", found.get),
        ("list", found.listing),
        ("delete", found.delete),
    )
    detail = ", ".join(f"{what} {in_words(seconds)}" for what, seconds in named)
    detail += f"; {found.gets_per_second:,.0f} gets a second, {AT_ONCE} at once"
    return found, _check("latency", "How long it takes (median)", TOLD, detail)


def _median(action: Callable[[int], object]) -> float:
    taken = []
    deadline = time.monotonic() + _PATIENCE
    for number, _ in enumerate(repeat(None, _TIMES)):
        start = time.perf_counter()
        action(number)
        taken.append(time.perf_counter() - start)
        if time.monotonic() > deadline:
            break
    return sorted(taken)[len(taken) // 2]


def _sentence(text: str) -> str:
    return f"{text[0].upper()}{text[1:]}"


def _check(name: str, title: str, result: str, detail: str = "") -> Check:
    return Check(name=name, title=title, result=result, detail=detail)
