"""Conditions on runs mean what people expect who write them."""

from datetime import datetime, timedelta, timezone

import pytest

from chunkstore.records.fields import MetricPoint
from chunkstore.records.models import StepAttempt, StepLog
from chunkstore.views.pages.run_filters import (
    Matches,
    parse_comparison,
    parse_since,
    started_since,
)

NOW = datetime(2026, 3, 1, 12, tzinfo=timezone.utc)


@pytest.mark.parametrize(
    ("text", "parsed"),
    [
        ("loss<0.3", ("loss", "<", 0.3)),
        ("loss <= 3e-1", ("loss", "<=", 0.3)),
        ("a=b", ("a", "=", "b")),
        ("a==b", ("a", "==", "b")),
        ("a!=null", ("a", "!=", None)),
        ("flag=true", ("flag", "=", True)),
        ("url=http://x?a=b", ("url", "=", "http://x?a=b")),
        ('list=[1,"x"]', ("list", "=", [1, "x"])),
        ("empty=", ("empty", "=", "")),
        ("模型=大", ("模型", "=", "大")),
        ("top-5>-inf", ("top-5", ">", float("-inf"))),
        ("a>.9", ("a", ">", 0.9)),
        ("a<-.5e-1", ("a", "<", -0.05)),
        ("a=1_000", ("a", "=", 1000)),
        ("a=+5", ("a", "=", 5)),
        ("a=007", ("a", "=", 7)),
        ("a>=-Infinity", ("a", ">=", float("-inf"))),
        ("a=True", ("a", "=", True)),
        ("a=None", ("a", "=", None)),
        ("a='x y'", ("a", "=", "x y")),
        ("a=(1, .5)", ("a", "=", [1, 0.5])),
        ("a={'b': 1}", ("a", "=", {"b": 1})),
        ('"a<b" = 3', ("a<b", "=", 3)),
        ('a="<3"', ("a", "=", "<3")),
    ],
)
def test_a_comparison_is_a_name_a_sign_and_a_value(text, parsed):
    assert parse_comparison(text)[:3] == parsed


@pytest.mark.parametrize("text", ["", "loss", "<3", "=x", "loss ~ 3"])
def test_what_compares_nothing_is_refused(text):
    with pytest.raises(ValueError, match="compares nothing"):
        parse_comparison(text)


@pytest.mark.parametrize("text", ["a=>3", "a=<3", "a<>3", "a===3"])
def test_two_signs_are_refused_as_nothing_would_be_found(text):
    with pytest.raises(ValueError, match="has two signs"):
        parse_comparison(text)


@pytest.mark.parametrize("text", ["a>nan", "a<true", "a<=null", "a>[1]"])
def test_what_nothing_is_greater_than_is_refused(text):
    with pytest.raises(ValueError, match="finds nothing"):
        parse_comparison(text)


@pytest.mark.parametrize(
    ("text", "since"),
    [
        ("30min", NOW - timedelta(minutes=30)),
        ("90 s", NOW - timedelta(seconds=90)),
        ("1.5h", NOW - timedelta(hours=1.5)),
        ("2d", NOW - timedelta(days=2)),
        ("1w", NOW - timedelta(weeks=1)),
        ("2026-02-01T00:00:00+00:00", datetime(2026, 2, 1, tzinfo=timezone.utc)),
        ("2026-02-01", datetime(2026, 2, 1).astimezone()),
    ],
)
def test_an_age_or_a_time_is_a_moment(text, since):
    assert parse_since(text, NOW) == since


@pytest.mark.parametrize("text", ["", "d", "2 fortnights", "-2d", "2026-13-01", "9" * 400 + "d"])
def test_what_is_neither_is_refused(text):
    with pytest.raises(ValueError, match="no age"):
        parse_since(text, NOW)


def test_of_a_run_without_a_time_nobody_knows_when_it_started():
    assert started_since("2026-03-01 12:00:00+00:00", NOW)
    assert not started_since("2026-03-01 11:59:59+00:00", NOW)
    assert not started_since("", NOW)
    assert not started_since("soon", NOW)


@pytest.mark.parametrize(
    ("condition", "holds"),
    [
        ("n=7", True),
        ("n=7.0", True),
        ("n>6", True),
        ("n>x", False),
        ("n!=x", True),
        ("flag=true", True),
        ("flag=1", False),
        ("one=true", False),
        ("name=xgb", True),
        ("name>a", True),
        ("version=1.10", True),
        ("version=1.1", False),
        ("none=null", True),
        ("model.depth=3", True),
        ("model.depth.more=3", False),
        ("a.b=dotted", True),
        ("missing!=1", False),
        ("list=[1,2]", True),
        ("nan>0", False),
        ("nan!=0", True),
        ("nan=nan", True),
        ("nan!=nan", False),
        ("n!=nan", True),
        ("nans=[NaN]", True),
        ("list=[1.0,2]", True),
        ("list=[1,true]", False),
        ("n=+7", True),
        ("n>.7e1", False),
        ("n>=.7e1", True),
        ("word=nan", True),
        ("word=True", False),
        ("flag=True", True),
    ],
)
def test_parameters_are_compared_as_what_they_are(condition, holds):
    parameters = {
        "n": 7,
        "flag": True,
        "one": 1,
        "name": "xgb",
        "version": "1.10",
        "none": None,
        "model": {"depth": 3},
        "a.b": "dotted",
        "list": [1, 2],
        "nan": float("nan"),
        "nans": [float("nan")],
        "word": "nan",
    }
    assert Matches("parameter", [parse_comparison(condition)]).parameters(parameters) is holds


@pytest.mark.parametrize(
    ("condition", "reason"),
    [
        ("lr=1", "None has a parameter 'lr'."),
        ("n>x", "The parameter 'n' is a number, such as 7, and is compared with text."),
        ("n='7'", "The parameter 'n' is a number, such as 7, and is compared with text."),
        ("flag=1", "The parameter 'flag' is true or false, such as true, and is compared with a number."),
        ("n>8", ""),
    ],
)
def test_it_is_told_what_keeps_every_run_from_being_found(condition, reason):
    matches = Matches("parameter", [parse_comparison(condition)])
    assert not matches.why_none()  # no run was looked at
    assert not matches.parameters({"n": 7, "flag": True})
    assert matches.why_none() == reason


def test_of_values_of_several_kinds_those_that_can_be_compared_are_no_reason():
    matches = Matches("parameter", [parse_comparison("n>8")])
    assert not any(map(matches.parameters, ({"n": True}, {"n": 7}, {"n": None})))
    assert not matches.why_none()


def test_each_condition_may_be_met_by_a_metric_of_another_step():
    attempt = StepAttempt(user_defined_metrics={"f1": {"kind": "metric", "value": 0.9}})
    records = [
        StepLog(name="a", internal_name="a", user_defined_metrics={"loss": 0.5}),
        StepLog(name="b", internal_name="b", attempts=[attempt]),
        StepLog(
            name="c", internal_name="c", metric_series={"acc": [MetricPoint(0, 0.1), MetricPoint(1, 0.8)], "none": []}
        ),
    ]

    def match(*conditions):
        return Matches("metric", map(parse_comparison, conditions)).metrics(records)

    assert match("loss<0.6", "f1>0.8", "acc=0.8")
    assert not match("loss<0.6", "f1>0.9")
    assert not match("acc=0.1")
    assert not match("none=1")
    assert match()


@pytest.mark.parametrize("condition", ["x.y.z.w=6", "new\\nline=1", "x.new\\nline=2", "new\nline=1"])
def test_names_with_dots_inside_of_others_and_names_as_they_are_shown_are_found(condition):
    parameters = {"x.y": {"z.w": 6}, "new\nline": 1, "x": {"new\nline": 2}}
    assert Matches("parameter", [parse_comparison(condition)]).parameters(parameters)


def test_a_metric_is_found_by_what_is_shown_of_its_name():
    step = StepLog(name="s", internal_name="s", user_defined_metrics={"esc\x1b": 1})
    assert Matches("metric", [parse_comparison("esc\\x1b=1")]).metrics([step])
