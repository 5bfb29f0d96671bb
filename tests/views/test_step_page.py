"""The page of a step shows what was recorded, whatever that is."""

import math

import pytest

from chunkstore.views.pages.step_page import sparkline


@pytest.mark.parametrize(
    ("values", "bars"),
    [
        ([1, 2, 3], "▁▅█"),
        ([10**400, 1, 2, math.nan, math.inf, "text"], "▁█"),
        ([-1.7e308, 1.7e308, 0], "▁█▅"),
        ([5e-324, 0], "▁▁"),
        ([-(10**400)], ""),
    ],
)
def test_numbers_of_any_size_are_drawn_and_what_is_no_float_is_left_out(values, bars):
    assert sparkline(values) == bars
