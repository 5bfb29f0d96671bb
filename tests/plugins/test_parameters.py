"""Parameters come back with their kinds, in the scope in which they were set."""

import pytest
from runnable import exceptions

import chunkstore
from plugins.records import EVERY_KIND, RUN, attempt, fill, full, json_of, metric_of, step


@pytest.mark.parametrize("scope", ["", "p.a", "p.a.m.1"])
def test_parameters_are_added_to_with_their_kinds(any_store, scope):
    fill(any_store)
    before = any_store.get_parameters(RUN, scope)
    any_store.set_parameters(RUN, EVERY_KIND, scope)
    any_store.set_parameters(RUN, {"metric": json_of(1)}, scope)
    any_store.set_parameters(RUN, {}, scope)
    expected = {**before, **EVERY_KIND, "metric": json_of(1)}
    assert any_store.get_parameters(RUN, scope) == expected
    log = full(any_store)
    found = log.search_branch_by_internal_name(scope)[0].parameters
    assert found == expected
    assert {name: value.kind for name, value in found.items()} == {name: value.kind for name, value in expected.items()}


def test_parameters_of_scopes_are_apart(any_store):
    fill(any_store)
    for scope in ("", "p.a", "p.a.m.1"):
        any_store.set_parameters(RUN, {"x": json_of(scope)}, scope)
    for scope in ("", "p.a", "p.a.m.1"):
        assert any_store.get_parameters(RUN, scope)["x"] == json_of(scope)
    assert any_store.get_branch_log("p.a", RUN).parameters == {"lr": json_of(0.1), "x": json_of("p.a")}


def check_that_parameters_need_a_branch(store, name):
    fill(store)
    before = full(store)
    for call in (
        lambda: store.get_parameters(RUN, name),
        lambda: store.set_parameters(RUN, {"x": json_of(1)}, name),
        lambda: store.set_parameters(RUN, {}, name),
    ):
        with pytest.raises(exceptions.BranchLogNotFoundError):
            call()
    assert full(store) == before


@pytest.mark.parametrize("name", ["p.b", "p", "last", "p.a.m.2", "q.a"])
def test_parameters_need_a_branch_that_exists(any_store, name):
    check_that_parameters_need_a_branch(any_store, name)


@pytest.mark.parametrize("name", ["p.a.m", "p.a.m.1.t", "p.a.m.1.", "P.a"])
def test_parameters_of_a_branch_do_not_go_by_the_name_of_a_step(store, name):
    check_that_parameters_need_a_branch(store, name)


def test_keys_that_json_has_as_words_become_text(any_store):
    any_store.create_run_log(RUN)
    any_store.set_parameters(RUN, {"counts": json_of({"by": {True: 3, None: [{False: 1}]}, "7": {7: 1}})})
    found = any_store.get_parameters(RUN)["counts"].value
    assert found == {"by": {"true": 3, "null": [{"false": 1}]}, "7": {"7": 1}}


def test_parameters_that_others_have_set_without_a_kind_are_json(store):
    fill(store)
    own = chunkstore.open_store("chunked-fs", log_folder=store.log_folder)
    own.set_parameters(RUN, {"plain": {"a": [1]}, "kind": {"kind": "metric"}})
    own.set_parameters(RUN, {"inner": None}, branch="p.a")
    assert store.get_parameters(RUN)["plain"] == full(store).parameters["plain"] == json_of({"a": [1]})
    assert store.get_parameters(RUN)["kind"] == json_of({"kind": "metric"})
    assert full(store).steps["p"].branches["p.a"].parameters["inner"] == json_of(None)
    assert store.get_branch_log("p.a", RUN).parameters["lr"] == json_of(0.1)


@pytest.mark.parametrize("value", [float("nan"), float("inf"), [float("-inf"), {"deep": float("nan")}]], ids=repr)
def test_values_that_json_lacks_come_back(any_store, value):
    fill(any_store)
    any_store.set_parameters(RUN, {"x": metric_of(value), "y": json_of(value)}, "p.a")
    any_store.add_step_log(step("last", attempts=[attempt(user_defined_metrics={"m": metric_of(value)})]), RUN)
    log = full(any_store)
    found = [
        any_store.get_parameters(RUN, "p.a")["x"],
        any_store.get_branch_log("p.a", RUN).parameters["y"],
        log.steps["p"].branches["p.a"].parameters["x"],
        log.steps["last"].attempts[0].user_defined_metrics["m"],
        any_store.get_step_log("last", RUN).attempts[0].user_defined_metrics["m"],
    ]
    assert [repr(parameter.get_value()) for parameter in found] == [repr(value)] * 5


def test_objects_that_look_like_marks_of_such_values_come_back(any_store):
    values = {"a": json_of({"$float": "NaN"}), "b": json_of({"$$float": "NaN"}), "c": json_of([{"$float": 1}])}
    fill(any_store)
    any_store.set_parameters(RUN, values)
    assert {**full(any_store).parameters, **values} == full(any_store).parameters == any_store.get_parameters(RUN)
