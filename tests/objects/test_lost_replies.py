"""What a client says of a put is so, whatever happens to the request or its reply on the way."""

import pytest

from chunkstore.backends.objects import client as clients
from chunkstore.backends.objects import waits
from chunkstore.backends.objects.client import ConflictingPutError, ObjectClient
from chunkstore.backends.objects.place import Place
from chunkstore.testing.proxy import EVERY_FAULT, LOST_REPLY, answered, refused

KEY = "run/RunLog.json"
every_fault = pytest.mark.parametrize("fault", EVERY_FAULT, ids=str)


@pytest.fixture(autouse=True)
def _no_pauses(monkeypatch):
    monkeypatch.setattr(waits, "_FIRST_PAUSE", 0.0)
    monkeypatch.setattr(waits, "_LONGEST_PAUSE", 0.0)


@pytest.fixture
def client(s3_place, s3_proxy):
    return client_at(s3_place.through(s3_proxy.endpoint))


@pytest.fixture
def other(s3_place):
    """A client of somebody else, whose network has no faults."""
    return client_at(s3_place)


def client_at(place, patience=10.0, **options):
    return ObjectClient(Place(place.url, place.options | options), patience=patience)


def is_put(request):
    return request.operation == "put"


@every_fault
@pytest.mark.parametrize("times", [1, 2])
def test_what_was_put_new_is_there_and_who_comes_later_meets_it(client, other, s3_proxy, fault, times):
    with s3_proxy.failing(fault, times=times, when=is_put) as planned:
        put = client.put_new(KEY, b"mine", {})
    assert planned.hit
    assert other.get(KEY).data == b"mine"
    assert other.get(KEY).version == put.version
    with pytest.raises(ConflictingPutError):
        other.put_new(KEY, b"theirs", {})
    assert other.get(KEY).data == b"mine"


@every_fault
def test_who_puts_new_what_is_there_meets_it(client, other, s3_proxy, fault):
    other.put_new(KEY, b"theirs", {})
    with s3_proxy.failing(fault, when=is_put), pytest.raises(ConflictingPutError):
        client.put_new(KEY, b"mine", {})
    assert other.get(KEY).data == b"theirs"


@every_fault
def test_two_who_put_the_same_bytes_are_told_apart(client, other, s3_proxy, fault):
    other.put_new(KEY, b"the same", {})
    with s3_proxy.failing(fault, when=is_put), pytest.raises(ConflictingPutError):
        client.put_new(KEY, b"the same", {})


@every_fault
def test_what_was_put_over_another_is_there_once(client, other, s3_proxy, fault):
    client.put_new(KEY, b"1", {})
    for number in range(2, 5):
        before = client.get(KEY)
        with s3_proxy.failing(fault, when=is_put):
            client.put_over(KEY, b"%d" % number, {}, before.version, before.writers)
        assert other.get(KEY).data == b"%d" % number


@every_fault
def test_who_puts_over_what_somebody_has_changed_meanwhile_is_told(client, other, s3_proxy, fault):
    client.put_new(KEY, b"1", {})
    before = client.get(KEY)
    theirs = other.get(KEY)
    other.put_over(KEY, b"2", {}, theirs.version, theirs.writers)
    with s3_proxy.failing(fault, when=is_put), pytest.raises(ConflictingPutError) as conflict:
        client.put_over(KEY, b"mine", {}, before.version, before.writers)
    assert conflict.value.found.data == b"2"
    assert other.get(KEY).data == b"2"


@every_fault
def test_a_change_that_somebody_has_changed_again_is_no_conflict(client, other, s3_proxy, fault):
    """The reply is lost, and before the client can look, somebody else has put something over it."""
    client.put_new(KEY, b"1", {})
    before = client.get(KEY)
    changed = []

    def overtake(request):
        """Called for each request; the first get of the client comes after its put."""
        if request.operation == "get" and not changed:
            found = other.get(KEY)
            changed.append(found.data)
            other.put_over(KEY, found.data + b", theirs", {}, found.version, found.writers)
        return request.operation == "put"

    with s3_proxy.failing(fault, when=overtake):
        try:
            client.put_over(KEY, b"1, mine", {}, before.version, before.writers)
            expected = b"1, mine, theirs"
        except ConflictingPutError:
            expected = b"1, theirs"
    assert other.get(KEY).data == (expected if changed else b"1, mine")


@every_fault
@pytest.mark.parametrize("call", ["get", "head", "listed", "folders", "delete", "put"])
def test_what_can_be_asked_again_is(client, other, s3_proxy, fault, call):
    client.put_new(KEY, b"1", {})
    calls = {
        "get": lambda: client.get(KEY).data == b"1",
        "head": lambda: client.head(KEY).size == 1,
        "listed": lambda: [each.key for each in client.listed("run")] == [KEY],
        "folders": lambda: client.folders() == ["run"],
        "delete": lambda: client.delete([KEY]) is None and other.get_or_none(KEY) is None,
        "put": lambda: client.put(KEY, b"2", {}) == other.get(KEY).version and other.get(KEY).data == b"2",
    }
    with s3_proxy.failing(fault, times=2) as planned:
        assert calls[call]()
    assert planned.hit


def test_a_server_that_may_not_be_asked_without_encryption_is_an_error_at_once(gs_place):
    with pytest.raises(clients.ChunkstoreError, match="allow_http"):
        client_at(gs_place, allow_http=False).put(KEY, b"1", {})


def test_a_fault_that_stays_is_an_error_that_says_what_was_tried_and_where(s3_place, s3_proxy):
    client = client_at(s3_place.through(s3_proxy.endpoint), patience=0.05)
    with (
        s3_proxy.failing(LOST_REPLY, times=None, when=is_put),
        pytest.raises(clients.ChunkstoreError, match=KEY) as error,
    ):
        client.put(KEY, b"1", {})
    assert s3_place.url in str(error.value)


@pytest.mark.parametrize("fault", EVERY_FAULT, ids=str)
def test_a_listing_of_many_pages_is_whole_whichever_of_them_fails(gs_place, fake_gcs, monkeypatch, fault):
    monkeypatch.setattr(fake_gcs, "page_size", 3)
    keys = [f"run/{number:02d}" for number in range(11)]
    with gs_place.behind_proxy() as (behind, proxy):
        client = client_at(behind)
        for key in keys:
            client.put(key, b"x", {})
        for page in range(4):
            with proxy.failing(fault, at=page) as planned:
                assert [each.key for each in client.listed("run")] == keys
            assert planned.hit


@pytest.mark.parametrize(("status", "code"), [(503, "SlowDown"), (429, "TooManyRequests")])
def test_who_is_told_to_come_more_slowly_does_not_look_each_time_what_is_there(client, s3_proxy, status, code):
    slow_down = refused(status, code)
    with s3_proxy.counted() as counted, s3_proxy.failing(slow_down, times=5, when=is_put):
        client.put_new(KEY, b"mine", {})
    assert (counted.puts, counted.gets) == (6, 0), str(counted)


def test_what_has_arrived_though_the_server_said_to_come_more_slowly_is_no_conflict(client, other, s3_proxy):
    with s3_proxy.failing(answered(503, "SlowDown"), when=is_put):
        put = client.put_new(KEY, b"1", {})
    with s3_proxy.failing(answered(503, "SlowDown"), when=is_put):
        client.put_over(KEY, b"2", {}, put.version, put.writers)
    assert other.get(KEY).data == b"2"
