"""What is special about Dask: clusters without workers, that restart, and clients that cannot be waited for."""

import asyncio
import logging
import threading

import pytest

import chunkstore
from chunkstore import engines
from chunkstore.recording import dispatch
from engines import work

pytestmark = [pytest.mark.thorough, pytest.mark.filterwarnings("ignore")]  # engines warn about their own dependencies


@pytest.fixture
def distributed():
    """Dask's clusters and clients; the quick tests do without them."""
    import distributed

    return distributed


class Told(logging.Handler):
    """Does something when a warning comes that branches wait for workers."""

    def __init__(self, then):
        super().__init__()
        self.messages = []
        self._then = then

    def emit(self, record):
        self.messages.append(record.getMessage())
        self._then()


def test_a_cluster_without_workers_is_waited_for_and_that_is_told(distributed, store, monkeypatch):
    from chunkstore.engines import on_dask

    monkeypatch.setattr(on_dask, "_LONGEST_WITHOUT_WORKERS", 0.05)
    monkeypatch.setattr(dispatch, "LOOK_INTERVAL", 0.1)
    with (
        distributed.LocalCluster(n_workers=0, processes=False, threads_per_worker=1, dashboard_address=None) as cluster,
        distributed.Client(cluster) as client,
        store.start_run() as run,
    ):
        told = Told(lambda: cluster.scale(1))
        logging.getLogger("chunkstore").addHandler(told)
        try:
            assert run.map("late", range(3), work.double, executor=client) == [0, 2, 4]
        finally:
            logging.getLogger("chunkstore").removeHandler(told)
        (message,) = told.messages
        assert cluster.scheduler_address in message
        assert "Branches wait for workers" in message


def test_a_client_that_is_asynchronous_is_refused_before_anything_is_recorded(distributed, store):
    async def mapped():
        async with distributed.Client(processes=False, asynchronous=True, dashboard_address=None) as client:
            with store.start_run("r") as run, pytest.raises(chunkstore.StoreUsageError, match="an asynchronous one"):
                run.map("never", range(3), work.double, executor=client)

    asyncio.run(mapped())
    assert not store.get_run_log("r").steps


@pytest.mark.parametrize("given", ["tcp://127.0.0.1:8786", 3])
def test_what_is_no_client_is_refused(given):
    with pytest.raises(chunkstore.StoreUsageError, match="it is no client"):
        engines.dask(given)


def test_branches_that_ran_when_a_cluster_was_restarted_run_again_while_they_have_attempts(
    distributed, store, tmp_path
):
    begun = tmp_path / "begun"
    with (
        distributed.LocalCluster(n_workers=1, threads_per_worker=1, dashboard_address=None) as cluster,
        distributed.Client(cluster) as client,
        store.start_run("r") as run,
    ):

        def restart():
            work.wait_for(str(begun))
            client.restart()

        thread = threading.Thread(target=restart)
        thread.start()
        assert run.map("again", [str(begun), None], work.stay_once, executor=client, max_attempts=2) == ["lived"] * 2
        thread.join()
    branches = store.get_run_log("r").steps["again"].branches.values()
    first, second = next(step.attempts for each in branches for step in each.steps.values() if len(step.attempts) > 1)
    assert (first.status, second.status) == ("FAIL", "SUCCESS")
    assert "its engine cancelled it" in first.message
