"""Values are shown, compared and exported as they were recorded, whatever they look like."""

import json
import math

import pytest

import chunkstore
from chunkstore.records.fields import MetricPoint
from chunkstore.records.models import BranchLog, RunLog, StepAttempt
from chunkstore.views.compare import compare_runs
from chunkstore.views.compare.diff_table import sections
from chunkstore.views.pages.notebook import run_log_as_html
from chunkstore.views.pages.run_page import heading, run_page
from chunkstore.views.pages.run_values import metrics_of_run, parameters_of_run
from chunkstore.views.pages.step_page import step_sections
from chunkstore.views.pages.tree import render_tree
from chunkstore.views.recorded_values import is_same, parameters_in, parameters_of, value_text
from chunkstore.views.tables import rows_of, to_arrow
from views.made_logs import made_map, made_run, made_step

OWN = [{"kind": "linear", "value": 3}, {"kind": "json", "value": 3}, {"kind": "metric", "value": 3}]
SERVICE = {"service_name": "chunked-fs", "service_type": "run_log_store"}


def shown_everywhere(log):
    """Return all that views say of a run, as one text."""
    pages = [
        render_tree(log),
        run_log_as_html(log),
        *("".join(part.text for part in line) for line in heading(run_page(log, None))),
        *(str(values.texts(row)) for values in (parameters_of_run(log), metrics_of_run(log)) for row in values.rows),
        *(str(section) for step in log.steps.values() for section in step_sections(step)),
        *(str(row) for table in ("params", "metrics", "steps") for row in rows_of(log, table)),
        *(str(to_arrow(log, table).to_pylist()) for table in ("params", "metrics", "steps")),
    ]
    return "\n".join(pages)


@pytest.mark.parametrize("value", OWN, ids=str)
def test_a_value_of_an_author_that_has_a_kind_keeps_it(tmp_path, value):
    store = chunkstore.open_store("chunked-fs", log_folder=str(tmp_path))
    for run_id, given in (("one", value), ("two", {**value, "kind": "other"})):
        with store.start_run(run_id, parameters={"decay": given}) as run, run.step("s") as step:
            step.log_params({"p": given})
            step.log_metric("m", given)
    one, two = map(store.get_run_log, ("one", "two"))
    assert parameters_in(one, one.parameters) == {"decay": value}
    assert parameters_of(one.steps["s"]) == {"p": value}
    assert [json.loads(row.value) for row in rows_of(one, "params")] == [value, value]
    assert [json.loads(row.value) for row in rows_of(one, "metrics")] == [value]
    found = compare_runs(one, two)
    assert [(change.where, change.name) for change in found.parameters] == [("", "decay"), ("s", "p")]
    assert [change.name for change in found.metrics] == ["m"]


@pytest.mark.parametrize(
    "config",
    [{}, {"chunkstore": {"created": "x", "imported": "y"}}, {"chunkstore": {"created": "x"}, "run_log_store": SERVICE}],
    ids=["of runnable alone", "imported", "by the plugin"],
)
def test_the_kinds_that_runnable_writes_are_left_out(config):
    wrapped = {"a": {"kind": "json", "value": 3}, "d": {"kind": "metric", "value": 1.5, "description": "of a task"}}
    attempt = StepAttempt(input_parameters=wrapped, output_parameters=wrapped, user_defined_metrics=wrapped)
    log = RunLog(run_id="r", parameters=wrapped, run_config=config, steps={"s": made_step("s", attempts=[attempt])})
    plain = {"a": 3, "d": 1.5}
    assert parameters_in(log, log.parameters) == parameters_of(log.steps["s"]) == plain
    assert {(row.scope, row.name, row.number) for row in rows_of(log, "params")} == {
        (scope, name, value) for scope in ("run", "input", "output") for name, value in plain.items()
    }
    assert [row.number for row in rows_of(log, "metrics")] == [3, 1.5]
    assert '"kind"' not in shown_everywhere(log)


def test_parameters_of_branches_are_told_apart_likewise():
    for config, expected in (({"run_log_store": SERVICE}, 3), ({}, {"kind": "json", "value": 3})):
        log = made_run(made_map("m", 1), run_config=config)
        log.steps["m"].branches["m.0"].parameters = {"p": {"kind": "json", "value": 3}}
        (row,) = parameters_of_run(log).rows
        assert row == ("m.0", "p", expected)


@pytest.mark.parametrize(
    ("value", "text"),
    [
        ([math.nan, 1], "[NaN,1]"),
        ({"a": {"b": [math.inf, -math.inf]}}, '{"a":{"b":[Infinity,-Infinity]}}'),
        ({"$float": "NaN"}, '{"$float":"NaN"}'),  # an author's own
        ([{"$float": "NaN"}, math.nan], '[{"$float":"NaN"},NaN]'),
        ({"b": math.nan, "a": "ü"}, '{"a":"ü","b":NaN}'),
        (math.nan, "nan"),
        (10**40, str(10**40)),
    ],
    ids=str,
)
def test_floats_that_json_lacks_are_shown_by_their_names(value, text):
    assert value_text(value, None) == text


def test_the_marks_of_such_floats_are_nowhere_to_be_seen():
    branch = BranchLog(internal_name="m.0", status="SUCCESS", parameters={"p": [math.nan]}, item=[math.nan])
    step = made_step("m.0.work", user_defined_metrics={"m": {"a": math.inf}}, result={"r": [math.nan]})
    branch.steps = {step.internal_name: step}
    composite = made_step("m", step_type="map", branches={"m.0": branch})
    log = made_run(composite, made_step("s", result=[math.nan]), parameters={"list": [math.nan], "nan": math.nan})
    shown = shown_everywhere(log)
    assert "[NaN]" in shown
    assert "$float" not in shown


@pytest.mark.parametrize(
    ("one", "other", "same"),
    [
        ([1], [1.0], True),
        ({"a": [-0.0]}, {"a": [0.0]}, True),
        ([math.nan, {"b": math.nan}], [math.nan, {"b": math.nan}], True),
        ([True], [1], False),
        ([1, 2], [1], False),
        ({"a": 1}, {"b": 1}, False),
        (["1"], [1], False),
    ],
    ids=str,
)
def test_values_inside_of_others_are_the_same_as_they_are_outside(one, other, same):
    assert is_same(one, other) is same
    assert compare_runs(made_run(parameters={"p": one}), made_run(parameters={"p": other})).different is not same


@pytest.mark.parametrize(
    ("value", "text"),
    [("3", '"3"'), (3, "3"), ("", '""'), (None, "null"), ("true", '"true"'), (0.12345678, "0.12345678")],
    ids=repr,
)
def test_the_table_of_parameters_tells_values_from_texts_that_look_like_them(value, text):
    values = parameters_of_run(made_run(parameters={"p": value}))
    assert values.texts(values.rows[0]) == ("", "p", text)


def test_metrics_that_differ_far_behind_the_point_and_long_values_are_told_apart():
    old, new = (
        made_run(
            made_step("s", user_defined_metrics={"m": 0.12345678 + more, "big": 2**60 + (more > 0)}),
            parameters={"p": "x" * 60 + str(more)},
        )
        for more in (0, 1e-8)
    )
    shown = [row[2:] for section in sections(compare_runs(old, new)) for row in section.rows]
    assert shown == [
        ("p", f'…{"x" * 20}0"', f'…{"x" * 20}1e-08"', ""),
        ("m", "0.12345678", "0.12345679", "+1e-08  +8.1e-06 %"),
        ("big", "1152921504606846976", "1152921504606846977", "+1  +8.67e-17 %"),
    ]


def test_one_point_is_told_to_be_one():
    log = made_run(made_step("s", metric_series={"m": [MetricPoint(0, 1.0, "")]}))
    assert "(1 point)" in render_tree(log)
