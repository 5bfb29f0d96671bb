"""Runs that one host records and the other watches, joins, follows, or goes on with."""

import itertools
import os
import signal
import sys

import pytest
from processes import run_processes

from chunkstore import RunLivesError, RunLogExistsError, RunLogNotFoundError
from chunkstore.stores.runs.liveness import LIVE, LOST
from nfs.hosts import FIRST, SECOND
from nfs.stores import KINDS, RUN, opened, step

pytestmark = pytest.mark.usefixtures("_ready_to_record")

_stores = pytest.mark.parametrize("kind", KINDS)
_each_store_some_way = pytest.mark.parametrize(
    ("kind", "owner", "other"), [("files", FIRST, SECOND), ("journal", SECOND, FIRST), ("document", SECOND, FIRST)]
)


def liveness_of(folder, kind):
    found = opened(folder, kind).liveness(RUN)
    return found.state, found.host, found.pid


def recording(folder, kind):
    """Return what a process does that has started a run and goes on for long."""

    def record(say):
        with opened(folder, kind).start_run(RUN) as run:
            with run.step("load") as load:
                load.log_metric("rows", 3)
            say("recorded")
            signal.pause()

    return record


def joining(folder, kind, name):
    """Return what a process does that has joined a run and goes on for long."""

    def record(say):
        with opened(folder, kind).join_run(RUN, create=True) as run:
            with run.step(name):
                pass
            say("recorded")
            signal.pause()

    return record


@_each_store_some_way
def test_a_run_is_live_on_the_other_host_while_its_owner_lives_and_lost_when_that_was_killed(
    hosts, folder, kind, owner, other
):
    with pytest.raises(RunLogNotFoundError):
        hosts.call(other, liveness_of, folder, kind)
    with hosts.forked(owner, recording(folder, kind)) as process:
        assert process.wait_for_line() == "recorded"
        host = ("first", "second")[owner]
        for watcher in (owner, other, other):
            assert hosts.call(watcher, liveness_of, folder, kind) == (LIVE, host, process.pid)
        pid = process.pid
        process.kill()
        for watcher in (other, owner):
            assert hosts.call(watcher, liveness_of, folder, kind) == (LOST, host, pid)


@pytest.mark.parametrize("kind", ["files", "document"])
def test_a_run_that_both_hosts_have_joined_is_live_on_both_as_long_as_one_process_is(hosts, folder, kind):
    with (
        hosts.forked(FIRST, joining(folder, kind, "a")) as first,
        hosts.forked(SECOND, joining(folder, kind, "b")) as second,
    ):
        assert [first.wait_for_line(), second.wait_for_line()] == ["recorded"] * 2
        pid = second.pid
        for host in (FIRST, SECOND):
            assert hosts.call(host, liveness_of, folder, kind)[0] == LIVE
        first.kill()
        for host in (FIRST, SECOND):
            assert hosts.call(host, liveness_of, folder, kind) == (LIVE, "second", pid)
        second.kill()
        for host in (FIRST, SECOND):
            assert hosts.call(host, liveness_of, folder, kind)[0] != LIVE
    assert sorted(opened(folder, kind).get_run_log(RUN, strict=True).steps) == ["a", "b"]


def record_and_wait(folder, kind):
    def record(say):
        with opened(folder, kind).start_run(RUN) as run:
            run.step("load", str.upper, "loaded")
            say("recorded")
            signal.pause()

    return record


def go_on(folder, kind):
    with opened(folder, kind).start_run("again", resume=RUN) as run:
        loaded = run.step("load", str.upper, "loaded")
        run.step("more", str.lower, loaded)
    log = opened(folder, kind).get_run_log("again", strict=True)
    return log.original_run_id, {name: found.mock for name, found in log.steps.items()}


@_each_store_some_way
def test_a_run_that_was_killed_on_one_host_is_resumed_on_the_other_and_refused_while_it_lives(
    hosts, folder, kind, owner, other
):
    with hosts.forked(owner, record_and_wait(folder, kind)) as process:
        assert process.wait_for_line() == "recorded"
        with pytest.raises(RunLivesError):
            hosts.call(other, go_on, folder, kind)
        process.kill()
        assert hosts.call(other, go_on, folder, kind) == (RUN, {"load": True, "more": False})


def join_once(folder, kind, name):
    with opened(folder, kind).join_run(RUN, create=True) as run:
        with run.step(name) as done:
            done.log_metric("by", os.getpid())
        run.set_parameters({name: 1})


@_stores
def test_a_run_that_processes_on_both_hosts_create_and_join_at_once_is_one_run_with_all_their_steps(
    hosts, folder, kind
):
    names = [f"rank-{number}" for number in range(4)]
    jobs = [hosts.on(number % 2, join_once) for number in range(len(names))]
    run_processes(lambda job, name: job(folder, kind, name), list(zip(jobs, names, strict=True)))
    finished = hosts.call(SECOND, lambda: opened(folder, kind).join_run(RUN).finish().status)
    assert finished == "SUCCESS"
    log = opened(folder, kind).get_run_log(RUN, strict=True)
    assert (sorted(log.steps), sorted(log.parameters), log.status) == (names, names, "SUCCESS")


def create_all(folder, kind, count, writer):
    store, won = opened(folder, kind), []
    for number in range(count):
        try:
            store.create_run_log(f"race-{number}", tag=str(writer))
            won.append(number)
        except RunLogExistsError:
            pass
        # Whoever has won, it is there now.
        store.add_step_log(f"race-{number}", step(f"by {writer}"))
    return won


@_stores
def test_of_racing_creations_on_two_hosts_one_wins_and_all_record_into_the_same_run(hosts, folder, kind):
    writers, count = 4, 8
    jobs = [(hosts.on(number % 2, create_all), folder, kind, count, number) for number in range(writers)]
    won = run_processes(lambda job, *arguments: job(*arguments), jobs)
    assert sorted(itertools.chain(*won)) == list(range(count))
    store = opened(folder, kind)
    for number in range(count):
        log = store.get_run_log(f"race-{number}", strict=True)
        assert number in won[int(log.tag)]
        assert sorted(log.steps) == [f"by {writer}" for writer in range(writers)]


def create(folder, kind):
    opened(folder, kind).create_run_log(RUN)


def add_step(folder, kind, name):
    opened(folder, kind).add_step_log(RUN, step(name))


def fail(folder, kind):
    opened(folder, kind).update_run_log(RUN, lambda log: setattr(log, "status", "FAIL"))


@_each_store_some_way
def test_a_run_is_followed_on_the_other_host_until_it_ends(hosts, folder, kind, owner, other, monkeypatch):
    if (kind, owner) == ("files", FIRST):
        monkeypatch.setitem(sys.modules, "watchfiles", None)

    def follow(say):
        for log in opened(folder, kind).follow(RUN):
            say(f"{len(log.steps)} {log.status}")
        say("over")

    def wait_for(follower, expected):
        while (line := follower.wait_for_line()) in {before, expected} and line != expected:
            pass  # a file has come that holds nothing yet
        assert line == expected
        return line

    hosts.call(owner, create, folder, kind)
    with hosts.forked(other, follow) as follower:
        before = ""
        before = wait_for(follower, "0 PROCESSING")
        for number in range(1, 4):
            hosts.call(owner, add_step, folder, kind, f"s{number}")
            before = wait_for(follower, f"{number} PROCESSING")
        hosts.call(owner, fail, folder, kind)
        before = wait_for(follower, "3 FAIL")
        wait_for(follower, "over")


@pytest.mark.parametrize("kind", ["files", "document"])
def test_following_on_the_other_host_ends_when_the_owner_was_killed(hosts, folder, kind):
    def follow(say):
        for log in opened(folder, kind).follow(RUN):
            say(log.status)
        say("over")

    with hosts.forked(FIRST, recording(folder, kind)) as owner:
        assert owner.wait_for_line() == "recorded"
        with hosts.forked(SECOND, follow) as follower:
            assert follower.wait_for_line() == "PROCESSING"
            owner.kill()
            while (line := follower.wait_for_line()) == "PROCESSING":
                pass
            assert line == "over"
    assert hosts.call(SECOND, liveness_of, folder, kind)[0] == LOST
