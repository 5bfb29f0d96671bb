"""Records find their place by their names, in whatever order they come."""

import pytest
from hypothesis import given
from hypothesis import strategies as st

from chunkstore.names import escape_segment, join_name
from chunkstore.records.assemble import assemble, branch_of_step, flatten, step_of_branch
from chunkstore.records.models import BranchLog, RunLog, StepLog
from chunkstore.testing import strategies
from chunkstore.testing.suite_base import exact
from chunkstore.testing.suite_records import tree_of_steps


def step(internal_name, name=None):
    return StepLog(name=internal_name.rpartition(".")[2] if name is None else name, internal_name=internal_name)


def branch(internal_name):
    return BranchLog(internal_name=internal_name)


def assembled(*records, parameters=None):
    return assemble(RunLog(run_id="r"), records, parameters or {})


def shape(steps):
    """Return the names of nested records as nested dicts."""
    return {
        name: {inner: shape(branch.steps) for inner, branch in step.branches.items()} for name, step in steps.items()
    }


def test_a_parallel_in_a_map_in_a_parallel_nests():
    tree = tree_of_steps()
    records, parameters = flatten(RunLog(run_id="r", steps={"p": tree}, parameters={"a": 1}))
    for order in (records, records[::-1], sorted(records, key=lambda record: record.internal_name[::-1])):
        log = assembled(*order, parameters=parameters)
        assert not log.problems
        assert log.parameters == {"a": 1}
        assert sorted(log.steps["p"].branches["p.b"].steps) == ["p.b.last", "p.b.m"]
        inner = log.steps["p"].branches["p.b"].steps["p.b.m"].branches["p.b.m.2%2Ecsv"]
        assert inner.parameters == {"item": "2%2Ecsv"}
        assert shape(inner.steps) == {
            "p.b.m.2%2Ecsv.q": {
                "p.b.m.2%2Ecsv.q.x": {"p.b.m.2%2Ecsv.q.x.fit": {}},
                "p.b.m.2%2Ecsv.q.y": {"p.b.m.2%2Ecsv.q.y.fit": {}},
            }
        }


@pytest.mark.thorough
@given(trees=st.lists(strategies.step_trees(), max_size=3, unique_by=lambda tree: tree.internal_name))
def test_flattening_and_assembling_are_inverse(trees):
    log = RunLog(run_id="r", steps={tree.internal_name: tree for tree in trees}, parameters={"a": 1})
    before = exact(log)
    records, parameters = flatten(log)
    again = assemble(RunLog(run_id="r"), records, {scope: dict(values) for scope, values in parameters.items()})
    assert exact(again) == before


def test_the_order_of_records_is_the_order_of_execution():
    log = assembled(step("b"), step("a"), branch("b.2"), branch("b.1"), step("b.1.z"), step("b.1.a"))
    assert list(log.steps) == ["b", "a"]
    assert list(log.steps["b"].branches) == ["b.2", "b.1"]
    assert list(log.steps["b"].branches["b.1"].steps) == ["b.1.z", "b.1.a"]


def test_a_name_that_is_a_prefix_of_another_is_not_its_parent():
    log = assembled(step("train"), step("train-all"), branch("train-all.x"), step("train-all.x.s"))
    assert shape(log.steps) == {"train": {}, "train-all": {"train-all.x": {"train-all.x.s": {}}}}


def test_names_with_dots_from_other_tools_nest():
    log = assembled(
        step("state", "state"),
        branch("state.data/a.b.csv"),
        step("state.data/a.b.csv.fit", "fit"),
        branch("state.data/a.b.csv.fit.v1.0"),
        step("state.data/a.b.csv.fit.v1.0.x.y", "x.y"),
        step("top.level", "top.level"),
        step("alone", ""),
    )
    assert not log.problems
    inner = {"state.data/a.b.csv.fit.v1.0": {"state.data/a.b.csv.fit.v1.0.x.y": {}}}
    assert shape(log.steps) == {
        "state": {"state.data/a.b.csv": {"state.data/a.b.csv.fit": inner}},
        "top.level": {},
        "alone": {},
    }


def test_a_branch_belongs_to_the_longest_step_it_may():
    steps = {name: step(name) for name in ("a", "a.b", "a.b.c.d")}
    assert step_of_branch("a.b.c", steps) == "a.b"
    assert step_of_branch("a.b.c.d.e", steps) == "a.b.c.d"
    assert step_of_branch("a.x", steps) == "a"
    assert step_of_branch("a", steps) is None
    assert step_of_branch("ab.c", steps) is None
    assert step_of_branch(".a", steps) is None


@given(parent=st.sampled_from(["", "s.b", "s.b.c"]), name=strategies.names)
def test_a_step_is_where_its_name_says_raw_or_escaped(parent, name):
    branches = {"s.b": branch("s.b"), "s.b.c": branch("s.b.c")}
    for internal_name in (join_name(parent, name), f"{parent}.{name}" if parent else name):
        assert branch_of_step(step(internal_name, name), branches) == parent
    assert branch_of_step(step(join_name("s.lost", name), name), branches) is None
    assert escape_segment(name) in join_name(parent, name)


def test_what_has_no_place_is_kept_and_said():
    log = assembled(
        step("s"),
        step("lost.b.inner"),
        branch("gone.b"),
        step("gone.b.inside"),
        parameters={"": {"a": 1}, "nowhere": {"b": 2}, "empty": {}},
    )
    assert list(log.steps) == ["s"]
    assert list(log.orphans.steps) == ["lost.b.inner"]
    assert shape({"x": StepLog(name="x", internal_name="x", branches=log.orphans.branches)}) == {
        "x": {"gone.b": {"gone.b.inside": {}}}
    }
    assert log.orphans.parameters == {"nowhere": {"b": 2}}
    assert [(problem.kind, problem.file) for problem in log.problems] == [
        ("orphan", "lost.b.inner"),
        ("orphan", "gone.b"),
        ("orphan", "nowhere"),
    ]
    records, parameters = flatten(log)
    assert exact(assemble(RunLog(run_id="r"), records, parameters)) == exact(log)
    assert exact(RunLog.from_json(log.to_json())) == exact(log)


def test_an_empty_run_is_empty():
    log = assembled()
    assert (log.steps, log.parameters, log.problems, bool(log.orphans)) == ({}, {}, [], False)


@pytest.mark.parametrize("levels", [1, 5, 40])
def test_nesting_goes_to_any_depth(levels):
    records, name = [], ""
    for level in range(levels):
        name = join_name(name, f"step{level}")
        records.append(step(name))
        name = join_name(name, f"branch{level}")
        records.append(branch(name))
    log = assembled(*records)
    assert not log.problems
    innermost = RunLog.from_json(log.to_json())
    for _ in range(levels):
        (found,) = innermost.steps.values()
        (innermost,) = found.branches.values()
    assert innermost.internal_name == name
