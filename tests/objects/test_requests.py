"""Requests of an object store are counted, and few."""

import json
from concurrent.futures import ThreadPoolExecutor

import obstore
import pytest
from recorded import step
from request_counts import counted_place, opened  # noqa: F401 - a fixture

from chunkstore.names import RUN_FILE
from chunkstore.records.fields import MetricPoint
from chunkstore.records.models import PROCESSING, SUCCESS

RUN = "run"


@pytest.fixture
def place(counted_place):  # noqa: F811
    return counted_place[0]


@pytest.fixture
def requests(counted_place):  # noqa: F811
    return counted_place[1]


@pytest.fixture
def store(place):
    """A store object that has found out what its server does."""
    store = opened(place)
    store.create_run_log("first")
    return store


def end(store, run_id=RUN, status=SUCCESS):
    def change(log):
        log.status = status

    store.update_run_log(run_id, change)


def fill(place, chunks, run_id=RUN, *, status=SUCCESS):
    """Put the chunks of a run at once, as a tool that copies a folder would."""
    bare = opened(place).backend.place.connect()
    files = {
        f"{run_id}/StepLog-step{number:05}-{number + 1}.json": step(f"step{number:05}", status=status).to_json()
        for number in range(chunks)
    }
    with ThreadPoolExecutor(32) as threads:
        list(threads.map(lambda file: obstore.put(bare, file, files[file].encode()), files))


# --- writing ---------------------------------------------------------------------------------------------------------


def test_a_step_that_is_added_or_replaced_is_one_request(store, requests):
    store.create_run_log(RUN)
    for record in (step("a", status=PROCESSING), step("a", status=PROCESSING, message="on"), step("a"), step("b")):
        with requests.counted() as counted:
            store.add_step_log(RUN, record)
        assert counted.total == counted.puts == 1, str(counted)


def test_a_step_that_has_ended_and_is_replaced_is_few_requests(store, requests):
    store.create_run_log(RUN)
    store.add_step_log(RUN, step("a"))
    with requests.counted() as counted:
        store.add_step_log(RUN, step("a", message="again"))
    assert counted.total <= 3, str(counted)


def test_the_first_step_of_a_run_that_another_process_has_made_is_two(place, store, requests):
    store.create_run_log(RUN)
    other = opened(place)
    with requests.counted() as counted:
        other.add_step_log(RUN, step("a"))
    assert counted.total <= 2, str(counted)


def test_points_of_metrics_are_one_request_each_time_they_are_written(store, requests):
    store.create_run_log(RUN)
    store.add_step_log(RUN, step("a", status=PROCESSING))
    for number in range(2):
        with requests.counted() as counted:
            store.append_metrics(RUN, "a", {"loss": [MetricPoint(number, "2024-02-02 10:00:00")]})
        assert counted.total == 1, str(counted)


def test_a_change_by_another_is_two_requests(place, store, requests):
    store.create_run_log(RUN)
    store.add_step_log(RUN, step("a"))
    other = opened(place)
    for number in range(3):
        with requests.counted() as counted:
            other.update_step_log(RUN, "a", lambda log, number=number: setattr(log, "message", str(number)))
    assert counted.total <= 2, str(counted)
    assert store.get_step_log(RUN, "a").message == "2"


def test_parameters_are_two_requests(place, store, requests):
    store.create_run_log(RUN, parameters={"seed": 1})
    other = opened(place)
    for number, one in enumerate((store, other, store, other)):
        one.set_parameters(RUN, {"rate": number})
    for number, one in enumerate((store, other)):
        with requests.counted() as counted:
            one.set_parameters(RUN, {"rate": -number})
        assert counted.total <= 2, str(counted)


def test_a_change_that_others_overtake_is_two_requests_more_each_time(place, store, requests):
    store.create_run_log(RUN)
    other = opened(place)
    other.update_run_log(RUN, lambda log: setattr(log, "tag", "0"))
    store.update_run_log(RUN, lambda log: setattr(log, "tag", "1"))
    overtaken = []

    def change(log):
        if len(overtaken) < 3:
            with requests.counted() as counted:
                others.submit(other.update_run_log, RUN, lambda log: setattr(log, "tag", f"{log.tag}, theirs")).result()
            overtaken.append(counted.total)
        log.tag += ", mine"

    with ThreadPoolExecutor(1) as others, requests.counted() as counted:
        store.update_run_log(RUN, change)
    assert opened(place).get_run_log(RUN).tag == "1, theirs, theirs, theirs, mine"
    assert counted.total - sum(overtaken) <= 2 + 2 * 3, str(counted)


# --- a whole recording -----------------------------------------------------------------------------------------------


def test_the_start_of_a_run_is_four_requests_at_most(place, store, requests):
    with requests.counted() as counted:
        run = store.start_run()
    assert counted.total <= 4, str(counted)
    run.finish()
    with requests.counted() as counted:
        run = opened(place).start_run(RUN)  # by a process that has not found out yet what its server does
    assert counted.total <= 4, str(counted)
    run.finish()


@pytest.mark.parametrize("steps", [0, 3, 40])
def test_the_end_of_a_run_is_four_requests_at_most_and_the_run_is_sealed_then(place, store, requests, steps):
    run = store.start_run(RUN)
    for number in range(steps):
        with run.step(f"step{number}") as one:
            one.log_metric("loss", number)
    with requests.counted() as counted:
        run.finish()
    assert counted.total <= 4, str(counted)
    with requests.counted() as counted:
        log = opened(place).get_run_log(RUN)
    assert counted.total <= 3, str(counted)
    assert (log.status, len(log.steps), log.problems) == (SUCCESS, steps, [])


def test_a_whole_recording_makes_no_request_that_is_not_needed(store, requests):
    with requests.counted() as counted, store.start_run(RUN) as run:
        for number in range(3):
            with run.step(f"step{number}") as one:
                one.log_metrics({"loss": number, "accuracy": number})
    # Two to start, two for each step and one for its metrics, four to end.
    assert counted.total <= 4 + 3 * 3 + 4, str(counted)


def test_a_branch_of_a_map_is_as_many_requests_as_it_has_records(store, requests):
    with store.start_run(RUN) as run:
        with requests.counted() as few:
            run.map("few", range(2), str, executor=ThreadPoolExecutor(2))
        with requests.counted() as many:
            run.map("many", range(12), str, executor=ThreadPoolExecutor(2))
    # The start and the end of the branch, and of the step in it.
    assert (many.total - few.total) / 10 <= 4, str(many)


# --- reading ---------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize("chunks", [10, pytest.param(2_500, marks=pytest.mark.thorough)])
def test_a_sealed_run_is_read_with_three_requests_whatever_its_size(place, store, requests, chunks):
    store.create_run_log(RUN)
    store.set_parameters(RUN, {"seed": 1})
    store.add_step_log(RUN, step("changed"))
    opened(place).update_step_log(RUN, "changed", lambda log: setattr(log, "message", "seen"))
    fill(place, chunks)
    end(store)
    reads = [
        lambda store: store.get_run_log(RUN),
        lambda store: list(store.iter_records(RUN)),
        lambda store: store.get_run_json(RUN),
        lambda store: store.find_problems(RUN),
        lambda store: store.get_step_log(RUN, "step00003"),
    ]
    for read in reads:
        other = opened(place)
        with requests.counted() as counted:
            read(other)
        assert counted.total <= 3, str(counted)
    log = opened(place).get_run_log(RUN)
    assert len(log.steps) == chunks + 1
    assert log.steps["changed"].message == "seen"
    assert log.parameters == {"seed": 1}
    assert log.problems == []


@pytest.mark.parametrize("chunks", [100, pytest.param(2_500, marks=pytest.mark.thorough)])
def test_an_open_run_is_read_with_one_list_a_thousand_chunks_and_one_get_each(place, store, requests, chunks):
    store.create_run_log(RUN)
    fill(place, chunks)
    with requests.counted() as counted:
        log = opened(place).get_run_log(RUN)
    assert len(log.steps) == chunks
    assert counted.lists == -(-(chunks + 1) // 1_000)
    assert counted.gets == chunks + 1
    # Whether the run was sealed between two pages is looked at once.
    assert counted.total == counted.lists + counted.gets + (chunks > 1_000)
    if not opened(place).backend.place.is_in_memory:
        assert counted.most_at_once >= 16


@pytest.mark.thorough
def test_a_step_of_a_long_run_is_looked_up_without_a_listing_of_the_run(place, store, requests):
    store.create_run_log(RUN)
    fill(place, 3_000)
    with requests.counted() as counted:
        assert opened(place).get_step_log(RUN, "step01234").status == SUCCESS
    assert counted.total <= 8, str(counted)


def test_many_finished_runs_are_listed_with_a_handful_of_requests(place, store, requests):
    for number in range(40):
        store.create_run_log(f"run-{number}", status=SUCCESS)
    list(opened(place).list_runs())
    with requests.counted() as counted:
        runs = {one.run_id: one.status for one in opened(place).list_runs()}
    assert len(runs) == 41
    assert counted.total <= 4, counted  # the list, the index, and the run that goes on


@pytest.mark.thorough
def test_ten_thousand_finished_runs_are_listed_with_fifteen_requests(place, store, requests):
    bare = opened(place).backend.place.connect()
    end(store, "first")
    record = json.loads(bytes(obstore.get(bare, f"first/{RUN_FILE}").bytes()))

    def put(number):
        notes = {**record["run_config"]["chunkstore"], "incarnation": f"{number:016x}"}
        one = {**record, "run_id": f"run-{number:05}", "run_config": {"chunkstore": notes}}
        obstore.put(bare, f"run-{number:05}/{RUN_FILE}", json.dumps(one).encode())

    with ThreadPoolExecutor(32) as threads:
        list(threads.map(put, range(10_000)))
    assert sum(1 for _ in opened(place).list_runs()) == 10_001
    with requests.counted() as counted:
        assert sum(1 for _ in opened(place).list_runs()) == 10_001
    assert counted.total <= 15, str(counted)


def test_who_follows_a_run_in_which_nothing_happens_makes_one_request_a_look(place, store, requests, monkeypatch):
    store.create_run_log(RUN)
    store.add_step_log(RUN, step("a"))
    other = opened(place)
    monkeypatch.setattr(type(other.backend), "seconds_between_looks", 0.05)
    following = other.follow(RUN)
    assert len(next(following).steps) == 1
    with ThreadPoolExecutor(1) as thread, requests.counted() as counted:
        later = thread.submit(next, following)
        while counted.total < 5:
            pass
        quiet = list(counted.requests)
        store.add_step_log(RUN, step("b"))
        assert len(later.result().steps) == 2
    assert {request.operation for request in quiet[1:]} == {"list"}
    new = counted.requests[len(quiet) :]
    assert sum(request.operation == "get" for request in new) <= 1


def test_a_run_is_deleted_with_few_requests(store, requests):
    store.create_run_log(RUN)
    for number in range(20):
        store.add_step_log(RUN, step(f"step{number}"))
    with requests.counted() as counted:
        store.delete_run(RUN)
    assert counted.total <= 6, str(counted)
