"""Conformance of engines: results and records, items, branches inside branches."""

from __future__ import annotations

import gc
from collections.abc import Iterator
from concurrent.futures import Future, ThreadPoolExecutor
from functools import partial
from pathlib import Path
from typing import Any

import pytest

from chunkstore.config import open_store
from chunkstore.records.models import FAIL, SUCCESS, RunLog
from chunkstore.stores.base import Store
from chunkstore.testing import engine_functions as work
from chunkstore.testing.capabilities import needs
from chunkstore.testing.suite_engine_base import EngineBase, branches_of, statuses, step_in

#: Values of many kinds, each of which comes back as it was sent; one is large.
VALUES: list[Any] = [None, True, -0.0, "größe", b"\x00\xff", (1, (2, [3])), {"a": {1, 2}}, 1 + 2j, b"x" * 3_000_000]
#: Fewer settled futures may be alive at once, however many there were.
_FEW_FUTURES = 16


class EngineResultSuite(EngineBase):
    """Everything goes well."""

    # --- results -----------------------------------------------------------------------------------------------------

    def test_results_come_in_the_order_of_the_items(self, engine: Any, store: Store[Any], notes: str) -> None:
        """Also where later ones end earlier; each is recorded as a branch."""
        with store.start_run("run") as run:
            results = run.map("score", range(5), partial(work.later_items_first, notes), executor=engine)
        assert results == [0, 2, 4, 6, 8]
        log = store.get_run_log("run", strict=True)
        assert not log.problems
        assert not log.orphans
        assert statuses(log, "score") == dict.fromkeys("01234", SUCCESS)
        assert (log.status, log.steps["score"].status) == (SUCCESS, SUCCESS)
        for name, branch in branches_of(log, "score").items():
            step = step_in(branch)
            assert branch.item == int(name)
            assert (step.status, [each.status for each in step.attempts]) == (SUCCESS, [SUCCESS])

    def test_values_of_all_kinds_come_back_as_they_were(self, engine: Any, store: Store[Any]) -> None:
        """No tuple becomes a list, and no text becomes bytes; also where much is sent."""
        with store.start_run("run") as run:
            results = run.map("same", VALUES, work.same, executor=engine, name_of=lambda item: type(item).__name__)
        assert [repr(each) for each in results] == [repr(each) for each in VALUES]

    def test_branches_of_parallel_have_their_results_by_name(self, engine: Any, store: Store[Any]) -> None:
        """And are recorded by it."""
        with store.start_run("run") as run:
            assert run.parallel("both", {"a": work.one, "b": work.two}, executor=engine) == {"a": 1, "b": 2}
        assert statuses(store.get_run_log("run", strict=True), "both") == {"a": SUCCESS, "b": SUCCESS}

    def test_no_items_are_no_branches(self, engine: Any, store: Store[Any]) -> None:
        """And the step has succeeded."""
        with store.start_run("run") as run:
            assert run.map("none", [], work.double, executor=engine) == []
        step = store.get_run_log("run").steps["none"]
        assert (step.status, step.branches) == (SUCCESS, {})

    def test_many_tiny_items_are_all_recorded(self, engine: Any, store: Store[Any]) -> None:
        """Each as a branch of its own."""
        with store.start_run("run") as run:
            assert run.map("score", range(self.many), work.double, executor=engine) == [
                item * 2 for item in range(self.many)
            ]
        log = store.get_run_log("run", strict=True)
        assert statuses(log, "score") == {str(item): SUCCESS for item in range(self.many)}

    @needs("other_processes")
    def test_branches_run_in_other_processes(self, engine: Any, store: Store[Any]) -> None:
        """Than the driver's."""
        with store.start_run("run") as run:
            ids = run.map("ids", range(4), work.process_id, executor=engine)
        assert work.process_id(None) not in ids

    def test_two_maps_at_once_share_the_engine(self, engine: Any, store: Store[Any]) -> None:
        """Each gets what is its own."""
        count = min(10, self.many)
        ones, others = range(count), range(count, 2 * count)
        with store.start_run("run") as run, ThreadPoolExecutor(2) as drivers:
            first = drivers.submit(run.map, "first", ones, work.double, executor=engine)
            second = drivers.submit(run.map, "second", others, work.double, executor=engine)
            assert first.result() == [item * 2 for item in ones]
            assert second.result() == [item * 2 for item in others]
        log = store.get_run_log("run", strict=True)
        assert statuses(log, "first") == {str(item): SUCCESS for item in ones}
        assert statuses(log, "second") == {str(item): SUCCESS for item in others}

    # --- items -------------------------------------------------------------------------------------------------------

    def test_items_are_asked_for_when_a_worker_is_about_to_be_free(
        self, engine: Any, store: Store[Any], notes: str
    ) -> None:
        """A generator of items is not read ahead of what is in flight."""
        ahead: list[int] = []
        count = min(20, self.many)

        def items() -> Iterator[int]:
            for item in range(count):
                ahead.append(item + 1 - sum(work.noted(notes, each) for each in range(item)))
                yield item

        with store.start_run("run") as run:
            function = partial(work.fail_at_first, notes, 0)
            results = run.map("score", items(), function, executor=engine, max_in_flight=3)
        assert results == [item * 2 for item in range(count)]
        assert max(ahead) <= 3  # noqa: PLR2004 - as many as may be in flight

    def test_items_that_fail_in_the_middle_end_the_step(self, engine: Any, store: Store[Any]) -> None:
        """With their own error; what had begun comes to its end, and the next step works."""

        def items() -> Iterator[int]:
            yield from range(3)
            raise OSError("no more items")

        with store.start_run("run") as run:
            with pytest.raises(OSError, match="no more items"):
                run.map("score", items(), work.double, executor=engine)
            assert run.map("again", range(3), work.double, executor=engine) == [0, 2, 4]
        log = store.get_run_log("run", strict=True)
        assert (log.steps["score"].status, log.steps["again"].status) == (FAIL, SUCCESS)
        assert set(statuses(log, "score").values()) <= {SUCCESS, FAIL}

    def test_at_most_so_many_branches_are_in_flight(self, engine: Any, store: Store[Any], notes: str) -> None:
        """As `max_in_flight` says."""
        with store.start_run("run") as run:
            others = run.map("alone", range(6), partial(work.alone, notes), executor=engine, max_in_flight=1)
        assert others == [0] * 6

    def test_futures_of_branches_that_have_ended_are_not_kept(self, engine: Any, store: Store[Any]) -> None:
        """Nor what they hold."""
        alive: list[int] = []
        count = min(40, self.many)

        def items() -> Iterator[int]:
            before = _settled()
            for item in range(count):
                if item == count - 1:
                    alive.append(_settled() - before)
                yield item

        with store.start_run("run") as run:
            run.map("score", items(), work.double, executor=engine, max_in_flight=2)
        assert alive[0] < min(_FEW_FUTURES, count - 2)

    # --- records -----------------------------------------------------------------------------------------------------

    def test_all_that_a_branch_records_is_there(self, engine: Any, store: Store[Any], notes: str) -> None:
        """Metrics, parameters, data, and what it prints."""
        with store.start_run("run") as run:
            names = run.map("score", [3, 4], partial(work.record_all, notes), executor=engine)
        assert names == ["score.3", "score.4"]
        for name, branch in branches_of(store.get_run_log("run", strict=True), "score").items():
            item, step = int(name), step_in(branch)
            assert step.user_defined_metrics == {"size": item}
            series: Any = step.metric_series
            points = [(point.step, point.value) for point in series["loss"]]
            assert points == [(0, item / 2), (1, item / 4)]
            assert step.attempts[0].parameters == {"item": item}
            assert branch.parameters == {"seed": item}
            put = {entry.name: Path(run.catalog.path, entry.catalog_relative_path) for entry in step.data_catalog}
            assert put.pop("out.txt").read_text(encoding="utf-8") == f"put by {item}"
            (printed,) = put.values()
            assert printed.read_text(encoding="utf-8") == f"printed by {item}\ncomplained by {item}\n"

    def test_steps_inside_a_branch_are_recorded(self, engine: Any, store: Store[Any]) -> None:
        """Those of a block, and every call of a decorated function."""
        with store.start_run("run") as run:
            assert run.map("score", [1, 2], work.steps_inside, executor=engine) == [4, 8]
        for name, branch in branches_of(store.get_run_log("run", strict=True), "score").items():
            steps = {each.rpartition(".")[2]: step for each, step in branch.steps.items()}
            assert list(steps) == ["steps_inside", "part", "decorated", "decorated#2"]
            assert {step.status for step in steps.values()} == {SUCCESS}
            assert steps["part"].user_defined_metrics == {"item": int(name)}
            assert steps["decorated"].user_defined_metrics == {"number": int(name)}

    def test_times_and_order_are_those_of_the_driver(self, engine: Any, store: Store[Any]) -> None:
        """What runs in workers comes after what the driver did before, and before what it does then."""
        with store.start_run("run") as run:
            with run.step("before"):
                pass
            run.map("score", range(4), work.double, executor=engine)
            with run.step("after"):
                pass
        log = store.get_run_log("run", strict=True)
        assert list(log.steps) == ["before", "score", "after"]
        before, after = (log.steps[name].attempts[0] for name in ("before", "after"))
        for branch in branches_of(log, "score").values():
            attempt = step_in(branch).attempts[0]
            assert before.end_time <= attempt.start_time <= attempt.end_time <= after.start_time

    @needs("other_processes")
    def test_workers_may_be_in_another_folder(
        self, engine: Any, shared_folder: Path, monkeypatch: pytest.MonkeyPatch
    ) -> None:
        """A store in a relative folder is that of the driver, wherever a worker is and goes."""
        (shared_folder / "here").mkdir()
        monkeypatch.chdir(shared_folder / "here")
        store = open_store("chunked-fs", log_folder="log", catalog_folder="catalog", durability="process")
        with store.start_run("run") as run:
            assert run.map("score", range(4), work.elsewhere, executor=engine) == ["/"] * 4
        log = store.get_run_log("run", strict=True)
        assert statuses(log, "score") == dict.fromkeys("0123", SUCCESS)
        for name, branch in branches_of(log, "score").items():
            step = step_in(branch)
            assert step.user_defined_metrics == {"item": int(name)}
            assert len(branch.steps) == 2  # noqa: PLR2004 - the function, and the step in it
            (printed,) = step.data_catalog
            assert Path("catalog", printed.catalog_relative_path).read_text(encoding="utf-8") == f"printed by {name}\n"
        assert sorted(path.name for path in (shared_folder / "here").iterdir()) == ["catalog", "log"]

    # --- branches inside branches ------------------------------------------------------------------------------------

    def test_a_branch_maps_over_threads(self, engine: Any, store: Store[Any]) -> None:
        """What it maps over is recorded inside it."""
        with store.start_run("run") as run:
            assert run.map("outer", [1, 2], partial(work.map_inside, work.threads), executor=engine) == [[2, 4], [4, 6]]
        _check_nested(store.get_run_log("run", strict=True), 2)

    @needs("workers_have_children")
    def test_a_branch_maps_over_processes(self, engine: Any, store: Store[Any]) -> None:
        """The default of `map`."""
        with store.start_run("run") as run:
            assert run.map("outer", [1], partial(work.map_inside, work.default), executor=engine) == [[2, 4]]
        _check_nested(store.get_run_log("run", strict=True), 1)

    @needs("opens_in_workers")
    def test_a_branch_maps_over_such_an_engine(self, engine: Any, store: Store[Any]) -> None:
        """That its worker opens."""
        with store.start_run("run") as run:
            assert run.map("outer", [1], partial(work.map_inside, type(self).open_engine), executor=engine) == [[2, 4]]
        _check_nested(store.get_run_log("run", strict=True), 1)

    # --- resuming ----------------------------------------------------------------------------------------------------

    def test_what_has_succeeded_is_taken_over(self, engine: Any, store: Store[Any], notes: str) -> None:
        """By a run that resumes another; what failed runs again."""
        function = partial(work.fail_at_first, notes, 1)
        with store.start_run("first") as run:
            assert run.map("score", range(3), function, executor=engine, on_error="continue") == [None] * 3
        with store.start_run("second", resume="first") as run:
            assert run.map("score", range(3), function, executor=engine) == [0, 2, 4]
        with store.start_run("third", resume="second") as run:
            assert run.map("score", range(4), function, executor=engine, on_error="continue") == [0, 2, 4, None]
        assert [work.noted(notes, item) for item in range(4)] == [2, 2, 2, 1]


def _settled() -> int:
    """Return how many futures that have ended are alive in this process."""
    gc.collect()
    return sum(isinstance(each, Future) and each.done() for each in gc.get_objects())


def _check_nested(log: RunLog, count: int) -> None:
    outer = branches_of(log, "outer")
    assert statuses(log, "outer") == {str(item): SUCCESS for item in range(1, count + 1)}
    for name, branch in outer.items():
        inner = next(step for each, step in branch.steps.items() if each.endswith(".inner"))
        assert sorted(each.rpartition(".")[2] for each in inner.branches) == [name, str(int(name) + 1)]
        assert {each.status for each in inner.branches.values()} == {SUCCESS}
