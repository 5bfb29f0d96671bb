"""Reads and whole recorded runs whose requests fail one after the other: what comes of them is right and whole."""

import itertools
from concurrent.futures import ThreadPoolExecutor

import pytest
from operations import RUN

import chunkstore
from chunkstore.backends import optimistic
from chunkstore.backends.objects import waits
from chunkstore.errors import ChunkstoreError
from chunkstore.testing.proxy import CUT_REPLY, DROPPED, LOST_REPLY, refused
from objects.worlds import World

READS = {
    "run": lambda store: store.get_run_log(RUN, strict=True).to_json(),
    "step": lambda store: store.get_step_log(RUN, "foreign").to_json(),
    "branch": lambda store: store.get_branch_log(RUN, "owned.b").to_json(),
    "parameters": lambda store: store.get_parameters(RUN),
    "points": lambda store: str(store.get_run_log(RUN).steps["owned"].metric_series),
    "list": lambda store: [summary.run_id for summary in store.list_runs()],
    "records": lambda store: sorted(record.to_json() for record in store.iter_records(RUN)),
}


@pytest.fixture(autouse=True)
def _no_pauses(monkeypatch):
    for module in (waits, optimistic):
        monkeypatch.setattr(module, "_FIRST_PAUSE", 0.0)
        monkeypatch.setattr(module, "_LONGEST_PAUSE", 0.0)


@pytest.mark.thorough
@pytest.mark.parametrize("is_sealed", [False, True], ids=["loose", "sealed"])
@pytest.mark.parametrize("fault", [CUT_REPLY, LOST_REPLY, refused(409), refused(503, "SlowDown")], ids=str)
def test_a_read_that_a_fault_hits_returns_what_is_there(s3_place, s3_proxy, fault, is_sealed):
    world = World(s3_place, s3_proxy, "unseal" if is_sealed else "")
    behind = world.place.through(s3_proxy.endpoint)
    for name, read in READS.items():
        expected = read(world.healthy())
        for number in itertools.count():
            store = chunkstore.open_store(behind.url, **behind.options)
            with s3_proxy.failing(fault, at=number) as planned:
                assert read(store) == expected, f"{name}, request {number}"
            if not planned.hit:
                break
        assert number > 0, name


@pytest.mark.parametrize("fault", [DROPPED, CUT_REPLY], ids=str)
def test_a_read_whose_network_fails_for_good_raises_and_returns_no_part(s3_place, s3_proxy, fault):
    world = World(s3_place, s3_proxy)
    behind = world.place.through(s3_proxy.endpoint)
    for name, read in READS.items():
        expected = read(world.healthy())
        for number in itertools.count():
            store = chunkstore.open_store(behind.url, **behind.options)
            store.backend.client._patience = 0.0
            with s3_proxy.failing(fault, at=number, times=None) as planned:
                try:
                    assert read(store) == expected, f"{name}, request {number}"
                except ChunkstoreError:
                    assert planned.hit
            if not planned.hit:
                break


def record(store):
    with store.start_run("recorded") as run:
        run.set_parameters({"a": 1})
        with run.step("one") as step:
            step.log_metric("m", 1)
        with ThreadPoolExecutor(1) as pool:
            assert run.map("many", [1, 2], str, executor=pool) == ["1", "2"]


@pytest.mark.thorough
def test_a_recorded_run_is_whole_whichever_of_its_replies_is_lost(s3_place, s3_proxy):
    for number in itertools.count():
        place = s3_place.fresh()
        behind = place.through(s3_proxy.endpoint)
        store = chunkstore.open_store(behind.url, **behind.options)
        with s3_proxy.failing(LOST_REPLY, at=number) as planned:
            record(store)
        log = chunkstore.open_store(place.url, **place.options).get_run_log("recorded", strict=True)
        where = f"request {number}: {planned.hit}"
        assert log.status == "SUCCESS", where
        assert log.parameters == {"a": 1}, where
        assert {name: found.status for name, found in log.steps.items()} == {"one": "SUCCESS", "many": "SUCCESS"}, where
        assert {found.status for found in log.steps["many"].branches.values()} == {"SUCCESS"}, where
        if not planned.hit:
            break
    assert number > 5


@pytest.mark.thorough
@pytest.mark.parametrize("fault", [LOST_REPLY, CUT_REPLY, refused(503, "SlowDown")], ids=str)
@pytest.mark.parametrize("times", [1, None], ids=["once", "for good"])
def test_a_list_whose_index_faults_hit_has_every_run_and_says_of_which_nothing_is_known(
    s3_place, s3_proxy, fault, times
):
    place = s3_place.fresh()
    healthy = chunkstore.open_store(place.url, **place.options)
    behind = place.through(s3_proxy.endpoint)
    expected = {}
    for number in itertools.count():
        run_id = f"run-{number}"
        healthy.add_run_log(chunkstore.RunLog(run_id=run_id, status="SUCCESS"))  # what is in the index is old again
        expected[run_id] = "SUCCESS"
        store = chunkstore.open_store(behind.url, **behind.options)
        if times is None:
            store.backend.client._patience = 0.0
        with s3_proxy.failing(fault, at=number, times=times) as planned:
            try:
                found = {summary.run_id: summary for summary in store.list_runs()}
                assert set(found) == set(expected), f"request {number}"
                wrong = [each for each in found.values() if each.status != expected[each.run_id]]
                assert times is None or not wrong
                assert all(each.problem for each in wrong), f"request {number}: {wrong}"
            except ChunkstoreError:
                assert times is None
                assert planned.hit
        others = chunkstore.open_store(place.url, **place.options)
        assert {summary.run_id: summary.status for summary in others.list_runs()} == expected, f"request {number}"
        if not planned.hit:
            break
    assert number > 1
