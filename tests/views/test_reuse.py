"""Why a step of a resumed run ran again, or was taken over: told from real runs, and only what their records show."""

import os
import shutil
from concurrent.futures import ThreadPoolExecutor
from functools import partial

import msgspec
import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st
from msgspec import UNSET

import chunkstore
from chunkstore.recording import recorder
from chunkstore.records.models import BranchLog, Problem, StepLog
from chunkstore.views.compare.reuse import alike, earlier_run_of, explain, may_rest_on_parameters, summary_of
from chunkstore.views.pages.step_lookup import find_record
from views.made_logs import attempt, data, function, git, made_map, made_run, made_step, run_logs

COMMIT = git("a" * 40)


@pytest.fixture
def commit(monkeypatch):
    """Lets a test say which commit is checked out."""

    def check_out(identity):
        monkeypatch.setattr(recorder, "git_identity", lambda: identity)

    check_out(COMMIT)
    return check_out


@pytest.fixture
def store(tmp_path, monkeypatch, commit):
    monkeypatch.chdir(tmp_path)
    return chunkstore.open_store("chunked-fs", log_folder="logs")


@pytest.fixture
def threads():
    with ThreadPoolExecutor(2) as executor:
        yield executor


def why(store, run_id, name):
    log = store.get_run_log(run_id)

    def earlier(log):
        while before := earlier_run_of(log):
            log = store.get_run_log(before)
            yield log

    return explain(log, find_record(log, name), earlier(log))


def reasons(store, run_id, name):
    return [(reason.kind, reason.text) for reason in why(store, run_id, name).step.reasons]


def load(path="in.csv"):
    return path


def unkept(path="in.csv"):
    return {path}


def score(folder, item):
    if os.path.exists(f"{folder}/bad-{item['id']}"):
        raise ValueError(f"no rows in {item['id']}")
    return item["size"]


def test_a_run_that_resumed_nothing_says_so(store):
    with store.start_run("first") as run:
        run.step("load", load)
    explanation = why(store, "first", "load")
    assert (explanation.resumed, explanation.looked_at) == ("", [])
    assert [(reason.kind, reason.text) for reason in explanation.step.reasons] == [
        ("resumed nothing", "Run first resumed no other run: everything in it ran."),
    ]


def test_a_run_that_was_not_to_take_over_results_says_so(store):
    store.start_run("first").finish()
    store.create_run_log("second", original_run_id="first")
    store.add_step_log("second", made_step("load"))
    assert reasons(store, "second", "load")[0][0] == "not allowed"


def test_what_was_taken_over_names_the_run(store):
    for run_id, resume in (("first", None), ("second", "first")):
        with store.start_run(run_id, resume=resume) as run:
            run.step("load", load)
    step = why(store, "second", "load").step
    assert (step.taken_over_from, step.reasons) == ("first", [])
    assert summary_of(step) == "taken over from run first"


def test_what_is_new_had_failed_or_whose_result_was_not_kept(store):
    def go(run_id, resume, *names):
        with store.start_run(run_id, resume=resume) as run:
            for name in names:
                run.step(name, score, ".", {"id": name, "size": 1}, on_error="continue")
            run.step("set", unkept)

    open("bad-a", "w").close()
    go("first", None, "a")
    os.remove("bad-a")
    go("second", "first", "a", "b")
    assert reasons(store, "second", "a") == [("failed", "It had failed in run first: ValueError: no rows in a")]
    assert reasons(store, "second", "b") == [("not in an earlier run", "Run first has no such step.")]
    assert reasons(store, "second", "set") == [
        ("result not kept", "Its result in run first was not kept in the log: it is no JSON, or too large."),
    ]
    assert summary_of(why(store, "second", "a").step) == "ran: failed in run first"
    assert summary_of(why(store, "second", "b").step) == "ran: not in an earlier run"


def test_the_nearest_success_counts_as_it_does_when_a_run_is_resumed(store):
    with store.start_run("first") as run:
        run.step("load", load, "a")
        run.step("other", load)
    with store.start_run("second", resume="first") as run:
        run.step("load", score, ".", {"id": "x"}, on_error="continue")  # fails, and returns nothing
    with store.start_run("third", resume="second") as run:
        run.step("load", load, "b")
        run.step("other", load)
        run.step("new", load)
    explanation = why(store, "third", "load")
    assert (explanation.step.compared_with, explanation.looked_at) == ("first", ["second", "first"])
    assert [reason.kind for reason in explanation.step.reasons] == ["arguments changed"]
    assert why(store, "third", "other").step.taken_over_from == "first"
    assert reasons(store, "third", "new")[0][1] == "Run second has no such step, nor have those that it resumed."


def test_arguments_and_code_that_changed_are_told_together_with_old_and_new(store, commit):
    with store.start_run("first", parameters={"lr": 0.1, "same": 1}) as run:
        run.step("load", load, "a.csv")
    commit(git("b" * 40, "uncommitted changes, sha256:" + "c" * 64))
    with store.start_run("second", resume="first", parameters={"lr": 0.2}) as run:
        run.step("load", lambda path: path.upper(), "b.csv")
    explanation = why(store, "second", "load")
    old, new = (store.get_step_log(run_id, "load") for run_id in ("first", "second"))
    assert [reason.kind for reason in explanation.step.reasons] == ["arguments changed", "code changed", "code changed"]
    arguments, repository, code = explanation.step.reasons
    assert (arguments.old, arguments.new) == (old.input_hash, new.input_hash)
    assert repository.text == (
        f"The commit changed: {'a' * 12} → {'b' * 12} with uncommitted changes, sha256:{'c' * 12}."
    )
    hashes = [step.code_identities[1].code_identifier for step in (old, new)]
    assert [code.old, code.new] == hashes
    assert code.text == f"The function changed: {hashes[0][:12]} → {hashes[1][:12]}."
    # Which parameters of the run changed is told beside it: the log does not say that they became arguments.
    assert [(change.name, change.old, change.new) for change in explanation.parameters] == [("lr", 0.1, 0.2)]
    assert may_rest_on_parameters(explanation)


def test_a_map_is_told_branch_by_branch(store, threads):
    def go(run_id, resume=None, **sizes):
        items = [{"id": name.replace("_", "."), "size": size} for name, size in sizes.items()]
        options = {"executor": threads, "on_error": "continue", "name_of": lambda item: item["id"]}
        with store.start_run(run_id, resume=resume) as run:
            run.map("score", items, partial(score, "."), **options)

    open("bad-b", "w").close()
    go("first", a=1, b=1, c=1)
    os.remove("bad-b")
    go("second", "first", a=1, b=1, c=2, d_csv=1)
    explanation = why(store, "second", "score")
    assert [reason.kind for reason in explanation.step.reasons] == ["composite"]
    told = {verdict.where: summary_of(verdict) for verdict in explanation.branches}
    assert told == {
        "score.a": "taken over from run first",
        "score.b": "ran: failed in run first",
        "score.c": "ran: item changed since run first",
        "score.d%2Ecsv": "ran: not in an earlier run",
    }
    assert not may_rest_on_parameters(explanation)
    text = "Its item changed: size: 1 → 2."
    # The branch, and the step that runs its function, are decided about together.
    for name in ("score.c", "score.c.score", "c"):
        assert reasons(store, "second", name) == [("item changed", text)]
    assert why(store, "second", "score.a.score").step.taken_over_from == "first"
    assert why(store, "second", "d.csv").step.where == "score.d%2Ecsv"


def test_other_functions_in_a_branch_and_branches_of_parallel(store, threads):
    for run_id, functions, resume in [
        ("first", {"same": load, "other": load}, None),
        ("second", {"same": load, "other": unkept}, "first"),
    ]:
        with store.start_run(run_id, resume=resume) as run:
            run.parallel("train", functions, executor=threads)
    told = {verdict.where: summary_of(verdict) for verdict in why(store, "second", "train").branches}
    assert told == {
        "train.same": "taken over from run first",
        "train.other": "ran: other function in run first",
    }


def put(text):
    with open("out.csv", "w") as file:
        file.write(text)
    chunkstore.current_step().put_data("out.csv")


def test_what_put_data_that_is_gone_or_was_replaced(store):
    def go(run_id, resume=None):
        with store.start_run(run_id, resume=resume) as run:
            run.step("put", put, "a")
            run.step("again", put, "b")
        return run

    shutil.rmtree(f"{go('first').catalog.path}/first")
    go("second", "first")
    text = (
        "Arguments and code are the same, and its result was kept. What is left is that data it had put in run first "
        "was gone from the catalog, or changed there: out.csv."
    )
    assert reasons(store, "second", "again") == [("data gone", text)]
    (reason,) = why(store, "second", "put").step.reasons
    old, new = (store.get_step_log("first", name).data_catalog[0].data_hash for name in ("put", "again"))
    assert (reason.kind, reason.old, reason.new) == ("data gone", old, new)
    assert reason.text == (
        f"The data out.csv that it had put in run first was replaced there by step again: {old[:12]} → {new[:12]}."
    )


def test_of_a_block_it_is_said_that_its_author_decides(store, commit):
    def go(run_id, resume=None, **parameters):
        with store.start_run(run_id, resume=resume) as run:
            with run.step("block") as step:
                step.log_params(parameters)
            with run.step("reused") as step:
                if step.cached:
                    step.reuse()

    go("first", seed=1)
    go("second", "first", seed=2)
    verdict = why(store, "second", "block").step
    assert [reason.kind for reason in verdict.reasons] == ["left to its author"]
    assert [(change.name, change.old, change.new) for change in verdict.parameters] == [("seed", 1, 2)]
    assert why(store, "second", "reused").step.taken_over_from == "first"
    commit(git("b" * 40))
    go("third", "second")
    assert [reason.kind for reason in why(store, "third", "reused").step.reasons] == ["code changed"]


def test_what_it_read_is_told_beside_the_reasons(store):
    def go(run_id, text, resume=None):
        with store.start_run(run_id, resume=resume) as run:
            run.step("put", put, text)
            with run.step("read") as step:
                step.get_data("out.csv", "copy.csv")

    go("first", "a")
    go("second", "b", "first")
    (change,) = why(store, "second", "read").step.data
    old, new = (store.get_step_log(run_id, "read").data_catalog[0].data_hash for run_id in ("first", "second"))
    assert (change.name, change.old, change.new) == ("out.csv", old, new)


def verdict(new, old, **options):
    log = made_run(new, run_id="new", original_run_id="old", use_cached=True)
    return explain(log, new, [made_run(old, run_id="old", **options)]).step


def test_a_step_that_had_not_ended():
    new = made_step("load", input_hash="a")
    assert verdict(new, made_step("load", "PROCESSING")).reasons[0].text == "It had not ended in run old."
    late = made_step("load", attempts=[attempt(50.0)])
    new.attempts = [attempt(1.0, start=20)]
    assert [reason.kind for reason in verdict(new, late).reasons] == ["not ended"]
    assert verdict(new, made_step("load", "TRIGGERED")).reasons[0].text == "Its status in run old was TRIGGERED."


def test_arguments_that_cannot_be_compared():
    fields = {"code_identities": [function("f")], "result": 1}
    old, new = made_step("load", input_hash="a", **fields), made_step("load", attempts=[attempt(start=99)], **fields)
    (reason,) = verdict(new, old).reasons
    assert reason.text == "What it is called with cannot be compared: it does not pickle."
    old.input_hash, new.input_hash = UNSET, "a"
    (reason,) = verdict(new, old).reasons
    assert reason.kind == "arguments not comparable"


def test_where_nothing_recorded_tells_that_is_said():
    fields = {"code_identities": [function("f")], "result": 1, "input_hash": "a"}
    old = made_step("load", data_catalog=[data("x", "1", path="elsewhere/x"), data("y", "1", "get", "old/y")], **fields)
    new = made_step("load", attempts=[attempt(start=99)], **fields)
    assert [reason.kind for reason in verdict(new, old).reasons] == ["not recorded"]
    new.mock = True
    assert [reason.kind for reason in verdict(new, old).reasons] == ["not really run"]


def test_a_branch_whose_function_never_began():
    def branch(status, **fields):
        log = made_step("score", step_type="map")
        log.branches["score.a"] = BranchLog(internal_name="score.a", status=status, **fields)
        return log

    new = made_run(branch("FAIL", message="its worker died"), run_id="new", original_run_id="old", use_cached=True)
    for old, kind in [(branch("SUCCESS"), "not recorded"), (branch("FAIL", message="killed"), "failed")]:
        explanation = explain(new, new.steps["score"], [made_run(old, run_id="old")])
        assert [reason.kind for reason in explanation.branches[0].reasons] == [kind]


def test_an_earlier_run_that_was_deleted():
    new = made_step("load")
    log = made_run(new, run_id="new", original_run_id="old", use_cached=True)
    (reason,) = explain(log, new, []).step.reasons
    assert reason.text == "Run old, which was resumed, is not in the store any more: nobody can tell."


def test_what_could_not_be_read_of_an_earlier_run_may_be_what_is_missing():
    new = made_step("load")
    log = made_run(new, run_id="new", original_run_id="old", use_cached=True)
    old = made_run(run_id="old", found_problems=[Problem("corrupt", "StepLog-load-1.json", "cut off")])
    (reason,) = explain(log, new, [old]).step.reasons
    assert reason.text == "Run old has no such step, as far as it could be read."


def test_the_function_of_a_branch_in_which_a_step_failed_ran_again(store, threads):
    def inner(item):
        if os.path.exists("bad"):
            raise ValueError(item)
        return item

    def outer(item):
        chunkstore.current_run().step("inner", inner, item, on_error="continue")
        return item

    open("bad", "w").close()
    with store.start_run("first") as run:
        run.map("top", ["a"], outer, executor=threads, on_error="continue")
    os.remove("bad")
    with store.start_run("second", resume="first") as run:
        run.map("top", ["a"], outer, executor=threads)
    assert [reason.kind for reason in why(store, "second", "top.a").step.reasons] == ["failed"]
    assert [reason.kind for reason in why(store, "second", "top.a.inner").step.reasons] == ["failed"]
    assert why(store, "second", "top.a.outer").step.taken_over_from == ""


def test_no_more_earlier_runs_are_read_than_are_needed():
    def earlier():
        yield made_run(made_step("load"), run_id="old")
        pytest.fail("the nearest run tells all")

    new = made_step("load")
    log = made_run(new, run_id="new", original_run_id="old", use_cached=True)
    assert explain(log, new, earlier()).looked_at == ["old"]


@pytest.mark.thorough
@settings(suppress_health_check=[HealthCheck.data_too_large])  # two whole runs are much
@given(old=run_logs, new=run_logs, resumes=st.booleans())
def test_any_step_of_any_run_can_be_asked_about(old, new, resumes):
    new.original_run_id, new.use_cached = ("old", True) if resumes else ("", False)
    waiting = [*new.steps.values()]
    while waiting:
        record = waiting.pop()
        waiting += (record.branches if isinstance(record, StepLog) else record.steps).values()
        explanation = explain(new, record, [old])
        assert explanation.step.where == record.internal_name
        assert len(explanation.branches) == len(getattr(record, "branches", {}))
        for verdict in (explanation.step, *explanation.branches):
            assert not (verdict.reasons and verdict.taken_over_from)
            assert summary_of(verdict)
        assert sum(len(group.verdicts) for group in alike(explanation.branches)) == len(explanation.branches)


def test_branches_that_are_alike_become_a_group_and_the_largest_comes_first():
    def fail(number, step):
        if number in {3, 5}:
            step.status, step.message = "FAIL", f"ValueError: {number}"

    old, new = made_map("score", 50, change=fail), made_map("score", 52)
    for number, branch in enumerate(new.branches.values()):
        branch.cached_from = "old" if number < 50 and number not in {3, 5} else UNSET
    log = made_run(new, run_id="new", original_run_id="old", use_cached=True)
    explanation = explain(log, new, [made_run(old, run_id="old")])
    groups = alike(explanation.branches)
    assert [(group.what, len(group.verdicts), group.texts) for group in groups] == [
        ("taken over from run old", 48, []),
        ("ran: failed in run old", 2, []),
        ("ran: not in an earlier run", 2, ["Run old has no such branch."]),
    ]
    assert [verdict.reasons[0].text for verdict in groups[1].verdicts] == [
        "It had failed in run old: ValueError: 3",
        "It had failed in run old: ValueError: 5",
    ]
    assert msgspec.convert(msgspec.to_builtins(explanation), type(explanation)) == explanation
