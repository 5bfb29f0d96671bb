"""`map` and `parallel` give results in order and record a branch for each item, on every executor."""

from concurrent.futures import ThreadPoolExecutor
from functools import partial

import pytest

import chunkstore
from chunkstore.names import readable_name
from recording import work
from recording.pools import ALL, PROCESSES, pool


def branches(store, run_id="run", step="score"):
    """Return the branches of a step by their last part."""
    log = store.get_run_log(run_id, strict=True)
    assert not log.problems
    prefix = len(step) + 1
    return {name[prefix:]: branch for name, branch in log.steps[step].branches.items()}


@pytest.mark.sampled
@pytest.mark.parametrize("kind", ALL)
def test_results_come_in_the_order_of_the_items_and_every_branch_is_recorded(store, kind):
    items = list(range(12))
    with pool(kind) as executor, store.start_run("run") as run:
        assert run.map("score", items, work.double, executor=executor) == [item * 2 for item in items]
    log = store.get_run_log("run", strict=True)
    assert (log.status, log.steps["score"].status, log.steps["score"].step_type) == ("SUCCESS", "SUCCESS", "map")
    found = branches(store)
    assert set(found) == {str(item) for item in items}
    for name, branch in found.items():
        assert (branch.status, branch.item) == ("SUCCESS", int(name))
        (step,) = branch.steps.values()
        assert (step.name, step.internal_name) == ("double", f"score.{name}.double")
        assert (step.status, step.result) == ("SUCCESS", int(name) * 2)
        assert step.attempts[0].status == "SUCCESS"


@pytest.mark.sampled
@pytest.mark.parametrize("kind", ALL)
def test_parallel_gives_results_by_name(store, kind):
    with pool(kind) as executor, store.start_run("run") as run:
        results = run.parallel("train", {"xgb": work.one, "a.b": work.two}, executor=executor)
    assert list(results.items()) == [("xgb", 1), ("a.b", 2)]
    log = store.get_run_log("run", strict=True)
    assert log.steps["train"].step_type == "parallel"
    assert set(log.steps["train"].branches) == {"train.xgb", "train.a%2Eb"}
    step = log.steps["train"].branches["train.xgb"].steps["train.xgb.one"]
    assert step.user_defined_metrics == {"rows": 1}


@pytest.mark.sampled
@pytest.mark.parametrize("kind", PROCESSES)
def test_branches_really_run_in_other_processes(store, kind):
    import os

    with pool(kind) as executor, store.start_run("run") as run:
        assert os.getpid() not in run.map("score", range(4), work.process_id, executor=executor)


@pytest.mark.sampled
@pytest.mark.parametrize("kind", ALL)
def test_all_that_a_branch_records_is_there(store, kind):
    with pool(kind) as executor, store.start_run("run") as run:
        assert run.map("score", [1, 2], work.log_all, executor=executor) == ["score.1", "score.2"]
    for name, branch in branches(store).items():
        item = int(name)
        step = branch.steps[f"score.{item}.log_all"]
        assert step.user_defined_metrics == {"size": item}
        assert [(point.step, point.value) for point in step.metric_series["loss"]] == [(0, item / 2)]
        assert step.attempts[0].parameters == {"item": item}
        assert branch.parameters == {"seed": item}
        put = {entry.name: entry for entry in step.data_catalog}
        assert f"score.{item}.log_all.execution.log" in put
        with open(f"{run.catalog.path}/{put['out.txt'].catalog_relative_path}") as file:
            assert file.read() == str(item)


def test_a_document_store_works_with_processes(tmp_path):
    store = chunkstore.open_store("file-system", log_folder=str(tmp_path / "docs"), durability="process")
    with store.start_run("run") as run:
        assert run.map("score", range(10), work.inner_steps) == list(range(10))
    found = branches(store)
    assert len(found) == 10
    for name, branch in found.items():
        assert {step.status for step in branch.steps.values()} == {"SUCCESS"}
        assert branch.steps[f"score.{name}.part"].user_defined_metrics == {"item": int(name)}


def test_no_items_are_no_branches(any_store):
    with any_store.start_run("run") as run:
        assert run.map("score", [], work.double, executor=work.threads()) == []
        assert run.parallel("train", {}, executor=work.threads()) == {}
    steps = any_store.get_run_log("run").steps
    assert [(step.status, step.branches) for step in steps.values()] == [("SUCCESS", {}), ("SUCCESS", {})]


def test_no_items_start_no_processes(store, children):
    with store.start_run("run") as run:
        before = children()
        assert run.map("score", [], work.double) == []
        assert children() == before


def test_items_of_one_name_have_branches_of_their_own(store):
    items = ["a", "a", "a#2", "a", 1, "1", 1.0]
    with store.start_run("run") as run, ThreadPoolExecutor(2) as executor:
        assert run.map("score", items, work.same, executor=executor) == items
    found = branches(store)
    assert sorted(found) == sorted(["a", "a#2", "a#2#2", "a#3", "1", "1#2", "1%2E0"])
    assert sorted(map(str, items)) == sorted(str(branch.item) for branch in found.values())


HOSTILE = [
    "a.csv",
    "data/a.csv",
    "a%2Ecsv",
    0.1,
    "../x",
    "s[1]",
    "",
    "n" * 300,
    "n" * 299 + "m",
    "größe",
    "测试",
    None,
    {"path": "a.csv", "size": 1},
    {"long": "x" * 500},
    {"no": {1, 2}},
    ("a", 1),
    "half \ud800",
    "line\nbreak\0",
    "-1",
    -1,
    True,
    "..",
    " ",
    float("nan"),
    "x" * 70_000,
]


@pytest.mark.parametrize("kind", ["threads", "fork"])
def test_items_of_any_kind_come_back_whole_and_distinct(store, kind, tmp_path):
    from pathlib import Path

    items = [*HOSTILE, Path("data/a.csv"), object]
    with pool(kind) as executor, store.start_run("run") as run:
        results = run.map("score", items, work.same, executor=executor)
    assert [repr(result) for result in results] == [repr(item) for item in items]
    found = branches(store)
    assert len(found) == len(items)
    for name, branch in found.items():
        (step,) = branch.steps.values()
        assert step.internal_name == f"score.{name}.same"
        assert branch.status == step.status == "SUCCESS"
    assert {"a%2Ecsv", "data/a%2Ecsv", "0%2E1", "%2E%2E/x", "s[1]", "n" * 300, "größe", "测试"} <= set(found)
    assert {path.name for path in tmp_path.iterdir()} <= {"log", "work", ".catalog", "calls"}


def test_name_of_names_the_branches(store):
    with store.start_run("run") as run, ThreadPoolExecutor(2) as executor:
        items = [{"id": 7}, {"id": "a.b"}]
        run.map("score", items, work.same, executor=executor, name_of=lambda item: f"id {item['id']}")
    assert set(branches(store)) == {"id 7", "id a%2Eb"}


def test_a_generator_is_not_drained_ahead_of_the_workers(store):
    ended, unfinished = [], []

    def items():
        for number in range(50):
            unfinished.append(number - len(ended))
            yield number

    def end(item):
        ended.append(item)
        return item

    with store.start_run("run") as run, ThreadPoolExecutor(2) as executor:
        assert run.map("score", items(), end, executor=executor) == list(range(50))
    assert max(unfinished) <= 4  # two that run and two that wait


def test_nested_parallel_in_map_in_map_assembles_right(store):
    with store.start_run("run") as run, ThreadPoolExecutor(2) as executor:
        results = run.map("top", ["a.1", "b"], work.nested, executor=executor)
    assert results == [[{"xgb": 1, "rf": 2}] * 2] * 2
    log = store.get_run_log("run", strict=True)
    assert list(log.steps) == ["top"]
    for item in ("a%2E1", "b"):
        outer = log.steps["top"].branches[f"top.{item}"]
        assert set(outer.steps) == {f"top.{item}.nested", f"top.{item}.middle"}
        middle = outer.steps[f"top.{item}.middle"]
        assert set(middle.branches) == {f"top.{item}.middle.{number}" for number in (0, 1)}
        for name, branch in middle.branches.items():
            models = branch.steps[f"{name}.models"]
            assert set(models.branches) == {f"{name}.models.xgb", f"{name}.models.rf"}
            assert models.branches[f"{name}.models.xgb"].steps[f"{name}.models.xgb.one"].result == 1


def test_map_in_parallel_in_processes_assembles_right(store):
    with store.start_run("run") as run:
        results = run.parallel("top", {"left": partial(work.nested, "x"), "right": work.two})
    assert results == {"left": [{"xgb": 1, "rf": 2}] * 2, "right": 2}
    log = store.get_run_log("run", strict=True)
    middle = log.steps["top"].branches["top.left"].steps["top.left.middle"]
    assert middle.branches["top.left.middle.1"].steps["top.left.middle.1.models"].status == "SUCCESS"


def test_two_maps_of_one_name_are_two_steps(store):
    with store.start_run("run") as run, ThreadPoolExecutor(2) as executor:
        for _ in range(2):
            run.map("score", [1], work.double, executor=executor)
    assert list(store.get_run_log("run").steps) == ["score", "score#2"]


def test_a_lambda_runs_in_threads_and_in_loky(store):
    for kind in ("threads", "loky"):
        with pool(kind) as executor, store.start_run() as run:
            assert run.map("score", [1, 2], lambda item: item + 1, executor=executor) == [2, 3]


def test_the_users_executor_stays_open(store):
    with ThreadPoolExecutor(2) as executor, store.start_run() as run:
        run.map("score", [1], work.double, executor=executor)
        assert executor.submit(work.two).result() == 2


def test_the_default_pool_leaves_no_process_behind(store, children):
    with store.start_run() as run:
        run.map("score", range(4), work.double)
        work.wait_for(lambda: not children())


def test_a_branch_is_called_as_its_item_is_shown(store):
    items = [float("nan"), [float("nan"), 1], {"a": float("inf")}, {"$float": "NaN"}]
    with store.start_run("r") as run:
        run.map("m", items, str, executor=ThreadPoolExecutor(1))
    names = [readable_name(name) for name in store.get_run_log("r").steps["m"].branches]
    assert names == ["m.nan", "m.[NaN,1]", 'm.{"a":Infinity}', 'm.{"$float":"NaN"}']
