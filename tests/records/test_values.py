"""Values come back exactly, are converted without loss on the way in, or are refused with their place."""

import collections
import dataclasses
import datetime as dt
import enum
import json
import math
import pathlib
import sys
import types
import typing
import uuid
from decimal import Decimal
from fractions import Fraction

import msgspec
import numpy as np
import pydantic
import pytest
from hypothesis import given

from chunkstore.errors import InvalidValueError
from chunkstore.records import codec
from chunkstore.records.fields import MetricPoint
from chunkstore.records.models import BranchLog, RunLog, StepLog
from chunkstore.testing import strategies
from chunkstore.testing.suite_base import exact


def decoded(data):
    """Return the value that JSON bytes hold, with every float restored."""
    return codec.revive(codec.decode(data))


def recorded(value):
    """Return what a reader gets of a value: in a field of any JSON, and inside an object."""
    step = StepLog(name="s", internal_name="s", user_defined_metrics={"v": value}, result=value)
    found = StepLog.from_json(step.to_json())
    assert exact(found.result) == exact(found.user_defined_metrics["v"])
    return found.result


@given(value=strategies.json_values)
def test_any_json_value_comes_back_exactly(value):
    data = codec.encode(codec.plain(value))
    assert exact(decoded(data)) == exact(value)
    json.loads(data, parse_constant=pytest.fail)
    assert exact(decoded(codec.encode(codec.plain(value), indent=4))) == exact(value)


@pytest.mark.thorough
@given(tree=strategies.step_trees())
def test_any_record_comes_back_exactly(tree):
    log = RunLog(run_id="r", steps={tree.internal_name: tree})
    for indent in (None, 4):
        assert exact(RunLog.from_json(log.to_json(indent=indent))) == exact(log)


@given(value=strategies.json_values)
def test_python_reads_the_same_but_for_marked_floats(value):
    text = codec.encode(codec.plain(value)).decode()
    if "$float" not in text:
        assert exact(json.loads(text)) == exact(value)


@pytest.mark.parametrize(
    ("value", "text"),
    [
        (math.nan, '{"$float":"NaN"}'),
        (math.inf, '{"$float":"Infinity"}'),
        (-math.inf, '{"$float":"-Infinity"}'),
        ({"$float": "NaN"}, '{"$$float":"NaN"}'),
        ({"$$float": 1}, '{"$$$float":1}'),
        ({"$float": 1, "a": 2}, '{"$float":1,"a":2}'),
        (-0.0, "-0.0"),
        (1e300, "1e300"),
        (10**30, str(10**30)),
        ([], "[]"),
        ({}, "{}"),
    ],
)
def test_the_form_of_a_value_on_disk(value, text):
    data = codec.encode(codec.plain(value))
    assert data.decode() == text
    assert exact(decoded(data)) == exact(value)


class Colour(enum.Enum):
    RED = "red"


class Level(enum.IntEnum):
    HIGH = 3


class Name(str):
    __slots__ = ()


@dataclasses.dataclass
class Point:
    x: int
    inner: object


class Model(pydantic.BaseModel):
    when: dt.date
    items: list[float]


class Struct(msgspec.Struct):
    a: int


class Pair(typing.NamedTuple):
    a: int
    b: int


UUID = uuid.UUID("12345678123456781234567812345678")

CONVERTED = [
    ((1, (2,)), [1, [2]]),
    ({3, 1, 2}, [1, 2, 3]),
    (frozenset({"b", "a"}), ["a", "b"]),
    (collections.deque([1]), [1]),
    (Pair(1, 2), [1, 2]),
    (collections.OrderedDict(a=1), {"a": 1}),
    (collections.Counter("aa"), {"a": 2}),
    (types.MappingProxyType({"a": 1}), {"a": 1}),
    (Colour.RED, "red"),
    (Level.HIGH, 3),
    (Name("n"), "n"),
    (dt.datetime(2024, 2, 2, 5, 49, tzinfo=dt.timezone.utc), "2024-02-02T05:49:00+00:00"),
    (dt.date(2024, 2, 2), "2024-02-02"),
    (dt.time(5, 49), "05:49:00"),
    (dt.timedelta(seconds=1.5), "0:00:01.500000"),
    (Decimal("1.10"), "1.10"),
    (Decimal("NaN"), "NaN"),
    (UUID, str(UUID)),
    (pathlib.Path("a/b"), "a/b"),
    (pathlib.PureWindowsPath("a\\b"), "a\\b"),
    (Point(1, Point(2, None)), {"x": 1, "inner": {"x": 2, "inner": None}}),
    (Model(when=dt.date(2024, 2, 2), items=[math.nan]), {"when": "2024-02-02", "items": [math.nan]}),
    (Struct(1), {"a": 1}),
    (np.int64(2**40), 2**40),
    (np.float32(0.5), 0.5),
    (np.float64("nan"), math.nan),
    (np.bool_(True), True),
    (np.str_("s"), "s"),
    (np.array([[1, 2], [3, 4]]), [[1, 2], [3, 4]]),
    (np.array([0.5, np.inf]), [0.5, math.inf]),
    (np.array(7), 7),
    (np.datetime64("2024-02-02T05:49:41.697142123"), "2024-02-02T05:49:41.697142123"),
    (np.array(["2024-02-02"], dtype="M8[D]"), ["2024-02-02"]),
    (np.array([{"a": 1}], dtype=object), [{"a": 1}]),
    ({1: "a", 2.5: "b", Colour.RED: "c", UUID: "d"}, {"1": "a", "2.5": "b", "red": "c", str(UUID): "d"}),
    ({np.int64(1): "a", pathlib.Path("p"): "b"}, {"1": "a", "p": "b"}),
    ({Level.HIGH: 1}, {"3": 1}),
]


@pytest.mark.parametrize(("value", "expected"), CONVERTED, ids=[type(value).__name__ for value, _ in CONVERTED])
def test_a_common_value_is_converted(value, expected):
    assert exact(recorded(value)) == exact(expected)
    assert exact(recorded({"inside": [value]})) == exact({"inside": [expected]})


def cyclic():
    value = []
    value.append({"again": value})
    return value


def deep(levels):
    value = 0
    for _ in range(levels):
        value = [value]
    return value


REFUSED = {
    "object": (object(), "builtins.object"),
    "class": (int, "builtins.type"),
    "function": (len, "builtin_function_or_method"),
    "bytes": (b"bytes", "builtins.bytes"),
    "complex": (1j, "builtins.complex"),
    "fraction": (Fraction(1, 3), "fractions.Fraction"),
    "generator": ((n for n in ()), "generator"),
    "cycle": (cyclic(), "contains itself"),
    "too deep": (deep(200), "nested more than"),
    "long integer": (10**5000, "digits"),
    "negative long integer": (-(10**4300), "digits"),
    "half a surrogate pair": ("a\ud800", "surrogate"),
    "surrogate in a key": ({"\ud800": 1}, "surrogate"),
    "none as key": ({None: 1}, "NoneType"),
    "tuple as key": ({(1, 2): 1}, "tuple"),
    "true as key": ({True: 1}, "bool"),
    "colliding keys": ({1: "a", "1": "b"}, "same text"),
    "long double": (np.longdouble(1) / 3, "longdouble" if sys.platform == "darwin" else "without loss"),
    "complex array": (np.array([1j]), "complex"),
    "dataclass type": (Point, "builtins.type"),
    "pydantic type": (Model, "ModelMetaclass"),
}


@pytest.mark.parametrize(("value", "reason"), REFUSED.values(), ids=list(REFUSED))
def test_a_value_that_would_lose_something_is_refused_with_its_place(value, reason):
    with pytest.raises(InvalidValueError, match=reason) as caught:
        recorded({"a": [0, {"b": value}]})
    key = caught.value.key
    assert key.split(".")[0] in ("user_defined_metrics", "value"), key
    assert "a[1].b" in key, key
    assert key in str(caught.value)
    assert len(str(caught.value)) < 2_000


@pytest.mark.parametrize("levels", [1, 100, 126])
def test_deep_values_up_to_the_limit_come_back(levels):
    assert recorded(deep(levels)) == deep(levels)


def test_integers_up_to_the_limit_come_back():
    longest = 10**codec.MAX_DIGITS - 1
    for value in (longest, -longest, 2**14_275, 2**64, -(2**63) - 1):
        assert recorded(value) == value
    for value in (longest + 1, -longest - 1):
        with pytest.raises(InvalidValueError):
            recorded(value)


@pytest.mark.parametrize(
    ("record", "key"),
    [
        (StepLog(name="s", internal_name="s", status=None), "status"),
        (StepLog(name="s", internal_name="s", mock=1), "mock"),
        (StepLog(name="s", internal_name="s", attempts={}), "attempts"),
        (StepLog(name="s", internal_name="s", branches=[]), "branches"),
        (StepLog(name="s", internal_name="s", cached_from=None), "cached_from"),
        (StepLog(name="s", internal_name="s", metric_series=[1]), "metric_series"),
        (StepLog(name="s", internal_name="s", metric_series={"m": [(1, 2)]}), "metric_series"),
        (StepLog(name="s", internal_name="s", metric_series={"m": [MetricPoint("1", 2)]}), "metric_series"),
        (StepLog(name="s", internal_name="s", metric_series={"m": [MetricPoint(math.nan, 2)]}), "metric_series"),
        (StepLog(name="s", internal_name="s", attempts=[{}]), "attempts"),
        (StepLog(name="s", internal_name="s", attempts=None), "attempts"),
        (StepLog(name="s", internal_name="s", branches={"b": StepLog(name="s", internal_name="b")}), "branches"),
        (StepLog(name="s", internal_name="s", user_defined_metrics=[1]), "user_defined_metrics"),
        (RunLog(run_id="r", parameters=None), "parameters"),
        (BranchLog(internal_name="b", parameters=5), "parameters"),
    ],
)
def test_a_field_of_the_wrong_type_is_refused(record, key):
    with pytest.raises(InvalidValueError, match=key):
        record.to_json()


def test_points_of_a_series_may_hold_any_value():
    series = {"m": [MetricPoint(1, math.nan, "t"), MetricPoint(2.5, {"a": [math.inf]}), MetricPoint(3, 10**40)]}
    step = StepLog(name="s", internal_name="s", metric_series=series)
    assert exact(StepLog.from_json(step.to_json())) == exact(step)
