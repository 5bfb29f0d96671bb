"""Promises about sealing: whatever a store makes of it, nothing that a call returns changes."""

from __future__ import annotations

import json
from typing import Any

import pytest

from chunkstore.errors import (
    BranchLogNotFoundError,
    InvalidNameError,
    RunLogNotFoundError,
    StepLogNotFoundError,
    StoreUsageError,
)
from chunkstore.records.assemble import flatten
from chunkstore.records.fields import MetricPoint
from chunkstore.records.models import StepLog
from chunkstore.stores.base import Store
from chunkstore.testing.capabilities import needs
from chunkstore.testing.suite_base import (
    OpenAnother,
    SuiteBase,
    branch_of_steps,
    check_json,
    count_one,
    exact,
    set_status,
    simple_step,
)

_LONG = "long " * 60
_STEPS = ("first", "first-two", "outer", "last", _LONG, "é/*")
_INNER = ("outer.b.in", "outer.b.deep", "outer.b.deep.c.in")
_BRANCHES = ("outer.b", "outer.c", "outer.b.deep.c")


def _record_everything(store: Store, other: Store, run_id: str) -> None:
    """Record all kinds of records, changed by their owner and by another, and finish the run."""
    store.set_parameters(run_id, {"a": 1, "nan": float("nan")})
    store.add_step_log(run_id, simple_step("first", status="PROCESSING", user_defined_metrics={"mine": 1}))
    store.add_step_log(run_id, simple_step("first-two"))
    deep = simple_step(
        "outer.b.deep",
        branches={"outer.b.deep.c": branch_of_steps("outer.b.deep.c", simple_step("outer.b.deep.c.in"))},
    )
    inside = branch_of_steps("outer.b", simple_step("outer.b.in"), deep, parameters={"p": [1]})
    empty = branch_of_steps("outer.c", parameters={"p": 2})
    store.add_step_log(run_id, simple_step("outer", branches={"outer.b": inside, "outer.c": empty}))
    for name in ("last", _LONG, "é/*"):
        store.add_step_log(run_id, simple_step(name, result={"big": 10**30, "text": "é\u2028"}))
    store.append_metrics(run_id, "last", {"loss": [MetricPoint(step=1, value=0.5)]})
    store.append_metrics(run_id, "last", {"loss": [MetricPoint(step=2, value=float("inf"))]})
    other.update_step_log(run_id, "first", count_one)
    other.update_step_log(run_id, _LONG, count_one)
    other.update_branch_log(run_id, "outer.c", set_status("FAIL"))
    store.add_step_log(run_id, simple_step("first", user_defined_metrics={"mine": 2}))
    store.update_run_log(run_id, set_status("SUCCESS"))


def _everything(store: Store, run_id: str) -> dict[str, str]:
    """Return what every call that reads returns, but for what is noted of the format and of a sealed file."""
    log = store.get_run_log(run_id, strict=True)
    for note in ("format", "version", "sealed"):
        log.notes.pop(note, None)
    bare = store.get_run_log(run_id, full=False)
    check_json(store, run_id)
    found: dict[str, Any] = {
        "log": log,
        "bare": (bare.status, bare.tag, bare.steps, bare.parameters),
        "records": list(store.iter_records(run_id)),
        "runs": [(summary.run_id, summary.status, summary.problem) for summary in store.list_runs()],
        "has run": (store.has_run(run_id), store.has_run("absent")),
    }
    for name in (*_STEPS, *_INNER, "absent", "firs", "first-"):
        found[f"step {name}"] = _found(lambda name=name: store.get_step_log(run_id, name))
        found[f"bare step {name}"] = _found(lambda name=name: store.get_step_log(run_id, name, full=False))
        found[f"has step {name}"] = store.has_step_log(run_id, name)
    for name in (*_BRANCHES, "outer.absent"):
        found[f"branch {name}"] = _found(lambda name=name: store.get_branch_log(run_id, name))
        found[f"bare branch {name}"] = _found(lambda name=name: store.get_branch_log(run_id, name, full=False))
        found[f"has branch {name}"] = store.has_branch_log(run_id, name)
    for scope in ("", *_BRANCHES, "absent"):
        found[f"parameters {scope}"] = sorted(store.get_parameters(run_id, scope).items())
    return {key: exact(value) for key, value in found.items()}


def _found(read: Any) -> Any:
    try:
        return read()
    except (StepLogNotFoundError, BranchLogNotFoundError) as error:
        return type(error)


class SealingSuite(SuiteBase):
    """Promises about sealing, and about reading record by record."""

    @pytest.fixture
    def rich(self, store: Store, open_another: OpenAnother, run_id: str) -> str:
        """Return the id of a run that has finished, with records of all kinds."""
        _record_everything(store, open_another(), run_id)
        return run_id

    def test_sealing_changes_nothing_that_any_call_returns(
        self, store: Store, open_another: OpenAnother, rich: str
    ) -> None:
        """Nor does sealing again, nor unsealing; for any store object."""
        before = _everything(store, rich)
        assert store.seal(rich) >= 0
        for reader in (store, open_another()):
            assert _everything(reader, rich) == before
        assert store.seal(rich) == 0
        assert _everything(store, rich) == before
        for _ in range(2):
            open_another().unseal(rich)
            for reader in (store, open_another()):
                assert _everything(reader, rich) == before
        open_another().seal(rich)
        assert _everything(open_another(), rich) == before

    def test_records_are_yielded_as_the_whole_run_has_them_in_order_of_execution(
        self, store: Store, open_another: OpenAnother, rich: str
    ) -> None:
        """Each without what is inside it, exactly once, whether sealed or not."""
        records, _ = flatten(store.get_run_log(rich))
        expected = {(type(record), record.internal_name): exact(record) for record in records}
        for seal in (None, store.seal, store.unseal):
            if seal is not None:
                seal(rich)
            for reader in (store, open_another()):
                found = list(reader.iter_records(rich))
                assert {(type(record), record.internal_name): exact(record) for record in found} == expected
                assert len(found) == len(expected)
                names = [record.internal_name for record in found]
                assert [name for name in names if name in _STEPS] == list(store.get_run_log(rich).steps)
                assert names.index("outer.b") < names.index("outer.c")
                assert names.index("outer.b.in") < names.index("outer.b.deep") < names.index("outer.b.deep.c.in")

    def test_records_of_a_run_without_any_are_none(self, store: Store, run_id: str) -> None:
        """And of no run, an error that says so when the first is asked for."""
        assert list(store.iter_records(run_id)) == []
        with pytest.raises(RunLogNotFoundError):
            next(store.iter_records("absent"))
        with pytest.raises(InvalidNameError):
            next(store.iter_records("../absent"))

    def test_what_is_recorded_after_sealing_counts(self, store: Store, open_another: OpenAnother, rich: str) -> None:
        """Whoever records it, also when the run is sealed again, and unsealed."""
        store.seal(rich)
        other = open_another()
        store.add_step_log(rich, simple_step("late"))
        store.add_step_log(rich, simple_step("first", message="by its owner"))
        other.update_step_log(rich, "first-two", count_one)
        store.update_step_log(rich, "first-two", count_one)
        other.update_step_log(rich, _LONG, count_one)
        other.update_branch_log(rich, "outer.b", set_status("FAIL"))
        store.append_metrics(rich, "last", {"loss": [MetricPoint(step=3, value=0.25)]})
        other.set_parameters(rich, {"b": 2})
        other.set_parameters(rich, {"a": 7, "c": 3}, overwrite=False)
        other.set_parameters(rich, {"q": 3}, branch="outer.b")
        store.add_branch_log(rich, branch_of_steps("outer.late", simple_step("outer.late.in")))
        for change in (None, store.seal, other.unseal, other.seal, store.seal):
            if change is not None:
                change(rich)
            for reader in (store, open_another()):
                self.check_late_records(reader, rich)

    @staticmethod
    def check_late_records(store: Store, run_id: str) -> None:
        """Fail unless what was recorded after sealing is there, once, over what was there before."""
        log = store.get_run_log(run_id, strict=True)
        assert list(log.steps) == [*_STEPS, "late"]
        assert log.steps["first"].message == "by its owner"
        assert log.steps["first"].user_defined_metrics == {"count": 1}
        assert log.steps["first-two"].user_defined_metrics == {"count": 2}
        assert log.steps[_LONG].user_defined_metrics == {"count": 2}
        branches = log.steps["outer"].branches
        assert (branches["outer.b"].status, branches["outer.c"].status) == ("FAIL", "FAIL")
        assert branches["outer.b"].parameters == {"p": [1], "q": 3}
        assert list(branches["outer.late"].steps) == ["outer.late.in"]
        series = log.steps["last"].metric_series or {}
        assert [(point.step, point.value) for point in series["loss"]] == [(1, 0.5), (2, float("inf")), (3, 0.25)]
        assert exact(sorted(log.parameters.items())) == exact([("a", 1), ("b", 2), ("c", 3), ("nan", float("nan"))])
        for name in ("first", "first-two", _LONG, "last", "late", "outer"):
            assert exact(store.get_step_log(run_id, name)) == exact(log.steps[name])
        assert sorted(store.get_parameters(run_id)) == ["a", "b", "c", "nan"]
        assert store.has_step_log(run_id, "late")
        check_json(store, run_id)

    @needs("independent_objects")
    def test_a_step_that_is_recorded_anew_after_sealing_replaces_the_sealed_one(
        self, store: Store, open_another: OpenAnother, rich: str
    ) -> None:
        """With `add_step_log` by another object, and with `put_step_log` by anybody."""
        store.seal(rich)
        open_another().add_step_log(rich, simple_step("first", message="anew"))
        store.put_step_log(rich, simple_step("last", message="put"))
        open_another().put_step_log(rich, simple_step("first-two", message="put"))
        for change in (None, store.seal, store.unseal):
            if change is not None:
                change(rich)
            log = store.get_run_log(rich, strict=True)
            found = {name: step.message for name, step in log.steps.items()}
            assert (found["first"], found["last"], found["first-two"]) == ("anew", "put", "put")
            assert sorted(log.steps) == sorted(_STEPS)
            assert {name: store.get_step_log(rich, name).message for name in _STEPS} == found

    def test_many_changes_between_seals_all_count(self, store: Store, open_another: OpenAnother, rich: str) -> None:
        """None is lost, and none counts twice."""
        other = open_another()
        turns = 4
        for turn in range(turns):
            other.update_step_log(rich, "last", count_one)
            store.append_metrics(rich, "first", {"m": [MetricPoint(step=turn, value=turn)]})
            store.seal(rich)
            store.update_step_log(rich, "last", count_one)
            store.add_step_log(rich, simple_step(f"turn-{turn}"))
            if turn % 2:
                other.unseal(rich)
        step = store.get_step_log(rich, "last")
        assert step.user_defined_metrics == {"count": 2 * turns}
        series = store.get_step_log(rich, "first").metric_series or {}
        assert [point.value for point in series["m"]] == list(range(turns))
        assert list(store.get_run_log(rich, strict=True).steps) == [*_STEPS, *(f"turn-{turn}" for turn in range(turns))]

    def test_what_cannot_be_sealed_is_refused_and_changes_nothing(self, store: Store, run_id: str) -> None:
        """A run that has not finished, where the store packs; and a run that is not there, for every store."""
        store.add_step_log(run_id, simple_step(message="there"))
        try:
            assert store.seal(run_id) == 0  # there is nothing to be packed in a store of this kind
        except StoreUsageError as error:
            assert run_id in str(error)  # noqa: PT017 - not every store refuses
            assert "PROCESSING" in str(error)  # noqa: PT017
            assert "update_run_log" in str(error)  # noqa: PT017
        assert store.get_step_log(run_id, "simple").message == "there"
        for call in (store.seal, store.unseal):
            with pytest.raises(RunLogNotFoundError):
                call("absent")
            with pytest.raises(InvalidNameError):
                call("../absent")
        store.unseal(run_id)
        assert list(store.get_run_log(run_id, strict=True).steps) == ["simple"]

    def test_a_run_that_was_sealed_can_be_changed_and_deleted_and_made_anew(self, store: Store, rich: str) -> None:
        """As any other."""
        store.seal(rich)
        store.update_run_log(rich, set_status("PROCESSING"))
        store.update_run_log(rich, lambda log: setattr(log, "tag", "late"))
        assert (store.get_run_log(rich).status, store.get_run_log(rich).tag) == ("PROCESSING", "late")
        assert list(store.get_run_log(rich, strict=True).steps) == list(_STEPS)
        store.delete_run(rich)
        assert not store.has_run(rich)
        with pytest.raises(RunLogNotFoundError):
            store.get_run_log(rich)
        store.create_run_log(rich)
        store.add_step_log(rich, simple_step("last"))
        assert list(store.get_run_log(rich, strict=True).steps) == ["last"]
        assert store.get_parameters(rich) == {}

    def test_a_sealed_run_can_be_copied_to_another_id(self, store: Store, rich: str) -> None:
        """As the log of any run."""
        store.seal(rich)
        log = store.get_run_log(rich)
        before = json.loads(log.to_json())["steps"]
        log.run_id = f"{rich}-copy"
        store.add_run_log(log)
        assert json.loads(store.get_run_log(log.run_id).to_json())["steps"] == before
        assert isinstance(store.get_run_log(log.run_id).steps["last"], StepLog)
