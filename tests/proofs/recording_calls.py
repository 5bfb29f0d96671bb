"""Every call that records, and how the log tells that it was made."""

import itertools
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

from msgspec import UNSET

import chunkstore
from chunkstore.records.fields import MetricPoint
from chunkstore.records.models import BranchLog, StepLog

RUN = "run"


class World:
    """A run with a step that is open, and what has been recorded there."""

    def __init__(self, folder, store_type, options):
        places = {} if store_type == "buffered" else {"log_folder": f"{folder}/logs", "durability": "process"}
        self.open = lambda: chunkstore.open_store(
            store_type,
            catalog_folder=f"{folder}/catalog",
            **places,
            **({} if store_type == "buffered" else {"lock_timeout": 5}),
            **options,
        )
        self.store = self.open()
        self.run = self.store.start_run(RUN)
        self.step = self.run.step("outer")
        self.step.__enter__()
        self.data = Path(folder, "data.txt")
        self.data.write_text("data")
        self.step.put_data(self.data, "first.txt")
        self.store.add_step_log(RUN, StepLog(name="own", internal_name="own"))
        self.other = (
            chunkstore.open_store(store_type, catalog_folder=f"{folder}/catalog", **places, **options)
            if places
            else self.store
        )
        self.other.add_step_log(RUN, StepLog(name="others", internal_name="others"))
        self.store.add_step_log(RUN, StepLog(name="composite", internal_name="composite", step_type="map"))
        self.made = []
        self.number = itertools.count(1)

    def leave(self):
        """End the step, if it has not ended."""
        if self.step._entered is not None:
            self.step.__exit__(None, None, None)


def in_a_step(world, number):
    with world.run.step(f"block-{number}") as step:
        step.log_metric("n", number)


def update_step(world, number):
    def change(log):
        log.user_defined_metrics[f"u{number}"] = number

    world.store.update_step_log(RUN, "others", change)


def update_own(world, number):
    def change(log):
        log.user_defined_metrics[f"u{number}"] = number

    world.store.update_step_log(RUN, "own", change)


def update_run(world, number):
    def change(log):
        log.run_config[f"u{number}"] = number

    world.store.update_run_log(RUN, change)


def finish(world, number):
    world.run.finish("SUCCESS")


def new_run(world, number):
    with world.store.start_run(f"run-{number}", parameters={"n": number}) as run, run.step("s"):
        pass


def join(world, number):
    with world.store.join_run(RUN) as run:
        run.set_parameters({f"j{number}": number})


def add_composite(world, number):
    step = StepLog(name=f"c{number}", internal_name=f"c{number}", step_type="map")
    step.branches[f"c{number}.b"] = BranchLog(internal_name=f"c{number}.b", parameters={"n": number})
    world.store.add_step_log(RUN, step)


def map_on_threads(world, number):
    with ThreadPoolExecutor(1) as threads:
        assert world.run.map(f"map-{number}", [1], abs, executor=threads) == [1]


def put_data(world, number):
    world.step.put_data(world.data, f"d{number}.txt")


def metrics(log, step="outer"):
    return log.steps[step].user_defined_metrics


def came_to(record):
    """Return how something ended, though perhaps after its run had."""
    return record.status if record.late is UNSET else record.late


#: What is called, and how the log tells that it was.
CALLS = {
    "print": (lambda world, number: print(f"line {number}"), None),
    "metric": (
        lambda world, number: world.step.log_metric(f"m{number}", number),
        lambda log, n: metrics(log)[f"m{n}"] == n,
    ),
    "point": (lambda world, number: world.step.log_metric("p", number, step=number), None),
    "param": (
        lambda world, number: world.step.log_params({f"p{number}": number}),
        lambda log, n: log.steps["outer"].attempts[-1].parameters[f"p{n}"] == n,
    ),
    "put data": (
        put_data,
        lambda log, n: [entry.name for entry in log.steps["outer"].data_catalog].count(f"d{n}.txt") == 1,
    ),
    "get data": (lambda world, number: world.step.get_data("first.txt", f"{world.data}-{number}"), None),
    "result": (lambda world, number: world.step.set_result(number), None),
    "flush": (lambda world, number: world.step.flush(), None),
    "block": (
        in_a_step,
        lambda log, n: (came_to(log.steps[f"block-{n}"]), metrics(log, f"block-{n}")) == ("SUCCESS", {"n": n}),
    ),
    "function": (
        lambda world, number: world.run.step(f"function-{number}", abs, -number),
        lambda log, n: (came_to(log.steps[f"function-{n}"]), log.steps[f"function-{n}"].result) == ("SUCCESS", n),
    ),
    "map": (map_on_threads, lambda log, n: came_to(log.steps[f"map-{n}"].branches[f"map-{n}.1"]) == "SUCCESS"),
    "parallel": (
        lambda world, number: world.run.parallel(f"par-{number}", {"a": dict}, executor=ThreadPoolExecutor(1)),
        lambda log, n: came_to(log.steps[f"par-{n}"].branches[f"par-{n}.a"]) == "SUCCESS",
    ),
    "parameters": (
        lambda world, number: world.run.set_parameters({f"s{number}": number}),
        lambda log, n: log.parameters[f"s{n}"] == n,
    ),
    "finish": (finish, None),
    "new run": (new_run, None),
    "join": (join, lambda log, n: log.parameters[f"j{n}"] == n),
    "add": (
        lambda world, number: world.store.add_step_log(RUN, StepLog(name=f"a{number}", internal_name=f"a{number}")),
        lambda log, n: f"a{n}" in log.steps,
    ),
    "add again": (
        lambda world, number: world.store.add_step_log(
            RUN, StepLog(name="own", internal_name="own", message=str(number))
        ),
        None,
    ),
    "add composite": (add_composite, lambda log, n: log.steps[f"c{n}"].branches[f"c{n}.b"].parameters == {"n": n}),
    "put": (
        lambda world, number: world.store.put_step_log(RUN, StepLog(name=f"put{number}", internal_name=f"put{number}")),
        lambda log, n: f"put{n}" in log.steps,
    ),
    "update": (update_step, lambda log, n: metrics(log, "others")[f"u{n}"] == n),
    "update own": (update_own, lambda log, n: metrics(log, "own")[f"u{n}"] == n),
    "update run": (update_run, lambda log, n: log.run_config[f"u{n}"] == n),
    "append": (
        lambda world, number: world.store.append_metrics(RUN, "own", {"a": [MetricPoint(number, number)]}),
        lambda log, n: [point.value for point in log.steps["own"].metric_series["a"]].count(n) == 1,
    ),
    "read": (lambda world, number: world.store.get_run_log(RUN), None),
}
STORES = {
    "buffered": ("buffered", {}),
    "document": ("file-system", {}),
    "files": ("chunked-fs", {}),
    "journal": ("chunked-fs", {"container": "journal"}),
}
