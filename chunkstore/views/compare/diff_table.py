"""What differs between two runs, as a table for people; what differs alike in many branches is one row."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Iterator
from datetime import timedelta
from functools import partial
from statistics import fmean
from typing import Any, NamedTuple

from msgspec import UNSET

from chunkstore.names import readable_name, unescape_segment
from chunkstore.views.compare.diff import growth
from chunkstore.views.compare.differences import (
    Change,
    CodeChange,
    DataChange,
    DurationChange,
    Fan,
    MetricChange,
    OneSided,
    RunDiff,
)
from chunkstore.views.compare.failures import first_difference
from chunkstore.views.formats import format_seconds
from chunkstore.views.recorded_values import (
    MOST_CHARACTERS,
    differing_parts,
    is_number,
    is_same,
    number_text,
    short_hash,
    short_version,
    value_text,
)
from chunkstore.views.texts import MOST_NAMED, counted, cut, named, shown_message

ADDED, REMOVED, CHANGED = "+", "-", "~"
#: More rows of a section are counted, not shown.
MOST_ROWS = 20
#: More rows that differ only in their branch become one.
MOST_ALIKE = 4
#: Of messages, so many characters are shown.
_MOST_OF_MESSAGE = 200
#: From here on, three digits are not all that stand before the point.
_MANY = 999.5
_VERY_MANY = 1e6
#: Less is nothing to one digit behind the point.
_FEW = 0.05


class Row(NamedTuple):
    """A line of the table.

    Attributes:
        mark: `+` added, `-` removed, `~` changed.
        where: the internal name of the step or branch, with `*` for many branches; empty for the run.
        name: what differs there.
        old: its text in the first run.
        new: its text in the second run.
        note: what else is to say.
    """

    mark: str
    where: str
    name: str
    old: str
    new: str
    note: str


class Section(NamedTuple):
    """Rows about one kind of difference; the hidden ones are only counted."""

    title: str
    rows: list[Row]
    hidden: int


class _Line(NamedTuple):
    """A row before it is text. Of two values, `compare` says how they differ."""

    where: str
    name: str = ""
    old: Any = ""
    new: Any = ""
    text: Callable[[Any], str] = str
    note: str = ""
    compare: Callable[[Any, Any], str] | None = None
    #: How a value is written if `text`, which may shorten it, does not tell the two apart.
    whole: Callable[[Any], str] | None = None
    #: What lines have in common that become one; the name if it is empty.
    group: str = ""


def sections(diff: RunDiff, *, everything: bool = False) -> list[Section]:
    """Return what differs as sections of a table, without those in which nothing does.

    Args:
        diff: the comparison.
        everything: whether each row is shown: nothing is put together or only counted.
    """
    change_lines = partial(_change_lines, most=None if everything else MOST_CHARACTERS)
    parts: list[tuple[str, Iterable[_Line]]] = [
        ("Run", change_lines(diff.run)),
        ("Status", _outcome_lines(diff, everything=everything)),
        ("Steps", [*map(_missing_line, diff.missing), *map(_added_line, diff.added)]),
        ("Branches", map(_fan_line, diff.fans)),
        ("Parameters", change_lines(diff.parameters)),
        ("Items", change_lines(diff.items)),
        ("Arguments", [_Line(where, note="called with other arguments") for where in diff.arguments]),
        ("Metrics", map(_metric_line, diff.metrics)),
        ("Results", change_lines(diff.results)),
        ("Code", map(_code_line, diff.code)),
        ("Data", map(_data_line, diff.data)),
        ("Output", [_Line(where, note="printed something else") for where in diff.output]),
        ("Other", change_lines(diff.fields)),
        ("Durations", map(_duration_line, diff.durations)),
    ]
    found = (_section(title, list(lines), everything=everything) for title, lines in parts)
    return [section for section in found if section.rows]


# --- one line for one difference -------------------------------------------------------------------------------------


def _change_lines(found: list[Change], most: int | None) -> Iterator[_Line]:
    """Yield lines for values that differ; of objects, for what differs in them."""
    for change in found:
        name = "" if change.name in {"item", "result"} and change.where else change.name
        is_word = not change.where and change.name in {"status", "tag", "dag_hash"}
        text = str if is_word else partial(value_text, most=most)
        for path, old, new in differing_parts(change.old, change.new, name):
            yield _Line(change.where, path, old, new, text, whole=_whole)


def _outcome_lines(diff: RunDiff, *, everything: bool) -> Iterable[_Line]:
    most = None if everything else _MOST_OF_MESSAGE
    told = {(outcome.where.rpartition(".")[0], outcome.old, outcome.new) for outcome in diff.outcomes}
    for outcome in diff.outcomes:
        is_branch = not outcome.old_attempts and not outcome.new_attempts
        if is_branch and not outcome.message and (outcome.where, outcome.old, outcome.new) in told:
            continue  # a step in this branch says the same, and more
        before, after = outcome.old_attempts, outcome.new_attempts
        attempts = f"{before} → {after} attempts" if before != after else ""
        if outcome.old == outcome.new and (outcome.message or outcome.old_message):
            texts = first_difference(outcome.old_message, outcome.message)
            old, new = (shown_message(text, most) or UNSET for text in texts)
            yield _Line(outcome.where, "", old, new, note=attempts, group="errors")
            continue
        note = "  ".join(filter(None, [attempts, shown_message(outcome.message, most)]))
        old = outcome.old if outcome.old != outcome.new else ""
        yield _Line(outcome.where, "", old, outcome.new, note=note, group=f"{outcome.old} → {outcome.new}")


def _missing_line(missing: OneSided) -> _Line:
    return _Line(missing.where, "", "", UNSET, note=_extent(missing))


def _added_line(added: OneSided) -> _Line:
    return _Line(added.where, "", UNSET, "", note=_extent(added))


def _extent(one: OneSided) -> str:
    return f"{counted(one.inside, 'step')} inside" if one.inside else one.kind


def _fan_line(fan: Fan) -> _Line:
    parts = [f"{fan.same:,} the same"]
    if fan.different:
        prefix = len(fan.where) + 1
        names = named([unescape_segment(name[prefix:]) for name in fan.different])
        parts.append(f"{len(fan.different):,} {'differs' if len(fan.different) == 1 else 'differ'}: {names}")
    parts += [f"{count:,} {what}" for count, what in ((fan.missing, "missing"), (fan.added, "added")) if count]
    return _Line(fan.where, note="; ".join(parts))


def _metric_line(metric: MetricChange) -> _Line:
    points = ""
    if metric.old_points is not None and metric.new_points is not None:
        before, after = f"{metric.old_points:,}", f"{metric.new_points:,}"
        points = f"last of {counted(metric.new_points, 'point') if before == after else f'{before} → {after} points'}"
    return _Line(metric.where, metric.name, metric.old, metric.new, number_text, points, _growth_text, _whole)


def _whole(value: Any) -> str:
    return value_text(value, None)


def _growth_text(old: Any, new: Any) -> str:
    delta, percent = growth(old, new)
    if delta is None:
        return ""
    digits = "+.1f" if percent and _FEW <= abs(percent) < _VERY_MANY else "+.3g"
    return f"{delta:+.4g}{f'  {percent:{digits}} %' if percent else ''}"


def _code_line(change: CodeChange) -> _Line:
    many = len(change.steps) > MOST_NAMED
    steps = (
        f"in {counted(len(change.steps), 'step')}" if many else f"in {named(list(map(readable_name, change.steps)))}"
    )
    old, new = change.old or UNSET, change.new or UNSET
    return _Line("", " ".join(filter(None, [change.kind, change.what])), old, new, short_version, steps)


def _data_line(data: DataChange) -> _Line:
    return _Line(data.where, f"{data.stage} {data.name}", data.old, data.new, short_hash, group=data.stage)


def _duration_line(change: DurationChange) -> _Line:
    name = "" if change.where else "run"
    return _Line(change.where, name, change.old, change.new, _seconds_text, compare=_ratio_text)


def _seconds_text(seconds: float) -> str:
    return format_seconds(timedelta(seconds=seconds))


def _ratio_text(old: float, new: float) -> str:
    if old <= 0:
        return ""
    ratio = new / old
    return f"{ratio:.3g} times as long" if ratio < _MANY else f"{ratio:,.0f} times as long"


# --- one row for many lines ------------------------------------------------------------------------------------------


def _section(title: str, lines: list[_Line], *, everything: bool) -> Section:
    if everything:
        return Section(title, [_row(line) for line in lines], 0)
    rows: list[Row] = []
    for (pattern, _, _), alike in _groups(lines).items():
        if len(alike) > MOST_ALIKE and "*" in pattern:
            rows.append(_folded(pattern, alike))
        else:
            rows += map(_row, alike)
    hidden = max(0, len(rows) - MOST_ROWS)
    return Section(title, rows[:MOST_ROWS], hidden)


def _groups(lines: Iterable[_Line]) -> dict[tuple[str, str, str], list[_Line]]:
    """Return lines by what they have in common but for their branch."""
    groups: dict[tuple[str, str, str], list[_Line]] = {}
    for line in lines:
        segments = line.where.split(".")
        segments[1::2] = ["*"] * (len(segments) // 2)  # steps and branches alternate
        groups.setdefault((".".join(segments), line.group or line.name, _mark(line)), []).append(line)
    return groups


def _mark(line: _Line) -> str:
    if line.old is UNSET:
        return ADDED
    return REMOVED if line.new is UNSET else CHANGED


def _row(line: _Line) -> Row:
    old, new = ("" if value is UNSET else line.text(value) for value in (line.old, line.new))
    if line.whole and old == new:
        before, after = first_difference(line.whole(line.old), line.whole(line.new), longest_start=MOST_CHARACTERS // 2)
        old, new = cut(before, MOST_CHARACTERS), cut(after, MOST_CHARACTERS)
    compared = line.compare(line.old, line.new) if line.compare and UNSET not in (line.old, line.new) else ""
    return Row(_mark(line), readable_name(line.where), line.name, old, new, _joined(compared, line.note))


def _folded(pattern: str, lines: list[_Line]) -> Row:
    """Return what many lines have in common; of numbers that differ, the mean."""
    first = lines[0]
    old, new = (_common([line[place] for line in lines]) for place in (2, 3))
    row = _row(first._replace(where=pattern, old=old, new=new, note="", text=_text_of_many(first.text), whole=None))
    name = first.name if all(line.name == first.name for line in lines) else f"{first.group} …"  # data of many names
    notes = {line.note for line in lines}
    count = f"{'' if pattern.endswith('*') else 'in '}{len(lines):,} branches"
    note = _joined(row.note, notes.pop() if len(notes) == 1 else "", count)
    new_text = row.new.removeprefix(_MEAN) if row.old.startswith(_MEAN) else row.new
    return row._replace(name=name, new=new_text, note=note)


_MEAN = "mean "


class _Mean(float):
    """Stands for many numbers."""


class _Various:
    """Stands for many values that are no numbers."""


def _common(values: list[Any]) -> Any:
    first = values[0]
    if all(value is first or is_same(value, first) for value in values):
        return first
    if all(map(is_number, values)):
        try:
            return _Mean(fmean(values))
        except OverflowError:
            return _Various()
    return _Various()


def _text_of_many(text: Callable[[Any], str]) -> Callable[[Any], str]:
    def text_of(value: Any) -> str:
        if isinstance(value, _Various):
            return "various"
        return f"{_MEAN}{text(float(value))}" if isinstance(value, _Mean) else text(value)

    return text_of


def _joined(*texts: str) -> str:
    return "  ".join(filter(None, texts))
