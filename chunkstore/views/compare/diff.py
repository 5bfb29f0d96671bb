"""What differs between two runs.

The ids of runs and points in time are no differences. Durations are told where they changed notably, but as no run
takes exactly as long as another, they never make two runs different.
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from typing import Any, NamedTuple

from msgspec import UNSET

from chunkstore.records.fields import MetricPoint
from chunkstore.records.models import NOTES, BranchLog, CodeIdentity, DataCatalog, RunLog, StepLog
from chunkstore.views.compare.differences import (
    Change,
    CodeChange,
    DataChange,
    DurationChange,
    Fan,
    MetricChange,
    OneSided,
    OutcomeChange,
    RunDiff,
    Side,
)
from chunkstore.views.compare.failures import Texts
from chunkstore.views.recorded_values import (
    GIT,
    are_comparable,
    code_of,
    failure_of,
    is_number,
    is_output,
    is_same,
    metrics_of,
    outputs_of,
    parameters_in,
    parameters_of,
    run_seconds,
    step_seconds,
    steps_of,
    version_of,
)

#: A duration has changed notably if the longer is so many times the shorter, and by so many seconds.
NOTABLE_RATIO = 1.5
NOTABLE_SECONDS = 0.1

_Record = StepLog | BranchLog


def compare_runs(old: RunLog, new: RunLog, *, all_durations: bool = False) -> RunDiff:
    """Return what differs between two runs.

    Args:
        old: the first run, whole.
        new: the second run, whole.
        all_durations: whether durations that changed little are told too.

    Returns:
        What differs, by kind; `different` tells whether anything does but durations.
    """
    return _Comparison(old, new, all_durations=all_durations).result()


class _Pair(NamedTuple):
    """A step or branch in both runs; None where a run does not have it. `parent` is that of the second run's record."""

    old: _Record | None
    new: _Record | None
    parent: _Pair | None


class _Comparison:
    def __init__(self, old: RunLog, new: RunLog, *, all_durations: bool) -> None:
        self._old = old
        self._new = new
        self._all_durations = all_durations
        self._diff = RunDiff(old=_side(old), new=_side(new))
        self._code: dict[tuple[str, str, str, str], list[str]] = {}
        #: The names of branches in which something differs.
        self._touched: set[str] = set()
        self._composites: list[_Pair] = []
        self._texts = Texts(old.run_id, new.run_id)

    def result(self) -> RunDiff:
        diff = self._diff
        self._compare_runs()
        for pair in _pairs(steps_of(self._old), steps_of(self._new)):
            if self._differs(pair):
                self._touch(pair)
        diff.code = [
            CodeChange(kind=kind, what=what, old=old, new=new, steps=steps)
            for (kind, what, old, new), steps in self._code.items()
        ]
        diff.fans = list(filter(None, map(self._fan, self._composites)))
        if not diff.outcomes and not diff.missing and not diff.added:
            diff.run += self._reasons()
        told = (getattr(diff, name) for name in diff.__struct_fields__ if name not in {"old", "new", "durations"})
        diff.different = any(told)
        return diff

    def _compare_runs(self) -> None:
        old, new, diff = self._old, self._new, self._diff
        diff.run += changes("", _own_fields(old), _own_fields(new))
        diff.parameters += changes("", parameters_in(old, old.parameters), parameters_in(new, new.parameters))
        self._compare_seconds("", run_seconds(old), run_seconds(new))

    def _reasons(self) -> list[Change]:
        """Return why the runs failed, if that differs: mostly, steps say it."""
        old, new = (str(log.notes.get("message", "")) for log in (self._old, self._new))
        if not self._texts.differ(old, new):
            return []
        return [Change(where="", name="message", old=old or UNSET, new=new or UNSET)]

    def _touch(self, pair: _Pair) -> None:
        """Note that something differs in all branches around a step or branch."""
        at: _Pair | None = pair
        while at is not None:
            if isinstance(at.new, BranchLog) and at.old is not None:
                if at.new.internal_name in self._touched:
                    return
                self._touched.add(at.new.internal_name)
            at = at.parent

    def _differs(self, pair: _Pair) -> bool:
        """Compare a step or branch without what is inside; tell whether it differs in more than code and output."""
        old, new, _ = pair
        if old is None or new is None:
            self._note_one_sided(old, new)
            return True
        if isinstance(old, BranchLog) and isinstance(new, BranchLog):
            return self._branch_differs(old, new)
        assert isinstance(old, StepLog)
        assert isinstance(new, StepLog)
        if old.branches and new.branches:
            self._composites.append(pair)
        self._compare_seconds(new.internal_name, step_seconds(old), step_seconds(new))
        self._compare_code(new.internal_name, code_of(old), code_of(new))
        return self._step_differs(old, new)

    def _note_one_sided(self, old: _Record | None, new: _Record | None) -> None:
        record = new if old is None else old
        assert record is not None
        kind = "step" if isinstance(record, StepLog) else "branch"
        inside = sum(isinstance(inner, StepLog) for inner in _all_inside(record))
        entry = OneSided(where=record.internal_name, kind=kind, inside=inside)
        (self._diff.added if old is None else self._diff.missing).append(entry)

    def _branch_differs(self, old: BranchLog, new: BranchLog) -> bool:
        where, diff = new.internal_name, self._diff
        given = parameters_in(self._old, old.parameters), parameters_in(self._new, new.parameters)
        parameters = changes(where, *given)
        items = changes(where, {"item": old.item}, {"item": new.item})
        diff.parameters += parameters
        diff.items += items
        messages = failure_of(old), failure_of(new)
        fails_otherwise = self._texts.differ(*messages)
        ended_otherwise = old.status != new.status or fails_otherwise
        if ended_otherwise:
            diff.outcomes.append(_outcome(old, new, *(messages if fails_otherwise else ("", ""))))
        fields = changes(where, _others(old), _others(new))
        diff.fields += fields
        return bool(parameters or items or ended_otherwise or fields)

    def _step_differs(self, old: StepLog, new: StepLog) -> bool:
        where, diff = new.internal_name, self._diff
        parameters = changes(where, _all_parameters(old, new), _all_parameters(new, old))
        metrics = [*_metric_changes(where, metrics_of(old), metrics_of(new)), *_series_changes(old, new)]
        results = changes(where, {"result": old.result, **outputs_of(old)}, {"result": new.result, **outputs_of(new)})
        data, prints_otherwise = data_changes(old, new)
        diff.parameters += parameters
        diff.metrics += metrics
        diff.results += results
        diff.data += data
        if prints_otherwise:
            diff.output.append(where)
        called_otherwise = old.input_hash != new.input_hash and are_comparable(old.input_hash, new.input_hash)
        if called_otherwise:
            diff.arguments.append(where)
        messages = self._texts.failures(old, new)
        ended_otherwise = old.status != new.status or len(old.attempts) != len(new.attempts) or any(messages)
        if ended_otherwise:
            diff.outcomes.append(_outcome(old, new, *messages))
        fields = changes(where, _others(old), _others(new))
        diff.fields += fields
        return bool(parameters or metrics or results or data or called_otherwise or ended_otherwise or fields)

    def _compare_code(self, where: str, old: list[CodeIdentity], new: list[CodeIdentity]) -> None:
        one, other = _versions(old), _versions(new)
        for kind in {**one, **other}:
            before, after = one.get(kind, ("", "")), other.get(kind, ("", ""))
            if before[0] != after[0]:
                key = (kind, after[1] or before[1], before[0], after[0])
                self._code.setdefault(key, []).append(where)

    def _compare_seconds(self, where: str, old: float | None, new: float | None) -> None:
        if old is None or new is None or old == new:
            return
        shorter, longer = sorted((max(old, 0.0), max(new, 0.0)))
        is_notable = longer - shorter >= NOTABLE_SECONDS and longer >= NOTABLE_RATIO * shorter
        if is_notable or self._all_durations:
            ratio = new / old if old > 0 else None
            self._diff.durations.append(DurationChange(where=where, old=old, new=new, ratio=ratio))

    def _fan(self, pair: _Pair) -> Fan | None:
        old, new, _ = pair
        assert isinstance(old, StepLog)
        assert isinstance(new, StepLog)
        common = [name for name in new.branches if name in old.branches]
        different = [name for name in common if name in self._touched]
        added, missing = len(new.branches) - len(common), len(old.branches) - len(common)
        if not different and not added and not missing:
            return None
        same = len(common) - len(different)
        return Fan(where=new.internal_name, same=same, different=different, added=added, missing=missing)


def _outcome(old: _Record, new: _Record, old_message: str, new_message: str) -> OutcomeChange:
    attempts = [len(record.attempts) if isinstance(record, StepLog) else 0 for record in (old, new)]
    alike = old.status == new.status
    return OutcomeChange(
        where=new.internal_name,
        old=old.status,
        new=new.status,
        old_attempts=attempts[0],
        new_attempts=attempts[1],
        message=new_message if alike else "" if new.message is UNSET else new.message,
        old_message=old_message if alike else "",
    )


def _all_parameters(step: StepLog, other: StepLog) -> dict[str, Any]:
    """Return what a step was called with; also by attempts before the last, which the other one has too."""
    before = min(len(step.attempts), len(other.attempts)) - 1
    earlier = {
        f"{name} (attempt {number})": value
        for number, attempt in enumerate(step.attempts[: max(before, 0)], 1)
        for name, value in attempt.parameters.items()
    }
    return {**earlier, **parameters_of(step)}


def _others(record: _Record) -> dict[str, Any]:
    """Return what else a record says of what was done, also in fields that this version does not know."""
    own: dict[str, Any] = {}
    if isinstance(record, StepLog):
        # What was taken over from another run was really run there.
        own = {"step_type": record.step_type, "mock": record.mock and record.cached_from is UNSET}
    return {**own, **({} if record.extra is UNSET else record.extra)}


def _side(log: RunLog) -> Side:
    return Side(
        run_id=log.run_id,
        status=log.status,
        start_time=str(log.notes.get("created", "")),
        seconds=run_seconds(log),
        unreadable=[f"{problem.file}: {problem.message}" for problem in log.problems],
    )


def _own_fields(log: RunLog) -> dict[str, Any]:
    """Return what a run's own record says, but for its id, also where that is configured, times and versions."""
    configured = {f"run_config.{name}": value for name, value in log.run_config.items() if name != NOTES}
    unknown = {} if log.extra is UNSET else log.extra
    fields = {"status": log.status, "tag": log.tag or "", "dag_hash": log.dag_hash or "", **configured, **unknown}
    return {name: value for name, value in fields.items() if value not in ("", log.run_id)}


def _pairs(old: Mapping[str, _Record], new: Mapping[str, _Record]) -> Iterator[_Pair]:
    """Yield what two runs have, in order of execution, what is inside a record after it."""
    waiting = _matched(old, new, None)
    while waiting:
        pair = waiting.pop()
        yield pair
        if pair.old is not None and pair.new is not None:
            waiting += _matched(_inside(pair.old), _inside(pair.new), pair)


def _matched(old: Mapping[str, _Record], new: Mapping[str, _Record], parent: _Pair | None) -> list[_Pair]:
    """Return what has the same name in both, the last first; before that, what only the first one has."""
    pairs = [_Pair(old.get(name), record, parent) for name, record in new.items()]
    pairs += [_Pair(record, None, parent) for name, record in old.items() if name not in new]
    return pairs[::-1]


def _inside(record: _Record) -> Mapping[str, _Record]:
    return record.branches if isinstance(record, StepLog) else record.steps


def _all_inside(record: _Record) -> Iterator[_Record]:
    waiting = list(_inside(record).values())
    while waiting:
        inner = waiting.pop()
        yield inner
        waiting += _inside(inner).values()


def changes(where: str, old: Mapping[str, Any], new: Mapping[str, Any]) -> list[Change]:
    """Return which of some values by name differ; NaN is the same as NaN."""
    if not old and not new:
        return []
    names = {**old, **new}
    pairs = ((name, old.get(name, UNSET), new.get(name, UNSET)) for name in names)
    return [
        Change(where=where, name=name, old=before, new=after)
        for name, before, after in pairs
        if not is_same(before, after)
    ]


def _metric_changes(where: str, old: Mapping[str, Any], new: Mapping[str, Any]) -> list[MetricChange]:
    return [_metric_change(where, change.name, change.old, change.new) for change in changes(where, old, new)]


def _metric_change(where: str, name: str, old: Any, new: Any, points: tuple[int, int] | None = None) -> MetricChange:
    delta, percent = growth(old, new)
    return MetricChange(
        where=where,
        name=name,
        old=old,
        new=new,
        delta=delta,
        percent=percent,
        old_points=points[0] if points else None,
        new_points=points[1] if points else None,
    )


def growth(old: Any, new: Any) -> tuple[float | None, float | None]:
    """Return by how much a number has grown, and the same in per cent; None where that means nothing."""
    if not is_number(old) or not is_number(new):
        return None, None
    try:
        delta = float(new - old)
        percent = 100 * delta / abs(old) if old else None
    except OverflowError:  # an integer beyond all floats
        return None, None
    if delta != delta or delta in {float("inf"), float("-inf")}:  # noqa: PLR0124 - NaN alone is not itself
        return None, None
    return delta, percent


def _series_changes(old: StepLog, new: StepLog) -> list[MetricChange]:
    one: dict[str, list[MetricPoint]] = {} if old.metric_series is UNSET else old.metric_series
    other: dict[str, list[MetricPoint]] = {} if new.metric_series is UNSET else new.metric_series
    changes = []
    for name in {**one, **other}:
        before, after = one.get(name, []), other.get(name, [])
        if not _is_same_series(before, after):
            ends = [points[-1].value if points else UNSET for points in (before, after)]
            counts = len(before), len(after)
            changes.append(_metric_change(new.internal_name, name, ends[0], ends[1], counts))
    return changes


def _is_same_series(old: list[MetricPoint], new: list[MetricPoint]) -> bool:
    return len(old) == len(new) and all(
        one.step == other.step and is_same(one.value, other.value) for one, other in zip(old, new, strict=True)
    )


def data_changes(old: StepLog, new: StepLog) -> tuple[list[DataChange], bool]:
    """Return which data of a step differs, and whether what it printed does."""
    one, other = _hashes(old.data_catalog), _hashes(new.data_catalog)
    changes: list[DataChange] = []
    prints_otherwise = False
    for key in {**one, **other}:
        name, stage, is_printed = key
        before, after = one.get(key, UNSET), other.get(key, UNSET)
        if before == after:
            continue
        if is_printed:
            prints_otherwise = True
        else:
            changes.append(DataChange(where=new.internal_name, name=name, stage=stage, old=before, new=after))
    return changes, prints_otherwise


def _hashes(entries: list[DataCatalog]) -> dict[tuple[str, str, bool], str]:
    """Return the hashes of data by name, stage, and whether it was printed; what was put twice has two."""
    hashes: dict[tuple[str, str, bool], str] = {}
    for entry in entries:
        key = entry.name, entry.stage, is_output(entry)
        hashes[key] = f"{hashes[key]}, {entry.data_hash}" if key in hashes else entry.data_hash
    return hashes


def _versions(code: list[CodeIdentity]) -> dict[str, tuple[str, str]]:
    """Return by kind which version of some code it is, and what of; of several of one kind, all together."""
    versions: dict[str, tuple[str, str]] = {}
    for identity in code:
        kind = identity.code_identifier_type or "code"
        what = (identity.code_identifier_url if kind == GIT else identity.code_identifier_message) or ""
        version = version_of(identity)
        if kind in versions:
            version, what = f"{versions[kind][0]}, {version}", versions[kind][1]
        versions[kind] = version, what
    return versions
