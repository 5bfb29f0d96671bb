"""Every verdict of the doctor on buckets is seen to fail where it should, and all hold on one that does its work."""

import uuid
from datetime import timedelta

import pytest

from chunkstore.backends.objects.bare import BareBucket, Found, RefusedError, Version
from chunkstore.backends.objects.place import Place
from chunkstore.errors import ConfigurationError
from chunkstore.maintenance.doctor.buckets import probes, racing
from chunkstore.maintenance.doctor.buckets.examination import examine_bucket
from chunkstore.maintenance.doctor.buckets.prices import PRICES, Prices, Requests, prices_of

pytestmark = pytest.mark.usefixtures("quick_collections")


@pytest.fixture(autouse=True)
def brief(monkeypatch):
    for module, name, value in (
        (racing, "ROUNDS", 5),
        (racing, "CHANGES", 3),
        (racing, "SECONDS", 1.0),
        (racing, "_LONGEST_PAUSE", 0.005),
        (probes, "MANY", 40),
        (probes, "_PART", 10_000),
        (probes, "_TIMES", 2),
    ):
        monkeypatch.setattr(module, name, value)


@pytest.fixture
def place():
    return Place(f"memory://{uuid.uuid4().hex}/some/prefix")


def at(place):
    options = dict(place.options)
    return Place(place.url, {**options.pop("client_options", {}), **options})


def left(place):
    return [page for page in place.connect().list() for _ in page]


def examined(place, kind=BareBucket):
    report = examine_bucket(place, connect=kind.at)
    assert left(place) == []
    return report


def results(report):
    return {check.name: check.result for check in report.checks}


def bad(report):
    return {check.name for check in report.checks if check.result == "bad"}


def broken_promises(report):
    return {one.promise for one in report.guarantees if one.result == "bad"}


# --- a server that does its work -------------------------------------------------------------------------------------


def test_where_everything_holds_nothing_is_bad_and_nothing_is_left_behind(place):
    report = examined(place)
    assert report.holds
    assert not bad(report)
    assert not broken_promises(report)
    assert {setting.key for setting in report.settings} >= {"type", "url"}
    assert report.folder == str(place)


@pytest.mark.thorough
def test_on_real_servers_processes_race_and_everything_holds(server_place):
    place = at(server_place)
    report = examined(place)
    assert report.holds, bad(report)
    assert results(report)["create-race"] == results(report)["change-race"] == "good"
    assert report.prices


@pytest.mark.thorough
def test_a_server_that_ignores_conditions_is_found_out_by_processes_that_race(deaf_place):
    report = examine_bucket(at(deaf_place))
    assert {"create-only", "if-match", "create-race", "change-race"} <= bad(report)
    assert len(broken_promises(report)) >= 2


def test_an_interrupt_leaves_nothing_behind(place, monkeypatch):
    def interrupt(_):
        raise KeyboardInterrupt

    monkeypatch.setattr(probes, "large_objects", interrupt)
    with pytest.raises(KeyboardInterrupt):
        examine_bucket(place)
    assert left(place) == []


# --- servers that do not ---------------------------------------------------------------------------------------------


class OverwritingBucket(BareBucket):
    def create(self, name, data, attributes=None):
        return self.put(name, data, attributes)


class CarelessBucket(BareBucket):
    def change(self, name, data, seen, attributes=None):
        return self.put(name, data, attributes)


class ObstinateBucket(BareBucket):
    def change(self, name, data, seen, attributes=None):
        raise RefusedError(name)


class RevivingBucket(BareBucket):
    """Makes an object of which it is said that it is another."""

    def change(self, name, data, seen, attributes=None):
        if self.get(name) is None:
            return self.put(name, data, attributes)
        return super().change(name, data, seen, attributes)


class ForgetfulBucket(BareBucket):
    """Keeps nothing with objects that are put on a condition."""

    def create(self, name, data, attributes=None):
        return super().create(name, data)


class RacyBucket(BareBucket):
    """Looks whether there is an object, and then puts it: as servers do that take no care."""

    def create(self, name, data, attributes=None):
        if "race" not in name:
            return super().create(name, data, attributes)
        return self.put(name, data, attributes)


class LateBucket(BareBucket):
    """Shows what was there before."""

    def get(self, name):
        found = super().get(name)
        return Found(b"first", *found[1:]) if found and name.startswith("read-") else found


class LossyListings(BareBucket):
    def listed(self, after=""):
        names = super().listed(after)
        return {name: one for name, one in names.items() if not name.endswith("7")} if len(names) > 30 else names


class BlindListings(BareBucket):
    def listed(self, after=""):
        return super().listed("zzz" if after else "")


class GenerousListings(BareBucket):
    def listed(self, after=""):
        return super().listed()


class OtherVersions(BareBucket):
    def listed(self, after=""):
        return {name: one._replace(version=Version("other", None)) for name, one in super().listed(after).items()}


class DeafBucket(BareBucket):
    """Deletes one object of many."""

    def delete(self, names):
        super().delete(names[:1] if len(names) == probes.MANY else names)


class FoldingBucket(BareBucket):
    def _key(self, name):
        return super()._key(name.lower())


class CuttingBucket(BareBucket):
    def put_in_parts(self, name, parts):
        super().put_in_parts(name, list(parts)[:1])


class FailingBucket(BareBucket):
    def put_in_parts(self, name, parts):
        raise OSError("501 not implemented\nand more that nobody reads")


@pytest.mark.parametrize(
    ("kind", "wrong"),
    [
        (OverwritingBucket, {"create-only", "create-race"}),
        (CarelessBucket, {"if-match"}),
        (ObstinateBucket, {"if-match", "metadata"}),
        (RevivingBucket, {"if-match"}),
        (ForgetfulBucket, {"metadata"}),
        (RacyBucket, {"create-race"}),
        (LateBucket, {"read-after-write"}),
        (LossyListings, {"listing"}),
        (BlindListings, {"listing-offset"}),
        (DeafBucket, {"deleting"}),
        (FoldingBucket, {"names"}),
        (CuttingBucket, {"parts"}),
        (FailingBucket, {"parts"}),
    ],
    ids=lambda value: getattr(value, "__name__", ""),
)
def test_what_a_server_does_wrong_is_found_and_said(place, kind, wrong):
    report = examined(place, kind)
    assert wrong <= bad(report) <= wrong | {"change-race", "create-race"}
    assert not report.holds
    assert all(check.detail for check in report.checks if check.result == "bad")


@pytest.mark.parametrize(("kind", "name"), [(GenerousListings, "listing-offset"), (OtherVersions, "listed-versions")])
def test_what_only_costs_more_is_a_caution(place, kind, name):
    report = examined(place, kind)
    assert results(report)[name] == "caution"
    assert report.holds


def test_changes_that_are_lost_are_counted(place):
    bucket = BareBucket.at(place, "folder")
    bucket.put("counter", b"4 0")
    lost = racing.changes(bucket, [racing.Raced(changed=3), racing.Raced(changed=2)])
    assert lost.result == "bad"
    assert "Of 5 changes, 4 are there" in lost.detail
    kept = racing.changes(bucket, [racing.Raced(changed=3), racing.Raced(changed=1)])
    assert kept.result == "good"
    unsure = racing.changes(bucket, [racing.Raced(changed=3, unsure=1, error="timed out")])
    assert unsure.result == "caution"


def test_a_clock_that_differs_is_told(place):
    class Early(BareBucket):
        def get(self, name):
            found = super().get(name)
            return found and found._replace(modified=found.modified - self.by)

    for seconds, result in ((0, "good"), (30, "caution"), (3_600, "bad")):
        Early.by = timedelta(seconds=seconds)
        assert probes.clock(Early.at(place, "folder")).result == result


def test_a_bucket_that_keeps_versions_is_told(place):
    class Versioned(BareBucket):
        def put(self, name, data, attributes=None):
            return super().put(name, data, attributes)._replace(version="3sL4kqtJlcpXroDTDmJ")

    assert probes.versions(Versioned.at(place, "folder"), "s3").result == "caution"
    assert probes.versions(Versioned.at(place, "folder"), "gs").result == "told"  # where it is a number of changes


# --- prices ----------------------------------------------------------------------------------------------------------


def test_what_things_cost_follows_from_the_prices(place, tmp_path):
    file = tmp_path / "prices.json"
    file.write_text(
        '{"service": "ours", "per_1000_puts": 1, "per_1000_gets": 2, "per_1000_lists": 3, "per_gb_month": 0,'
        ' "source": "a contract", "as_of": "2026-11"}'
    )
    prices = prices_of(str(file))
    assert prices.of(Requests(puts=1, gets=1, lists=1, deletes=7)) == pytest.approx(0.006)
    report = examine_bucket(place, prices=prices)
    dollars = {cost.action: cost.dollars for cost in report.costs}
    assert dollars["a step, put when it starts and when it ends"] == pytest.approx(0.002)
    assert report.prices == "ours, 2026-11, a contract"


def test_where_nobody_knows_the_prices_there_are_requests_alone(place):
    report = examined(place)
    assert report.prices == ""
    assert {cost.dollars for cost in report.costs} == {None}
    assert all(cost.puts or cost.gets or cost.lists for cost in report.costs)


def test_each_price_has_its_source_and_its_date():
    for prices in PRICES.values():
        assert prices.source.startswith("https://")
        assert len(prices.as_of) == len("2026-11")


@pytest.mark.parametrize("text", ['{"service": "x"}', "[]", "{"])
def test_a_file_without_prices_is_an_error_that_names_its_fields(tmp_path, text):
    file = tmp_path / "prices.json"
    file.write_text(text)
    with pytest.raises(ConfigurationError, match="per_1000_puts"):
        prices_of(str(file))
    with pytest.raises(ConfigurationError, match="s3-express"):
        prices_of("nonsense")


def test_the_prices_are_all_of_one_kind():
    assert all(isinstance(prices, Prices) for prices in PRICES.values())
