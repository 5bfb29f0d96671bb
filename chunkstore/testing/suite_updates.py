"""Promises about changes by anybody, and about parameters."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import pytest

from chunkstore.errors import (
    BranchLogNotFoundError,
    InvalidNameError,
    InvalidValueError,
    StepLogNotFoundError,
    StoreUsageError,
)
from chunkstore.records.models import BranchLog, StepAttempt, StepLog
from chunkstore.stores.base import Store
from chunkstore.testing.strategies import HOSTILE_NAMES
from chunkstore.testing.suite_base import (
    OpenAnother,
    SuiteBase,
    branch_of_steps,
    count_one,
    exact,
    set_status,
    simple_step,
)

_TURNS = 5


class UpdateSuite(SuiteBase):
    """Promises about changes by anybody, and about parameters."""

    def test_a_change_is_seen_at_once(self, store: Store, open_another: OpenAnother, run_id: str) -> None:
        """And returned, as it will be read."""
        step = simple_step(branches={"simple.b": branch_of_steps("simple.b", parameters={"a": 1})})
        store.add_step_log(run_id, step)
        returned = open_another().update_step_log(run_id, "simple", count_one)
        changed_branch = open_another().update_branch_log(run_id, "simple.b", set_status("FAIL"))
        assert (returned.user_defined_metrics, returned.branches) == ({"count": 1}, {})
        assert (changed_branch.status, changed_branch.parameters) == ("FAIL", {})
        found = store.get_run_log(run_id).steps["simple"]
        assert found.user_defined_metrics == {"count": 1}
        assert found.branches["simple.b"].status == "FAIL"
        assert found.branches["simple.b"].parameters == {"a": 1}

    def test_every_change_counts(self, store: Store, open_another: OpenAnother, run_id: str) -> None:
        """Changes by the owner and by others, turn by turn."""
        store.add_step_log(run_id, simple_step())
        other = open_another()
        for _ in range(_TURNS):
            store.update_step_log(run_id, "simple", count_one)
            other.update_step_log(run_id, "simple", count_one)
        assert store.get_step_log(run_id, "simple").user_defined_metrics == {"count": 2 * _TURNS}

    def test_owner_and_others_do_not_undo_each_other(
        self, store: Store, open_another: OpenAnother, run_id: str
    ) -> None:
        """The owner goes on writing whole records; what others changed stays changed."""
        store.add_step_log(run_id, simple_step(status="PROCESSING", user_defined_metrics={"mine": 1}))

        def annotate(step: StepLog) -> None:
            step.user_defined_metrics["theirs"] = [1]
            step.message = "seen"

        open_another().update_step_log(run_id, "simple", annotate)
        store.add_step_log(run_id, simple_step(user_defined_metrics={"mine": 2}, attempts=[StepAttempt()]))
        found = store.get_step_log(run_id, "simple")
        assert found.user_defined_metrics == {"mine": 2, "theirs": [1]}
        assert (found.status, found.message, found.attempts) == ("SUCCESS", "seen", [StepAttempt()])

    def test_what_is_appended_to_a_list_stays_beside_what_the_owner_appends(
        self, store: Store, open_another: OpenAnother, run_id: str
    ) -> None:
        """Attempts of the owner, notes of others: none is lost."""
        store.add_step_log(run_id, simple_step(attempts=[StepAttempt(attempt_number=1)]))
        for number in (90, 91):
            open_another().update_step_log(
                run_id,
                "simple",
                lambda step, number=number: step.attempts.append(StepAttempt(attempt_number=number)),  # type: ignore[misc]
            )
        store.add_step_log(run_id, simple_step(attempts=[StepAttempt(attempt_number=n) for n in (1, 2)]))
        found = store.get_step_log(run_id, "simple")
        assert sorted(attempt.attempt_number for attempt in found.attempts) == [1, 2, 90, 91]

    @pytest.mark.parametrize("values", [(1, True, 1.0), (0, False, -0.0, 0.0), (None, [], {}), ([1], [True], [1.0])])
    def test_a_change_of_type_alone_is_a_change(
        self, store: Store, open_another: OpenAnother, run_id: str, values: tuple[Any, ...]
    ) -> None:
        """JSON tells 1, 1.0 and true apart, though Python's == does not."""
        store.add_step_log(run_id, simple_step())
        other = open_another()
        for value in (*values, *values):

            def assign(step: StepLog, value: Any = value) -> None:
                step.user_defined_metrics["x"] = value

            other.update_step_log(run_id, "simple", assign)
            assert exact(store.get_step_log(run_id, "simple").user_defined_metrics) == exact({"x": value})

    def test_what_a_change_takes_away_is_gone(self, store: Store, open_another: OpenAnother, run_id: str) -> None:
        """Also when the owner records it again; and it can be put back."""
        store.add_step_log(run_id, simple_step(user_defined_metrics={"a": 1, "b": 2}))
        other = open_another()
        other.update_step_log(run_id, "simple", lambda step: step.user_defined_metrics.__delitem__("a"))
        store.add_step_log(run_id, simple_step(user_defined_metrics={"a": 1, "b": 2, "c": 3}))
        assert store.get_step_log(run_id, "simple").user_defined_metrics == {"b": 2, "c": 3}
        other.update_step_log(run_id, "simple", lambda step: step.user_defined_metrics.update(a=4))
        assert store.get_step_log(run_id, "simple").user_defined_metrics == {"a": 4, "b": 2, "c": 3}

    def test_a_change_may_return_another_record(self, store: Store, run_id: str) -> None:
        """What it leaves out is taken away."""
        store.add_step_log(run_id, simple_step(message="old", user_defined_metrics={"a": 1}))
        newer = simple_step(user_defined_metrics={"b": 2}, result=None)
        assert exact(store.update_step_log(run_id, "simple", lambda _: newer)) == exact(newer)
        assert exact(store.get_step_log(run_id, "simple")) == exact(newer)

    @pytest.mark.parametrize(
        "change",
        [
            lambda step: setattr(step, "internal_name", "other"),
            lambda step: step.branches.update(b=BranchLog(internal_name="simple.b")),
            lambda step: setattr(step, "status", object()),
            lambda step: step.user_defined_metrics.update(bad={1, "half \ud800"}),
        ],
        ids=["name", "branches", "type", "value"],
    )
    def test_a_change_that_cannot_be_recorded_changes_nothing(
        self, store: Store, run_id: str, change: Callable[[StepLog], None]
    ) -> None:
        """The error is raised before anything is written."""
        store.add_step_log(run_id, simple_step())
        before = exact(store.get_run_log(run_id))
        with pytest.raises(InvalidValueError):
            store.update_step_log(run_id, "simple", change)
        assert exact(store.get_run_log(run_id)) == before

    def test_a_change_of_a_record_that_fails_changes_nothing(self, store: Store, run_id: str) -> None:
        """Whether it raises or returns something else."""
        store.add_step_log(run_id, simple_step())

        def fail(step: StepLog) -> None:
            count_one(step)
            raise ZeroDivisionError

        with pytest.raises(ZeroDivisionError):
            store.update_step_log(run_id, "simple", fail)
        with pytest.raises(StoreUsageError):
            store.update_step_log(run_id, "simple", lambda _: BranchLog(internal_name="simple"))  # type: ignore[arg-type,return-value]
        assert store.update_step_log(run_id, "simple", count_one).user_defined_metrics == {"count": 1}

    def test_what_is_not_there_cannot_be_changed(self, store: Store, run_id: str) -> None:
        """And the change is not called."""
        store.add_step_log(run_id, simple_step())
        with pytest.raises(StepLogNotFoundError, match="missing"):
            store.update_step_log(run_id, "missing", lambda _: pytest.fail("called"))
        with pytest.raises(BranchLogNotFoundError, match="simple"):
            store.update_branch_log(run_id, "simple", lambda _: pytest.fail("called"))

    # --- parameters --------------------------------------------------------------------------------------------------

    def test_parameters_are_kept_key_by_key(self, store: Store, open_another: OpenAnother, run_id: str) -> None:
        """The last writer of a key wins; no key is lost."""
        assert store.get_parameters(run_id) == {}
        store.set_parameters(run_id, {"a": 1, "b": [1]})
        open_another().set_parameters(run_id, {"b": [2], "c": {"nan": float("nan")}})
        store.set_parameters(run_id, {})
        expected = exact({"a": 1, "b": [2], "c": {"nan": float("nan")}})
        assert exact(store.get_parameters(run_id)) == expected
        assert exact(open_another().get_run_log(run_id).parameters) == expected

    def test_scopes_are_apart(self, store: Store, run_id: str) -> None:
        """Also those of branches that are called like files or like the run's own scope."""
        scopes = ["", "root", "%72oot", "p.a", "p", "P", *HOSTILE_NAMES]
        scopes = list(dict.fromkeys(scopes))
        for scope in scopes:
            store.set_parameters(run_id, {"scope": scope}, branch=scope)
        for scope in scopes:
            assert store.get_parameters(run_id, scope) == {"scope": scope}
        assert store.get_parameters(run_id, "unknown") == {}
        assert store.get_run_log(run_id).parameters == {"scope": ""}

    def test_parameters_of_a_branch_are_in_its_record(self, store: Store, run_id: str) -> None:
        """Whether they were set with the branch, before it or after."""
        store.add_step_log(run_id, simple_step("p"))
        store.set_parameters(run_id, {"before": 1}, branch="p.a")
        store.add_branch_log(run_id, branch_of_steps("p.a", parameters={"with": 2}))
        store.set_parameters(run_id, {"after": 3}, branch="p.a")
        expected = {"before": 1, "with": 2, "after": 3}
        assert store.get_branch_log(run_id, "p.a").parameters == expected
        assert store.get_run_log(run_id).steps["p"].branches["p.a"].parameters == expected

    def test_parameters_that_cannot_be_recorded_change_nothing(self, store: Store, run_id: str) -> None:
        """The error names the key."""
        store.set_parameters(run_id, {"a": 1})
        with pytest.raises(InvalidValueError, match=r"parameters\.bad"):
            store.set_parameters(run_id, {"a": 2, "bad": object()})
        with pytest.raises(InvalidNameError):
            store.set_parameters(run_id, {"a": 2}, branch="half \ud800")
        assert store.get_parameters(run_id) == {"a": 1}

    def test_parameters_that_are_set_already_can_be_left_as_they_are(
        self, store: Store, open_another: OpenAnother, run_id: str
    ) -> None:
        """`overwrite=False` adds the others, in any scope; also over None, and whoever has set them."""
        for scope in ("", "p.a"):
            store.set_parameters(run_id, {"a": 1, "none": None}, branch=scope)
            open_another().set_parameters(run_id, {"a": 2, "none": 2, "b": [2]}, branch=scope, overwrite=False)
            store.set_parameters(run_id, {"b": 3, "c": float("nan")}, branch=scope, overwrite=False)
            store.set_parameters(run_id, {}, branch=scope, overwrite=False)
            expected = exact({"a": 1, "b": [2], "c": float("nan"), "none": None})
            assert exact(dict(sorted(store.get_parameters(run_id, scope).items()))) == expected
        store.set_parameters(run_id, {"b": 4}, branch="p.a")
        assert store.get_parameters(run_id, "p.a")["b"] == 4  # noqa: PLR2004 - as set
        assert store.get_parameters(run_id)["b"] == [2]
        with pytest.raises(InvalidValueError, match=r"parameters\.bad"):
            store.set_parameters(run_id, {"d": 1, "bad": object()}, overwrite=False)
        assert "d" not in store.get_parameters(run_id)
