"""Who records a run in a bucket: renewed objects, and what others conclude from them."""

import json
import logging
import threading
import time
import uuid

import pytest

from chunkstore.backends.objects import holding, renewing
from chunkstore.backends.objects.client import INCARNATION, ObjectClient
from chunkstore.backends.objects.holding import Owners
from chunkstore.backends.objects.place import Place
from chunkstore.backends.objects.renewing import MOST_MISSED
from chunkstore.backends.objects.server_clock import ServerClock
from chunkstore.errors import StoreIOError

RUN, OURS, OTHERS = "run", "a" * 16, "b" * 16
OWNER = f"{RUN}/.owner"
EVERY = 0.1
SILENCE = EVERY * MOST_MISSED


class Faulty(ObjectClient):
    """A client whose server fails as long as that is wanted."""

    fails = False

    def put_new(self, *arguments, **options):
        self._fail()
        return super().put_new(*arguments, **options)

    def put_over(self, *arguments, **options):
        self._fail()
        return super().put_over(*arguments, **options)

    def _fail(self):
        if self.fails:
            raise StoreIOError("Cannot write: the server is down.", file="", errno=5)


class Bucket:
    """A bucket in memory, whose clock can be told."""

    def __init__(self):
        self.place = Place(f"memory://of-{uuid.uuid4().hex}")
        self.client = ObjectClient(self.place)
        self.renewing = Faulty(self.place, patience=0.0)

    def owners(self, every=EVERY):
        return Owners(self.client, self.renewing, every)

    def hold(self, *, there=True, incarnation=OURS, who="me", together=False, every=EVERY):
        return self.owners(every).hold(
            RUN,
            ".joined" if together else ".owner",
            json.dumps({"host": who}).encode(),
            together=together,
            incarnation=incarnation,
            is_there=lambda: there,
        )

    def said(self, key=OWNER):
        found = self.client.get_or_none(key)
        return json.loads(found.data) if found else None

    def names(self):
        return [listed.key.partition("/")[2] for listed in self.client.listed(RUN)]


@pytest.fixture
def bucket():
    return Bucket()


@pytest.fixture
def clock(monkeypatch):
    """Have the server tell what time it is: as many seconds later as this says."""
    later = [0.0]
    monkeypatch.setattr(ServerClock, "is_exact", True)
    monkeypatch.setattr(ServerClock, "now", lambda _: time.time_ns() + int(later[0] * 1e9))
    return later


def until(is_so, seconds=20):
    deadline = time.monotonic() + seconds
    while not (found := is_so()):
        assert time.monotonic() < deadline, "it did not come to that"
        time.sleep(0.01)
    return found


def renewing_threads():
    return [thread for thread in threading.enumerate() if thread.name == "chunkstore-owner"]


def test_an_owner_says_how_often_it_is_renewed_and_is_renewed_until_it_is_given_back(bucket):
    release = bucket.hold()
    first = bucket.said()
    assert (first["host"], first["renewed_every"]) == ("me", EVERY)
    until(lambda: bucket.said()["renewals"] > first["renewals"] + 1)
    release()
    assert bucket.names() == []
    release()
    assert bucket.names() == []
    until(lambda: not renewing_threads())


def test_a_reader_knows_an_owner_for_live_until_it_is_silent_for_as_long_as_is_documented(bucket, clock):
    release = bucket.hold(every=30.0)
    reader = bucket.owners()
    assert reader.holder(RUN, ".owner", OURS).is_alive is True
    clock[0] = 30 * MOST_MISSED - 5
    assert reader.holder(RUN, ".owner", OURS).is_alive is True
    clock[0] = 30 * MOST_MISSED + 5
    held = reader.holder(RUN, ".owner", OURS)
    assert (held.is_alive, held.silence) == (False, 300.0)
    assert abs(held.heard_at - time.time_ns()) < 60e9
    release()


def test_without_the_servers_time_nobody_is_called_dead_or_alive_at_the_first_look(bucket):
    release = bucket.hold(every=30.0)
    assert bucket.owners().holder(RUN, ".owner", OURS).is_alive is None
    release()


def test_without_the_servers_time_a_reader_that_looks_twice_sees_who_renews_and_who_is_silent(bucket):
    release, reader = bucket.hold(), bucket.owners()
    reader.holder(RUN, ".owner", OURS)
    until(lambda: reader.holder(RUN, ".owner", OURS).is_alive)
    bucket.renewing.fails = True
    until(lambda: reader.holder(RUN, ".owner", OURS).is_alive is False)
    bucket.renewing.fails = False
    until(lambda: reader.holder(RUN, ".owner", OURS).is_alive)  # it was only kept from it
    release()


def test_what_the_server_has_stamped_later_tells_the_time_too(bucket):
    clock = ServerClock(bucket.place)
    assert clock.now() == 0
    clock.observe(10**18)
    clock.observe(10**17)
    assert clock.now() >= 10**18
    assert not clock.is_exact


def test_faults_of_the_server_are_told_once_and_lived_through(bucket, caplog, monkeypatch):
    monkeypatch.setattr(renewing, "_FIRST_PAUSE", 0.01)
    with caplog.at_level(logging.WARNING, "chunkstore"):
        release = bucket.hold()
        bucket.renewing.fails = True
        until(lambda: caplog.records)
        before = bucket.said()["renewals"]
        time.sleep(0.1)
        bucket.renewing.fails = False
        until(lambda: bucket.said()["renewals"] > before)
    assert len(caplog.records) == 1
    assert "What is recorded is not concerned" in caplog.text
    release()


def test_a_hold_that_could_not_begin_begins_when_the_server_is_back(bucket, monkeypatch):
    monkeypatch.setattr(renewing, "_FIRST_PAUSE", 0.01)
    bucket.renewing.fails = True
    release = bucket.hold()
    assert bucket.said() is None
    bucket.renewing.fails = False
    until(bucket.said)
    release()
    assert bucket.said() is None


@pytest.mark.parametrize("there", [True, None])
def test_an_object_that_somebody_took_away_is_there_again_while_its_run_is(bucket, there):
    answers = [there]
    release = bucket.owners().hold(RUN, ".owner", b"{}", together=False, incarnation=OURS, is_there=lambda: answers[0])
    bucket.client.delete([OWNER])
    if there is None:
        time.sleep(3 * EVERY)
        assert bucket.said() is None  # it is not known whose it would be
        answers[0] = True
    until(bucket.said)
    release()


def test_the_owner_of_a_run_that_was_deleted_stops_and_leaves_nothing(bucket):
    release = bucket.hold(there=False)
    bucket.client.delete([OWNER])
    until(lambda: not renewing_threads())
    assert bucket.said() is None
    release()


def test_the_owner_of_a_run_that_was_made_anew_leaves_that_one_alone(bucket):
    release = bucket.hold(there=False)
    bucket.client.put(OWNER, b'{"host": "another"}', {INCARNATION: OTHERS})
    until(lambda: not renewing_threads())
    release()
    assert bucket.said() == {"host": "another"}


def test_two_do_not_take_a_run_from_each_other(bucket, clock):
    first, second = bucket.hold(who="first"), bucket.hold(who="second")
    assert bucket.said()["host"] == "first"
    second()
    assert bucket.said()["host"] == "first"
    first()


def test_the_object_of_somebody_who_is_silent_for_long_can_be_taken_over_and_that_one_notices(bucket, clock):
    first = bucket.hold(who="first")
    bucket.renewing.fails = True
    until(lambda: first.__self__._failures)
    clock[0] = 1_000.0
    bucket.renewing = Faulty(bucket.place, patience=0.0)
    second = bucket.hold(who="second")
    assert bucket.said()["host"] == "second"
    clock[0] = 0.0
    first.__self__._client.fails = False
    first()
    assert bucket.said()["host"] == "second"
    second()


def test_what_is_left_of_another_run_of_that_id_says_nothing_and_is_no_obstacle(bucket, clock):
    bucket.client.put(OWNER, b'{"host": "before"}', {INCARNATION: OTHERS})
    bucket.client.put(f"{RUN}/.joined-1-x~30", b'{"host": "before"}', {INCARNATION: OTHERS})
    reader = bucket.owners()
    assert reader.holder(RUN, ".owner", OURS) is None
    assert reader.joined(RUN, ".joined", OURS) is None
    release = bucket.hold()
    assert reader.holder(RUN, ".owner", OURS).is_alive
    assert bucket.said()["host"] == "me"
    release()


def test_those_who_have_joined_are_counted_by_a_listing_and_leave_one_by_one(bucket, clock):
    releases = [bucket.hold(who=f"rank {rank}", together=True, every=30.0) for rank in range(5)]
    joined = bucket.owners().joined(RUN, ".joined", OURS)
    assert len(joined.living) == 5
    assert sum(bool(who) for who in joined.living) == 1  # the others are only counted
    for release in releases[:4]:
        release()
    assert len(bucket.owners().joined(RUN, ".joined", OURS).living) == 1
    releases[4]()
    assert bucket.owners().joined(RUN, ".joined", OURS) is None


def test_those_who_died_are_told_with_those_who_came_later(bucket, clock):
    first = bucket.hold(who="first", together=True, every=1.0)
    second = bucket.hold(who="second", together=True, every=100.0)
    bucket.renewing.fails = True
    clock[0] = 500.0
    joined = bucket.owners().joined(RUN, ".joined", OURS)
    assert [json.loads(who)["host"] for who in joined.living] == ["second"]
    ((dead, later),) = joined.dead
    assert json.loads(dead)["host"] == "first"
    assert [json.loads(who)["host"] for who in later] == ["second"]
    first()
    second()


def test_nobody_waits_long_for_an_owner_to_be_removed_whose_server_hangs(bucket, monkeypatch):
    monkeypatch.setattr(renewing, "_LONGEST_WAIT", 0.2)
    release = bucket.hold()
    hanging = threading.Event()
    monkeypatch.setattr(Faulty, "delete", lambda *_: hanging.wait(30))
    before = time.monotonic()
    release(0.2)
    assert time.monotonic() - before < 10
    hanging.set()


def test_whoever_lets_go_of_a_run_without_ending_it_is_silent_from_then_on(bucket):
    release = bucket.hold()
    del release
    until(lambda: not renewing_threads())
    assert bucket.said()


@pytest.mark.parametrize(
    "data",
    [b"", b"{", b"[]", b'{"renewed_every": "often"}', b'{"renewed_every": 1e999}', b'{"renewed_every": -1}', b"\xff"],
)
def test_whatever_an_owner_says_of_itself_is_read(bucket, clock, data):
    bucket.client.put(OWNER, data, {})
    bucket.client.put(f"{RUN}/.joined-1-x~nan", data, {})
    held = bucket.owners().holder(RUN, ".owner", OURS)
    assert held.is_alive is True
    assert 1 <= held.silence <= 36_000
    assert len(bucket.owners().joined(RUN, ".joined", OURS).living) == 1


def test_not_everything_that_was_seen_is_remembered(bucket, monkeypatch):
    monkeypatch.setattr(holding, "_MOST_SEEN", 2)
    owners = bucket.owners()
    for number in range(5):
        bucket.client.put(f"{number}/.owner", b"{}", {})
        owners.holder(f"{number}", ".owner", OURS)
    assert len(owners._seen) <= 2
