"""Promises about whole runs: creating, reading, changing, listing, deleting."""

from __future__ import annotations

import json
from collections.abc import Callable
from typing import Any

import pytest

from chunkstore.clock import parse_time
from chunkstore.errors import (
    BranchLogNotFoundError,
    ChunkstoreError,
    InvalidNameError,
    InvalidValueError,
    RunLogExistsError,
    RunLogNotFoundError,
    StepLogNotFoundError,
    StoreUsageError,
    UnsupportedFormatError,
)
from chunkstore.records.fields import MetricPoint
from chunkstore.records.models import NOTES, BranchLog, JobLog, RunLog, StepAttempt
from chunkstore.stores.base import Store
from chunkstore.testing.suite_base import (
    OpenAnother,
    SuiteBase,
    branch_of_steps,
    check_json,
    exact,
    set_status,
    simple_step,
)

HOSTILE_RUN_IDS = ("", ".", "..", "../x", "/etc", "a/b", "a\\b", "a\0b", "a\n", " a", "a ", "a.", ".a", "é", "x" * 300)

#: Every call that needs a run, by name.
CALLS_ON_A_RUN: dict[str, Callable[[Store, Any], Any]] = {
    "get": lambda store, run_id: store.get_run_log(run_id),
    "get metadata": lambda store, run_id: store.get_run_log(run_id, full=False),
    "update": lambda store, run_id: store.update_run_log(run_id, set_status("FAIL")),
    "delete": lambda store, run_id: store.delete_run(run_id),
    "sync": lambda store, run_id: store.sync(run_id),
    "add step": lambda store, run_id: store.add_step_log(run_id, simple_step()),
    "add branch": lambda store, run_id: store.add_branch_log(run_id, branch_of_steps("simple.b")),
    "get step": lambda store, run_id: store.get_step_log(run_id, "simple"),
    "get branch": lambda store, run_id: store.get_branch_log(run_id, "simple.b"),
    "update step": lambda store, run_id: store.update_step_log(run_id, "simple", set_status("FAIL")),
    "update branch": lambda store, run_id: store.update_branch_log(run_id, "simple.b", set_status("FAIL")),
    "set parameters": lambda store, run_id: store.set_parameters(run_id, {"a": 1}),
    "get parameters": lambda store, run_id: store.get_parameters(run_id),
    "get branch parameters": lambda store, run_id: store.get_parameters(run_id, "simple.b"),
    "append metrics": lambda store, run_id: store.append_metrics(run_id, "simple", {"m": [MetricPoint(1, 2)]}),
}

_FURTHER_CALLS: dict[str, Callable[[Store, Any], Any]] = {
    "get json": lambda store, run_id: store.get_run_json(run_id),
    "put step": lambda store, run_id: store.put_step_log(run_id, simple_step()),
    "put branch": lambda store, run_id: store.put_branch_log(run_id, BranchLog(internal_name="simple.b")),
    "has step": lambda store, run_id: store.has_step_log(run_id, "simple"),
    "has branch": lambda store, run_id: store.has_branch_log(run_id, "simple.b"),
    "get bare step": lambda store, run_id: store.get_step_log(run_id, "simple", full=False),
    "set missing parameters": lambda store, run_id: store.set_parameters(run_id, {"a": 1}, overwrite=False),
}

_every_call = pytest.mark.parametrize("call", CALLS_ON_A_RUN.values(), ids=list(CALLS_ON_A_RUN))


def _whole_run(run_id: str) -> RunLog:
    """Return a run with a branch, parameters, a series and values that JSON lacks."""
    inner = simple_step("p.a.s", user_defined_metrics={"nan": float("nan"), "big": 10**40}, result=[])
    inner.metric_series = {"m": [MetricPoint(0, float("inf"))]}
    step = simple_step("p", branches={"p.a": branch_of_steps("p.a", inner, parameters={"lr": 0.1})})
    return RunLog(
        run_id=run_id,
        status="SUCCESS",
        tag="nightly",
        steps={"p": step},
        parameters={"seed": 7, "inf": float("inf")},
        run_config={"executor": {"type": "local"}, NOTES: {"created": "earlier"}},
        job=JobLog(status="SUCCESS", attempts=[StepAttempt(attempt_number=1)]),
    )


class RunSuite(SuiteBase):
    """Promises about whole runs."""

    def test_a_new_run_reads_back_as_it_was_returned(self, store: Store) -> None:
        """Everything given at creation is kept."""
        created = store.create_run_log(
            "first",
            tag="nightly",
            dag_hash="abc",
            use_cached=True,
            original_run_id="earlier",
            parameters={"seed": 7, "nan": float("nan")},
            run_config={"executor": {"type": "local"}},
        )
        assert exact(store.get_run_log("first")) == exact(created)
        assert created.tag == "nightly"
        assert created.parameters["seed"] == 7  # noqa: PLR2004 - as given
        assert created.run_config["executor"] == {"type": "local"}
        assert created.status == "PROCESSING"
        assert parse_time(created.run_config[NOTES]["created"])

    def test_generated_run_ids_differ(self, store: Store) -> None:
        """Nobody has to think of a name."""
        assert len({store.create_run_log().run_id for _ in range(20)}) == len(list(store.list_runs()))

    def test_a_run_is_created_once(self, store: Store, open_another: OpenAnother) -> None:
        """A second creation fails, and changes nothing."""
        created = store.create_run_log("once", tag="first")
        for other in (store, open_another()):
            with pytest.raises(RunLogExistsError, match="once"):
                other.create_run_log("once", tag="second", parameters={"a": 1})
        assert exact(store.get_run_log("once")) == exact(created)

    @pytest.mark.parametrize("run_id", HOSTILE_RUN_IDS)
    def test_a_hostile_run_id_is_refused_everywhere(self, store: Store, run_id: str) -> None:
        """No call gets as far as touching anything."""
        with pytest.raises(InvalidNameError):
            store.create_run_log(run_id)
        for call in CALLS_ON_A_RUN.values():
            with pytest.raises(InvalidNameError):
                call(store, run_id)
        assert list(store.list_runs()) == []

    @pytest.mark.parametrize("run_id", [None, 1, b"run"])
    def test_a_run_id_is_text(self, store: Store, run_id: Any) -> None:
        """Other types are refused as hostile ids are."""
        for call in CALLS_ON_A_RUN.values():
            with pytest.raises(InvalidNameError):
                call(store, run_id)

    @_every_call
    def test_a_run_that_was_never_created_is_not_found(self, store: Store, call: Callable[[Store, str], Any]) -> None:
        """The call says so, with the error that Python users catch, and makes nothing."""
        with pytest.raises(RunLogNotFoundError, match="nowhere") as caught:
            call(store, "nowhere")
        assert isinstance(caught.value, KeyError)
        assert isinstance(caught.value, FileNotFoundError)
        assert list(store.list_runs()) == []
        store.create_run_log("nowhere")

    @_every_call
    def test_a_deleted_run_is_not_found(
        self, store: Store, open_another: OpenAnother, run_id: str, call: Callable[[Store, str], Any]
    ) -> None:
        """Deleting a run deletes it for every store object, also for those that have used it."""
        other = open_another()
        other.add_step_log(run_id, simple_step())
        other.set_parameters(run_id, {"a": 1})
        store.delete_run(run_id)
        for each in (store, other):
            with pytest.raises(RunLogNotFoundError):
                call(each, run_id)
        assert list(store.list_runs()) == []

    def test_the_id_of_a_deleted_run_can_be_used_again(self, store: Store) -> None:
        """Nothing of the old run comes back."""
        store.create_run_log("again", parameters={"a": 1})
        store.add_step_log("again", simple_step(message="old"))
        store.delete_run("again")
        created = store.create_run_log("again")
        assert exact(store.get_run_log("again")) == exact(created)
        store.add_step_log("again", simple_step(message="new"))
        assert store.get_step_log("again", "simple").message == "new"

    def test_metadata_come_without_steps_and_parameters(self, store: Store, run_id: str) -> None:
        """`full=False` reads the run's own record alone."""
        store.add_step_log(run_id, simple_step())
        store.set_parameters(run_id, {"a": 1})
        log = store.get_run_log(run_id, full=False)
        assert (log.run_id, log.steps, log.parameters) == (run_id, {}, {})

    def test_a_change_of_a_run_is_kept(self, store: Store, open_another: OpenAnother, run_id: str) -> None:
        """Whether it alters the record or returns another; steps and parameters stay."""
        store.add_step_log(run_id, simple_step())
        store.set_parameters(run_id, {"a": 1})

        def another_tag(log: RunLog) -> RunLog:
            assert (log.steps, log.parameters) == ({}, {})
            return RunLog(run_id=log.run_id, status=log.status, tag="changed", run_config=log.run_config)

        assert store.update_run_log(run_id, set_status("SUCCESS")).status == "SUCCESS"
        returned = open_another().update_run_log(run_id, another_tag)
        log = store.get_run_log(run_id)
        assert (log.status, log.tag, list(log.steps), log.parameters) == ("SUCCESS", "changed", ["simple"], {"a": 1})
        assert exact(store.get_run_log(run_id, full=False)) == exact(returned)

    @pytest.mark.parametrize(
        "change",
        [
            lambda log: setattr(log, "run_id", "other"),
            lambda log: log.steps.update(simple=simple_step()),
            lambda log: log.parameters.update(a=1),
            lambda log: setattr(log, "tag", object()),
            lambda log: log.run_config.update(bad=object()),
        ],
        ids=["run id", "steps", "parameters", "type", "value"],
    )
    def test_a_change_that_cannot_be_recorded_changes_nothing(
        self, store: Store, run_id: str, change: Callable[[RunLog], Any]
    ) -> None:
        """Identity, steps and parameters have calls of their own; other values must be JSON."""
        before = exact(store.get_run_log(run_id))
        with pytest.raises(InvalidValueError):
            store.update_run_log(run_id, change)
        assert exact(store.get_run_log(run_id)) == before

    def test_a_change_that_fails_changes_nothing(self, store: Store, run_id: str) -> None:
        """Its own exception comes out, and the lock is free again."""

        def fail(log: RunLog) -> None:
            log.tag = "half"
            raise ZeroDivisionError

        with pytest.raises(ZeroDivisionError):
            store.update_run_log(run_id, fail)
        with pytest.raises(StoreUsageError):
            store.update_run_log(run_id, lambda _: "no record")  # type: ignore[arg-type,return-value]
        assert store.update_run_log(run_id, set_status("SUCCESS")).tag == ""

    def test_a_change_that_calls_the_store_is_refused_at_once(self, store: Store, run_id: str) -> None:
        """It would wait for itself otherwise."""
        store.add_step_log(run_id, simple_step())
        for call in ("set parameters", "update", "update step"):
            with pytest.raises(StoreUsageError, match="change function"):
                store.update_run_log(run_id, lambda log, call=call: CALLS_ON_A_RUN[call](store, log.run_id))  # type: ignore[misc]
        assert store.update_run_log(run_id, set_status("SUCCESS")).status == "SUCCESS"

    def test_runs_are_listed_newest_first(self, store: Store, open_another: OpenAnother) -> None:
        """With what a list of runs shows."""
        for number in range(3):
            store.create_run_log(f"run-{number}", tag=f"tag-{number}", original_run_id="earlier")
        store.update_run_log("run-1", set_status("SUCCESS"))
        found = list(open_another().list_runs())
        assert [summary.run_id for summary in found] == ["run-2", "run-1", "run-0"]
        assert [summary.status for summary in found] == ["PROCESSING", "SUCCESS", "PROCESSING"]
        assert [summary.tag for summary in found] == ["tag-2", "tag-1", "tag-0"]
        assert all(summary.start_time and not summary.problem for summary in found)

    def test_a_newer_format_is_read_but_not_written(self, store: Store, run_id: str, open_another: OpenAnother) -> None:
        """A newer writer's run is never damaged."""
        store.add_step_log(run_id, simple_step())

        def lift(log: RunLog) -> None:
            log.run_config[NOTES]["format"] = 1_000

        store.update_run_log(run_id, lift)
        other = open_another()
        if self.independent_objects:
            other.close()
            writing = ("update", "add step", "add branch", "update step", "set parameters", "append metrics")
            for name in writing:
                with pytest.raises(UnsupportedFormatError, match="1000"):
                    CALLS_ON_A_RUN[name](other, run_id)
        assert list(other.get_run_log(run_id).steps) == ["simple"]

    def test_a_synced_run_is_as_before(self, store: Store, run_id: str) -> None:
        """Making a run durable changes nothing that can be read."""
        store.add_step_log(run_id, simple_step())
        before = exact(store.get_run_log(run_id))
        store.sync(run_id)
        assert exact(store.get_run_log(run_id)) == before

    def test_a_closed_store_can_be_used_again(self, store: Store, run_id: str) -> None:
        """Closing gives back what is held open, and nothing more."""
        store.add_step_log(run_id, simple_step(message="old"))
        store.close()
        store.add_step_log(run_id, simple_step(message="new"))
        store.close()
        assert store.get_step_log(run_id, "simple").message == "new"

    def test_every_error_is_one_of_ours(self, store: Store, run_id: str) -> None:
        """Whoever catches `ChunkstoreError` catches what was not found as well."""
        for call in ("get step", "get branch", "update step", "update branch"):
            with pytest.raises(ChunkstoreError) as caught:
                CALLS_ON_A_RUN[call](store, run_id)
            assert isinstance(caught.value, KeyError)
            assert run_id in str(caught.value)

    # --- whole runs --------------------------------------------------------------------------------------------------

    def test_a_run_that_is_added_whole_reads_back_exactly(self, store: Store, open_another: OpenAnother) -> None:
        """With all that is inside; only the notes of chunkstore itself are new."""
        log = _whole_run("whole")
        store.add_run_log(log)
        for each in (store, open_another()):
            found = each.get_run_log("whole", strict=True)
            assert found.run_config.pop(NOTES)["created"] == "earlier"
            expected = _whole_run("whole")
            del expected.run_config[NOTES]
            assert exact(found) == exact(expected)
            assert each.get_parameters("whole", "p.a") == {"lr": 0.1}
        assert [summary.run_id for summary in store.list_runs()] == ["whole"]

    def test_a_run_that_is_added_whole_can_be_recorded_into(self, store: Store, open_another: OpenAnother) -> None:
        """By anybody, like any other."""
        store.add_run_log(_whole_run("whole"))
        for each in (store, open_another()):
            each.set_parameters("whole", {"more": 1}, branch="p.a")
            each.update_run_log("whole", set_status("FAIL"))
            each.put_step_log("whole", simple_step("p", message="put"))
            each.add_step_log("whole", simple_step("last"))
        log = store.get_run_log("whole", strict=True)
        assert (log.status, list(log.steps), log.steps["p"].message) == ("FAIL", ["p", "last"], "put")
        assert log.steps["p"].branches["p.a"].parameters == {"lr": 0.1, "more": 1}
        assert list(log.steps["p"].branches["p.a"].steps) == ["p.a.s"]

    def test_a_run_is_added_once(self, store: Store, open_another: OpenAnother) -> None:
        """A second time fails and changes nothing, however the first one came to be."""
        created = store.create_run_log("once", tag="first")
        for each in (store, open_another()):
            with pytest.raises(RunLogExistsError, match="once"):
                each.add_run_log(_whole_run("once"))
        assert exact(store.get_run_log("once")) == exact(created)

    @pytest.mark.parametrize(
        ("change", "error"),
        [
            (lambda log: log.run_config[NOTES].update(format=1_000), UnsupportedFormatError),
            (lambda log: log.parameters.update(bad=object()), InvalidValueError),
            (lambda log: log.steps["p"].branches["p.a"].parameters.update(bad=object()), InvalidValueError),
            (lambda log: setattr(log, "run_id", "../x"), InvalidNameError),
        ],
        ids=["format", "value", "value inside", "run id"],
    )
    def test_a_run_that_cannot_be_added_is_not_there(
        self, store: Store, change: Callable[[RunLog], Any], error: type[ChunkstoreError]
    ) -> None:
        """Not even a part of it."""
        log = _whole_run("bad")
        change(log)
        with pytest.raises(error):
            store.add_run_log(log)
        assert list(store.list_runs()) == []
        store.create_run_log("bad")

    def test_a_run_as_json_is_the_run(self, store: Store, open_another: OpenAnother) -> None:
        """For a run with everything in it, also after changes by others, and with records that have no place."""
        store.add_run_log(_whole_run("json"))
        other = open_another()
        check_json(store, "json")
        other.update_step_log("json", "p.a.s", lambda step: step.user_defined_metrics.update(x=float("inf")))
        other.update_branch_log("json", "p.a", set_status("FAIL"))
        other.put_step_log("json", simple_step("p", message="put"))
        store.append_metrics("json", "p.a.s", {"loss": [MetricPoint(1, float("nan")), MetricPoint(2, 10**30)]})
        other.append_metrics("json", "p", {"loss": [MetricPoint(1, None)]})
        store.set_parameters("json", {"nan": [float("nan")], "$float": "NaN"}, branch="p.a")
        store.set_parameters("json", {"inf": float("-inf")})
        for each in (store, other):
            check_json(each, "json")
        store.add_step_log("json", simple_step("lost.b.s"))
        store.add_branch_log("json", branch_of_steps("gone.b", parameters={"a": 1}))
        for each in (store, other):
            check_json(each, "json")
        assert "orphans" in json.loads(store.get_run_json("json"))

    def test_an_empty_run_as_json_is_the_run(self, store: Store, run_id: str) -> None:
        """There is nothing that has to be in it."""
        check_json(store, run_id)

    @pytest.mark.parametrize("call", _FURTHER_CALLS.values(), ids=list(_FURTHER_CALLS))
    def test_further_calls_need_a_run(
        self, store: Store, open_another: OpenAnother, call: Callable[[Store, Any], Any]
    ) -> None:
        """One that exists and was not deleted, by whomever; and a proper id."""
        for run_id in (*HOSTILE_RUN_IDS, None, 1):
            with pytest.raises(InvalidNameError):
                call(store, run_id)
        with pytest.raises(RunLogNotFoundError, match="nowhere"):
            call(store, "nowhere")
        store.create_run_log("nowhere")
        other = open_another()
        other.add_step_log("nowhere", simple_step())
        call(other, "nowhere")
        store.delete_run("nowhere")
        for each in (store, other):
            with pytest.raises(RunLogNotFoundError):
                call(each, "nowhere")
        assert list(store.list_runs()) == []

    def test_nothing_of_a_deleted_run_is_in_a_new_one_of_its_id(
        self, store: Store, open_another: OpenAnother, run_id: str
    ) -> None:
        """Also for those who have looked things up in the old one."""
        step = simple_step(branches={"simple.b": branch_of_steps("simple.b", parameters={"a": 1})})
        store.add_step_log(run_id, step)
        other = open_another()
        assert other.has_step_log(run_id, "simple")
        assert other.get_branch_log(run_id, "simple.b").parameters == {"a": 1}
        store.delete_run(run_id)
        store.create_run_log(run_id)
        assert not other.has_step_log(run_id, "simple")
        assert not other.has_branch_log(run_id, "simple.b")
        assert other.get_parameters(run_id, "simple.b") == {}
        for call in ("get step", "get branch", "update step", "update branch"):
            with pytest.raises((StepLogNotFoundError, BranchLogNotFoundError)):
                CALLS_ON_A_RUN[call](other, run_id)
        other.put_step_log(run_id, simple_step(message="new"))
        assert exact(store.get_run_log(run_id).steps) == exact({"simple": simple_step(message="new")})
