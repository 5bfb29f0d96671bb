"""Workers of Dask and Ray that have another disk at the same path record nothing there, and both sides are named."""

import os
import socket
import subprocess
import sys

import pytest
from privileges import skip_or_fail

import chunkstore
from chunkstore import StoreNotSharedError, check_engine, engines

pytestmark = pytest.mark.thorough

_TIMEOUT = 60


def free_port():
    with socket.create_server(("127.0.0.1", 0)) as server:
        return server.getsockname()[1]


class Worlds:
    """Starts programs that have an empty disk where this process has its runs."""

    def __init__(self, hidden):
        if os.geteuid() != 0:
            skip_or_fail("mounts of their own take root")
        self.hidden = hidden
        self._started = []

    def start(self, *command):
        script = f'mount -t tmpfs none "{self.hidden}" && exec "$@"'
        process = subprocess.Popen(
            ["unshare", "-m", "sh", "-c", script, "start", *map(str, command)],
            cwd="/",  # another working folder, too
            env={**os.environ, "RAY_AUTH_MODE": "disabled"},  # else a token of the user's is asked for
            stdout=subprocess.DEVNULL,
            stderr=subprocess.DEVNULL,
            start_new_session=True,
        )
        self._started.append(process)
        return process

    def end(self):
        for process in self._started:
            process.terminate()
            try:
                process.wait(20)
            except subprocess.TimeoutExpired:
                process.kill()
                process.wait()


@pytest.fixture
def elsewhere(tmp_path):
    """A folder for runs, and what starts programs for which it is empty."""
    folder = tmp_path / "shared"
    folder.mkdir()
    worlds = Worlds(folder)
    yield worlds
    worlds.end()


@pytest.fixture
def dask(elsewhere):
    from distributed import Client, LocalCluster

    with (
        LocalCluster(n_workers=0, dashboard_address="127.0.0.1:0", host="127.0.0.1") as cluster,
        Client(cluster, set_as_default=False) as client,
    ):
        worker = [sys.executable, "-m", "distributed.cli.dask_worker", cluster.scheduler_address, "--no-dashboard"]
        elsewhere.start(*worker, "--nworkers", 1, "--nthreads", 2, "--local-directory", "/tmp")
        client.wait_for_workers(1, timeout=_TIMEOUT)
        yield client


@pytest.fixture
def ray(elsewhere):
    import ray

    port = free_port()
    options = [
        "--head",
        f"--port={port}",
        "--num-cpus=2",
        "--include-dashboard=false",
        "--block",
        "--disable-usage-stats",
    ]
    elsewhere.start(os.path.join(os.path.dirname(sys.executable), "ray"), "start", *options)
    ray.shutdown()  # another test of this process may have used one
    ray.init(address=f"127.0.0.1:{port}", _node_ip_address="127.0.0.1", log_to_driver=False, configure_logging=False)
    yield engines.ray(num_cpus=1)
    ray.shutdown()


@pytest.mark.parametrize("kind", ["dask", "ray"])
def test_workers_with_another_disk_make_nothing_there_and_both_sides_are_named(kind, elsewhere, request, monkeypatch):
    executor = request.getfixturevalue(kind)
    monkeypatch.chdir(elsewhere.hidden)
    store = chunkstore.open_store("chunked-fs", log_folder="runs")  # relative: it is absolute for workers
    with pytest.raises(StoreNotSharedError) as caught, store.start_run("r") as run:
        run.map("m", range(4), str, executor=executor)
    assert caught.value.driver == f"process {os.getpid()} on {os.uname().nodename}"
    for part in (caught.value.worker, caught.value.driver, f"{elsewhere.hidden}/runs", "there is no such folder"):
        assert part in str(caught.value)
    log = store.get_run_log("r")
    assert (log.status, log.steps["m"].status, log.steps["m"].branches) == ("FAIL", "FAIL", {})
    report = check_engine(store, executor, timeout=_TIMEOUT)
    assert not report.holds
    assert report.workers
    for worker in report.workers:
        found = {check.name: check for check in worker.checks}
        assert (found["folder"].result, found["data"].result) == ("bad", "bad")
        assert f"does not see {elsewhere.hidden}/runs of {report.driver}" in found["folder"].detail
        assert "mounted there: tmpfs from none" in found["folder"].detail
