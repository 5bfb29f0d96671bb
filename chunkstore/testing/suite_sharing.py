"""Promises about many writers at once: threads, and processes where the store is shared between them."""

from __future__ import annotations

import multiprocessing
import pickle
import threading
from collections.abc import Callable, Iterable
from typing import Any

import pytest

from chunkstore.errors import RunLogExistsError, StoreUsageError
from chunkstore.stores.base import Store
from chunkstore.testing.capabilities import needs
from chunkstore.testing.suite_base import OpenAnother, SuiteBase, count_one, simple_step

_WRITERS = 4
_TURNS = 10


def run_threads(tasks: Iterable[Callable[[], Any]]) -> list[Any]:
    """Run tasks at the same time; return their results or exceptions, in their order.

    Args:
        tasks: callables without arguments.
    """
    tasks = list(tasks)
    results: list[Any] = [None] * len(tasks)
    start = threading.Barrier(len(tasks))

    def work(index: int, task: Callable[[], Any]) -> None:
        start.wait()
        try:
            results[index] = task()
        except BaseException as error:  # noqa: BLE001 - the caller looks at it
            results[index] = error

    threads = [threading.Thread(target=work, args=item) for item in enumerate(tasks)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    return results


def write_as_one_of_many(store: Store, run_id: str, writer: int) -> None:
    """Record steps, set parameters and count, as one of several writers do at once.

    Args:
        store: any.
        run_id: a run with a step `shared`.
        writer: a number of this writer's own.
    """
    for turn in range(_TURNS):
        name = f"w{writer}-{turn}"
        store.add_step_log(run_id, simple_step(name, status="PROCESSING"))
        store.update_step_log(run_id, "shared", count_one)
        store.set_parameters(run_id, {name: turn})
        store.add_step_log(run_id, simple_step(name, message=str(turn)))


class SharingSuite(SuiteBase):
    """Promises about many writers at once."""

    def check_nothing_is_lost(self, store: Store, run_id: str) -> None:
        """Fail unless everything that the writers of `write_as_one_of_many` recorded is there.

        Args:
            store: any.
            run_id: the run that they wrote to.
        """
        log = store.get_run_log(run_id, strict=True)
        assert log.steps["shared"].user_defined_metrics == {"count": _WRITERS * _TURNS}
        for writer in range(_WRITERS):
            expected = {f"w{writer}-{turn}": turn for turn in range(_TURNS)}
            own = [step for name, step in log.steps.items() if name.startswith(f"w{writer}-")]
            assert [step.internal_name for step in own] == list(expected)
            assert all(step.status == "SUCCESS" and step.message for step in own)
            assert {key: value for key, value in log.parameters.items() if key in expected} == expected

    def test_threads_that_share_a_store_lose_nothing(self, store: Store, run_id: str) -> None:
        """And each one's steps are in its order."""
        store.add_step_log(run_id, simple_step("shared"))
        results = run_threads(
            lambda writer=writer: write_as_one_of_many(store, run_id, writer)  # type: ignore[misc]
            for writer in range(_WRITERS)
        )
        assert results == [None] * _WRITERS
        self.check_nothing_is_lost(store, run_id)

    def test_threads_with_store_objects_of_their_own_lose_nothing(
        self, store: Store, open_another: OpenAnother, run_id: str
    ) -> None:
        """As if they were processes."""
        store.add_step_log(run_id, simple_step("shared"))
        others = [open_another() for _ in range(_WRITERS)]
        results = run_threads(
            lambda writer=writer, other=other: write_as_one_of_many(other, run_id, writer)  # type: ignore[misc]
            for writer, other in enumerate(others)
        )
        assert results == [None] * _WRITERS
        self.check_nothing_is_lost(store, run_id)

    def test_of_many_that_create_a_run_one_succeeds(self, open_another: OpenAnother) -> None:
        """The others learn that it exists, and the winner's record stands."""
        others = [open_another() for _ in range(_WRITERS)]
        for turn in range(_TURNS):
            results = run_threads(
                lambda other=other, writer=writer, turn=turn: other.create_run_log(f"race-{turn}", tag=str(writer))  # type: ignore[misc]
                for writer, other in enumerate(others)
            )
            (winner,) = [result for result in results if not isinstance(result, RunLogExistsError)]
            assert others[0].get_run_log(f"race-{turn}") == winner

    def test_threads_that_record_one_step_leave_one_record(self, store: Store, run_id: str) -> None:
        """One of the records that were written, whole."""
        results = run_threads(
            lambda n=n: store.add_step_log(run_id, simple_step(message=str(n), user_defined_metrics={"n": n}))  # type: ignore[misc]
            for n in range(8)
        )
        assert not any(results)
        found = store.get_run_log(run_id, strict=True).steps
        assert list(found) == ["simple"]
        assert found["simple"].user_defined_metrics == {"n": int(found["simple"].message)}

    @needs("publishes_whole")
    def test_readers_see_whole_records_while_others_write(self, store: Store, run_id: str) -> None:
        """And never less than they saw before."""
        done = threading.Event()

        def read() -> int:
            seen = 0
            while True:
                last_turn = done.is_set()
                log = store.get_run_log(run_id, strict=True)
                assert seen <= len(log.steps)
                seen = len(log.steps)
                assert all(step.user_defined_metrics == {"name": step.name} for step in log.steps.values())
                if last_turn:
                    return seen

        def write() -> None:
            for turn in range(2 * _TURNS):
                name = f"step-{turn}"
                store.add_step_log(run_id, simple_step(name, user_defined_metrics={"name": name}))
            done.set()

        assert run_threads([write, read, read]) == [None, 2 * _TURNS, 2 * _TURNS]

    @needs("shared_between_processes")
    def test_an_unpickled_store_works_on_the_same_runs(self, store: Store, run_id: str) -> None:
        """It owns nothing, so what it records of a step is newer than what its sender did."""
        store.add_step_log(run_id, simple_step(message="sender"))
        other = pickle.loads(pickle.dumps(store))  # noqa: S301 - our own
        assert other.get_step_log(run_id, "simple").message == "sender"
        other.add_step_log(run_id, simple_step("other"))
        other.add_step_log(run_id, simple_step(message="receiver"))
        log = store.get_run_log(run_id)
        assert list(log.steps) == ["other", "simple"]
        assert log.steps["simple"].message == "receiver"

    def test_a_store_that_is_not_shared_refuses_to_be_sent(self, store: Store) -> None:
        """Instead of losing what is recorded elsewhere."""
        if self.shared_between_processes:
            pickle.dumps(store)
            return
        with pytest.raises(StoreUsageError, match="process"):
            pickle.dumps(store)

    @needs("shared_between_processes")
    def test_processes_lose_nothing(self, store: Store, run_id: str) -> None:
        """Each one gets the store through pickle, as workers do."""
        store.add_step_log(run_id, simple_step("shared"))
        context = multiprocessing.get_context("spawn")
        workers = [
            context.Process(target=write_as_one_of_many, args=(store, run_id, writer)) for writer in range(_WRITERS)
        ]
        for worker in workers:
            worker.start()
        for worker in workers:
            worker.join()
        assert [worker.exitcode for worker in workers] == [0] * _WRITERS
        self.check_nothing_is_lost(store, run_id)
