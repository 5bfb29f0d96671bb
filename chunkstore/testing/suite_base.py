"""What the parts of the conformance suite share: fixtures, capabilities, small records."""

from __future__ import annotations

import json
from collections.abc import Callable
from typing import Any, ClassVar

import pytest
from hypothesis import HealthCheck, settings

from chunkstore.records.models import BranchLog, RunLog, StepLog
from chunkstore.stores.base import Store
from chunkstore.testing.capabilities import Capable

#: Gives a store object over the same runs.
OpenAnother = Callable[[], Store]

#: For property tests inside the suite: each example makes its own run, and several classes share one test.
property_settings = settings(
    suppress_health_check=[HealthCheck.function_scoped_fixture, HealthCheck.differing_executors], deadline=None
)


def exact(value: Any) -> str:
    """Return a text that is equal for equal values alone: 1, 1.0 and true are three, and NaN is NaN.

    Args:
        value: JSON values or records.
    """
    return repr(value)


def check_json(store: Store, run_id: str) -> None:
    """Fail unless a run as JSON is the run, with its steps in order.

    Args:
        store: any.
        run_id: the run.
    """
    found = json.loads(store.get_run_json(run_id))
    expected = json.loads(store.get_run_log(run_id).to_json())
    assert json.dumps(found, sort_keys=True) == json.dumps(expected, sort_keys=True)
    assert _order(found) == _order(expected)


def _order(record: dict[str, Any]) -> list[Any]:
    inner = {**record.get("steps", {}), **record.get("branches", {})}
    return [(name, _order(value)) for name, value in inner.items()]


def simple_step(internal_name: str = "simple", **fields: Any) -> StepLog:
    """Return a step that succeeded.

    Args:
        internal_name: its last segment becomes the `name`.
        fields: further fields.
    """
    return StepLog(
        **{"name": internal_name.rpartition(".")[2], "internal_name": internal_name, "status": "SUCCESS", **fields}
    )


def branch_of_steps(internal_name: str, *steps: StepLog, **fields: Any) -> BranchLog:
    """Return a branch that succeeded, with steps inside.

    Args:
        internal_name: of the branch.
        steps: in order of execution.
        fields: further fields.
    """
    inner = {step.internal_name: step for step in steps}
    return BranchLog(**{"internal_name": internal_name, "status": "SUCCESS", "steps": inner, **fields})


def count_one(step: StepLog) -> None:
    """Change a step: count one more in its metric `count`."""
    step.user_defined_metrics["count"] = step.user_defined_metrics.get("count", 0) + 1


def set_status(status: str) -> Callable[[Any], None]:
    """Return a change of any record that sets its status.

    Args:
        status: the new one.
    """

    def change(record: RunLog | StepLog | BranchLog) -> None:
        record.status = status

    return change


class SuiteBase(Capable):
    """Fixtures and capabilities; see `chunkstore.testing.StoreConformance`."""

    #: Whether a pickled store works in another process, on the same runs.
    shared_between_processes: ClassVar[bool] = True
    #: Whether `open_another` gives store objects that own nothing of each other's.
    independent_objects: ClassVar[bool] = True
    #: Whether a record stays as it is when the owner of an older record of that name goes on writing.
    fences_former_owners: ClassVar[bool] = True
    #: Whether a new record is whole from the first moment that its name is there, as it is with hard links.
    publishes_whole: ClassVar[bool] = True

    @pytest.fixture
    def open_another(self) -> OpenAnother:
        """Return a callable that gives a store object over the same runs; to be given by the subclass."""
        raise NotImplementedError("A subclass of StoreConformance gives the fixture open_another.")

    @pytest.fixture
    def store(self, open_another: OpenAnother) -> Store:
        """Return a store without runs."""
        return open_another()

    @pytest.fixture
    def run_id(self, store: Store) -> str:
        """Return the id of a run without steps."""
        return store.create_run_log().run_id
