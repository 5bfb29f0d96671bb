"""Which runs somebody wants to see: conditions on parameters, metrics and times, as people write them."""

from __future__ import annotations

import ast
import json
import operator
import re
from collections.abc import Callable, Iterable, Mapping
from datetime import datetime, timedelta
from functools import partial
from itertools import chain
from typing import Any, NamedTuple

from msgspec import UNSET

from chunkstore.clock import parse_time
from chunkstore.records import codec
from chunkstore.records.models import BranchLog, StepLog
from chunkstore.views.recorded_values import is_number, is_same, metrics_of, value_text
from chunkstore.views.texts import printable

_AGE = re.compile(r"(\d+(?:\.\d+)?)\s*(s|m|min|h|d|w)\Z")
_SECONDS = {"s": 1, "m": 60, "min": 60, "h": 3_600, "d": 86_400, "w": 604_800}
_EQUALITY = {"=", "==", "!="}
#: The name may be a JSON string, where it holds signs of its own.
_COMPARISON = re.compile(r'\s*("(?:[^"\\]|\\.)+"|.+?)\s*(<=|>=|!=|==|=|<|>)\s*(.*?)\s*\Z', re.DOTALL)
_ORDERS: dict[str, Callable[[Any, Any], bool]] = {
    "<": operator.lt,
    "<=": operator.le,
    ">": operator.gt,
    ">=": operator.ge,
}
#: What people call values that JSON has no names for, or other ones.
_WORDS = {"true": True, "false": False, "none": None}


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
        value = self._value_for(found)
        try:
            if self.sign in _EQUALITY:
                return is_same(found, value) != (self.sign == "!=")
            return self.can_order(found) and _ORDERS[self.sign](found, value)
        except (TypeError, RecursionError):
            return False  # two of a kind that has no order, or nested deeper than anything is recorded

    def can_order(self, found: Any) -> bool:
        """Tell whether a value is of the kind that it is compared with."""
        value = self._value_for(found)
        return (is_number(found) and is_number(value)) or type(found) is type(value)

    def _value_for(self, found: Any) -> Any:
        return self.text if isinstance(found, str) and not isinstance(self.value, str) else self.value


def parse_comparison(text: str) -> Comparison:
    """Return the condition that a text like `loss<0.3` or `model=xgb` stands for.

    The value is a number as Python or JSON write it, true, false, null, or other JSON; else it is text.

    Raises:
        ValueError: there is no comparison in it, or one that nothing could meet.
    """
    match = _COMPARISON.match(text)
    if match is None:
        raise ValueError(f"{text!r} compares nothing. Write a name, one of < <= > >= = !=, and a value: 'loss<0.3'.")
    name, sign, value = match.groups()
    if not value and sign not in _EQUALITY:
        raise ValueError(f"{text!r} compares with nothing. Write a value behind {sign}: 'loss<0.3'.")
    if value.startswith(("<", ">", "=")):
        raise ValueError(f"{text!r} has two signs. Write one of < <= > >= = !=, and quote a value that begins so.")
    parsed = _parsed(value)
    if sign not in _EQUALITY and (parsed is None or isinstance(parsed, (bool, list, dict)) or parsed != parsed):  # noqa: PLR0124 - NaN alone is not itself
        raise ValueError(f"Nothing is less or greater than {value}, so {text!r} finds nothing. Compare with = or !=.")
    return Comparison(_parsed(name) if name.startswith('"') else name, sign, parsed, value)


def _parsed(text: str) -> Any:
    try:
        return json.loads(text)  # also NaN, Infinity and what holds them
    except (ValueError, RecursionError):
        pass
    if text.lower() in _WORDS:
        return _WORDS[text.lower()]
    for kind in (int, float, partial(int, base=0)):  # 1_000, +5, .9, inf, nan, 0x1f
        try:
            return kind(text)
        except ValueError:
            pass
    if text.startswith(("'", "[", "{", "(")):
        try:
            return codec.plain(ast.literal_eval(text))
        except (ValueError, SyntaxError, TypeError, MemoryError, RecursionError):
            pass
    return text


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


class Matches:
    """Whether runs meet conditions on their parameters or metrics, and why none of them does.

    Args:
        what: what is compared: `parameter` or `metric`.
        wanted: the conditions.
    """

    def __init__(self, what: str, wanted: Iterable[Comparison]) -> None:
        self._what = what
        self._wanted = list(wanted)
        self._looked_at = 0
        #: By condition, a value that it was compared with; one of the right kind, if there was any.
        self._seen: dict[int, Any] = {}

    def __bool__(self) -> bool:
        return bool(self._wanted)

    def parameters(self, parameters: Mapping[str, Any]) -> bool:
        """Tell whether parameters meet all conditions; `model.depth` is the key `depth` inside `model`, too.

        A parameter that is not there meets none, `!=` neither.
        """
        self._looked_at += 1
        met = [self._holds(place, _values_at(parameters, each.name)) for place, each in enumerate(self._wanted)]
        return all(met)

    def metrics(self, records: Iterable[StepLog | BranchLog]) -> bool:
        """Tell whether each condition is met by a metric of some step; of a series, its last value counts."""
        self._looked_at += 1
        missing = list(range(len(self._wanted)))
        for record in records:
            if isinstance(record, StepLog):
                values: dict[str, list[Any]] = {name: [value] for name, value in metrics_of(record).items()}
                for name, points in {} if record.metric_series is UNSET else record.metric_series.items():
                    values.setdefault(name, []).extend(point.value for point in points[-1:])
                last = {each: list(chain(*_named(values, self._wanted[each].name))) for each in missing}
                missing = [each for each in missing if not self._holds(each, last[each])]
            if not missing:
                return True
        return not missing

    def _holds(self, place: int, found: list[Any]) -> bool:
        comparison = self._wanted[place]
        for value in found:
            if place not in self._seen or comparison.can_order(value):
                self._seen[place] = value
        return any(map(comparison.holds, found))

    def why_none(self) -> str:
        """Return what keeps every run that was looked at from meeting a condition, as far as that can be told."""
        reasons = []
        for place, each in enumerate(self._wanted if self._looked_at else ()):
            if place not in self._seen:
                reasons.append(f"None has a {self._what} {each.name!r}.")
            elif not each.can_order(found := self._seen[place]):
                kinds = f"{_kind_of(found)}, such as {value_text(found)}, and is compared with {_kind_of(each.value)}"
                reasons.append(f"The {self._what} {each.name!r} is {kinds}.")
        return " ".join(reasons)


def _kind_of(value: Any) -> str:
    kinds = {str: "text", bool: "true or false", int: "a number", float: "a number", list: "a list", dict: "an object"}
    return kinds.get(type(value), "null")


def _values_at(found: Mapping[str, Any], name: str) -> list[Any]:
    """Return the values of a name, or of a key inside of one, wherever dots part the name of one from the other."""
    values = _named(found, name)
    for dot in re.finditer(r"\.", name):
        for inner in _named(found, name[: dot.start()]):
            if isinstance(inner, Mapping):
                values += _values_at(inner, name[dot.end() :])
    return values


def _named(found: Mapping[str, Any], name: str) -> list[Any]:
    """Return what has a name, as it is or as it is shown."""
    if name in found:
        return [found[name]]
    return [value for key, value in found.items() if printable(key) == name]
