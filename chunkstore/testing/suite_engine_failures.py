"""Conformance of engines: exceptions, what does not pickle, retries, workers that die, an engine that is closed."""

from __future__ import annotations

import threading
from collections.abc import Iterator
from functools import partial
from typing import Any

import pytest

from chunkstore.errors import BranchFailedError, StoreUsageError
from chunkstore.records.models import FAIL, LOST, SUCCESS
from chunkstore.stores.base import Store
from chunkstore.testing import engine_functions as work
from chunkstore.testing.capabilities import needs
from chunkstore.testing.suite_engine_base import EngineBase, branches_of, statuses, step_in


class EngineFailureSuite(EngineBase):
    """Something goes wrong."""

    # --- exceptions --------------------------------------------------------------------------------------------------

    def test_exceptions_come_back_with_their_type(self, engine: Any, store: Store[Any]) -> None:
        """Whatever their `__init__` asks for, and whatever they hold; each fails its own branch alone."""
        kinds = [*work.ERRORS, "none"]
        with pytest.raises(BranchFailedError) as caught, store.start_run("run") as run:
            run.map("raise", kinds, work.raise_kind, executor=engine)
        failures = {name.rpartition(".")[2]: error for name, error in caught.value.failures.items()}
        assert caught.value.results == [None] * len(work.ERRORS) + ["none"]
        assert sorted(failures) == sorted(work.ERRORS)
        for kind, error in failures.items():
            expected = work.ERRORS[kind]()
            assert (type(error), str(error)) == (type(expected), str(expected))
        assert failures["odd"].first == "this"  # type: ignore[attr-defined]
        members = getattr(failures["group"], "exceptions", ())
        assert [type(each) for each in members] in ([ValueError, work.OddError], [])
        log = store.get_run_log("run", strict=True)
        assert statuses(log, "raise") == {**dict.fromkeys(work.ERRORS, FAIL), "none": SUCCESS}
        assert (log.status, log.steps["raise"].status) == (FAIL, FAIL)
        usual = step_in(branches_of(log, "raise")["usual"])
        assert "this is wrong" in usual.message
        traceback = usual.attempts[0].message
        assert "raise_kind" in traceback
        assert "what it comes from" in traceback

    def test_an_exception_that_only_the_worker_knows_is_told_of(self, engine: Any, store: Store[Any]) -> None:
        """Whether its class can be had in the driver or not."""
        with pytest.raises(BranchFailedError) as caught, store.start_run("run") as run:
            run.map("raise", range(3), work.raise_known_here_alone, executor=engine)
        assert caught.value.results == [None, 1, 2]
        error = caught.value.failures["raise.0"]
        assert type(error).__name__ == "OnlyThereError" or "OnlyThereError" in str(error)
        assert "says this" in str(error)
        assert statuses(store.get_run_log("run", strict=True), "raise") == {"0": FAIL, "1": SUCCESS, "2": SUCCESS}

    # --- what does not pickle ----------------------------------------------------------------------------------------

    @needs("other_processes")
    @pytest.mark.parametrize("bad", [threading.Lock, work.Unloadable])
    def test_an_item_that_cannot_be_sent_costs_its_branch_alone(
        self, engine: Any, store: Store[Any], bad: type[Any]
    ) -> None:
        """Whether it does not pickle, or cannot be rebuilt in the worker."""
        items = [1, bad(), "text"]
        with pytest.raises(BranchFailedError) as caught, store.start_run("run") as run:
            run.map("score", items, work.kind_of, executor=engine, name_of=lambda item: type(item).__name__)
        assert caught.value.results == ["int", None, "str"]
        (name,) = caught.value.failures
        bad_name = name.rpartition(".")[2]
        found = statuses(store.get_run_log("run", strict=True), "score")
        assert found == {"int": SUCCESS, bad_name: FAIL, "str": SUCCESS}

    @needs("other_processes")
    @pytest.mark.parametrize("function", [work.return_lock_for, work.return_unloadable_for])
    def test_a_result_that_cannot_be_sent_costs_its_branch_alone(
        self, engine: Any, store: Store[Any], function: Any
    ) -> None:
        """Whether it does not pickle, or cannot be rebuilt in the driver."""
        with pytest.raises(BranchFailedError) as caught, store.start_run("run") as run:
            run.map("score", range(4), partial(function, 2), executor=engine)
        assert caught.value.results == [0, 1, None, 3]
        assert list(caught.value.failures) == ["score.2"]
        found = statuses(store.get_run_log("run", strict=True), "score")
        assert found == {"0": SUCCESS, "1": SUCCESS, "2": FAIL, "3": SUCCESS}

    # --- retries -----------------------------------------------------------------------------------------------------

    def test_a_function_is_tried_as_often_as_asked(self, engine: Any, store: Store[Any], notes: str) -> None:
        """Each try is an attempt."""
        with store.start_run("run") as run:
            function = partial(work.fail_at_first, notes, 2)
            assert run.map("score", range(3), function, executor=engine, max_attempts=3, backoff=0) == [0, 2, 4]
        for branch in branches_of(store.get_run_log("run", strict=True), "score").values():
            step = step_in(branch)
            assert (branch.status, step.status) == (SUCCESS, SUCCESS)
            assert [each.status for each in step.attempts] == [FAIL, FAIL, SUCCESS]
            assert [each.attempt_number for each in step.attempts] == [1, 2, 3]

    # --- workers that die --------------------------------------------------------------------------------------------

    @needs("survives_deaths")
    @pytest.mark.parametrize("how", ["killed", "exits"])
    def test_a_worker_that_dies_costs_its_branch_alone(self, mortal_engine: Any, store: Store[Any], how: str) -> None:
        """However often the engine starts that branch."""
        with store.start_run("run") as run:
            function = partial(work.die_for, how, 2)
            results = run.map("score", range(6), function, executor=mortal_engine, on_error="continue")
        assert results == [0, 2, None, 6, 8, 10]
        log = store.get_run_log("run", strict=True)
        assert statuses(log, "score") == {str(item): FAIL if item == 2 else SUCCESS for item in range(6)}  # noqa: PLR2004
        branch = branches_of(log, "score")["2"]
        assert branch.message
        assert {each.status for each in step_in(branch).attempts} <= {FAIL, LOST}

    @needs("survives_deaths")
    @pytest.mark.parametrize("how", ["killed", "exits"])
    def test_a_branch_whose_worker_died_runs_again_as_asked(
        self, mortal_engine: Any, store: Store[Any], notes: str, how: str
    ) -> None:
        """Whether the engine does so by itself or not; each start is an attempt."""
        with store.start_run("run") as run:
            function = partial(work.die_at_first, how, notes, 2)
            results = run.map("score", range(4), function, executor=mortal_engine, max_attempts=3, backoff=0)
        assert results == [0, 2, 4, 6]
        log = store.get_run_log("run", strict=True)
        assert statuses(log, "score") == dict.fromkeys("0123", SUCCESS)
        attempts = step_in(branches_of(log, "score")["2"]).attempts
        assert len(attempts) == work.noted(notes, 2) > 1
        assert attempts[-1].status == SUCCESS
        assert {each.status for each in attempts[:-1]} <= {FAIL, LOST}

    # --- an engine that is closed ------------------------------------------------------------------------------------

    def test_an_engine_that_is_closed_meanwhile_ends_the_step(self, store: Store[Any]) -> None:
        """With an error that says what to do; unless all comes to its end, as on an engine that only connects."""
        with type(self).open_engine() as engine:

            def items() -> Iterator[int]:
                for item in range(10):
                    if item == 6:  # noqa: PLR2004 - in the middle
                        engine.shutdown(wait=False)
                    yield item

            results: list[int | None] = []
            with store.start_run("run") as run:
                try:
                    results = run.map("score", items(), work.double, executor=engine, on_error="continue")
                except StoreUsageError as error:
                    assert "takes no more work" in str(error)  # noqa: PT017 - one of two ways to end
        log = store.get_run_log("run", strict=True)
        found = statuses(log, "score")
        assert set(found.values()) <= {SUCCESS, FAIL}
        if results:
            assert [result is not None for result in results] == [found[str(item)] == SUCCESS for item in range(10)]
        else:
            assert log.steps["score"].status == FAIL
