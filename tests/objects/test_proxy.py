"""The proxy between clients and servers: it passes everything on, counts it, and loses what it is told to lose."""

import contextlib
import os
import subprocess
import sys
import threading

import obstore
import pytest
from obstore.exceptions import AlreadyExistsError, BaseError

from chunkstore.testing import proxy as proxies

#: Whether what was put is there after the fault.
LANDS = {
    proxies.DROPPED: False,
    proxies.RESET: False,
    proxies.TORN_REQUEST: False,
    proxies.LOST_REPLY: True,
    proxies.RESET_REPLY: True,
    proxies.SILENCE: False,
    proxies.SILENCE_AFTER: True,
    proxies.LATE: False,
    proxies.refused(409): False,
    proxies.refused(500): False,
    proxies.refused(503, "SlowDown"): False,
    proxies.answered(409): True,
    proxies.answered(500): True,
    proxies.answered(503, "SlowDown"): True,
}


def client(place, timeout="300ms"):
    return place.bare(timeout=timeout)


@pytest.fixture
def behind(server_place):
    with server_place.behind_proxy() as (place, proxy):
        yield client(place, timeout="30s"), proxy


def test_everything_passes_and_is_counted_by_what_it_asks_for(behind, server_place):
    bare, proxy = behind
    with proxy.counted() as counted:
        for name in ("run/a", "run/b", "run/c"):
            obstore.put(bare, name, b"x", mode="create", attributes={"incarnation": "abc"})
        with pytest.raises(AlreadyExistsError):
            obstore.put(bare, "run/a", b"y", mode="create")
        assert obstore.get(bare, "run/a").bytes() == b"x"
        assert obstore.head(bare, "run/b")["size"] == 1
        assert len(obstore.list(bare, "run").collect()) == 3
        obstore.delete(bare, "run/a")
    assert (counted.puts, counted.gets, counted.heads, counted.lists, counted.deletes) == (4, 1, 1, 1, 1)
    assert counted.total == len(counted.requests) == 8
    assert counted.requests[0].key == f"{server_place.prefix}/run/a"
    assert counted.requests[0].is_conditional
    assert [request.status for request in counted.requests[3:5]] in ([409, 200], [412, 200])


def test_large_objects_pass_in_parts(behind):
    bare, proxy = behind
    data = os.urandom(6 << 20)
    with proxy.counted() as counted:
        obstore.put(bare, "large", data, use_multipart=True, chunk_size=5 << 20)
        assert obstore.get(bare, "large").bytes() == data
    assert counted.by_operation["part"] >= 3
    assert counted.puts == 0


@pytest.mark.parametrize("fault", LANDS, ids=str)
def test_a_put_that_a_fault_hits_fails_and_lands_or_not_as_the_fault_says(s3_place, fault):
    with s3_place.behind_proxy() as (place, proxy):
        bare = client(place)
        obstore.put(bare, "before", b"x")
        with proxy.failing(fault, when=lambda request: request.operation == "put") as planned:
            with pytest.raises(BaseError):
                obstore.put(bare, "a", b"a" * 1000)
            obstore.put(bare, "b", b"b")
        assert [request.key for request in planned.hit] == [f"{s3_place.prefix}/a"]
        there = {each["path"] for each in obstore.list(bare).collect()}
        assert there == {"before", "b"} | ({"a"} if LANDS[fault] else set())


def test_a_reply_that_is_cut_is_not_taken_for_the_whole(s3_place):
    with s3_place.behind_proxy() as (place, proxy):
        bare = client(place)
        obstore.put(bare, "a", b"a" * 100_000)
        with proxy.failing(proxies.CUT_REPLY), pytest.raises(BaseError):
            obstore.get(bare, "a").bytes()
        assert len(obstore.get(bare, "a").bytes()) == 100_000


def test_a_request_that_is_repeated_meets_its_own_object(s3_place):
    with s3_place.behind_proxy() as (place, proxy):
        bare = client(place)
        with proxy.failing(proxies.REPEATED), pytest.raises(AlreadyExistsError):
            obstore.put(bare, "a", b"mine", mode="create")
        assert obstore.get(bare, "a").bytes() == b"mine"


def test_what_is_late_lands_when_it_is_delivered(s3_place):
    with s3_place.behind_proxy() as (place, proxy):
        bare = client(place)
        with proxy.failing(proxies.LATE), pytest.raises(BaseError):
            obstore.put(bare, "a", b"first")
        obstore.put(bare, "a", b"second")
        assert proxy.deliver_late() == [200]
        assert obstore.get(bare, "a").bytes() == b"first"


def test_a_server_can_be_made_to_ignore_conditions(deaf_place):
    bare = client(deaf_place)
    obstore.put(bare, "a", b"first", mode="create")
    obstore.put(bare, "a", b"second", mode="create")
    obstore.put(bare, "a", b"third", mode={"e_tag": '"of nothing"'})
    assert obstore.get(bare, "a").bytes() == b"third"


def test_only_so_many_requests_a_second_are_let_through(s3_place):
    with s3_place.behind_proxy(rate=5.0) as (place, proxy):
        bare = client(place)
        with proxy.counted() as counted:
            while all(request.status == 200 for request in counted.requests):
                with contextlib.suppress(BaseError):
                    obstore.put(bare, str(counted.total), b"x")
        assert counted.total > 5
        assert counted.requests[-1].status == 503


def test_requests_are_delayed_side_by_side(s3_place):
    with s3_place.behind_proxy(latency=0.1) as (place, proxy):
        bare = client(place, timeout="30s")
        with proxy.counted() as counted:
            threads = [threading.Thread(target=obstore.put, args=(bare, str(n), b"x")) for n in range(8)]
            for thread in threads:
                thread.start()
            for thread in threads:
                thread.join()
        assert counted.most_at_once > 1


def test_a_proxy_of_its_own_process_says_where_it_is_and_what_came(s3_place):
    command = [sys.executable, "-m", "chunkstore.testing.proxy", s3_place.server.endpoint]
    with subprocess.Popen(command, stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True) as process:
        bare = client(s3_place.through(process.stdout.readline().strip()), timeout="30s")
        obstore.put(bare, "a", b"x")
        assert process.communicate(timeout=30)[0] == '{"put": 1, "most at once": 1}\n'
