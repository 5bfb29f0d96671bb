"""Durations and sizes are told in a unit that is not full, and as near as that unit allows."""

import re
from datetime import timedelta

import pytest
from hypothesis import example, given
from hypothesis import strategies as st

from chunkstore.maintenance.doctor.probes import in_words
from chunkstore.views.formats import format_bytes, format_seconds
from chunkstore.views.timeline.time_axis import tick_step, tick_text

SECONDS = {"µs": 1e-6, "us": 1e-6, "ms": 1e-3, "s": 1, "min": 60, "h": 3_600, "d": 86_400}
BYTES = {"B": 1, "kB": 1e3, "MB": 1e6, "GB": 1e9, "TB": 1e12}
#: A unit is full when so many make up the next one; hours go on to two days.
FULL = {"µs": 1000, "us": 1000, "ms": 1000, "s": 60, "min": 60, "h": 48, "B": 1000, "kB": 1000, "MB": 1000, "GB": 1000}


def parts(text):
    return [(float(number.replace(",", "")), unit) for number, unit in re.findall(r"([\d,.]+) (\S+)", text)]


def check(text, value, units):
    """Check that no unit is full, and that the text is as near to the value as its last digit allows."""
    found = parts(text)
    assert found
    assert all(number < FULL.get(unit, float("inf")) for number, unit in found)
    assert all(number < (24 if unit == "h" else 60) for number, unit in found[1:])
    digit = 0.1 if "." in text else 1
    said = sum(number * units[unit] for number, unit in found)
    assert abs(said - value) <= (0.5 + 1e-6) * digit * units[found[-1][1]] + 1e-9


@given(st.floats(0, 10_000_000) | st.floats(0, 100) | st.integers(0, 200_000).map(float))
@example(0.9995)
@example(0.9999)
@example(59.95)
@example(59.96)
@example(3_599.5)
@example(3_599.99)
@example(7_199.9)
@example(172_799.9)
@example(172_770.0)
@example(2 * 86_400.0 + 86_399)
def test_no_unit_of_a_duration_is_told_to_be_full(seconds):
    duration = timedelta(seconds=seconds)
    check(format_seconds(duration), duration.total_seconds(), SECONDS)


@given(st.integers(0, 10**15) | st.integers(0, 10_000_000))
@example(999)
@example(1_000)
@example(9_949)
@example(9_999)
@example(99_999)
@example(999_499)
@example(999_500)
@example(999_999)
@example(10**9 - 1)
@example(10**12 - 1)
def test_no_unit_of_a_size_is_told_to_be_full(size):
    check(format_bytes(size), size, BYTES)


@given(st.floats(0, 5))
@example(0.0009996)
@example(0.99996)
def test_no_unit_of_a_short_time_is_told_to_be_full(seconds):
    check(in_words(seconds), seconds, SECONDS)


@pytest.mark.parametrize(
    ("seconds", "text"),
    [(0.0004, "0 ms"), (0.9996, "1.0 s"), (59.96, "1 min 0 s"), (3_599.7, "1 h 0 min"), (172_799, "2 d 0 h")],
)
def test_what_is_nearly_a_unit_is_told_as_one(seconds, text):
    assert format_seconds(timedelta(seconds=seconds)) == text


@given(st.floats(1e-5, 59), st.integers(3, 20))
def test_marks_below_a_minute_tell_apart_where_they_are_in_a_unit_that_is_not_full(total, most):
    step = tick_step(total, most)
    texts = [tick_text(number * step, step) for number in range(int(total / step) + 1)]
    assert len({*texts}) == len(texts)
    for text in texts:
        ((number, unit),) = parts(text)
        assert number < FULL[unit]
