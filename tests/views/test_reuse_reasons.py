"""What `why` says of arguments and code: which differ, what cannot be compared, and what was not looked at."""

import threading
from concurrent.futures import ThreadPoolExecutor

import pytest

import chunkstore
from chunkstore.records.models import BranchLog
from chunkstore.views.compare.reuse import earlier_run_of, explain, summary_of
from chunkstore.views.compare.reuse_reasons import NOT_SEEN, OTHER_MODULES, OTHER_MODULES_WITHOUT_GIT
from chunkstore.views.pages.step_lookup import find_record
from views.made_logs import attempt, function, git, made_run, made_step


@pytest.fixture
def store(tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    monkeypatch.setenv("GIT_CEILING_DIRECTORIES", str(tmp_path))
    return chunkstore.open_store("chunked-fs", log_folder="logs")


def why(store, run_id, name):
    log = store.get_run_log(run_id)
    return explain(log, find_record(log, name), [store.get_run_log(earlier_run_of(log))])


def fit(rate, *, seed=0, tool=None):
    return rate


def verdict(new, old):
    log = made_run(new, run_id="new", original_run_id="old", use_cached=True)
    return explain(log, new, [made_run(old, run_id="old")]).step


def test_arguments_that_changed_are_named(store):
    for run_id, resume, rate, options in (("one", None, 0.1, {"seed": 1}), ("two", "one", 0.1, {"seed": 2, "tool": 3})):
        with store.start_run(run_id, resume=resume) as run:
            run.step("fit", fit, rate, **options)
    (reason,) = why(store, "two", "fit").step.reasons
    assert reason.kind == "arguments changed"
    assert reason.text.startswith("It was called with other arguments, seed, tool: their hash was v2:")


def test_an_argument_that_cannot_be_compared_is_named(store):
    for run_id, resume in (("one", None), ("two", "one")):
        with store.start_run(run_id, resume=resume) as run:
            run.step("fit", fit, 0.1, tool=threading.Lock())
    (reason,) = why(store, "two", "fit").step.reasons
    assert reason.kind == "arguments not comparable"
    assert reason.text == "What it is called with cannot be compared: tool: cannot pickle 'lock' object."


def test_a_function_that_cannot_be_compared_is_told_and_why(store):
    def made():
        items = (number for number in ())
        return lambda: (items, 1)[1]

    for run_id, resume in (("one", None), ("two", "one")):
        with store.start_run(run_id, resume=resume) as run:
            run.step("fit", made())
    (reason,) = why(store, "two", "fit").step.reasons
    assert reason.kind == "code not comparable"
    assert "it is not known which it is" in reason.text
    assert "cannot pickle 'generator' object" in reason.text


def test_hashes_of_another_version_are_not_taken_for_a_change():
    old = made_step("fit", code_identities=[function("f")], result=1, input_hash="a" * 64)
    new = made_step("fit", code_identities=[function("g")], input_hash="v2:" + "a" * 64, attempts=[attempt(start=99)])
    reasons = verdict(new, old).reasons
    assert [reason.kind for reason in reasons] == ["arguments not comparable", "code not comparable"]
    assert all("another" in reason.text for reason in reasons)


def test_changes_that_git_did_not_tell_are_not_taken_for_a_change():
    fields = {"result": 1, "input_hash": "v2:a"}
    old = made_step("fit", code_identities=[git("a" * 40, "uncommitted changes, unknown:1"), function("f")], **fields)
    new = made_step("fit", code_identities=[git("a" * 40, "uncommitted changes, unknown:2"), function("f")], **fields)
    new.attempts = [attempt(start=99)]
    (reason,) = verdict(new, old).reasons
    assert reason.kind == "code not comparable"


def test_a_branch_whose_function_was_not_called_again_was_taken_over():
    """Its process was killed after its step had succeeded; the worker of the next run took the step over."""

    def branch(status, **fields):
        log = made_step("score", step_type="map")
        step = made_step("score.a.work", result=1, **fields)
        log.branches["score.a"] = BranchLog(internal_name="score.a", status=status, steps={step.internal_name: step})
        return log

    new = made_run(branch("SUCCESS", cached_from="old"), run_id="new", original_run_id="old", use_cached=True)
    explanation = explain(new, new.steps["score"], [made_run(branch("PROCESSING"), run_id="old")])
    assert summary_of(explanation.branches[0]) == "taken over from run old"


def test_what_no_run_sees_is_told_of_what_was_taken_over_alone(store):
    with ThreadPoolExecutor(1) as threads:
        for run_id, resume, items in (("one", None, [1]), ("two", "one", [1, 2])):
            with store.start_run(run_id, resume=resume) as run:
                run.map("score", items, abs, executor=threads)
    assert why(store, "two", "score").not_seen == [OTHER_MODULES_WITHOUT_GIT, *NOT_SEEN]
    assert why(store, "two", "score.1").not_seen == [OTHER_MODULES_WITHOUT_GIT, *NOT_SEEN]
    assert why(store, "two", "score.2").not_seen == []


def test_what_no_run_sees_is_less_with_a_commit():
    step = made_step("fit", code_identities=[git("a" * 40)], cached_from="old")
    new = made_run(step, run_id="new", original_run_id="old", use_cached=True)
    assert explain(new, step, [made_run(step, run_id="old")]).not_seen == [OTHER_MODULES, *NOT_SEEN]
