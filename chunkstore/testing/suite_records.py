"""Promises about steps and branches: adding, nesting, reading back."""

from __future__ import annotations

from typing import Any

import pytest

from chunkstore.errors import BranchLogNotFoundError, InvalidNameError, InvalidValueError, StepLogNotFoundError
from chunkstore.records.fields import ExtraFields, MetricPoint
from chunkstore.records.models import BranchLog, StepAttempt, StepLog
from chunkstore.stores.base import Store
from chunkstore.testing.capabilities import needs
from chunkstore.testing.strategies import HOSTILE_NAMES
from chunkstore.testing.suite_base import (
    OpenAnother,
    SuiteBase,
    branch_of_steps,
    exact,
    set_status,
    simple_step,
)


def tree_of_steps() -> StepLog:
    """Return a `parallel` step with a `map` step in one branch and a `parallel` step in each of its branches."""
    innermost = simple_step("p.b.m")
    for item in ("1", "2%2Ecsv"):
        inner = simple_step(f"p.b.m.{item}.q")
        inner.branches = {
            f"{inner.internal_name}.{arm}": branch_of_steps(
                f"{inner.internal_name}.{arm}", simple_step(f"{inner.internal_name}.{arm}.fit")
            )
            for arm in ("x", "y")
        }
        name = f"p.b.m.{item}"
        innermost.branches[name] = branch_of_steps(name, inner, parameters={"item": item})
    first = branch_of_steps("p.a", simple_step("p.a.one"), simple_step("p.a.two"), parameters={"lr": 0.1})
    second = branch_of_steps("p.b", innermost, simple_step("p.b.last"))
    return simple_step("p", branches={"p.a": first, "p.b": second})


class RecordSuite(SuiteBase):
    """Promises about steps and branches."""

    def test_an_added_step_reads_back_exactly(self, store: Store, open_another: OpenAnother, run_id: str) -> None:
        """From the run and alone, through any store object."""
        step = simple_step(user_defined_metrics={"rows": 10_000, "nan": float("nan"), "big": 10**40, "none": None})
        store.add_step_log(run_id, step)
        for each in (store, open_another()):
            assert exact(each.get_step_log(run_id, "simple")) == exact(step)
            assert exact(each.get_run_log(run_id, strict=True).steps) == exact({"simple": step})

    def test_steps_are_in_the_order_of_execution(self, store: Store, run_id: str) -> None:
        """That is the order in which they were added first."""
        names = ["z", "a", "m", "b"]
        for name in names:
            store.add_step_log(run_id, simple_step(name, status="PROCESSING"))
        for name in reversed(names):
            store.add_step_log(run_id, simple_step(name))
        log = store.get_run_log(run_id)
        assert list(log.steps) == names
        assert {step.status for step in log.steps.values()} == {"SUCCESS"}

    def test_the_owner_replaces_its_record_whole(self, store: Store, run_id: str) -> None:
        """Nothing of the earlier record shows through."""
        store.add_step_log(run_id, simple_step(message="old", user_defined_metrics={"a": 1}, result=[1]))
        newer = simple_step(user_defined_metrics={"b": 2})
        store.add_step_log(run_id, newer)
        assert exact(store.get_step_log(run_id, "simple")) == exact(newer)

    @needs("independent_objects")
    def test_the_newest_of_two_owners_records_counts(
        self, store: Store, open_another: OpenAnother, run_id: str
    ) -> None:
        """A scheduler may run a step twice; the later one has its place in the order too."""
        store.add_step_log(run_id, simple_step("twice", message="first"))
        store.add_step_log(run_id, simple_step("other"))
        open_another().add_step_log(run_id, simple_step("twice", message="second"))
        log = store.get_run_log(run_id)
        assert list(log.steps) == ["other", "twice"]
        assert log.steps["twice"].message == store.get_step_log(run_id, "twice").message == "second"

    @needs("independent_objects", "fences_former_owners")
    def test_a_former_owner_does_not_come_back(self, store: Store, open_another: OpenAnother, run_id: str) -> None:
        """What the zombie of a step that was run again writes does not count."""
        store.add_step_log(run_id, simple_step(message="zombie"))
        open_another().add_step_log(run_id, simple_step(message="newer"))
        store.add_step_log(run_id, simple_step(message="zombie again"))
        assert store.get_step_log(run_id, "simple").message == "newer"
        assert store.get_run_log(run_id).steps["simple"].message == "newer"

    def test_names_are_compared_whole(self, store: Store, run_id: str) -> None:
        """A name that begins like another, or is a pattern, finds itself alone."""
        names = ["simple", "simple-two", "simpl", "s[1]", "s1", "*", "Simple", "simple "]
        for name in names:
            store.add_step_log(run_id, simple_step(name, message=name))
        for name in names:
            assert store.get_step_log(run_id, name).message == name
        for missing in ("simple-", "sim", "s", "simple-two-1", "SIMPLE", ""):
            with pytest.raises((StepLogNotFoundError, InvalidNameError)):
                store.get_step_log(run_id, missing)
        assert list(store.get_run_log(run_id).steps) == names

    @pytest.mark.parametrize("name", HOSTILE_NAMES, ids=ascii)
    def test_any_text_can_name_a_step(self, store: Store, run_id: str, name: str) -> None:
        """Alone and with branches, next to every other such name."""
        step = simple_step(name, name=name, branches={f"{name}.b": branch_of_steps(f"{name}.b")})
        inner = simple_step(f"{name}.b.s")
        step.branches[f"{name}.b"].steps[inner.internal_name] = inner
        step.branches[f"{name}.b"].parameters = {"of": name}
        store.add_step_log(run_id, step)
        log = store.get_run_log(run_id, strict=True)
        assert exact(log.steps) == exact({name: step})
        assert not log.problems
        assert exact(store.get_step_log(run_id, name)) == exact(step)
        assert exact(store.get_branch_log(run_id, f"{name}.b")) == exact(step.branches[f"{name}.b"])
        assert exact(store.get_step_log(run_id, f"{name}.b.s")) == exact(inner)
        assert store.get_parameters(run_id, f"{name}.b") == {"of": name}
        assert store.update_step_log(run_id, name, set_status("FAIL")).status == "FAIL"
        assert store.get_run_log(run_id).steps[name].status == "FAIL"

    @pytest.mark.parametrize("name", ["", "half \ud800", None, 7], ids=ascii)
    def test_what_cannot_be_a_name_is_refused(self, store: Store, run_id: str, name: Any) -> None:
        """With a reason, on every way in."""
        step = simple_step()
        step.internal_name = name
        with pytest.raises(InvalidNameError):
            store.add_step_log(run_id, step)
        for refused in (store.get_step_log, store.get_branch_log):
            with pytest.raises(InvalidNameError):
                refused(run_id, name)
        with pytest.raises(InvalidNameError):
            store.update_step_log(run_id, name, set_status("FAIL"))
        with pytest.raises(InvalidNameError):
            store.update_branch_log(run_id, name, set_status("FAIL"))
        assert store.get_run_log(run_id).steps == {}

    def test_a_step_and_a_branch_may_share_an_internal_name(self, store: Store, run_id: str) -> None:
        """They are asked for by kind."""
        store.add_step_log(run_id, simple_step("p"))
        store.add_branch_log(run_id, branch_of_steps("p.x", status="FAIL"))
        store.add_step_log(run_id, simple_step("p.x", name="p.x"))
        assert store.get_step_log(run_id, "p.x").status == "SUCCESS"
        assert store.get_branch_log(run_id, "p.x").status == "FAIL"
        log = store.get_run_log(run_id)
        assert list(log.steps) == ["p", "p.x"]
        assert list(log.steps["p"].branches) == ["p.x"]

    def test_a_tree_added_at_once_reads_back_exactly(self, store: Store, run_id: str) -> None:
        """Whole, and from any of its nodes."""
        tree = tree_of_steps()
        store.add_step_log(run_id, tree)
        assert exact(store.get_run_log(run_id).steps) == exact({"p": tree})
        assert exact(store.get_step_log(run_id, "p")) == exact(tree)
        branch = tree.branches["p.b"]
        assert exact(store.get_branch_log(run_id, "p.b")) == exact(branch)
        inner = branch.steps["p.b.m"].branches["p.b.m.2%2Ecsv"]
        assert exact(store.get_branch_log(run_id, "p.b.m.2%2Ecsv")) == exact(inner)
        assert store.get_parameters(run_id, "p.b.m.2%2Ecsv") == {"item": "2%2Ecsv"}

    def test_records_added_one_by_one_nest_whatever_their_order(self, store: Store, run_id: str) -> None:
        """Also where an inner record comes first, as it may from another host."""
        store.add_step_log(run_id, simple_step("p.a.one"))
        store.set_parameters(run_id, {"lr": 0.1}, branch="p.a")
        log = store.get_run_log(run_id)
        assert list(log.orphans.steps) == ["p.a.one"]
        assert log.orphans.parameters == {"p.a": {"lr": 0.1}}
        assert {problem.kind for problem in log.problems} == {"orphan"}
        assert store.get_step_log(run_id, "p.a.one").status == "SUCCESS"

        store.add_branch_log(run_id, BranchLog(internal_name="p.a", status="SUCCESS"))
        assert list(store.get_run_log(run_id).orphans.branches) == ["p.a"]
        store.add_step_log(run_id, StepLog(name="p", internal_name="p"))
        log = store.get_run_log(run_id, strict=True)
        assert not log.problems
        assert not log.orphans
        branch = log.steps["p"].branches["p.a"]
        assert (list(branch.steps), branch.parameters) == (["p.a.one"], {"lr": 0.1})

    def test_an_outer_record_added_again_keeps_what_is_inside(self, store: Store, run_id: str) -> None:
        """A composite step is recorded first without its branches, and again when it ends."""
        store.add_step_log(run_id, tree_of_steps())
        store.add_step_log(run_id, simple_step("p", message="ended"))
        store.add_branch_log(run_id, BranchLog(internal_name="p.a", status="FAIL"))
        step = store.get_step_log(run_id, "p")
        assert step.message == "ended"
        assert step.branches["p.a"].status == "FAIL"
        assert list(step.branches["p.a"].steps) == ["p.a.one", "p.a.two"]
        assert step.branches["p.a"].parameters == {"lr": 0.1}

    def test_what_was_never_added_is_not_found(self, store: Store, run_id: str) -> None:
        """A step is no branch, and neither is a part of a name."""
        store.add_step_log(run_id, tree_of_steps())
        for name in ("p.a", "p.a.", "p.", "p.c", "one", "p.b.m.2.csv"):
            with pytest.raises(StepLogNotFoundError):
                store.get_step_log(run_id, name)
        for name in ("p", "p.a.one", "p.b.m"):
            with pytest.raises(BranchLogNotFoundError):
                store.get_branch_log(run_id, name)

    def test_records_are_not_shared_with_the_caller(self, store: Store, run_id: str) -> None:
        """Changing what was given or returned changes nothing in the store."""
        step = simple_step(user_defined_metrics={"list": [1]})
        store.add_step_log(run_id, step)
        step.user_defined_metrics["list"].append(2)
        store.get_step_log(run_id, "simple").user_defined_metrics["list"].append(3)
        store.get_run_log(run_id).steps["simple"].status = "FAIL"
        found = store.get_step_log(run_id, "simple")
        assert (found.status, found.user_defined_metrics) == ("SUCCESS", {"list": [1]})

    def test_a_record_that_cannot_be_stored_changes_nothing(self, store: Store, run_id: str) -> None:
        """Wherever in it the bad value stands; the error names the place."""
        store.add_step_log(run_id, simple_step("before"))
        before = exact(store.get_run_log(run_id))
        bad = tree_of_steps()
        bad.branches["p.b"].steps["p.b.last"].user_defined_metrics["deep"] = {"inside": [1, object()]}
        with pytest.raises(InvalidValueError, match=r"deep\.inside\[1\].*object") as caught:
            store.add_step_log(run_id, bad)
        assert caught.value.key.endswith("user_defined_metrics.deep.inside[1]")  # type: ignore[attr-defined]
        bad_parameter = tree_of_steps()
        bad_parameter.branches["p.b"].parameters["text"] = "half \ud800"
        with pytest.raises(InvalidValueError):
            store.add_step_log(run_id, bad_parameter)
        for no_step in (branch_of_steps("b"), {"internal_name": "s"}, None):
            with pytest.raises(InvalidValueError):
                store.add_step_log(run_id, no_step)  # type: ignore[arg-type]
        with pytest.raises(InvalidValueError):
            store.add_branch_log(run_id, simple_step("s"))  # type: ignore[arg-type]
        assert exact(store.get_run_log(run_id)) == before

    def test_unknown_fields_survive(self, store: Store, open_another: OpenAnother, run_id: str) -> None:
        """What a newer writer recorded is written again by an older one."""
        step = StepLog.from_json(
            '{"name": "s", "internal_name": "s", "new": [1], "attempts": [{"attempt_number": 1, "gpu": {"n": null}}]}'
        )
        store.add_step_log(run_id, step)
        store.add_branch_log(run_id, BranchLog.from_json('{"internal_name": "s.b", "colour": "red"}'))
        open_another().update_step_log(run_id, "s", set_status("SUCCESS"))
        open_another().update_branch_log(run_id, "s.b", set_status("SUCCESS"))
        found = store.get_run_log(run_id).steps["s"]
        assert found.extra == ExtraFields(new=[1])
        assert found.attempts[0].extra == ExtraFields(gpu={"n": None})
        assert found.branches["s.b"].extra == ExtraFields(colour="red")

    def test_metric_series_are_appended_in_order(self, store: Store, open_another: OpenAnother, run_id: str) -> None:
        """Recording the step again, or changing it, takes none away and doubles none."""
        points = [MetricPoint(n, value, "t") for n, value in enumerate([0.5, float("nan"), 10**30, None, True])]
        store.add_step_log(run_id, simple_step(status="PROCESSING"))
        for point in points:
            store.append_metrics(run_id, "simple", {"loss": [point]})
        store.append_metrics(run_id, "simple", {"rate": points[:2]})
        expected = exact({"loss": points, "rate": points[:2]})
        assert exact(store.get_step_log(run_id, "simple").metric_series) == expected
        store.add_step_log(run_id, simple_step())
        open_another().update_step_log(run_id, "simple", set_status("FAIL"))
        store.add_step_log(run_id, store.get_step_log(run_id, "simple"))
        found = store.get_run_log(run_id).steps["simple"]
        assert exact(found.metric_series) == expected
        assert found.status == "FAIL"

    def test_a_series_in_the_record_itself_can_grow(self, store: Store, run_id: str) -> None:
        """Whoever writes whole records may put the points there."""
        points = [MetricPoint(n, n * n) for n in range(3)]
        for count in (1, 2, 3):
            store.add_step_log(run_id, simple_step(metric_series={"loss": points[:count]}))
        assert store.get_step_log(run_id, "simple").metric_series == {"loss": points}

    # --- putting over what anybody has recorded ----------------------------------------------------------------------

    def test_whoever_puts_a_step_last_counts(self, store: Store, open_another: OpenAnother, run_id: str) -> None:
        """The owner after others, others after the owner, and back to what was there before."""
        others = [open_another(), open_another()]
        for turn, each in enumerate([store, others[0], store, store, others[0], others[1], others[0], store] * 2):
            step = each.get_step_log(run_id, "simple") if turn else simple_step()
            step.message = str(turn % 3)
            step.user_defined_metrics = {"same": 1, f"turn-{turn}": turn}
            each.put_step_log(run_id, step)
            for reader in (store, *others):
                assert exact(reader.get_step_log(run_id, "simple")) == exact(step)
                assert exact(reader.get_run_log(run_id, strict=True).steps) == exact({"simple": step})

    def test_whoever_puts_a_branch_last_counts(self, store: Store, open_another: OpenAnother, run_id: str) -> None:
        """As for a step."""
        store.add_step_log(run_id, simple_step("p"))
        other = open_another()
        for turn, each in enumerate([store, other, store, store, other, other, store]):
            branch = BranchLog(internal_name="p.a", status=f"status {turn % 3}", message=str(turn % 2))
            each.put_branch_log(run_id, branch)
            for reader in (store, other):
                assert exact(reader.get_branch_log(run_id, "p.a")) == exact(branch)
                assert exact(reader.get_run_log(run_id, strict=True).steps["p"].branches) == exact({"p.a": branch})

    def test_a_put_step_replaces_what_others_added_since(
        self, store: Store, open_another: OpenAnother, run_id: str
    ) -> None:
        """Also for the owner of an earlier record of that name."""
        store.add_step_log(run_id, simple_step(message="first"))
        other = open_another()
        other.add_step_log(run_id, simple_step(message="second"))
        store.put_step_log(run_id, simple_step(message="third"))
        for each in (store, other):
            assert each.get_step_log(run_id, "simple").message == "third"
            assert each.get_run_log(run_id).steps["simple"].message == "third"

    def test_a_put_record_keeps_its_place_in_the_order(
        self, store: Store, open_another: OpenAnother, run_id: str
    ) -> None:
        """It is the same step."""
        names = ["z", "a", "m"]
        for name in names:
            store.put_step_log(run_id, simple_step(name))
        for each in (open_another(), store):
            for name in reversed(names):
                each.put_step_log(run_id, simple_step(name, message="again"))
        log = store.get_run_log(run_id)
        assert list(log.steps) == names
        assert {step.message for step in log.steps.values()} == {"again"}

    def test_a_put_record_replaces_changes_by_others_too(
        self, store: Store, open_another: OpenAnother, run_id: str
    ) -> None:
        """It is put whole: what is not in it is gone."""
        store.put_step_log(run_id, simple_step(user_defined_metrics={"a": 1}, attempts=[StepAttempt()]))

        def annotate(step: StepLog) -> None:
            step.user_defined_metrics["theirs"] = [1]
            step.attempts.append(StepAttempt(attempt_number=2))

        open_another().update_step_log(run_id, "simple", annotate)
        newer = simple_step(user_defined_metrics={"b": 2}, attempts=[StepAttempt(attempt_number=3)])
        store.put_step_log(run_id, newer)
        assert exact(store.get_step_log(run_id, "simple")) == exact(newer)
        assert exact(open_another().get_run_log(run_id).steps) == exact({"simple": newer})

    def test_a_change_of_a_put_record_is_kept(self, store: Store, open_another: OpenAnother, run_id: str) -> None:
        """Putting and changing can be mixed."""
        store.put_step_log(run_id, simple_step(message="first"))
        open_another().put_step_log(run_id, simple_step(message="second"))
        store.update_step_log(run_id, "simple", set_status("FAIL"))
        found = open_another().get_step_log(run_id, "simple")
        assert (found.status, found.message) == ("FAIL", "second")

    def test_putting_an_outer_record_keeps_what_is_inside(
        self, store: Store, open_another: OpenAnother, run_id: str
    ) -> None:
        """Branches of a step; steps and parameters of a branch."""
        store.add_step_log(run_id, tree_of_steps())
        for each in (store, open_another()):
            each.put_step_log(run_id, simple_step("p", message="put"))
            each.put_branch_log(run_id, BranchLog(internal_name="p.b", status="PUT"))
        expected = tree_of_steps()
        expected.message, expected.branches["p.b"].status = "put", "PUT"
        assert exact(store.get_run_log(run_id, strict=True).steps) == exact({"p": expected})

    def test_putting_a_step_keeps_its_series(self, store: Store, open_another: OpenAnother, run_id: str) -> None:
        """Points that were appended are no part of the record that is put."""
        store.put_step_log(run_id, simple_step())
        store.append_metrics(run_id, "simple", {"loss": [MetricPoint(1, 0.5)]})
        for each in (store, open_another()):
            each.put_step_log(run_id, simple_step(message="put"))
            found = each.get_step_log(run_id, "simple")
            assert found.message == "put"
            assert found.metric_series == {"loss": [MetricPoint(1, 0.5)]}

    def test_what_cannot_be_put_changes_nothing(self, store: Store, run_id: str) -> None:
        """Records inside, other types, values that cannot be recorded."""
        store.put_step_log(run_id, simple_step("p"))
        store.put_branch_log(run_id, BranchLog(internal_name="p.a"))
        before = exact(store.get_run_log(run_id))
        for step in (tree_of_steps(), branch_of_steps("p"), None, simple_step("p", result=object())):
            with pytest.raises(InvalidValueError):
                store.put_step_log(run_id, step)  # type: ignore[arg-type]
        for branch in (
            branch_of_steps("p.a", simple_step("p.a.s")),
            BranchLog(internal_name="p.a", parameters={"a": 1}),
            simple_step("p.a"),
            BranchLog(internal_name="p.a", item=object()),
        ):
            with pytest.raises(InvalidValueError):
                store.put_branch_log(run_id, branch)  # type: ignore[arg-type]
        assert exact(store.get_run_log(run_id)) == before

    @pytest.mark.parametrize("name", HOSTILE_NAMES, ids=ascii)
    def test_a_step_of_any_name_can_be_put(
        self, store: Store, open_another: OpenAnother, run_id: str, name: str
    ) -> None:
        """And is there from then on, for everybody."""
        assert not store.has_step_log(run_id, name)
        store.put_step_log(run_id, simple_step(name, name=name))
        open_another().put_step_log(run_id, simple_step(name, name=name, message="again"))
        assert store.has_step_log(run_id, name)
        assert not store.has_branch_log(run_id, name)
        assert exact(store.get_run_log(run_id).steps) == exact({name: simple_step(name, name=name, message="again")})

    # --- looking without reading all ---------------------------------------------------------------------------------

    def test_what_anybody_has_recorded_is_there(self, store: Store, open_another: OpenAnother, run_id: str) -> None:
        """A step is no branch, and names are compared whole."""
        other = open_another()
        assert not other.has_step_log(run_id, "p")
        store.add_step_log(run_id, tree_of_steps())
        for each in (store, other):
            for name in ("p", "p.a.one", "p.b.m", "p.b.m.2%2Ecsv.q.x.fit"):
                assert each.has_step_log(run_id, name)
                assert not each.has_branch_log(run_id, name)
            for name in ("p.a", "p.b.m.1", "p.b.m.2%2Ecsv.q.y"):
                assert each.has_branch_log(run_id, name)
                assert not each.has_step_log(run_id, name)
            for name in ("P", "p.", "p.a.on", "p.a.one.", "p.a.one-1", "p.b.m.2.csv", "*", "p.[ab]", "one"):
                assert not each.has_step_log(run_id, name)
                assert not each.has_branch_log(run_id, name)

    @pytest.mark.parametrize("name", ["", "half \ud800", None, 7], ids=ascii)
    def test_what_cannot_be_a_name_is_not_looked_for(self, store: Store, run_id: str, name: Any) -> None:
        """It is refused, as everywhere."""
        for has in (store.has_step_log, store.has_branch_log):
            with pytest.raises(InvalidNameError):
                has(run_id, name)

    def test_a_record_can_be_read_without_what_is_inside(self, store: Store, run_id: str) -> None:
        """`full=False` leaves out branches, steps and parameters."""
        tree = tree_of_steps()
        store.add_step_log(run_id, tree)
        store.append_metrics(run_id, "p", {"m": [MetricPoint(1, 2)]})
        step = store.get_step_log(run_id, "p", full=False)
        assert (step.branches, step.metric_series) == ({}, {"m": [MetricPoint(1, 2)]})
        branch = store.get_branch_log(run_id, "p.b.m.1", full=False)
        assert exact(branch) == exact(BranchLog(internal_name="p.b.m.1", status="SUCCESS"))
        assert list(store.get_step_log(run_id, "p").branches) == list(tree.branches)
        with pytest.raises(StepLogNotFoundError):
            store.get_step_log(run_id, "p.a", full=False)
        with pytest.raises(BranchLogNotFoundError):
            store.get_branch_log(run_id, "p", full=False)
