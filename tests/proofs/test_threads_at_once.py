"""Threads that do everything at once to one run through one store lose nothing."""

import itertools
import threading
import time
from concurrent.futures import ThreadPoolExecutor

import pytest
from every import STORES
from recorded import count, step
from run_of_two import RUN

import chunkstore
from chunkstore import MetricPoint
from chunkstore.testing.suite_sharing import run_threads

TURNS = 12


def double(item):
    chunkstore.current_step().log_metric("item", item)
    return item * 2


class Everything:
    """What threads do at once to one run through one store, and what must be there afterwards."""

    def __init__(self, store, run, shared_step):
        self.store, self.run, self.shared_step = store, run, shared_step
        self.done = threading.Event()

    def record_steps(self, number):
        for turn in range(TURNS):
            with self.run.step(f"step-{number}-{turn}") as own:
                print(number, turn)
                own.log_metric("turn", turn)
                own.log_metric("series", turn, step=0)
                self.shared_step.log_metric("points", turn, step=turn)
                self.shared_step.log_metric(f"{number}-{turn}", turn)

    def change_records(self):
        for turn in range(TURNS):
            self.run.set_parameters({f"p-{turn}": turn})
            self.store.update_step_log(RUN, "counted", count)
            self.store.add_step_log(RUN, step("replaced", message=str(turn), status="SUCCESS"))
            self.store.append_metrics(RUN, "replaced", {"m": [MetricPoint(turn, turn)]})

    def fan_out(self, number):
        for turn in range(2):
            with ThreadPoolExecutor(2) as executor:
                assert self.run.map(f"map-{number}-{turn}", range(3), double, executor=executor) == [0, 2, 4]

    def read(self):
        for _ in range(TURNS):
            assert self.store.get_run_log(RUN, strict=True).status == "PROCESSING"
            assert [summary.run_id for summary in self.store.list_runs()] == [RUN]

    def close_all_the_time(self):
        while not self.done.is_set():
            self.store.close()
            time.sleep(0)

    def work(self):
        pairs = [
            lambda number=number, do=do: do(number) for do in (self.record_steps, self.fan_out) for number in (0, 1)
        ]
        try:
            return run_threads([*pairs, self.change_records, self.change_records, self.read])
        finally:
            self.done.set()

    def check(self, log):
        twice = sorted([*range(TURNS)] * 2)
        assert log.status == "SUCCESS"
        assert log.parameters == {f"p-{turn}": turn for turn in range(TURNS)}
        assert log.steps["counted"].user_defined_metrics == {"count": 2 * TURNS}
        assert sorted(point.value for point in log.steps["replaced"].metric_series["m"]) == twice
        assert sorted(point.value for point in log.steps["shared"].metric_series["points"]) == twice
        assert len(log.steps["shared"].user_defined_metrics) == 2 * TURNS
        for number, turn in itertools.product(range(2), range(TURNS)):
            own = log.steps[f"step-{number}-{turn}"]
            assert (own.status, own.user_defined_metrics) == ("SUCCESS", {"turn": turn})
            assert [point.value for point in own.metric_series["series"]] == [turn]
        for number, turn in itertools.product(range(2), range(2)):
            branches = log.steps[f"map-{number}-{turn}"].branches
            assert [branch.status for branch in branches.values()] == ["SUCCESS"] * 3
            for branch in branches.values():
                assert [list(inner.user_defined_metrics) for inner in branch.steps.values()] == [["item"]]


@pytest.mark.usefixtures("_outside_git")
@pytest.mark.parametrize("store_type", [*STORES, "buffered"])
def test_threads_that_do_everything_at_once_lose_nothing_while_one_closes_the_store(tmp_path, store_type):
    options = {} if store_type == "buffered" else {"log_folder": tmp_path / "logs"}
    store = chunkstore.open_store(store_type, catalog_folder=str(tmp_path / "data"), **options)
    with store.start_run(RUN) as run:
        store.add_step_log(RUN, step("counted", status="SUCCESS"))
        with run.step("shared") as shared_step:
            everything = Everything(store, run, shared_step)
            assert run_threads([everything.work, everything.close_all_the_time]) == [[None] * 7, None]
    everything.check(store.get_run_log(RUN, strict=True))
