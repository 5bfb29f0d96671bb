"""Executors get a record, change it and put it back whole, from many processes at once: nothing newer is erased."""

from itertools import product

import pytest
from processes import run_processes
from runnable import exceptions
from runnable.datastore import JobLog, RunLog

from plugins.records import RUN, attempt, branch, fill, full, json_of, metric_of, step


def record_more(store):
    """Add to a filled run on every level, and replace what is there."""
    store.add_step_log(step("p", step_type="parallel", status="SUCCESS", message="newer"), RUN)
    store.add_step_log(step("p.a.m", step_type="map", status="SUCCESS", message="newer"), RUN)
    store.add_step_log(step("p.a.m.1.t", status="SUCCESS", message="newer", attempts=[attempt(1), attempt(2)]), RUN)
    store.add_step_log(step("p.a.s", message="new"), RUN)
    store.add_branch_log(branch("p.a.m.2", status="SUCCESS", parameters={"score": metric_of(1)}), RUN)
    store.add_step_log(step("p.a.m.2.t", message="new"), RUN)
    store.add_step_log(step("end", step_type="success", status="SUCCESS"), RUN)
    store.set_parameters(RUN, {"seed": json_of("newer"), "more": json_of(1)})
    store.set_parameters(RUN, {"lr": json_of("newer"), "more": json_of(2)}, "p.a")
    store.set_parameters(RUN, {"score": metric_of("newer"), "more": json_of(3)}, "p.a.m.1")


def in_another_process(function, store):
    run_processes(function, [(store,)])


@pytest.fixture(params=["the same object", "another object", "another process"])
def elsewhere(request, store, other):
    """Lets a function use the store, in one place or another."""
    return {
        "the same object": lambda function: function(store),
        "another object": lambda function: function(other),
        "another process": lambda function: in_another_process(function, store),
    }[request.param]


# --- the run ----------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize("whole", [False, True])
def test_a_stale_put_of_the_run_erases_nothing(store, elsewhere, whole):
    fill(store)
    stale = store.get_run_log_by_id(RUN, full=whole)
    elsewhere(record_more)
    expected = full(store)
    stale.status = expected.status = "SUCCESS"
    store.put_run_log(stale)
    assert full(store) == expected


def test_a_stale_put_of_the_run_by_way_of_its_branch_erases_nothing(store, elsewhere):
    fill(store)
    stale = store.get_branch_log("", RUN)
    elsewhere(record_more)
    expected = full(store)
    stale.status = expected.status = "FAIL"
    store.add_branch_log(stale, RUN)
    assert full(store) == expected


def test_a_stale_put_of_the_run_elsewhere_erases_nothing(store, elsewhere):
    fill(store)
    stale = full(store)
    record_more(store)
    expected = full(store)
    elsewhere(lambda each: each.put_run_log(stale))
    assert full(store) == expected


def test_a_stale_put_of_the_run_keeps_what_others_have_configured_and_its_job(store, elsewhere):
    fill(store)
    store.set_run_config(RUN, {"a": 1})
    stale = store.get_run_log_by_id(RUN)

    def configure(each):
        each.set_run_config(RUN, {"b": 2})
        each.add_job_log(RUN, JobLog(status="SUCCESS", message="newer"))

    elsewhere(configure)
    store.put_run_log(stale)
    assert store.get_run_config(RUN) == {"a": 1, "b": 2}
    assert store.get_job_log(RUN).message == "newer"


def test_a_status_is_set_over_no_newer_record(store, elsewhere):
    fill(store)
    elsewhere(record_more)
    expected = full(store)
    expected.status = "SUCCESS"
    store.update_run_log_status(RUN, "SUCCESS")
    assert full(store) == expected


def test_a_put_of_the_run_adds_what_is_missing(store, elsewhere):
    fill(store)
    given = full(store)
    given.parameters["new"] = json_of(1)
    given.steps["end"] = step("end", message="new")
    outer = given.steps["p"].branches["p.a"]
    outer.parameters["new"] = json_of(2)
    outer.steps["p.a.s"] = step("p.a.s", message="new")
    inner = step("p.a.m.2.t", message="new")
    outer.steps["p.a.m"].branches["p.a.m.2"] = branch(
        "p.a.m.2", parameters={"x": json_of(3)}, steps={inner.internal_name: inner}
    )
    elsewhere(lambda each: each.put_run_log(given))
    assert full(store) == given


def test_a_put_of_a_run_that_does_not_exist_creates_it_whole(store, other, tmp_path):
    fill(store)
    given = full(store)
    given.run_id, given.job = "copy", JobLog(status="SUCCESS")
    given.run_config = {"executor": "local"}
    other.put_run_log(given)
    for each in (store, other):
        assert each.get_run_log_by_id("copy", full=True) == given
        assert each.get_parameters("copy", "p.a.m.1") == {"score": metric_of(0.5)}
    with pytest.raises(exceptions.RunLogExistsError):
        store.create_run_log("copy")


def test_an_empty_run_can_be_created_by_putting_it(store):
    store.put_run_log(RunLog(run_id=RUN))
    assert full(store) == RunLog(run_id=RUN)


# --- branches ---------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize("name", ["p.a", "p.a.m.1"])
def test_a_stale_put_of_a_branch_erases_nothing(store, elsewhere, name):
    fill(store)
    stale = store.get_branch_log(name, RUN)
    elsewhere(record_more)
    expected = full(store)
    stale.status = expected.search_branch_by_internal_name(name)[0].status = "SUCCESS"
    store.add_branch_log(stale, RUN)
    assert full(store) == expected


@pytest.mark.parametrize("name", ["p.a", "p.a.m.1"])
def test_a_stale_put_of_a_branch_elsewhere_erases_nothing(store, elsewhere, name):
    fill(store)
    stale = store.get_branch_log(name, RUN)
    record_more(store)
    expected = full(store)
    elsewhere(lambda each: each.add_branch_log(stale, RUN))
    assert full(store) == expected


def test_a_branch_that_was_got_when_it_was_new_erases_nothing(store, elsewhere):
    fill(store)
    stale = store.create_branch_log("p.b")
    store.add_branch_log(stale, RUN)

    def work(each):
        each.add_step_log(step("p.b.s", message="done"), RUN)
        each.set_parameters(RUN, {"x": json_of(1)}, "p.b")

    elsewhere(work)
    stale.status = "SUCCESS"
    store.add_branch_log(stale, RUN)
    found = store.get_branch_log("p.b", RUN)
    assert (found.status, list(found.steps), found.parameters) == ("SUCCESS", ["p.b.s"], {"x": json_of(1)})
    assert full(store).steps["p"].branches["p.b"] == found


def test_a_put_of_a_branch_adds_what_is_missing(store, other, elsewhere):
    fill(store)
    given = store.get_branch_log("p.a", RUN)
    given.parameters["new"] = json_of(1)
    given.steps["p.a.s"] = step("p.a.s", message="new")
    given.steps["p.a.m"].branches["p.a.m.2"] = branch("p.a.m.2", parameters={"x": json_of(2)})
    elsewhere(lambda each: each.add_branch_log(given, RUN))
    # Whoever records in a branch itself may find out a little later what others have added there.
    assert other.get_branch_log("p.a", RUN) == full(store).steps["p"].branches["p.a"] == given


def test_a_branch_inside_a_step_that_is_missing_is_not_overwritten(store, elsewhere):
    fill(store)
    given = full(store)
    stale = branch("q.a", parameters={"x": json_of("stale")}, steps={"q.a.s": step("q.a.s", message="stale")})
    given.steps["q"] = step("q", step_type="map", branches={"q.a": stale})

    def work(each):
        each.add_branch_log(branch("q.a", status="SUCCESS"), RUN)
        each.add_step_log(step("q.a.s", message="newer"), RUN)
        each.set_parameters(RUN, {"x": json_of("newer")}, "q.a")

    elsewhere(work)
    store.put_run_log(given)
    found = full(store).steps["q"].branches["q.a"]
    assert (found.status, found.steps["q.a.s"].message, found.parameters) == (
        "SUCCESS",
        "newer",
        {"x": json_of("newer")},
    )


# --- steps ------------------------------------------------------------------------------------------------------------


def test_a_stale_put_of_a_step_erases_nothing_inside_it(store, elsewhere):
    fill(store)
    stale = full(store).steps["p"]
    elsewhere(record_more)
    expected = full(store)
    stale.status = expected.steps["p"].status = "FAIL"
    expected.steps["p"].message = stale.message
    store.add_step_log(stale, RUN)
    assert full(store) == expected


def test_a_put_of_a_step_adds_branches_that_are_missing(store, elsewhere):
    fill(store)
    given = full(store).steps["p"]
    inner = step("p.b.s", message="new")
    given.branches["p.b"] = branch("p.b", parameters={"x": json_of(1)}, steps={inner.internal_name: inner})
    elsewhere(lambda each: each.add_step_log(given, RUN))
    assert full(store).steps["p"] == given


def put_again(store, message):
    """Get a step, change it and put it back, as an executor does after each attempt."""
    found = store.get_step_log("last", RUN)
    found.message = message
    found.attempts.append(attempt(len(found.attempts) + 1, message=message))
    store.add_step_log(found, RUN)


@pytest.mark.parametrize("order", list(product((0, 1), repeat=4)), ids=str)
def test_the_last_put_of_a_step_counts_whoever_puts_it(store, other, order):
    fill(store)
    messages = []
    for turn, number in enumerate(order):
        # The third turn's message is that of the first: also going back is a change.
        messages.append(f"message {turn % 2}")
        put_again((store, other)[number], messages[-1])
        for each in (store, other):
            found = each.get_step_log("last", RUN)
            assert found == full(each).steps["last"]
            assert (found.message, [each.message for each in found.attempts]) == (messages[-1], messages)


@pytest.mark.parametrize("first", [0, 1])
def test_the_last_put_counts_when_two_have_made_the_step_anew(store, other, first):
    store.create_run_log(RUN)
    both = [store, other] if first == 0 else [other, store]
    for turn in range(3):
        for number, each in enumerate(both):
            each.add_step_log(step("s", message=f"{turn}-{number}"), RUN)
            assert [reader.get_step_log("s", RUN).message for reader in both] == [f"{turn}-{number}"] * 2
            assert full(each).steps["s"].message == f"{turn}-{number}"


def take_turns(store, number, turns):
    """Put the step whenever it is this process's turn, which the number of attempts tells."""
    while True:
        made = len(store.get_step_log("last", RUN).attempts)
        if made >= turns:
            return
        if made % 2 == number:
            put_again(store, f"by {number}")


@pytest.mark.parametrize("owner", [0, 1])
def test_two_processes_that_put_a_step_in_turns_lose_no_attempt(store, owner):
    turns = 30

    def work(number):
        if number == owner:
            fill(store)
        while True:
            try:
                store.get_step_log("last", RUN)
                break
            except (exceptions.RunLogNotFoundError, exceptions.StepLogNotFoundError):
                continue
        take_turns(store, number, turns)

    run_processes(work, [(0,), (1,)])
    found = full(store).steps["last"]
    assert [each.message for each in found.attempts] == ["by 0", "by 1"] * (turns // 2)
    assert [each.attempt_number for each in found.attempts] == list(range(1, turns + 1))


def set_many(store, number):
    for turn in range(20):
        store.set_parameters(RUN, {f"{number}-{turn}": json_of(turn)}, "p.a")
        store.add_step_log(step(f"p.a.s{number}-{turn}", message=str(turn)), RUN)
        branch_log = store.get_branch_log("p.a", RUN)
        branch_log.status = f"{number}-{turn}"
        store.add_branch_log(branch_log, RUN)
        run_log = full(store)
        run_log.status = "PROCESSING"
        store.put_run_log(run_log)


def test_processes_that_put_everything_back_at_once_erase_nothing(store):
    fill(store)
    run_processes(set_many, [(store, number) for number in range(3)])
    found = full(store).steps["p"].branches["p.a"]
    names = [f"{number}-{turn}" for number in range(3) for turn in range(20)]
    assert found.parameters == {"lr": json_of(0.1), **{name: json_of(int(name.partition("-")[2])) for name in names}}
    assert {name: each.message for name, each in found.steps.items() if name != "p.a.m"} == {
        f"p.a.s{name}": name.partition("-")[2] for name in names
    }
    assert found.status in {f"{number}-19" for number in range(3)}
