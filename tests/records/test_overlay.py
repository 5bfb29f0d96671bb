"""Changes laid over what an owner writes: neither undoes the other."""

import copy
import json

import msgspec
import pytest
from hypothesis import assume, given
from hypothesis import strategies as st

from chunkstore.records import codec, overlay
from chunkstore.records.overlay import Change
from chunkstore.testing import strategies

#: Plain JSON, as `merge` gets it: floats that JSON lacks are marked already.
plain_values = strategies.json_values.map(codec.plain)
SMALL = st.recursive(
    st.sampled_from([0, 1, True, False, 1.0, 0.0, -0.0, None, "", "a"]),
    lambda inner: st.one_of(st.lists(inner, max_size=4), st.dictionaries(st.sampled_from("abc"), inner, max_size=3)),
    max_leaves=10,
)


def exact(value):
    return json.dumps(value)


def through_json(change):
    return None if change is None else msgspec.json.decode(msgspec.json.encode(change), type=Change)


@given(base=SMALL | plain_values, new=SMALL | plain_values)
def test_a_change_turns_the_old_value_into_the_new_one(base, new):
    before = exact([base, new])
    change = through_json(overlay.merge(base, None, new))
    assert repr(overlay.apply(change, base)) == repr(overlay.apply(change, copy.deepcopy(base)))
    assert equal(overlay.apply(change, base), new)
    assert exact([base, new]) == before


@given(base=SMALL, values=st.lists(SMALL, min_size=1, max_size=5))
def test_changes_one_after_the_other_end_with_the_last(base, values):
    change = None
    for value in values:
        change = through_json(overlay.merge(overlay.apply(change, base), change, value))
        assert equal(overlay.apply(change, base), value)


@pytest.mark.parametrize(
    ("base", "one", "other"),
    [
        ({"a": 1, "b": 1}, {"a": 2, "b": 1}, {"a": 2, "b": 2}),
        ({"a": 1, "b": 1}, {"b": 1}, {"b": 2}),
        ({"a": 1, "b": 1}, {"b": 1}, {}),
        ({"a": 1}, {"a": 1, "b": 1}, {"a": 1, "b": 1, "c": 1}),
        ([{"a": 1}, {"a": 1}], [{"a": 2}, {"a": 1}], [{"a": 2}, {"a": 2}]),
        ([1], [1, 2], [1, 2, 3]),
        ({"k": {"a": 1, "b": 1}}, {"k": {"a": 2, "b": 1}}, {"k": {"a": 2, "b": 2}}),
    ],
)
def test_a_second_change_keeps_what_the_first_has_changed(base, one, other):
    change = through_json(overlay.merge(base, None, one))
    change = through_json(overlay.merge(overlay.apply(change, base), change, other))
    assert overlay.apply(change, base) == other


@given(base=SMALL)
def test_no_difference_is_no_change(base):
    assert overlay.merge(base, None, copy.deepcopy(base)) is None
    change = Change(set=1)
    assert overlay.merge(base, change, copy.deepcopy(base)) is change


@given(base=SMALL, changed=SMALL, written=SMALL)
def test_a_change_lies_over_whatever_the_owner_writes(base, changed, written):
    change = overlay.merge(base, None, changed)
    result = overlay.apply(change, written)
    assert isinstance(json.loads(json.dumps(result)), type(result))
    if change is not None and change.set is not msgspec.UNSET:
        assert equal(result, changed)


OBJECTS = st.dictionaries(st.sampled_from("abcdef"), st.sampled_from([0, 1, True, None, "x"]), max_size=5)


@given(base=OBJECTS, changed=OBJECTS, written=OBJECTS)
def test_of_two_writers_of_an_object_each_keeps_its_own_keys(base, changed, written):
    result = overlay.apply(overlay.merge(base, None, changed), written)
    for key in set(base) | set(changed) | set(written):
        if key in base and key in changed and equal(base[key], changed[key]):
            touched = False
        else:
            touched = key in base or key in changed
        expected = changed if touched else written
        assert (key in result) == (key in expected)
        if key in expected:
            assert equal(result[key], expected[key])


@given(base=st.lists(st.integers()), theirs=st.lists(st.integers()), ours=st.lists(st.integers()))
def test_what_two_writers_append_to_a_list_is_all_there(base, theirs, ours):
    change = overlay.merge(base, None, base + theirs)
    assert overlay.apply(change, base + ours) == base + ours + theirs
    more = overlay.merge(base + ours + theirs, change, base + ours + theirs + [7])
    assert overlay.apply(more, base + ours + [8]) == base + ours + [8] + theirs + [7]


def test_an_element_that_others_changed_stays_changed_where_it_stands():
    base = [{"status": "PROCESSING"}]
    change = overlay.merge(base, None, [{"status": "FAIL"}])
    assert overlay.apply(change, [{"status": "SUCCESS", "end": 1}, {"status": "new"}]) == [
        {"status": "FAIL", "end": 1},
        {"status": "new"},
    ]


def test_a_null_is_a_value_and_not_a_removal():
    change = through_json(overlay.merge({"a": 1, "b": 2}, None, {"a": None}))
    assert overlay.apply(change, {"a": 5, "b": 6, "c": 7}) == {"a": None, "c": 7}


@pytest.mark.parametrize(("one", "other"), [(1, True), (1, 1.0), (0, False), (0.0, -0.0), (None, False), ([], {})])
def test_values_that_python_takes_for_equal_are_told_apart(one, other):
    for base, new in ((one, other), ([one], [other]), ({"k": one}, {"k": other})):
        change = overlay.merge(base, None, new)
        assert change is not None
        assert repr(overlay.apply(change, base)) == repr(new)


@pytest.mark.parametrize("written", [5, None, "text", [1], {"$float": "NaN"}])
def test_a_change_inside_an_object_is_nothing_to_a_value_that_is_none(written):
    change = overlay.merge({"k": {"a": 1}}, None, {"k": {"a": 2}})
    assert overlay.apply(change, {"k": written}) == {"k": written}


def test_a_change_inside_an_object_that_is_gone_brings_nothing_back():
    change = overlay.merge({"k": {"a": 1}}, None, {"k": {"a": 2}})
    assert overlay.apply(change, {"other": 1}) == {"other": 1}


def test_a_key_that_others_changed_and_then_removed_stays_away():
    change = through_json(overlay.merge({"a": 1}, None, {"a": 2}))
    change = through_json(overlay.merge({"a": 2}, change, {}))
    for written in ({}, {"a": 3}):
        assert overlay.apply(change, written) == {}


@pytest.mark.parametrize("base", [{}, {"list": 0}])
def test_what_is_applied_is_not_shared(base):
    change = overlay.merge(base, None, {"list": [1]})
    overlay.apply(change, base)["list"].append(2)
    assert overlay.apply(change, base) == {"list": [1]}


@given(value=plain_values)
def test_every_change_survives_its_file(value):
    change = overlay.merge([0], None, [value])
    assume(change is not None)
    assert repr(through_json(change)) == repr(change)


def equal(one, other):
    """Compare as JSON does, whatever the order of keys."""
    if type(one) is not type(other):
        return False
    if isinstance(one, dict):
        return one.keys() == other.keys() and all(equal(item, other[key]) for key, item in one.items())
    if isinstance(one, list):
        return len(one) == len(other) and all(map(equal, one, other))
    return repr(one) == repr(other)


@given(base=st.lists(SMALL, max_size=4), theirs=st.lists(SMALL, max_size=3), ours=st.lists(SMALL, max_size=3))
def test_what_others_appended_is_there_once_when_the_owner_writes_what_it_has_read(base, theirs, ours):
    change = overlay.merge(base, None, [*base, *theirs])
    seen = overlay.apply(change, base)
    expected = sorted(map(exact, [*base, *theirs, *ours]))
    for again in range(3):  # as it has read it at first, with more of its own behind
        written = overlay.without_appended(change, seen, [*base, *theirs, *ours])
        seen = overlay.apply(change, written)
        assert sorted(map(exact, seen)) == expected, again
    assert exact(overlay.without_appended(change, seen, seen)) == exact(written)  # or as it is now


def test_what_the_owner_knows_by_itself_is_written_as_it_is():
    change = overlay.merge({"a": [1], "b": {"c": []}}, None, {"a": [1, 2], "b": {"c": [3]}, "d": [4]})
    seen = overlay.apply(change, {"a": [1], "b": {"c": []}})
    own = {"a": [1, 5], "b": {"c": []}, "e": [6]}
    assert overlay.without_appended(change, seen, own) == own
    assert overlay.apply(change, overlay.without_appended(change, seen, {**seen, "e": 7})) == {**seen, "e": 7}
    assert overlay.without_appended(None, seen, seen) is seen
