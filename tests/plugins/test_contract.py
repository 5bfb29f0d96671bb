"""What runnable asks of a run log store: its own keeps it as well, where a test runs over both."""

import pytest
from processes import run_processes
from runnable import exceptions
from runnable.datastore import CodeIdentity, DataCatalog, JobLog, RunLog

from plugins.records import EVERY_KIND, RUN, attempt, branch, fill, full, json_of, metric_of, step

NESTED = {"p": {"p.a": {"p.a.m": {"p.a.m.1": {"p.a.m.1.t": {}}}}}, "last": {}}


def names_in(steps):
    return {
        name: {inner: names_in(branch_log.steps) for inner, branch_log in step_log.branches.items()}
        for name, step_log in steps.items()
    }


# --- runs -------------------------------------------------------------------------------------------------------------


def test_a_new_run_is_returned_as_it_is_read(any_store):
    created = any_store.create_run_log(RUN, dag_hash="abc", tag="nightly", status="PROCESSING")
    assert isinstance(created, RunLog)
    expected = RunLog(run_id=RUN, dag_hash="abc", tag="nightly", status="PROCESSING")
    assert created == any_store.get_run_log_by_id(RUN) == full(any_store) == expected


def test_a_new_run_is_created_and_nothing_more(any_store):
    assert any_store.create_run_log(RUN).status == "CREATED"


def test_a_run_without_a_tag_can_be_created(any_store):
    any_store.create_run_log(RUN, tag=None)
    assert full(any_store).tag is None


def test_a_run_is_created_once(any_store):
    any_store.create_run_log(RUN, tag="first")
    with pytest.raises(exceptions.RunLogExistsError):
        any_store.create_run_log(RUN, tag="second")
    assert any_store.get_run_log_by_id(RUN).tag == "first"


def create_runs(store, count):
    won = []
    for number in range(count):
        try:
            store.create_run_log(f"run-{number}")
        except exceptions.RunLogExistsError:
            continue
        won.append(number)
    return won


def test_of_processes_that_create_a_run_at_once_one_succeeds(store):
    won = run_processes(create_runs, [(store, 20)] * 4)
    assert sorted(number for numbers in won for number in numbers) == list(range(20))


def test_a_run_that_was_never_created_is_not_found(any_store):
    for call in (
        lambda: any_store.get_run_log_by_id(RUN),
        lambda: any_store.get_run_log_by_id(RUN, full=True),
        lambda: any_store.update_run_log_status(RUN, "FAIL"),
        lambda: any_store.get_parameters(RUN),
        lambda: any_store.get_parameters(RUN, "p.a"),
        lambda: any_store.set_parameters(RUN, {"a": json_of(1)}),
        lambda: any_store.set_parameters(RUN, {}),
        lambda: any_store.set_parameters(RUN, {}, "p.a"),
        lambda: any_store.get_run_config(RUN),
        lambda: any_store.set_run_config(RUN, {}),
        lambda: any_store.get_step_log("s", RUN),
        lambda: any_store.add_step_log(step("s"), RUN),
        lambda: any_store.add_step_log(step("p.a.s"), RUN),
        lambda: any_store.get_branch_log("p.a", RUN),
        lambda: any_store.get_branch_log("", RUN),
        lambda: any_store.add_branch_log(branch("p.a"), RUN),
        lambda: any_store.get_job_log(RUN),
        lambda: any_store.add_job_log(RUN, JobLog()),
    ):
        with pytest.raises(exceptions.RunLogNotFoundError):
            call()


def test_a_full_log_holds_everything_in_its_place(any_store):
    fill(any_store)
    log = full(any_store)
    assert names_in(log.steps) == NESTED
    assert list(log.steps) == ["p", "last"]
    outer = log.steps["p"].branches["p.a"]
    inner = outer.steps["p.a.m"].branches["p.a.m.1"]
    assert (log.parameters, outer.parameters) == ({"seed": json_of(7)}, {"lr": json_of(0.1)})
    assert inner.parameters == {"score": metric_of(0.5)}
    assert inner.steps["p.a.m.1.t"].attempts == [attempt(status="SUCCESS")]
    assert (log.tag, log.dag_hash, log.status, log.job) == ("nightly", "abc", "PROCESSING", None)
    assert log.search_step_by_internal_name("p.a.m.1.t")[1] == inner


def test_a_log_that_is_not_full_has_no_steps_but_parameters(store):
    fill(store)
    log = store.get_run_log_by_id(RUN)
    assert (log.steps, log.parameters, log.tag) == ({}, {"seed": json_of(7)}, "nightly")


def test_a_run_that_is_put_back_is_changed(any_store):
    fill(any_store)
    log = any_store.get_run_log_by_id(RUN)
    log.status, log.tag, log.dag_hash = "SUCCESS", "weekly", None
    log.run_config["executor"] = "local"
    any_store.put_run_log(log)
    found = full(any_store)
    assert (found.status, found.tag, found.dag_hash) == ("SUCCESS", "weekly", None)
    assert found.run_config == {"executor": "local"}


def test_a_status_is_changed_and_nothing_else(any_store):
    fill(any_store)
    any_store.set_run_config(RUN, {"a": 1})
    before = full(any_store)
    any_store.update_run_log_status(RUN, "SUCCESS")
    before.status = "SUCCESS"
    assert full(any_store) == before


def test_a_configuration_is_added_to(any_store):
    any_store.create_run_log(RUN)
    assert any_store.get_run_config(RUN) == {}
    any_store.set_run_config(RUN, {"a": {"deep": 1}, "b": 1})
    any_store.set_run_config(RUN, {"b": [2], "c": None})
    assert any_store.get_run_config(RUN) == full(any_store).run_config == {"a": {"deep": 1}, "b": [2], "c": None}


def test_what_chunkstore_notes_about_a_run_is_kept_from_runnable(store):
    store.create_run_log(RUN)
    store.set_run_config(RUN, {"a": 1})
    store.put_run_log(full(store))
    store.update_run_log_status(RUN, "SUCCESS")
    notes = store.store.get_run_log(RUN).notes
    assert notes["finished"] >= notes["created"]
    assert store.get_run_config(RUN) == full(store).run_config == store.get_run_log_by_id(RUN).run_config == {"a": 1}


def test_a_run_that_goes_on_has_not_finished(store):
    store.create_run_log(RUN)
    store.update_run_log_status(RUN, "FAIL")
    store.update_run_log_status(RUN, "PROCESSING")
    assert "finished" not in store.store.get_run_log(RUN).notes


# --- steps and branches -----------------------------------------------------------------------------------------------


@pytest.mark.parametrize("name", ["new", "last", "p.a.s", "p.a.m.1.t"])
def test_a_step_is_read_as_it_was_added(any_store, name):
    fill(any_store)
    given = step(
        name,
        status="SUCCESS",
        step_type="task",
        message="done",
        mock=True,
        attempts=[
            attempt(
                2,
                start_time="2024-02-02 05:49:41.697142",
                end_time="2024-02-02 05:49:42",
                status="SUCCESS",
                message="fine",
                input_parameters={"a": json_of(1)},
                output_parameters=EVERY_KIND,
                user_defined_metrics={"m": metric_of(1)},
                retry_indicator="retry",
                code_identities=[CodeIdentity(code_identifier="abc", code_identifier_type="git")],
            ),
            attempt(3),
        ],
        data_catalog=[DataCatalog(name="x.csv", data_hash="f00", stage="put")],
    )
    any_store.add_step_log(given, RUN)
    assert any_store.get_step_log(name, RUN).model_dump() == given.model_dump()
    found = full(any_store).search_step_by_internal_name(name)[0]
    assert found.model_dump() == given.model_dump()


def test_a_step_that_is_added_again_is_replaced(any_store):
    fill(any_store)
    any_store.add_step_log(step("last", message="old", attempts=[attempt(1)]), RUN)
    any_store.add_step_log(step("last", attempts=[attempt(2)]), RUN)
    assert any_store.get_step_log("last", RUN) == step("last", attempts=[attempt(2)])
    assert list(full(any_store).steps) == ["p", "last"]


@pytest.mark.parametrize("name", ["missing", "p.a.missing", "p.b.s", "p.a.m.2.t", "missing.a.s", "las"])
def test_a_step_that_was_never_added_is_not_found(any_store, name):
    fill(any_store)
    with pytest.raises(exceptions.StepLogNotFoundError):
        any_store.get_step_log(name, RUN)


@pytest.mark.parametrize("name", ["p.b.s", "missing.a.s", "p.a.m.2.t", "last.x.s"])
def test_a_step_needs_a_branch_that_exists(any_store, name):
    fill(any_store)
    before = full(any_store)
    with pytest.raises(exceptions.BranchLogNotFoundError):
        any_store.add_step_log(step(name), RUN)
    assert full(any_store) == before


def test_a_branch_is_read_with_its_steps_and_parameters(any_store):
    fill(any_store)
    any_store.add_step_log(step("p.a.s"), RUN)
    found = any_store.get_branch_log("p.a", RUN)
    assert found == full(any_store).steps["p"].branches["p.a"]
    assert names_in(found.steps) == {"p.a.m": NESTED["p"]["p.a"]["p.a.m"], "p.a.s": {}}


def test_a_branch_is_added_with_its_steps_and_parameters(any_store):
    fill(any_store)
    given = branch("p.b", status="SUCCESS", parameters=EVERY_KIND, steps={"p.b.s": step("p.b.s", message="inside")})
    any_store.add_branch_log(given, RUN)
    assert any_store.get_branch_log("p.b", RUN) == full(any_store).steps["p"].branches["p.b"] == given
    assert list(full(any_store).steps["p"].branches) == ["p.a", "p.b"]
    assert any_store.get_step_log("p.b.s", RUN).message == "inside"
    assert any_store.get_parameters(RUN, "p.b") == EVERY_KIND


def test_the_status_of_a_branch_that_is_put_back_is_changed(any_store):
    fill(any_store)
    found = any_store.get_branch_log("p.a", RUN)
    found.status = "SUCCESS"
    any_store.add_branch_log(found, RUN)
    assert any_store.get_branch_log("p.a", RUN) == found
    assert full(any_store).steps["p"].branches["p.a"] == found


@pytest.mark.parametrize("name", ["p.b", "p.a.m.2", "missing.a"])
def test_a_branch_that_was_never_added_is_not_found(any_store, name):
    fill(any_store)
    with pytest.raises(exceptions.BranchLogNotFoundError):
        any_store.get_branch_log(name, RUN)


@pytest.mark.parametrize("name", ["", None])
def test_a_branch_without_a_name_is_the_run(any_store, name):
    fill(any_store)
    log = any_store.get_branch_log(name, RUN)
    assert isinstance(log, RunLog)
    log.status = "SUCCESS"
    any_store.add_branch_log(log, RUN)
    assert any_store.get_run_log_by_id(RUN).status == "SUCCESS"
    assert names_in(full(any_store).steps) == NESTED


def test_fields_that_the_models_allow_beyond_their_own_survive(any_store):
    any_store.create_run_log(RUN)
    identity = CodeIdentity(code_identifier="abc", dirty_files=["a.py"], nested={"a": None})
    data = DataCatalog(name="x.csv", rows=10, columns={"a": "int"}, note="")
    any_store.add_step_log(step("s", data_catalog=[data], attempts=[attempt(code_identities=[identity])]), RUN)
    any_store.add_job_log(RUN, JobLog(code_identities=[identity], data_catalog=[data]))
    for found in (any_store.get_step_log("s", RUN), full(any_store).steps["s"]):
        assert found.data_catalog[0].model_dump() == data.model_dump()
        assert found.attempts[0].code_identities[0].model_dump() == identity.model_dump()
    job = any_store.get_job_log(RUN)
    assert job.data_catalog[0].model_dump() == data.model_dump()
    assert job.code_identities[0].model_dump() == identity.model_dump()


# --- jobs -------------------------------------------------------------------------------------------------------------


def test_a_job_is_read_as_it_was_added_and_its_status_is_that_of_the_run(any_store):
    any_store.create_run_log(RUN, status="PROCESSING")
    with pytest.raises(exceptions.JobLogNotFoundError):
        any_store.get_job_log(RUN)
    job = any_store.create_job_log()
    any_store.add_job_log(RUN, job)
    assert any_store.get_job_log(RUN) == job
    assert any_store.get_run_log_by_id(RUN).status == "CREATED"
    job.status, job.message = "SUCCESS", "done"
    job.attempts.append(attempt(status="SUCCESS", output_parameters=EVERY_KIND))
    any_store.add_job_log(RUN, job)
    log = full(any_store)
    assert any_store.get_job_log(RUN) == log.job == job
    assert log.status == "SUCCESS"


def test_a_put_of_the_run_keeps_its_job(any_store):
    any_store.create_run_log(RUN)
    job = JobLog(status="SUCCESS", message="done")
    any_store.add_job_log(RUN, job)
    any_store.put_run_log(any_store.get_run_log_by_id(RUN))
    any_store.update_run_log_status(RUN, "FAIL")
    assert any_store.get_job_log(RUN) == job
