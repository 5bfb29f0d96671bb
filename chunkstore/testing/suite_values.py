"""Promises about values, kept by property tests: whatever JSON can hold comes back unchanged."""

from __future__ import annotations

from typing import Any

from hypothesis import given

from chunkstore.models import StepLog
from chunkstore.stores.base import Store
from chunkstore.testing import strategies
from chunkstore.testing.suite_base import SuiteBase, exact, property_settings, simple_step


class ValueSuite(SuiteBase):
    """Promises about values."""

    @property_settings
    @given(value=strategies.json_values)
    def test_any_json_value_reads_back_exactly(self, store: Store, value: Any) -> None:
        """As a metric, a result, a parameter and a part of the configuration."""
        log = store.create_run_log(parameters={"v": value}, run_config={"v": value})
        step = simple_step(user_defined_metrics={"v": value}, result=value)
        store.add_step_log(log.run_id, step)
        found = store.get_run_log(log.run_id, strict=True)
        assert exact(found.parameters) == exact({"v": value})
        assert exact(found.run_config["v"]) == exact(value)
        assert exact(found.steps["simple"]) == exact(step)

    @property_settings
    @given(fields=strategies.json_objects)
    def test_any_object_can_be_a_field_of_users(self, store: Store, fields: dict[str, Any]) -> None:
        """Also one that looks like a mark, or like a field of the record."""
        run_id = store.create_run_log(parameters=fields).run_id
        store.add_step_log(run_id, simple_step())

        def assign(step: StepLog) -> None:
            step.user_defined_metrics = fields

        assert exact(store.update_step_log(run_id, "simple", assign).user_defined_metrics) == exact(fields)
        assert exact(store.get_step_log(run_id, "simple").user_defined_metrics) == exact(fields)
        assert exact(store.get_parameters(run_id)) == exact(fields)

    @property_settings
    @given(tree=strategies.step_trees())
    def test_any_tree_of_steps_reads_back_exactly(self, store: Store, tree: StepLog) -> None:
        """With every field of every record in it."""
        run_id = store.create_run_log().run_id
        store.add_step_log(run_id, tree)
        found = store.get_run_log(run_id, strict=True)
        assert exact(found.steps) == exact({tree.internal_name: tree})
        assert exact(store.get_step_log(run_id, tree.internal_name)) == exact(tree)
        for branch in tree.branches.values():
            assert exact(store.get_branch_log(run_id, branch.internal_name)) == exact(branch)
