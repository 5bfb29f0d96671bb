"""Runs go that a rule lets go; what is live, needed or unreadable is kept."""

import json
from datetime import timedelta

import pytest

from chunkstore import StepLog
from chunkstore.errors import InvalidValueError
from chunkstore.maintenance.checking import verify
from chunkstore.maintenance.retention import Rule, parse_age, plan_retention
from chunkstore.records.models import StepAttempt
from maintenance.old_runs import abandon, add, gone, runs

# --- which runs ------------------------------------------------------------------------------------------------------


def test_only_runs_that_ended_longer_ago_go(any_store):
    for days in (0, 10, 29.9, 30.1, 400):
        add(any_store, f"run-{days}", days)
    assert gone(any_store, older_than=timedelta(days=30)) == {"run-30.1", "run-400"}


def test_the_newest_are_kept(any_store):
    for days in range(5):
        add(any_store, f"run-{days}", days)
    assert gone(any_store, keep_last=2) == {"run-2", "run-3", "run-4"}
    assert gone(any_store, keep_last=2) == set()


def test_a_run_goes_only_if_it_meets_everything(any_store):
    add(any_store, "old success", 40)
    add(any_store, "old failure", 40, "FAIL")
    add(any_store, "old tagged failure", 40, "FAIL", tag="debug")
    add(any_store, "new tagged failure", 1, "FAIL", tag="debug")
    rule = {"older_than": timedelta(days=30), "statuses": frozenset({"FAIL"}), "tags": frozenset({"debug"})}
    assert gone(any_store, **rule) == {"old tagged failure"}


def test_the_newest_are_counted_among_runs_of_these_tags_and_statuses_whatever_their_age(store):
    for days in (1, 50, 60, 70):
        add(store, f"fail-{days}", days, "FAIL")
        add(store, f"fine-{days}", days)
    rule = {"keep_last": 2, "older_than": timedelta(days=30), "statuses": frozenset({"FAIL"})}
    assert gone(store, **rule) == {"fail-60", "fail-70"}


@pytest.mark.parametrize("count", [0, 1])
def test_an_empty_store_and_one_run_are_fine(any_store, count):
    for _ in range(count):
        add(any_store, "one", 5)
    assert gone(any_store, keep_last=1) == set()
    assert gone(any_store, keep_last=0) == runs(any_store) | ({"one"} if count else set())


def test_a_rule_that_says_nothing_is_refused(store):
    with pytest.raises(InvalidValueError, match="no rule"):
        plan_retention(store, Rule())


def test_a_status_that_is_misspelt_is_refused_and_one_of_another_tool_is_not(store):
    store.create_run_log("odd", status="SKIPPED")
    with pytest.raises(InvalidValueError, match="Did you mean 'FAIL'"):
        plan_retention(store, Rule(statuses=frozenset({"FAILED"})))
    assert plan_retention(store, Rule(statuses=frozenset({"SKIPPED", "FAIL", "ANOTHER"}))).delete == []


@pytest.mark.parametrize("status", ["PROCESSING", "UNKNOWN", "LIVE"])
def test_a_rule_for_runs_that_may_go_on_is_refused(store, status):
    with pytest.raises(InvalidValueError, match="never deleted"):
        plan_retention(store, Rule(statuses=frozenset({status, "FAIL"})))


@pytest.mark.parametrize(
    ("text", "age"), [("90m", timedelta(minutes=90)), ("12h", timedelta(hours=12)), ("2w", timedelta(weeks=2))]
)
def test_ages_are_written_as_people_write_them(text, age):
    assert parse_age(text) == age


@pytest.mark.parametrize("text", ["", "30", "d", "-3d", "1.5d", "3 years", "9999999d", "٣d"])
def test_other_ages_are_refused(text):
    with pytest.raises(InvalidValueError, match="as in 30d"):
        parse_age(text)


@pytest.mark.parametrize("text", ["999999w", "999999d", "60000w"])
def test_ages_that_lead_beyond_all_times_are_refused(text):
    with pytest.raises(InvalidValueError, match="longer than 365,000 days"):
        parse_age(text)


def test_a_rule_of_an_absurd_age_lets_no_run_go(store):
    assert plan_retention(store, Rule(older_than=timedelta.max)).delete == []


def test_runs_of_tools_that_note_no_times_are_as_old_as_their_steps(store, logs):
    for run_id, year in (("old", 2001), ("unknown", None)):
        attempts = [StepAttempt(start_time=f"{year}-01-01 00:00:00", end_time=f"{year}-01-01 00:00:01")]
        step = {**json.loads(StepLog(name="s", internal_name="s", attempts=attempts if year else []).to_json())}
        (logs / run_id).mkdir(parents=True)
        (logs / run_id / "RunLog.json").write_text(json.dumps({"run_id": run_id, "status": "FAIL"}))
        (logs / run_id / "StepLog-s-1706852981689005000.json").write_text(json.dumps(step))
    add(store, "now")
    assert gone(store, keep_last=3) == set()
    assert gone(store, keep_last=2) == {"old"}


def test_one_of_which_nobody_knows_its_age_is_not_old(store, logs):
    (logs / "unknown").mkdir(parents=True)
    (logs / "unknown" / "RunLog.json").write_text(json.dumps({"run_id": "unknown", "status": "FAIL"}))
    assert gone(store, older_than=timedelta(0)) == set()
    assert gone(store, statuses=frozenset({"FAIL"})) == {"unknown"}


# --- which runs never ------------------------------------------------------------------------------------------------


def test_a_run_that_goes_on_is_never_deleted_and_one_that_was_lost_only_if_asked_for(any_store):
    live = any_store.start_run("live")
    abandon(any_store, "lost")
    any_store.create_run_log("joined")
    add(any_store, "done", 3)
    assert gone(any_store, keep_last=0) == {"done"}
    assert plan_retention(any_store, Rule(keep_last=0)).unfinished == 3
    assert gone(any_store, statuses=frozenset({"LOST"})) == {"lost"}
    assert runs(any_store) == {"live", "joined"}
    live.finish()
    assert gone(any_store, keep_last=0) == {"live"}


def test_unfinished_runs_are_not_counted_among_the_newest(store):
    for days in (1, 2, 3):
        add(store, f"run-{days}", days)
    with store.start_run("live"):
        assert gone(store, keep_last=2) == {"run-3"}


def test_a_run_that_cannot_be_read_is_kept_and_told(store, logs):
    add(store, "bad", 90)
    (logs / "bad" / "RunLog.json").write_bytes(b"{")
    plan = plan_retention(store, Rule(older_than=timedelta(days=30)))
    assert plan.delete == []
    assert [(kept.run_id, "verify" in kept.reason) for kept in plan.kept] == [("bad", True)]


def test_what_an_unsuccessful_run_resumed_is_kept_as_long_as_that_is(any_store):
    add(any_store, "first", 90, "FAIL")
    add(any_store, "second", 80, "FAIL", original="first")
    add(any_store, "third", 1, "FAIL", original="second")
    add(any_store, "other", 90, "FAIL")
    plan = plan_retention(any_store, Rule(older_than=timedelta(days=30)))
    assert {kept.run_id for kept in plan.kept} == {"first", "second"}
    assert all("resumed" in kept.reason for kept in plan.kept)
    assert gone(any_store, older_than=timedelta(days=30)) == {"other"}
    assert gone(any_store, keep_last=0) == {"first", "second", "third"}


def test_what_a_successful_run_resumed_may_go_and_can_still_be_resumed_from_it(store, tmp_path):
    def pipeline(run, fail):
        with run.step("put") as step:
            (tmp_path / "data").write_text("hello")
            step.put_data(tmp_path / "data", "data")
        if fail:
            raise ValueError

    def compute(x):
        return x + 1

    def record(run_id, **options):
        with store.start_run(run_id, **options) as run:
            run.map("work", [1, 2], compute, executor=_threads())
            pipeline(run, fail=not options)

    with pytest.raises(ValueError):
        record("first")
    record("second", resume="first")
    assert gone(store, with_data=True, statuses=frozenset({"FAIL"})) == {"first"}
    assert list(verify(store, with_data=True)) == []
    with store.start_run("third", resume="second") as run:
        assert run.map("work", [1, 2], compute, executor=_threads()) == [2, 3]
    assert {b.cached_from for b in store.get_step_log("third", "work").branches.values()} == {"second"}


def _threads():
    from concurrent.futures import ThreadPoolExecutor

    return ThreadPoolExecutor(2)
