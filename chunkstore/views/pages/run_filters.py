"""Which runs somebody wants to see: conditions on parameters, metrics and times, as people write them."""

from __future__ import annotations

import operator
import re
from collections.abc import Callable, Iterable, Mapping
from datetime import datetime, timedelta
from typing import Any, NamedTuple

import msgspec
from msgspec import UNSET

from chunkstore.clock import parse_time
from chunkstore.records.models import BranchLog, StepLog
from chunkstore.views.recorded_values import is_number, metrics_of, unwrapped

_AGE = re.compile(r"(\d+(?:\.\d+)?)\s*(s|m|min|h|d|w)\Z")
_SECONDS = {"s": 1, "m": 60, "min": 60, "h": 3_600, "d": 86_400, "w": 604_800}
_EQUALITY = {"=", "==", "!="}
_COMPARISON = re.compile(r"\s*(.+?)\s*(<=|>=|!=|==|=|<|>)\s*(.*?)\s*\Z", re.DOTALL)
_OPERATORS: dict[str, Callable[[Any, Any], bool]] = {
    "<": operator.lt,
    "<=": operator.le,
    ">": operator.gt,
    ">=": operator.ge,
    "=": operator.eq,
    "==": operator.eq,
    "!=": operator.ne,
}


class Comparison(NamedTuple):
    """A condition on a value that is recorded under a name.

    Attributes:
        name: the parameter or metric.
        sign: how it is compared.
        value: with what.
        text: the same as it was written, for values that are text.
    """

    name: str
    sign: str
    value: Any
    text: str

    def holds(self, found: Any) -> bool:
        """Tell whether a value meets the condition; values of different kinds differ, and neither is less."""
        value = self.text if isinstance(found, str) and not isinstance(self.value, str) else self.value
        if not (is_number(found) and is_number(value)) and type(found) is not type(value):
            return self.sign == "!="
        try:
            return _OPERATORS[self.sign](found, value)
        except TypeError:
            return False  # two of a kind that has no order


def parse_comparison(text: str) -> Comparison:
    """Return the condition that a text like `loss<0.3` or `model=xgb` stands for.

    The value is JSON where it is that, else text.

    Raises:
        ValueError: there is no comparison in it.
    """
    match = _COMPARISON.match(text)
    if match is None:
        raise ValueError(f"{text!r} compares nothing. Write a name, one of < <= > >= = !=, and a value: 'loss<0.3'.")
    name, sign, value = match.groups()
    if not value and sign not in _EQUALITY:
        raise ValueError(f"{text!r} compares with nothing. Write a value behind {sign}: 'loss<0.3'.")
    return Comparison(name, sign, _parsed(value), value)


def _parsed(value: str) -> Any:
    try:
        return msgspec.json.decode(value)
    except (msgspec.DecodeError, UnicodeEncodeError, RecursionError):
        return {"nan": float("nan"), "inf": float("inf"), "-inf": float("-inf")}.get(value.lower(), value)


def parse_since(text: str, now: datetime) -> datetime:
    """Return the moment that an age like `2d`, `12h` or `30min`, or a date or time, stands for.

    Args:
        text: an age, or a time as `2024-02-02` or `2024-02-02 05:49`; without an offset, of the local time zone.
        now: what time it is.

    Raises:
        ValueError: it is neither.
    """
    age = _AGE.match(text.strip())
    try:
        if age:
            return now - timedelta(seconds=float(age.group(1)) * _SECONDS[age.group(2)])
        moment = datetime.fromisoformat(text.strip())
        return moment if moment.tzinfo else moment.astimezone()
    except (ValueError, OverflowError):
        raise ValueError(f"{text!r} is no age like 30min, 12h, 2d or 1w, and no time like 2024-02-02 05:49.") from None


def started_since(start_time: str, since: datetime) -> bool:
    """Tell whether a run started at some moment or later; of one without a time nobody knows."""
    started = parse_time(start_time)
    return started is not None and started >= since


def parameters_match(parameters: Mapping[str, Any], wanted: Iterable[Comparison]) -> bool:
    """Tell whether parameters meet all conditions; `model.depth` is the key `depth` inside `model`, too."""
    return all(_has(parameters, comparison) for comparison in wanted)


def _has(parameters: Mapping[str, Any], comparison: Comparison) -> bool:
    found: Any = parameters
    if comparison.name in parameters:
        found = unwrapped(parameters[comparison.name])
    else:
        for key in comparison.name.split("."):
            found = unwrapped(found)
            if not isinstance(found, Mapping) or key not in found:
                return False
            found = found[key]
        found = unwrapped(found)
    return comparison.holds(found)


def metrics_match(records: Iterable[StepLog | BranchLog], wanted: Iterable[Comparison]) -> bool:
    """Tell whether each condition is met by a metric of some step; of a series, its last value counts."""
    missing = set(wanted)
    for record in records:
        if isinstance(record, StepLog):
            metrics = metrics_of(record)
            if record.metric_series is not UNSET:
                metrics.update({name: points[-1].value for name, points in record.metric_series.items() if points})
            missing = {each for each in missing if each.name not in metrics or not each.holds(metrics[each.name])}
        if not missing:
            return True
    return not missing
