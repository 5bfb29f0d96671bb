"""What a step is called with has one hash: the same in every process, and another for every other value."""

import array
import collections
import copy
import dataclasses
import datetime as dt
import decimal
import enum
import fractions
import functools
import math
import os
import pathlib
import pickle
import re
import subprocess
import sys
import threading
import tracemalloc
import types
import uuid
from concurrent.futures import ProcessPoolExecutor
from multiprocessing import get_context
from typing import NamedTuple

import numpy as np
import pandas as pd
import pytest
from hypothesis import given
from hypothesis import strategies as st

from chunkstore.recording.identity import graph, input_hash
from recording import work


def hash_of(value):
    """Return the hash of a call with one argument; it must have one."""
    found = input_hash((value,), {})
    assert found.whole is not None, found.arguments
    return found.whole


@dataclasses.dataclass
class Point:
    x: object
    y: object = None


@dataclasses.dataclass(frozen=True)
class Frozen:
    names: frozenset


class Slotted:
    __slots__ = ("one", "two")

    def __init__(self, one, two):
        self.one, self.two = one, two


class Node:
    def __init__(self, name):
        self.name, self.others = name, []


class Colour(enum.Enum):
    RED = 1
    GREEN = 2


class Text(str):
    __slots__ = ()


class Names(set):
    pass


class Ordered(collections.OrderedDict):
    pass


class Pair(NamedTuple):
    left: object
    right: object


# --- equal values ----------------------------------------------------------------------------------------------------

scalars = (
    st.none()
    | st.booleans()
    | st.integers()
    | st.floats()
    | st.text()
    | st.binary()
    | st.sampled_from([0, 0.0, -0.0, 1, 1.0, True, math.nan, -math.nan, "", b"", 10**400, "\ud800", "x" * 300])
)
keys = st.text() | st.integers() | st.booleans() | st.tuples(st.text(), st.integers()) | st.none()
values = st.recursive(
    scalars | st.frozensets(keys),
    lambda inner: (
        st.lists(inner, max_size=4)
        | st.tuples(inner, inner)
        | st.dictionaries(keys, inner, max_size=4)
        | st.sets(keys, max_size=4)
        | st.builds(Point, inner, inner)
        | st.builds(Pair, inner, inner)
    ),
    max_leaves=12,
)


def made_otherwise(value):
    """Return an equal value whose sets and dicts were filled in another order, and of whose parts none is shared."""
    kind = type(value)
    if kind in (str, bytes):
        return pickle.loads(pickle.dumps(value))
    if kind in (list, tuple):
        return kind([made_otherwise(item) for item in value])
    if kind in (set, frozenset):
        return kind([made_otherwise(item) for item in reversed(list(value))])
    if kind is dict:
        return {made_otherwise(key): made_otherwise(item) for key, item in reversed(value.items())}
    if kind is Point:
        return Point(made_otherwise(value.x), made_otherwise(value.y))
    return Pair(*map(made_otherwise, value)) if kind is Pair else value


def shape(value):
    """Return text that is the same for values that are the same, and for those alone."""
    kind = type(value)
    if kind in (list, tuple, Pair):
        return f"{kind.__name__}({','.join(map(shape, value))})"
    if kind in (set, frozenset):
        return f"{kind.__name__}({','.join(sorted(map(shape, value)))})"
    if kind is dict:
        return f"dict({','.join(sorted(f'{shape(key)}:{shape(item)}' for key, item in value.items()))})"
    return f"Point({shape(value.x)},{shape(value.y)})" if kind is Point else f"{kind.__name__} {value!r}"


@given(values)
def test_equal_values_have_equal_hashes_however_they_were_made(value):
    assert hash_of(made_otherwise(value)) == hash_of(value)
    assert hash_of(pickle.loads(pickle.dumps(value))) == hash_of(value)
    assert hash_of([value, value]) == hash_of([value, made_otherwise(value)])


@given(values, values)
def test_values_have_equal_hashes_only_if_they_are_equal(one, other):
    assert (hash_of(one) == hash_of(other)) == (shape(one) == shape(other))


def cyclic():
    items = [1]
    items.append(items)
    return items


def ring(*names):
    nodes = [Node(name) for name in names]
    for node, following in zip(nodes, nodes[1:] + nodes[:1], strict=True):
        node.others = {following: node}
    return nodes


EQUAL = {
    "set": lambda: {"alpha", "beta", "gamma", ("delta", 1)},
    "set of sets": lambda: {frozenset({"a", "b"}), frozenset({"c"})},
    "dict of mixed keys": lambda: {1: "a", "1": "b", None: {"c"}, (1, "x"): 4, frozenset({"p", "q"}): 5},
    "frozen dataclass": lambda: Frozen(frozenset({"a", "b", "c"})),
    "set of dataclasses": lambda: {Frozen(frozenset({"a", "b"})), Frozen(frozenset({"c"}))},
    "slots": lambda: Slotted({"a", "b"}, {"k": {"v", "w"}}),
    "enum": lambda: [Colour.RED, {Colour.GREEN: 1, Colour.RED: 2}],
    "paths and times": lambda: [
        pathlib.Path("a/b"),
        dt.datetime(2020, 1, 1, tzinfo=dt.timezone.utc),
        decimal.Decimal("1.50"),
        fractions.Fraction(1, 3),
        uuid.UUID(int=7),
        re.compile("a+", re.IGNORECASE),
        range(3),
        slice(1, 2),
    ],
    "collections": lambda: [
        collections.Counter("hello"),
        collections.deque([1, 2], 3),
        collections.defaultdict(set, {"b": {"x", "y"}, "a": {"z"}}),
        Ordered(a={1, 2}, b=3),
        Names(["x", "y", "z"]),
        types.SimpleNamespace(a={"p", "q"}),
    ],
    "functions": lambda: [work.double, functools.partial(work.double, item={"a", "b"}), len, "x".join, Point, int],
    "lambda": lambda: lambda item: item in {"a", "b", "c"},
    "arrays": lambda: [
        np.arange(6.0).reshape(2, 3),
        np.array(["a", "b"]),
        np.array([{"s", "t"}, None], dtype=object),
        np.array([(1, 2.0)], dtype=[("a", "i1"), ("b", "f8")]),
        np.float32(1.5),
        np.datetime64("2020-01-01"),
        np.dtype("f8"),
        array.array("d", [1.0, 2.0]),
        bytearray(b"ab"),
    ],
    "pandas": lambda: [pd.DataFrame({"a": [1, 2], "b": ["x", "y"]}), pd.Series([1.0, math.nan])],
    "cycle": cyclic,
    "ring": lambda: ring("a", "b", "c"),
    "ring of twins": lambda: ring("a", "a", "b"),
}


def all_hashes():
    return {name: hash_of(make()) for name, make in EQUAL.items()}


def sent_hashes(made):
    return {name: hash_of(value) for name, value in made.items()}


def test_hashes_are_the_same_in_every_process():
    here = all_hashes()
    program = (
        "from recording import test_argument_hashes as t\nfor item in t.all_hashes().items(): print(*item, sep='=')"
    )
    for seed in ("0", "1", "2"):
        environment = {**os.environ, "PYTHONHASHSEED": seed, "PYTHONPATH": os.pathsep.join(sys.path)}
        done = subprocess.run(
            [sys.executable, "-c", program], env=environment, check=True, capture_output=True, text=True
        )
        assert dict(line.split("=") for line in done.stdout.splitlines()) == here


@pytest.mark.thorough
@pytest.mark.parametrize("method", ["fork", "spawn"])
def test_what_a_worker_unpickled_has_the_hash_of_what_was_sent(method):
    made = {name: make() for name, make in EQUAL.items() if name != "lambda"}
    with ProcessPoolExecutor(1, mp_context=get_context(method)) as pool:
        assert pool.submit(sent_hashes, made).result() == sent_hashes(made)


# --- different values ------------------------------------------------------------------------------------------------

DIFFERENT = [
    ([1], (1,)),
    ([1], [[1]]),
    ([[1], 2], [[1, 2]]),
    ([1, "a"], ["a", 1]),
    (1, 1.0),
    (1, True),
    (0.0, -0.0),
    ("a", Text("a")),
    ("a", b"a"),
    ({1}, frozenset({1})),
    ({1: 2}, {2: 1}),
    ({"a": 1}, [["a", 1]]),
    ({"a": {"b"}}, {"a": ["b"]}),
    (Point(1), Point(2)),
    (Pair(1, 2), (1, 2)),
    (Colour.RED, Colour.GREEN),
    (Slotted(1, 2), Slotted(2, 1)),
    (Ordered(a=1, b=2), Ordered(b=2, a=1)),
    (Names("ab"), Names("ac")),
    (pathlib.PurePosixPath("a"), "a"),
    (decimal.Decimal(1), 1),
    (lambda item: item + 1, lambda item: item + 2),
    (functools.partial(work.double, 1), functools.partial(work.double, 2)),
    (np.zeros(4), np.zeros((2, 2))),
    (np.zeros(4), np.zeros(4, "f4")),
    (np.zeros(3), np.array([0.0, -0.0, 0.0])),
    (np.zeros(1), [0.0]),
    (np.float64(1), 1.0),
    (np.array([1, 2], object), np.array([1, 3], object)),
    (bytearray(b"a"), b"a"),
    (ring("a", "b"), ring("a", "c")),
    (ring("a", "b"), ring("a", "b", "a", "c")),
    (ring(*"aababb")[:1], ring(*"aabbab")[:1]),  # the same pairs of neighbours, in another order
    (object(), None),
    (len, max),
    (int, float),
]


@pytest.mark.parametrize(("one", "other"), DIFFERENT, ids=map(str, range(len(DIFFERENT))))
def test_different_values_have_different_hashes(one, other):
    assert hash_of(one) != hash_of(other)
    assert hash_of([one]) != hash_of([other])
    assert hash_of({"k": one}) != hash_of({"k": other})


def test_what_is_not_a_number_is_equal_to_itself_alone():
    assert hash_of([math.nan]) == hash_of([float("nan")]) == hash_of([math.inf - math.inf]) != hash_of([math.inf])
    assert hash_of(complex(0, math.nan)) == hash_of(complex(0, -math.nan))
    several = np.array([1.0, math.nan])
    negative = -several
    negative[0] = 1.0
    assert hash_of(several) == hash_of(negative) != hash_of(np.array([1.0, 2.0]))


def test_a_large_array_is_hashed_without_a_copy():
    item = np.ones(2_000_000)
    tracemalloc.start()
    try:
        hash_of([item, {"a": item}])
        assert tracemalloc.get_traced_memory()[1] < item.nbytes / 2
    finally:
        tracemalloc.stop()


def test_parts_that_many_ways_lead_to_are_hashed_once():
    value, other = [{"a"}], [{"b"}]
    for _ in range(300):
        value, other = [value, value], [other, other]
    assert hash_of(value) != hash_of(other)
    assert hash_of(value) == hash_of(copy.copy(value))


@pytest.mark.thorough
def test_no_nesting_is_too_deep():
    def nested(depth, value):
        for _ in range(depth):
            value = [value]
        return value

    assert hash_of(nested(20_000, 1)) == hash_of(nested(20_000, 1)) != hash_of(nested(20_001, 1))


def test_twins_in_a_circle_are_told_apart_by_what_they_lead_to():
    def pair(*, crossed):
        a, b, c, d = (Node(name) for name in "xxyy")
        for one, other in ((a, c), (b, d), (c, a if not crossed else b), (d, b if not crossed else a)):
            one.others.append(other)
        c.name = "z"
        return [a, b]

    assert hash_of(pair(crossed=False)) == hash_of(pair(crossed=False)) != hash_of(pair(crossed=True))


# --- what cannot be hashed -------------------------------------------------------------------------------------------


class Lying:
    """Its attributes are made up, and its methods raise."""

    def __getattr__(self, name):
        return lambda *_: name

    def __eq__(self, other):
        raise ValueError("no")

    __hash__ = None

    def __repr__(self):
        raise ValueError("no")


class Refusing:
    def __reduce__(self):
        raise BufferError("not today")


class Endless:
    """Each state is another new object."""

    def __getstate__(self):
        return {"next": Endless()}


@pytest.mark.parametrize(
    "value",
    [threading.Lock(), Refusing(), (item for item in ()), sys._getframe()],
    ids=["lock", "refusing", "generator", "frame"],
)
def test_what_cannot_be_hashed_has_no_hash_and_the_argument_is_named(value):
    found = input_hash((1,), {"name": [value]}, lambda x, name: x)
    assert found.whole is None
    assert found.arguments["x"] == input_hash((1,), {}, lambda x: x).arguments["x"]
    assert found.arguments["name"].startswith("unknown: ")
    assert len(found.arguments["name"]) < 200


def test_objects_that_make_up_attributes_are_told_by_what_they_hold():
    one, other = Lying(), Lying()
    assert hash_of(one) == hash_of(other)
    other.__dict__["x"] = 1
    assert hash_of(one) != hash_of(other)


@pytest.mark.thorough
def test_an_object_without_an_end_has_no_hash(monkeypatch):
    monkeypatch.setattr("chunkstore.recording.identity.graph._DEEPEST", 1000)
    assert input_hash((Endless(),), {}).whole is None


# --- what is recorded ------------------------------------------------------------------------------------------------


def test_the_record_says_which_argument_is_which_and_stays_small(store):
    with store.start_run("run") as run:
        run.step("fit", lambda rate, *rest, seed=0: rate, 0.1, 1, 2, seed=3)
        run.step("many", lambda **names: None, **{f"name{number}": number for number in range(500)})
        run.step("none", work.two)
    steps = store.get_run_log("run").steps
    assert list(steps["fit"].argument_hashes) == ["rate", "1", "2", "seed"]
    assert set(map(len, steps["fit"].argument_hashes.values())) == {12}
    assert len(steps["many"].argument_hashes) == 32
    assert not steps["none"].argument_hashes
    assert steps["fit"].input_hash.startswith("v2:")


def test_an_item_is_hashed_once(store, monkeypatch):
    hashed = []

    class Item:
        def __init__(self, name):
            self.name = name

        def __getstate__(self):
            hashed.append(self.name)
            return self.name

    def go(run_id, resume=None):
        with store.start_run(run_id, resume=resume) as run:
            run.map("score", [Item("a"), Item("b")], lambda item: item.name, executor=work.threads())

    go("first")
    assert sorted(hashed) == ["a", "b"]
    monkeypatch.setattr("chunkstore.recording.branch_records.is_same_work", lambda *_: False)
    go("second", "first")
    assert sorted(hashed) == ["a", "a", "b", "b"]


def test_a_class_is_looked_at_once_however_many_objects_it_has(monkeypatch):
    looked_at = []
    digest = graph.code_digest
    monkeypatch.setattr(graph, "code_digest", lambda *given: looked_at.append(given) or digest(*given))
    hash_of([Point(number, number) for number in range(10)])
    assert len(looked_at) == 1
