"""Conditions on runs mean what people expect who write them."""

from datetime import datetime, timedelta, timezone

import pytest

from chunkstore.records.fields import MetricPoint
from chunkstore.records.models import StepAttempt, StepLog
from chunkstore.views.pages.run_filters import (
    metrics_match,
    parameters_match,
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
    ],
)
def test_a_comparison_is_a_name_a_sign_and_a_value(text, parsed):
    assert parse_comparison(text)[:3] == parsed


@pytest.mark.parametrize("text", ["", "loss", "<3", "=x", "loss ~ 3"])
def test_what_compares_nothing_is_refused(text):
    with pytest.raises(ValueError, match="compares nothing"):
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
        ("kind.of=5", True),
        ("missing!=1", False),
        ("list=[1,2]", True),
        ("nan>0", False),
        ("nan!=0", True),
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
        "kind": {"kind": "json", "value": {"of": 5}},
        "list": [1, 2],
        "nan": float("nan"),
    }
    assert parameters_match(parameters, [parse_comparison(condition)]) is holds


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
        return metrics_match(records, map(parse_comparison, conditions))

    assert match("loss<0.6", "f1>0.8", "acc=0.8")
    assert not match("loss<0.6", "f1>0.9")
    assert not match("acc=0.1")
    assert not match("none=1")
    assert match()
