"""The records of what differs between two runs; `--json` prints them."""

from __future__ import annotations

from typing import Any

import msgspec
from msgspec import UNSET, UnsetType


class Change(msgspec.Struct, frozen=True, kw_only=True):
    """A value that differs, or that one of the runs does not have.

    Attributes:
        where: the internal name of the step or branch; empty for the run itself.
        name: what the value is called there.
        old: its value in the first run; left out if it was added.
        new: its value in the second run; left out if it was removed.
    """

    where: str
    name: str
    old: Any = UNSET
    new: Any = UNSET


class MetricChange(msgspec.Struct, frozen=True, kw_only=True):
    """A metric that differs.

    Attributes:
        where: the internal name of the step.
        name: the metric.
        old: its value in the first run, the last one of a series; left out if it was added.
        new: its value in the second run, likewise; left out if it was removed.
        delta: by how much it has grown; null unless both are numbers.
        percent: the same in per cent of the first; null also if that is 0.
        old_points: of a series, how many points the first run has; null for a single value.
        new_points: likewise, of the second run.
    """

    where: str
    name: str
    old: Any = UNSET
    new: Any = UNSET
    delta: float | None = None
    percent: float | None = None
    old_points: int | None = None
    new_points: int | None = None


class OutcomeChange(msgspec.Struct, frozen=True, kw_only=True):
    """A step or branch that ended in another way, failed with another error, or took more or fewer attempts.

    Attributes:
        where: its internal name.
        old: its status in the first run.
        new: its status in the second run.
        old_attempts: how many attempts there were in the first run; 0 for a branch, which has none of its own.
        new_attempts: likewise, in the second run.
        message: what the second run says of it; where both ended alike, the error that is another one.
        old_message: where both ended alike, the same in the first run.
    """

    where: str
    old: str
    new: str
    old_attempts: int = 0
    new_attempts: int = 0
    message: str = ""
    old_message: str = ""


class CodeChange(msgspec.Struct, frozen=True, kw_only=True):
    """Code that differs in one and the same way in some steps.

    Attributes:
        kind: `git`, `function`, `docker`…
        what: of a function, where it is defined; else the remote repository, if it is known.
        old: the version in the first run; empty if it is not known.
        new: the version in the second run; likewise.
        steps: the internal names of the steps.
    """

    kind: str
    what: str
    old: str
    new: str
    steps: list[str]


class DataChange(msgspec.Struct, frozen=True, kw_only=True):
    """Data that differs.

    Attributes:
        where: the internal name of the step.
        name: what the data is called.
        stage: `put` or `get`.
        old: its SHA-256 in the first run; left out if it was added.
        new: its SHA-256 in the second run; left out if it is missing.
    """

    where: str
    name: str
    stage: str
    old: str | UnsetType = UNSET
    new: str | UnsetType = UNSET


class OneSided(msgspec.Struct, frozen=True, kw_only=True):
    """A step or branch that only one of the runs has.

    Attributes:
        where: its internal name.
        kind: `step` or `branch`.
        inside: how many steps are in it, at any depth.
    """

    where: str
    kind: str
    inside: int = 0


class DurationChange(msgspec.Struct, frozen=True, kw_only=True):
    """A step that took notably longer or less long.

    Attributes:
        where: its internal name; empty for the run itself.
        old: seconds in the first run.
        new: seconds in the second run.
        ratio: how many times as long it took in the second run; null if it took no time in the first.
    """

    where: str
    old: float
    new: float
    ratio: float | None


class Fan(msgspec.Struct, frozen=True, kw_only=True):
    """How many branches of a `map` or `parallel` differ, in anything but code, output and durations.

    Attributes:
        where: the internal name of the composite step.
        same: how many branches are the same.
        different: the internal names of the branches that are not.
        added: how many the second run alone has.
        missing: how many the first run alone has.
    """

    where: str
    same: int
    different: list[str]
    added: int = 0
    missing: int = 0


class Side(msgspec.Struct, frozen=True, kw_only=True):
    """One of the two runs.

    Attributes:
        run_id: its id.
        status: how it ended.
        start_time: when it began, as it was recorded.
        seconds: how long it took; null if that is not known.
        unreadable: what of it could not be read, and so was not compared.
    """

    run_id: str
    status: str
    start_time: str
    seconds: float | None
    unreadable: list[str]


class RunDiff(msgspec.Struct, kw_only=True):
    """What differs between two runs.

    Attributes:
        old: the first run.
        new: the second run.
        different: whether anything differs but durations.
        run: what differs in the runs' own records: status, tag, configuration; why they failed, if nothing else tells.
        parameters: of the runs, of branches, and what steps were called with.
        items: what branches of a map were run over.
        arguments: the internal names of steps whose functions were called with other arguments, by their hashes.
        missing: steps and branches that the first run alone has.
        added: steps and branches that the second run alone has.
        outcomes: steps and branches that ended in another way or failed with other errors.
        fields: what else differs in the records of steps and branches.
        metrics: single values and series.
        results: what the functions of steps returned.
        code: grouped by what changed.
        data: put and got.
        output: the internal names of steps that printed something else.
        fans: composite steps some of whose branches differ.
        durations: those that changed notably, or all that are not the same.
    """

    old: Side
    new: Side
    different: bool = False
    run: list[Change] = msgspec.field(default_factory=list)
    parameters: list[Change] = msgspec.field(default_factory=list)
    items: list[Change] = msgspec.field(default_factory=list)
    arguments: list[str] = msgspec.field(default_factory=list)
    missing: list[OneSided] = msgspec.field(default_factory=list)
    added: list[OneSided] = msgspec.field(default_factory=list)
    outcomes: list[OutcomeChange] = msgspec.field(default_factory=list)
    metrics: list[MetricChange] = msgspec.field(default_factory=list)
    results: list[Change] = msgspec.field(default_factory=list)
    code: list[CodeChange] = msgspec.field(default_factory=list)
    data: list[DataChange] = msgspec.field(default_factory=list)
    output: list[str] = msgspec.field(default_factory=list)
    fans: list[Fan] = msgspec.field(default_factory=list)
    durations: list[DurationChange] = msgspec.field(default_factory=list)
    fields: list[Change] = msgspec.field(default_factory=list)
