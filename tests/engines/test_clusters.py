"""What is special about clusters: real ones, of two worker processes."""

import gc
import os
import threading
import time

import pytest
from clusters import WORKERS, engine

import chunkstore
from chunkstore import engines
from chunkstore.engines import as_executor
from chunkstore.engines.capacity import capacity_of
from engines import work

pytestmark = [
    pytest.mark.thorough,
    pytest.mark.filterwarnings("ignore"),  # engines warn about their own dependencies
]

#: Adapters of clusters that start fast enough to be tried often.
CLUSTERS = ["dask", "dask-client", "dask-executor", "ray"]
ON_ITSELF = {"dask": work.map_on_dask, "ray": work.map_on_ray, "joblib-loky": work.map_on_loky}
DIES = ["dask", "ray", "submitit", "joblib-loky", "joblib-multiprocessing", "executorlib"]


@pytest.mark.parametrize("name", [*CLUSTERS, "joblib-loky", "joblib-multiprocessing", "mpi", "parsl"])
def test_an_engine_is_asked_how_many_branches_it_can_run(name):
    with engine(name) as executor:
        assert capacity_of(as_executor(executor)) == WORKERS


def test_ray_can_run_as_many_tasks_as_its_scarcest_resource_allows():
    with engine("ray"):
        for options, count in [({"num_cpus": 0.125}, 16), ({"num_cpus": 2}, 1), ({"num_cpus": 0}, None)]:
            assert capacity_of(engines.ray(**options)) == count
        assert capacity_of(engines.ray(resources={"printer": 1})) is None, "there is none, but there may be one soon"


def test_sixteen_workers_of_a_cluster_are_all_busy(store):
    """Whatever the driver has: each branch ends when sixteen are at work."""
    import distributed

    with (
        distributed.Client(
            processes=False, n_workers=1, threads_per_worker=16, dashboard_address="127.0.0.1:0"
        ) as client,
        store.start_run() as run,
    ):
        assert run.map("meet", range(32), work.meet, executor=client) == list(range(32))


def test_workers_that_join_a_cluster_of_dask_get_branches_while_the_others_are_busy(store, tmp_path):
    import distributed

    met = str(tmp_path / "met")
    with (
        distributed.LocalCluster(n_workers=1, threads_per_worker=1, dashboard_address="127.0.0.1:0") as cluster,
        distributed.Client(cluster) as client,
        store.start_run() as run,
    ):

        def items():
            yield met
            cluster.scale(3)
            yield met
            yield from [met] * 3
            with open(met, "w"):  # asked for after those five, which a cluster of one worker would never be given
                pass
            yield met

        assert run.map("grow", items(), work.wait_for, executor=client) == [met] * 6


@pytest.mark.parametrize("name", CLUSTERS)
def test_a_cluster_is_told_that_nobody_needs_the_result_of_a_branch_that_is_settled(store, tmp_path, name):
    path = str(tmp_path / "go on")
    held = []

    def items():
        yield from [None] * 6
        deadline = time.monotonic() + 30
        while time.monotonic() < deadline:
            gc.collect()
            if not references(executor):  # what came back last may take a moment
                break
            time.sleep(0.05)
        held.append(references(executor))
        with open(path, "w"):
            pass
        yield None

    with engine(name) as given, store.start_run() as run:
        executor = as_executor(given)
        run.map("held", items(), work.wait_for, executor=given, max_in_flight=1)
        gc.collect()
        assert held == [0]
        assert references(executor) == 0


def references(executor):
    """Return how many results a cluster keeps for this process."""
    if type(executor).__name__ == "DaskEngine":
        return sum(key.startswith("run_branch") for key in executor._client.futures)
    import ray

    counts = ray._private.worker.global_worker.core_worker.get_all_reference_counts()
    return sum(each["local"] > 0 for each in counts.values())


@pytest.mark.parametrize("name", ["dask", "ray", "joblib-loky", "joblib-threading"])
def test_a_map_in_a_branch_needs_no_executor(store, name):
    """On more branches than there are workers: each gives its place away while it waits, or has workers of its own."""
    with engine(name) as executor, store.start_run() as run:
        assert run.map("outer", range(3), work.map_inside, executor=executor) == [[0, 2], [2, 4], [4, 6]]


@pytest.mark.parametrize("name", ON_ITSELF)
def test_a_map_in_a_branch_can_use_the_engine_that_runs_it(store, name):
    with engine(name) as executor, store.start_run() as run:
        assert run.map("outer", range(3), ON_ITSELF[name], executor=executor) == [[0, 2], [2, 4], [4, 6]]


def test_an_engine_in_a_closure_is_the_workers_own(store):
    with engine("dask") as executor, store.start_run() as run:

        def outer(item):
            return chunkstore.current_run().map("inner", [item], work.double, executor=executor)

        assert run.map("outer", range(3), outer, executor=executor) == [[0], [2], [4]]


def test_a_process_that_may_not_have_children_says_so_where_a_map_has_no_executor(store):
    with engine("joblib-multiprocessing") as executor, store.start_run("r") as run:
        run.map("outer", [1], work.map_inside, executor=executor, on_error="continue")
    assert (
        "daemonic process"
        in store.get_run_log("r").steps["outer"].branches["outer.1"].steps["outer.1.map_inside"].message
    )


@pytest.mark.parametrize("name", DIES)
def test_a_worker_that_dies_fails_its_branch_alone(store, name):
    failed = pytest.raises(chunkstore.BranchFailedError)
    with engine(name) as executor, failed as caught, store.start_run("r") as run:
        run.map("die", [2, 3], work.kill_at_three, executor=executor)
    (died,) = caught.value.failures.values()
    assert isinstance(died, chunkstore.WorkerDiedError)
    assert died.branch == "die.3"
    assert "the process that ran this branch died: " in str(died)
    assert caught.value.results == [2, None]
    branches = store.get_run_log("r").steps["die"].branches
    assert {name: branch.status for name, branch in branches.items()} == {
        "die.2": "SUCCESS",
        "die.3": "FAIL",
    }


@pytest.mark.parametrize("name", ["submitit", "joblib-multiprocessing"])
def test_a_branch_whose_worker_died_runs_again_while_it_has_attempts(store, tmp_path, name):
    with engine(name) as executor, store.start_run("r") as run:
        item = str(tmp_path / "killed")
        results = run.map("again", [item, None], work.kill_once, executor=executor, max_attempts=2)
    assert results == ["lived", "lived"]


@pytest.mark.parametrize("name", ["dask", "ray", "submitit"])
def test_a_function_that_no_worker_can_import_is_sent_by_value(store, name):
    with engine(name) as executor, store.start_run() as run:
        assert run.map("lambda", [1], lambda item: item + 1, executor=executor) == [2]


@pytest.mark.parametrize("name", ["dask", "ray", "joblib-loky", "executorlib", "mpi"])
def test_what_cannot_be_sent_fails_before_an_engine_sees_it(store, name):
    with engine(name) as executor, store.start_run("r") as run:
        items = [threading.Lock(), 2]
        none, process = run.map("items", items, work.process_of, executor=executor, on_error="continue")
        assert none is None
        assert process
        lock = threading.Lock()
        with pytest.raises(chunkstore.StoreUsageError, match="Cannot send the function"):
            run.map("function", [1], lambda item: lock, executor=executor)
    log = store.get_run_log("r")
    assert list(log.steps) == ["items"]
    failed = [branch for branch in log.steps["items"].branches.values() if branch.status == "FAIL"]
    assert ["could not be sent" in branch.message for branch in failed] == [True]


def test_dask_without_a_client_is_refused():
    if os.environ.get("DASK_SCHEDULER_ADDRESS"):
        raise AssertionError("this would be used")
    import distributed

    if distributed.client._get_global_client() is None:
        with pytest.raises(chunkstore.StoreUsageError, match="there is no client here"):
            engines.dask()


def test_a_branch_that_shared_its_process_with_one_that_died_does_not_fail(store):
    """Dask blames all that a worker ran; alone, each shows whether it was the one."""
    import dask
    import distributed

    with (
        dask.config.set({"distributed.scheduler.allowed-failures": 0}),
        distributed.LocalCluster(n_workers=2, threads_per_worker=4, dashboard_address=None) as cluster,
        distributed.Client(cluster) as client,
        store.start_run("r") as run,
    ):
        results = run.map("die", range(6), work.kill_among_others, executor=client, on_error="continue")
    assert results == [0, 1, 2, None, 4, 5]
    branches = store.get_run_log("r").steps["die"].branches
    assert [name for name, branch in branches.items() if branch.status == "FAIL"] == ["die.3"]


@pytest.mark.parametrize("error", [chunkstore.BranchFailedError, chunkstore.StoreUsageError])
def test_a_map_ends_when_ray_is_shut_down_meanwhile_and_starts_no_other_ray(store, tmp_path, monkeypatch, error):
    import ray

    def items():
        yield from (str(tmp_path / "go") for _ in range(2))
        deadline = time.monotonic() + 60
        while len(store.get_step_log("r", "wait").branches) < 2 and time.monotonic() < deadline:
            time.sleep(0.02)
        monkeypatch.setattr(ray, "init", lambda *_, **__: pytest.fail("another Ray was started"))
        monkeypatch.setattr(ray, "is_initialized", lambda: False)
        yield from [None] * (error is chunkstore.StoreUsageError)

    try:
        with pytest.raises(error, match="Ray was shut down"), engine("ray") as executor, store.start_run("r") as run:
            run.map("wait", items(), work.wait_for, executor=executor)
    finally:
        (tmp_path / "go").touch()
    assert "PROCESSING" not in store.get_run_log("r").to_json()
