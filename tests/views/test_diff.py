"""What differs between two runs: all that does, nothing that does not, and little to read where much does alike."""

import copy
import math

import msgspec
import pytest
from hypothesis import given
from msgspec import UNSET

from chunkstore.records.fields import MetricPoint
from chunkstore.records.models import BranchLog, JobLog, Problem, RunLog
from chunkstore.testing.strategies import json_values
from chunkstore.views.compare import compare_runs
from chunkstore.views.compare.diff_table import MOST_ROWS, sections
from chunkstore.views.compare.differences import Change, OneSided
from chunkstore.views.recorded_values import is_same
from views.made_logs import at, attempt, data, function, git, made_map, made_run, made_step, run_logs


def diff(old, new, **options):
    return compare_runs(made_run(old, run_id="old"), made_run(new, run_id="new"), **options)


def rows(compared, title, **options):
    found = {section.title: section for section in sections(compared, **options)}
    return found[title].rows if title in found else []


@pytest.mark.thorough
@given(log=run_logs)
def test_a_run_does_not_differ_from_itself(log):
    compared = compare_runs(log, log)
    assert not compared.different
    assert sections(compared) == []


@pytest.mark.thorough
@given(old=run_logs, new=run_logs)
def test_any_two_runs_can_be_compared_and_shown_and_it_does_not_matter_which_is_the_first(old, new):
    one, other = compare_runs(old, new), compare_runs(new, old)
    assert one.different == other.different
    assert sorted(entry.where for entry in one.added) == sorted(entry.where for entry in other.missing)
    assert sorted((change.where, change.name) for change in one.parameters) == sorted(
        (change.where, change.name) for change in other.parameters
    )
    assert bool(sections(one)) == (one.different or bool(one.durations))
    assert msgspec.json.encode(msgspec.to_builtins(one.old))


def test_ids_and_times_and_versions_of_the_library_are_no_differences():
    old, new = (made_run(made_step("load", seconds=1), run_id=run_id) for run_id in ("old", "new"))
    new.steps["load"].attempts = [attempt(1.0, start=3_600)]
    new.run_config["chunkstore"].update(created=at(3_600), finished=at(3_610), version="9.9", format=2)
    compared = compare_runs(old, new)
    assert not compared.different
    assert sections(compared, everything=True) == []


def test_the_runs_own_fields():
    old = made_run(tag="", run_config={"executor": {"type": "local"}, "same": 1})
    new = made_run(tag="nightly", status="FAIL", dag_hash="abc", run_config={"executor": {"type": "k8s"}, "same": 1})
    assert compare_runs(old, new).run == [
        Change(where="", name="status", old="SUCCESS", new="FAIL"),
        Change(where="", name="run_config.executor", old={"type": "local"}, new={"type": "k8s"}),
        Change(where="", name="tag", new="nightly"),
        Change(where="", name="dag_hash", new="abc"),
    ]


def test_parameters_of_the_run_of_branches_and_of_steps():
    old, new = (made_run(made_map("score", 2), parameters={"same": [1, None], "gone": 1, "lr": 0.1}) for _ in range(2))
    new.parameters = {"same": [1, None], "lr": 0.2, "new": None}
    old.steps["score"].branches["score.1"].parameters = {"seed": 7}
    new.steps["score"].branches["score.1"].parameters = {"seed": 8}
    new.steps["score"].branches["score.0"].steps["score.0.work"].attempts[-1].parameters = {"rows": 3}
    compared = compare_runs(old, new)
    assert compared.parameters == [
        Change(where="", name="gone", old=1),
        Change(where="", name="lr", old=0.1, new=0.2),
        Change(where="", name="new", new=None),
        Change(where="score.0.work", name="rows", new=3),
        Change(where="score.1", name="seed", old=7, new=8),
    ]
    assert [(row.mark, row.name, row.old, row.new) for row in rows(compared, "Parameters")][:3] == [
        ("-", "gone", "1", ""),
        ("~", "lr", "0.1", "0.2"),
        ("+", "new", "", "null"),
    ]


@pytest.mark.parametrize(
    ("old", "new", "same"),
    [
        (math.nan, math.nan, True),
        ([math.nan, {"a": math.inf}], [math.nan, {"a": math.inf}], True),
        (math.nan, 0.0, False),
        (math.inf, -math.inf, False),
        (1, 1.0, True),
        (1, True, False),
        (0, False, False),
        (None, False, False),
        ("1", 1, False),
        (10**300, 10**300 + 1, False),
        ({"a": 1, "b": 2}, {"b": 2, "a": 1}, True),
        ({"$float": "NaN"}, math.nan, False),
        (UNSET, None, False),
        ("", UNSET, False),
    ],
)
def test_which_values_are_the_same(old, new, same):
    assert is_same(old, new) is same
    assert is_same(new, old) is same


def test_of_objects_it_is_shown_what_differs_in_them():
    old = made_run(parameters={"model": {"kind": "forest", "trees": {"count": 10, "depth": 3}}}, run_id="a")
    new = made_run(parameters={"model": {"kind": "forest", "trees": {"count": 20}}}, run_id="b")
    old.run_config["run_id"], new.run_config["run_id"] = "a", "b"  # as some engines configure their runs
    compared = compare_runs(old, new)
    assert compared.run == []
    assert [change.name for change in compared.parameters] == ["model"]
    assert [(row.mark, row.name, row.old, row.new) for row in rows(compared, "Parameters")] == [
        ("~", "model.trees.count", "10", "20"),
        ("-", "model.trees.depth", "3", ""),
    ]


@given(value=json_values, other=json_values)
def test_a_value_is_the_same_as_its_copy_and_others_are_not(value, other):
    assert is_same(value, copy.deepcopy(value))
    assert is_same(value, other) == is_same(other, value)
    assert value == other or not is_same(value, other) or "nan" in repr(value)


def test_metrics_grow_by_numbers_and_per_cent():
    old = made_step("fit", user_defined_metrics={"loss": 0.5, "none": 0, "nan": math.nan, "text": "a", "gone": 1})
    new = made_step("fit", user_defined_metrics={"loss": 0.4, "none": 2, "nan": 1.0, "text": "b", "big": 10**400})
    new.user_defined_metrics["same"] = old.user_defined_metrics["same"] = math.nan
    found = {metric.name: metric for metric in diff(old, new).metrics}
    assert set(found) == {"loss", "none", "nan", "text", "gone", "big"}
    assert (found["loss"].delta, found["loss"].percent) == (pytest.approx(-0.1), pytest.approx(-20))
    assert (found["none"].delta, found["none"].percent) == (2, None)
    assert {found[name].delta for name in ("nan", "text", "gone", "big")} == {None}
    assert rows(diff(old, new), "Metrics")[0] == ("~", "fit", "loss", "0.5", "0.4", "-0.1  -20.0 %")


def test_series_are_compared_point_by_point_and_shown_by_their_last():
    def fit(*values, when=""):
        points = [MetricPoint(number, value, when) for number, value in enumerate(values)]
        return made_step("fit", metric_series={"loss": points} if points else UNSET)

    assert not diff(fit(0.5, math.nan), fit(0.5, math.nan, when=at(0))).different
    (changed,) = diff(fit(0.5, 0.4), fit(0.6, 0.4, 0.3)).metrics
    assert (changed.old, changed.new, changed.old_points, changed.new_points) == (0.4, 0.3, 2, 3)
    (within,) = diff(fit(0.5, 0.4), fit(0.6, 0.4)).metrics
    assert (within.old, within.new, within.delta) == (0.4, 0.4, 0)
    (added,) = diff(fit(), fit(1.0)).metrics
    assert (added.old, added.new, added.new_points) == (UNSET, 1.0, 1)
    assert rows(diff(fit(0.5, 0.4), fit(0.3)), "Metrics")[0].note == "-0.1  -25.0 %  last of 2 → 1 points"


def test_code_is_told_once_for_all_steps_that_it_changed_in():
    old, new = (
        made_run(*(made_step(f"s{n}", code_identities=[git(commit), function("f" * 64)]) for n in range(5)))
        for commit in ("a" * 40, "b" * 40)
    )
    new.steps["s2"].code_identities[1] = function("e" * 64)
    new.steps["s3"].code_identities[1] = function("f" * 64, "moved.load")  # where it stands is no part of it
    commit, changed = compare_runs(old, new).code
    assert (commit.kind, commit.old, commit.new, len(commit.steps)) == ("git", "a" * 40, "b" * 40, 5)
    assert (changed.kind, changed.what, changed.steps) == ("function", "work.load", ["s2"])
    assert rows(compare_runs(old, new), "Code")[0] == ("~", "", "git", "a" * 12, "b" * 12, "in 5 steps")


def test_uncommitted_changes_are_other_code():
    old = made_step("load", code_identities=[git("a" * 40)])
    new = made_step("load", code_identities=[git("a" * 40, f"uncommitted changes, sha256:{'c' * 64}")])
    (changed,) = diff(old, new).code
    assert changed.new == f"{'a' * 40} with uncommitted changes, sha256:{'c' * 64}"
    assert rows(diff(old, new), "Code")[0].new == f"{'a' * 12} with uncommitted changes, sha256:{'c' * 12}"


def test_data_by_name_stage_and_hash_and_printed_output_apart():
    old = made_step("load", data_catalog=[data("in.csv", "1"), data("gone.csv", "1", "get"), data("same", "1")])
    new = made_step("load", data_catalog=[data("in.csv", "2"), data("new.csv", "1"), data("same", "1", path="other")])
    old.data_catalog.append(data("load.execution.log", "1"))
    new.data_catalog.append(data("load.execution.log", "2"))
    compared = diff(old, new)
    assert [(entry.name, entry.stage, entry.old, entry.new) for entry in compared.data] == [
        ("in.csv", "put", "1", "2"),
        ("gone.csv", "get", "1", UNSET),
        ("new.csv", "put", UNSET, "1"),
    ]
    assert compared.output == ["load"]


def test_steps_added_and_missing_are_told_by_the_outermost():
    old = made_run(made_step("load"), made_map("score", 3), made_step("same"))
    new = made_run(made_step("same"), made_map("train", 2))
    compared = compare_runs(old, new)
    assert compared.missing == [
        OneSided(where="load", kind="step"),
        OneSided(where="score", kind="step", inside=3),
    ]
    assert compared.added == [OneSided(where="train", kind="step", inside=2)]


def test_results_items_arguments_statuses_and_attempts():
    old, new = made_run(made_map("score", 2)), made_run(made_map("score", 2))
    work = new.steps["score"].branches["score.1"].steps["score.1.work"]
    work.result, work.status, work.message = UNSET, "FAIL", "ValueError: bad\nmore"
    work.attempts = [attempt(), attempt(start=2)]
    work.input_hash = "b"
    old.steps["score"].branches["score.1"].steps["score.1.work"].input_hash = "a"
    new.steps["score"].branches["score.1"].status = "FAIL"
    new.steps["score"].branches["score.0"].item = {"other": 1}
    compared = compare_runs(old, new)
    assert compared.results == [Change(where="score.1.work", name="result", old=1)]
    assert compared.items == [Change(where="score.0", name="item", old=0, new={"other": 1})]
    assert compared.arguments == ["score.1.work"]
    assert [(entry.where, entry.old, entry.new) for entry in compared.outcomes] == [
        ("score.1", "SUCCESS", "FAIL"),
        ("score.1.work", "SUCCESS", "FAIL"),
    ]
    # The branch says no more than the step in it; the map says it of all.
    old.steps["score"].status = "PROCESSING"
    compared.outcomes = compare_runs(old, new).outcomes
    assert rows(compared, "Status") == [
        ("~", "score", "", "PROCESSING", "SUCCESS", ""),
        ("~", "score.1.work", "", "SUCCESS", "FAIL", "1 → 2 attempts  ValueError: bad"),
    ]


def test_an_argument_hash_that_one_run_lacks_is_no_difference():
    assert not diff(made_step("load", input_hash="a"), made_step("load")).different


def test_durations_are_told_if_they_changed_notably_and_never_make_runs_different():
    old, new = made_run(seconds=100), made_run(seconds=151)
    for name, before, after in [("slow", 1, 2), ("bit", 1, 1.4), ("tiny", 0.01, 0.09), ("fast", 3, 1), ("zero", 0, 1)]:
        old.steps[name] = made_step(name, seconds=before)
        new.steps[name] = made_step(name, seconds=after)
    compared = compare_runs(old, new)
    assert not compared.different
    assert {entry.where: entry.ratio for entry in compared.durations} == {
        "": pytest.approx(1.51),
        "slow": 2,
        "fast": pytest.approx(1 / 3),
        "zero": None,
    }
    assert {entry.where for entry in compare_runs(old, new, all_durations=True).durations} == {"", *old.steps}
    assert rows(compared, "Durations")[1] == ("~", "slow", "", "1.0 s", "2.0 s", "2 times as long")


def test_of_a_wide_map_it_is_counted_how_many_branches_are_the_same():
    def change(number, step):
        if number in {3, 77, 1_400}:
            step.status, step.message = "FAIL", "ValueError: bad"

    old = made_run(made_map("score", 2_000, code_identities=[git("a")]))
    new = made_run(made_map("score", 2_003, change=change, code_identities=[git("b")]))
    del old.steps["score"].branches["score.5"]
    compared = compare_runs(old, new)
    (fan,) = compared.fans
    assert (fan.same, fan.different, fan.added, fan.missing) == (1_996, ["score.3", "score.77", "score.1400"], 4, 0)
    assert rows(compared, "Branches")[0].note == "1,996 the same; 3 differ: 3, 77, 1400; 4 added"


def test_a_difference_deep_inside_counts_for_all_branches_around_it():
    def nested(loss):
        inner = made_map("top.a.work.fit", 3)
        inner.branches["top.a.work.fit.1"].steps["top.a.work.fit.1.work"].user_defined_metrics["loss"] = loss
        work = made_step("top.a.work")
        branch = BranchLog(internal_name="top.a", status="SUCCESS", steps={"top.a.work": work, "top.a.work.fit": inner})
        return made_step("top", branches={"top.a": branch, "top.b": BranchLog(internal_name="top.b")})

    assert [(fan.where, fan.same, fan.different) for fan in diff(nested(1), nested(2)).fans] == [
        ("top", 1, ["top.a"]),
        ("top.a.work.fit", 2, ["top.a.work.fit.1"]),
    ]


def test_what_differs_alike_in_many_branches_is_one_row():
    def worse(number, step):
        step.user_defined_metrics["loss"] += 0.1
        step.data_catalog = [data(f"{number}.csv", "a")]
        step.attempts = [attempt(9.0)]
        step.status, step.message = ("FAIL", "ValueError: bad") if number < 40 else ("LOST", "")

    compared = compare_runs(made_run(made_map("score", 50)), made_run(made_map("score", 50, change=worse)))
    assert rows(compared, "Status") == [
        ("~", "score.*.work", "", "SUCCESS", "FAIL", "ValueError: bad  in 40 branches"),
        ("~", "score.*.work", "", "SUCCESS", "LOST", "in 10 branches"),
    ]
    (metric,) = rows(compared, "Metrics")
    assert (metric.where, metric.old, metric.new) == ("score.*.work", "mean 2.45", "2.55")
    assert metric.note == "+0.1  +4.1 %  in 50 branches"
    assert rows(compared, "Data") == [("+", "score.*.work", "put …", "", "a", "in 50 branches")]
    assert rows(compared, "Durations") == [
        ("~", "score.*.work", "", "1.0 s", "9.0 s", "9 times as long  in 50 branches"),
    ]
    assert len(rows(compared, "Metrics", everything=True)) == 50


def test_more_rows_than_can_be_read_are_counted_unless_all_are_asked_for():
    old, new = made_run(parameters={}), made_run(parameters={f"p{number}": "x" * 99 for number in range(50)})
    (section,) = sections(compare_runs(old, new))
    assert (len(section.rows), section.hidden) == (MOST_ROWS, 50 - MOST_ROWS)
    assert len(section.rows[0].new) < 60
    (whole,) = sections(compare_runs(old, new), everything=True)
    assert (len(whole.rows), whole.hidden, whole.rows[0].new) == (50, 0, f'"{"x" * 99}"')


def test_a_job_is_compared_like_a_step():
    old, new = (
        RunLog(run_id=run_id, job=JobLog(status=status)) for run_id, status in [("a", "SUCCESS"), ("b", "FAIL")]
    )
    assert [(entry.where, entry.new) for entry in compare_runs(old, new).outcomes] == [("job", "FAIL")]
    assert [entry.where for entry in compare_runs(RunLog(run_id="c"), new).added] == ["job"]


def test_what_could_not_be_read_is_told():
    old, new = made_run(run_id="old"), made_run(run_id="new")
    new.found_problems = [Problem("corrupt", "StepLog-x-1.json", "cut off")]
    compared = compare_runs(old, new)
    assert (compared.old.unreadable, compared.new.unreadable) == ([], ["StepLog-x-1.json: cut off"])
    assert not compared.different


def test_names_nested_deeper_than_python_calls_do_not_matter():
    def deep(depth):
        log = made_run(made_step("s"))
        step = log.steps["s"]
        for _ in range(depth):
            branch = BranchLog(internal_name=f"{step.internal_name}.b", status="SUCCESS")
            step.branches[branch.internal_name] = branch
            step = made_step(f"{branch.internal_name}.s")
            branch.steps[step.internal_name] = step
        return log, step

    (old, _), (new, last) = deep(2_000), deep(2_000)
    last.status = "FAIL"
    compared = compare_runs(old, new)
    assert [entry.where for entry in compared.outcomes] == [last.internal_name]
    assert len(compared.fans) == 2_000
