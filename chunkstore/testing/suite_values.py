"""Promises about values, kept by property tests: whatever JSON can hold comes back unchanged."""

from __future__ import annotations

import json
from typing import Any

from hypothesis import given
from msgspec import UNSET

from chunkstore.names import generate_run_id
from chunkstore.records.base import Record
from chunkstore.records.fields import MetricPoint
from chunkstore.records.models import RunLog, StepLog
from chunkstore.stores.base import Store
from chunkstore.testing import strategies
from chunkstore.testing.suite_base import (
    OpenAnother,
    SuiteBase,
    check_json,
    exact,
    property_settings,
    set_status,
    simple_step,
)


def _as_text(record: Record) -> str:
    """Return a text that is equal for equal records, whatever the order of keys; a change of some may reorder them."""
    return json.dumps(json.loads(record.to_json()), sort_keys=True)


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

    @property_settings
    @given(tree=strategies.step_trees(), parameters=strategies.json_objects)
    def test_any_run_can_be_added_whole_and_read_as_json(
        self, store: Store, open_another: OpenAnother, tree: StepLog, parameters: dict[str, Any]
    ) -> None:
        """As it was added, and after changes by others."""
        run_id = generate_run_id()
        store.add_run_log(RunLog(run_id=run_id, steps={tree.internal_name: tree}, parameters=parameters))
        found = store.get_run_log(run_id, strict=True)
        assert exact(found.steps) == exact({tree.internal_name: tree})
        assert exact(found.parameters) == exact(parameters)
        check_json(store, run_id)

        other = open_another()
        other.update_step_log(run_id, tree.internal_name, lambda step: step.user_defined_metrics.update(parameters))
        for name in tree.branches:
            other.update_branch_log(run_id, name, set_status("CHANGED"))
            other.set_parameters(run_id, parameters, branch=name)
        store.append_metrics(run_id, tree.internal_name, {"m": [MetricPoint(1, parameters)]})
        store.add_step_log(run_id, simple_step("last"))
        for each in (store, other):
            check_json(each, run_id)

    @property_settings
    @given(first=strategies.step_logs(), second=strategies.step_logs())
    def test_any_step_can_be_put_over_any_other(
        self, store: Store, open_another: OpenAnother, first: StepLog, second: StepLog
    ) -> None:
        """By its owner and by others."""
        run_id = store.create_run_log().run_id
        second.internal_name = first.internal_name
        second.metric_series = first.metric_series = UNSET
        for each, step in ((store, first), (open_another(), second), (store, first), (store, second)):
            each.put_step_log(run_id, step)
            found = store.get_step_log(run_id, first.internal_name)
            assert _as_text(found) == _as_text(step)
