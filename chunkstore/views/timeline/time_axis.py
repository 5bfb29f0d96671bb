"""The marks of a time axis: few, and round for people."""

from __future__ import annotations

import math

_MINUTE, _DAY = 60, 86_400
_THOUSAND, _MILLION = 1_000, 1_000_000
_CLOCK_STEPS = (1, 2, 5, 10, 15, 20, 30, 60, 120, 300, 600, 1_200, 1_800, 3_600, 7_200, 10_800, 21_600, 43_200, 86_400)


def tick_step(total: float, most: int) -> float:
    """Return the distance of the marks of a time axis: round for people, with at most so many marks."""
    least = total / most if total > 0 else 1.0
    if least > _CLOCK_STEPS[-1]:
        return _CLOCK_STEPS[-1] * _round_up(least / _CLOCK_STEPS[-1])
    if least > _CLOCK_STEPS[0]:
        return next(step for step in _CLOCK_STEPS if step >= least)
    return _round_up(least)


def _round_up(value: float) -> float:
    power: float = 10.0 ** math.floor(math.log10(value))
    return next(digit * power for digit in (1, 2, 5, 10) if digit * power >= value * (1 - 1e-9))


def tick_text(seconds: float, step: float) -> str:
    """Return what stands at a mark of a time axis, as exactly as the distance of its marks asks for."""
    if not seconds:
        return "0 s"
    if step >= _MINUTE:
        return _clock_text(seconds, step)
    if step >= 1:
        return f"{seconds:.0f} s"
    if step >= 0.1:  # noqa: PLR2004 - one digit
        return f"{seconds:.1f} s"
    microseconds = round(seconds * _MILLION)
    if microseconds >= _MILLION:
        return f"{seconds:.{math.ceil(-math.log10(step) - 1e-9)}f} s"
    return f"{microseconds / _THOUSAND:g} ms" if step >= 1e-3 or microseconds >= _THOUSAND else f"{microseconds} us"  # noqa: PLR2004 - a millisecond


def _clock_text(seconds: float, step: float) -> str:
    if step >= _DAY:
        return f"{seconds / _DAY:.0f} d"
    hours, minutes = divmod(round(seconds / _MINUTE), 60)
    return f"{hours}:{minutes:02} h" if hours else f"{minutes} min"
