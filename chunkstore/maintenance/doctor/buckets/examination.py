"""Trying everything in a folder of our own in a bucket, and putting together what was seen."""

from __future__ import annotations

import uuid
from collections.abc import Callable, Iterator, Mapping

from chunkstore.backends.base import Backend
from chunkstore.backends.objects.bare import BareBucket
from chunkstore.backends.objects.place import Place
from chunkstore.backends.objects.renewing import MOST_MISSED, RENEWED_EVERY
from chunkstore.maintenance.doctor.buckets import probes, racing
from chunkstore.maintenance.doctor.buckets.costs import costs
from chunkstore.maintenance.doctor.buckets.prices import BY_SCHEME, PRICES, Prices
from chunkstore.maintenance.doctor.buckets.probes import Latencies
from chunkstore.maintenance.doctor.buckets.racers import Connect, race_at
from chunkstore.maintenance.doctor.buckets.racing import Raced
from chunkstore.maintenance.doctor.buckets.verdict import does_hold, guarantees, settings
from chunkstore.maintenance.doctor.report import BAD, CAUTION, Check, DoctorReport

_SERVICES = {
    "s3": "a bucket, by the protocol of Amazon S3",
    "gs": "a bucket of Google Cloud Storage",
    "az": "a container of Azure Blob Storage",
    "memory": "kept in the memory of this process",
}
LOST_AFTER, LOOKED_EVERY = RENEWED_EVERY * MOST_MISSED, Backend.seconds_between_looks
#: What all keys begin with, so that no run can be meant.
_FOLDER = ".chunkstore/doctor-{unique}"


def examine_bucket(
    place: Place,
    *,
    prices: Prices | None = None,
    connect: Connect = BareBucket.at,
    on_check: Callable[[Check], None] = lambda _: None,
) -> DoctorReport:
    """Try in a bucket what chunkstore relies on.

    It takes some seconds, some processes and about 2,500 requests. All happens below one key, and all of it is deleted
    in the end.

    Args:
        place: where.
        prices: what requests cost there; by default, what the service publishes that the URL names.
        connect: makes clients.
        on_check: is told of every check as soon as it is done.

    Raises:
        ChunkstoreError: nothing can be written there, or nothing read.
    """
    folder = _FOLDER.format(unique=uuid.uuid4().hex)
    bucket, other = connect(place, folder), connect(place, folder)
    bucket.put("hello", b"1")  # raises what there is to say where nothing else can be tried
    found: dict[str, Check] = {}
    measured: Latencies | None = None

    def note(check: Check) -> None:
        found[check.name] = check
        on_check(check)

    try:
        for check in _tried(bucket, other, place):
            note(check)
        for check in _raced(bucket, lambda: race_at(place, folder, connect)):
            note(check)
        try:
            measured, check = probes.latencies(bucket)
        except Exception as error:  # noqa: BLE001 - the rest is told all the same
            check = _failed("latency", "How long it takes (median)", error, CAUTION)
        note(check)
    finally:
        _remove(bucket, found)
    scheme = place.url.scheme
    prices = prices or PRICES.get(BY_SCHEME.get(scheme, ""))
    return DoctorReport(
        folder=str(place),
        file_system=scheme,
        description=_SERVICES[scheme],
        checks=list(found.values()),
        guarantees=guarantees(found, is_in_memory=place.is_in_memory, lost_after=LOST_AFTER),
        settings=settings(str(place), measured),
        holds=does_hold(found),
        costs=costs(prices, renewed_every=RENEWED_EVERY, looked_every=LOOKED_EVERY),
        prices=f"{prices.service}, {prices.as_of}, {prices.source}" if prices else "",
    )


def _tried(bucket: BareBucket, other: BareBucket, place: Place) -> Iterator[Check]:
    """Try one thing after the other; should it fail in a way that nobody thought of, that is what it comes to."""
    tries: tuple[tuple[str, str, str, Callable[[], Iterator[Check] | Check]], ...] = (
        ("create-only", "A put can be made to fail where an object is", BAD, lambda: probes.create_only(bucket)),
        ("if-match", "A put can be made to fail where an object has changed", BAD, lambda: probes.if_match(bucket)),
        ("metadata", "What is noted with an object stays with it", BAD, lambda: probes.metadata(bucket)),
        ("names", "Names stay as they are", BAD, lambda: probes.names(bucket)),
        ("read-after-write", "What was put is there at once", BAD, lambda: probes.read_after_write(bucket, other)),
        ("listing", "Listings are complete at once", BAD, lambda: probes.listings(bucket, other)),
        ("deleting", "Many objects can be deleted at once", BAD, lambda: probes.deleting(bucket)),
        ("parts", "Large files go up in parts", BAD, lambda: probes.large_objects(bucket)),
        ("versions", "Old states", CAUTION, lambda: probes.versions(bucket, place.url.scheme)),
        ("clock", "Clocks agree", CAUTION, lambda: probes.clock(bucket)),
    )
    for name, title, result, attempt in tries:
        try:
            seen = attempt()
            if isinstance(seen, Check):
                yield seen
            else:
                yield from seen
        except Exception as error:  # noqa: BLE001 - a server may answer anything: that is a result too
            yield _failed(name, title, error, result)


def _raced(bucket: BareBucket, race: Callable[[], list[Raced]]) -> Iterator[Check]:
    titles = {
        "create-race": "Of clients that make the same object, one wins",
        "change-race": "Changes that clients make at once are all kept",
    }
    try:
        racing.prepare(bucket)
        races = race()
        yield racing.creations(bucket, races)
        yield racing.changes(bucket, races)
    except Exception as error:  # noqa: BLE001 - as above
        for name, title in titles.items():
            yield _failed(name, title, error, BAD)


def _failed(name: str, title: str, error: Exception, result: str) -> Check:
    reason = str(error).partition("\n")[0]
    return Check(name=name, title=title, result=result, detail=f"It could not be tried: {reason}")


def _remove(bucket: BareBucket, checks: Mapping[str, Check]) -> None:
    """Delete all that was put, also when the user interrupts; what cannot be deleted, `gc` does later."""
    listing = checks.get("listing")
    is_listed = listing is None or listing.result != BAD
    try:
        _delete_all(bucket, is_listed=is_listed)
    except Exception:  # noqa: BLE001, S110 - what was found is told all the same
        pass
    except BaseException:
        _delete_all(bucket, is_listed=is_listed)
        raise


def _delete_all(bucket: BareBucket, *, is_listed: bool) -> None:
    names = set(bucket.listed())
    if not is_listed:
        put = sorted(bucket.names | racing.NAMES)
        # Some services fail where one of those to be deleted is not there.
        names.update(name for name, found in zip(put, bucket.get_all(put), strict=True) if found is not None)
    if names:
        bucket.delete(sorted(names))
