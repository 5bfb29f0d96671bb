"""The index of finished runs: the list of many runs is a handful of requests, and never says what no record says."""

import random
import threading
import zlib

import pytest
from recorded import step
from remote import RemoteMemory

from chunkstore.errors import StoreAccessError
from chunkstore.records.models import FAIL, PROCESSING, SUCCESS
from chunkstore.stores.chunked import ChunkedStore
from chunkstore.stores.runs import run_index

MANY = 10_000


@pytest.fixture
def backend():
    return RemoteMemory()


@pytest.fixture
def store(backend):
    return ChunkedStore(backend)


def end(status=SUCCESS):
    def change(log):
        log.status = status

    return change


def fill(store, runs, begin=0):
    """Make finished runs."""
    for number in range(begin, begin + runs):
        store.create_run_log(f"run-{number:05}", status=SUCCESS)


def listed(store):
    return {run.run_id: run.status for run in store.list_runs()}


def test_the_list_of_many_finished_runs_is_a_handful_of_requests(store, backend):
    fill(store, MANY)
    list(store.list_runs())
    requests = backend.counted(lambda: list(store.list_runs()))
    assert sum(requests.values()) <= 15
    assert requests["get"] <= 5
    assert len(list(store.list_runs())) == MANY


def test_runs_that_have_ended_since_are_read_once(store, backend):
    fill(store, 100)
    list(store.list_runs())
    fill(store, 3, begin=100)
    assert backend.counted(lambda: list(store.list_runs()))["get"] == 3 + 1
    assert backend.counted(lambda: list(store.list_runs()))["get"] == 1
    assert len(listed(store)) == 103


def test_a_run_that_goes_on_is_read_each_time(store, backend):
    fill(store, 100)
    store.create_run_log("live")
    assert listed(store)["live"] == PROCESSING
    store.update_run_log("live", end())
    assert listed(store)["live"] == SUCCESS


@pytest.mark.parametrize("runs", [20, 1_500])
def test_a_change_of_a_finished_run_is_seen_at_once(store, backend, runs):
    fill(store, runs)
    list(store.list_runs())
    store.update_run_log("run-00007", end(FAIL))
    store.anew().update_run_log("run-00008", lambda log: setattr(log, "tag", "best"))
    found = {run.run_id: run for run in store.list_runs()}
    assert (found["run-00007"].status, found["run-00008"].tag) == (FAIL, "best")


def test_what_does_not_show_in_the_list_is_not_marked(store, backend):
    fill(store, 20)
    list(store.list_runs())
    store.add_step_log("run-00001", step("late"))
    store.set_parameters("run-00001", {"seed": 1})
    store.seal("run-00001")
    assert [name for name in backend.cache if name.startswith("changed/")] == []


def test_a_run_that_is_deleted_and_made_anew_is_the_new_one(store, backend):
    fill(store, 20)
    list(store.list_runs())
    store.delete_run("run-00003")
    assert "run-00003" not in listed(store)
    store.create_run_log("run-00003", tag="new")
    store.delete_run_if("run-00004", lambda: True)
    store.create_run_log("run-00004", tag="new")
    found = {run.run_id: run for run in store.list_runs()}
    assert {(found[run].status, found[run].tag) for run in ("run-00003", "run-00004")} == {(PROCESSING, "new")}


def test_a_mark_is_taken_away_when_no_request_can_be_on_its_way_any_more(store, backend):
    fill(store, 20)
    list(store.list_runs())
    store.update_run_log("run-00007", end(FAIL))
    fill(store, 1, begin=20)
    list(store.list_runs())
    assert any(name.startswith("changed/") for name in backend.cache)
    later = backend.now() + run_index.MARK_LASTS + 1
    backend.now = lambda: later
    fill(store, 1, begin=21)
    list(store.list_runs())  # this tells the time
    list(store.list_runs())
    assert not any(name.startswith("changed/") for name in backend.cache)
    assert listed(store)["run-00007"] == FAIL


@pytest.mark.parametrize("damage", ["bytes", "cut", "json", "location", "empty", "gone"])
@pytest.mark.parametrize("runs", [20, 1_500])
def test_a_damaged_or_foreign_index_is_none(store, backend, damage, runs):
    fill(store, runs)
    list(store.list_runs())
    store.update_run_log("run-00007", end(FAIL))
    expected = listed(store)
    for name, (data, version, written_at) in list(backend.cache.items()):
        if name.startswith("index/"):
            changed = {
                "bytes": data[:-9] + bytes([data[-9] ^ 1]) + data[-8:],
                "cut": data[:-2],
                "json": zlib.compress(b'{"run_id":"run-00001","status":"FAIL"}'),
                "location": data,
                "empty": b"",
                "gone": None,
            }[damage]
            if changed is None:
                del backend.cache[name]
            else:
                backend.cache[name] = changed, version, written_at
    if damage == "location":
        backend.location = "elsewhere"
    assert listed(store) == expected
    assert listed(store) == expected


def test_what_is_in_the_index_and_not_in_the_list_is_not_shown(store, backend):
    fill(store, 1_500)
    list(store.list_runs())
    folders = backend._folders
    for number in range(1_000):
        del folders[f"run-{number:05}"]  # by another tool
    assert len(listed(store)) == 500
    fill(store, 1, begin=1_500)
    assert len(listed(store)) == 501
    assert len(listed(store)) == 501


def test_a_reader_who_may_not_write_lists_all_the_same(store, backend, monkeypatch):
    def refuse(*_arguments, **_options):
        raise StoreAccessError("no")

    fill(store, 20)
    monkeypatch.setattr(backend, "keep", refuse)
    assert len(listed(store)) == 20
    monkeypatch.setattr(backend, "kept", refuse)
    assert len(listed(store)) == 20


def test_few_runs_are_read_without_an_index(store, backend):
    fill(store, run_index.FEW_RUNS)
    assert sum(backend.counted(lambda: list(store.list_runs())).values()) == 1 + run_index.FEW_RUNS
    assert backend.cache == {}


def test_a_list_that_was_slow_brings_back_nothing_that_has_changed_since(store, backend):
    """Somebody reads a record, and keeps it only when the mark for its change has come and gone."""
    fill(store, 20)
    slow = run_index.RunIndex(backend)
    old = list(store.list_runs())
    store.update_run_log("run-00007", end(FAIL))
    list(store.list_runs())
    later = backend.now() + run_index.MARK_LASTS + 1
    backend.now = lambda: later
    fill(store, 1, begin=20)
    for _ in range(2):
        list(store.list_runs())
    assert not any(name.startswith("changed/") for name in backend.cache)
    slow.add(old, {run.run_id for run in old})
    assert listed(store)["run-00007"] == FAIL


@pytest.mark.parametrize("seed", range(3))
def test_lists_in_the_middle_of_changes_never_show_what_no_record_said(store, backend, seed, monkeypatch):
    monkeypatch.setattr(run_index, "_MOST_IN_HEAD", 10)
    monkeypatch.setattr(run_index, "_FULL", 25)
    fill(store, 40)
    chance = random.Random(seed)
    acknowledged = {f"run-{number:05}": ("", SUCCESS) for number in range(40)}
    stop = threading.Event()

    def list_all():
        while not stop.is_set():
            list(ChunkedStore(backend).list_runs())

    lists = [threading.Thread(target=list_all) for _ in range(2)]
    for thread in lists:
        thread.start()
    try:
        for number in range(60):
            run = f"run-{chance.randrange(40):05}"
            what = chance.choice(["update", "delete"])
            if what == "update" and run in acknowledged:
                status = chance.choice([SUCCESS, FAIL])

                def change(log, number=number, status=status):
                    log.tag, log.status = str(number), status

                store.update_run_log(run, change)
                acknowledged[run] = str(number), status
            elif run in acknowledged:
                store.delete_run(run)
                del acknowledged[run]
            else:
                store.create_run_log(run, tag=str(number), status=SUCCESS)
                acknowledged[run] = str(number), SUCCESS
            assert {one.run_id: (one.tag, one.status) for one in store.list_runs()} == acknowledged
    finally:
        stop.set()
        for thread in lists:
            thread.join()
