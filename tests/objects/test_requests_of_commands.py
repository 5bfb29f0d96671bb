"""What the commands ask of a bucket: few requests each."""

import os
import subprocess
import sys

import pytest
from request_counts import opened

RUN = "run"
#: More runs than are read one by one.
RUNS = 30


@pytest.fixture(scope="module")
def world(seaweed, s3_proxy):
    """A bucket with finished runs, one of three steps, one that goes on; behind a proxy that counts."""
    from object_fixtures import _place

    place = _place(seaweed).through(s3_proxy.endpoint)
    store = opened(place)
    for number in range(RUNS):
        store.start_run(f"old-{number}").finish()
    with store.start_run(RUN) as run:
        for number in range(3):
            with run.step(f"step{number}") as step:
                step.log_metric("loss", number)
    live = store.start_run("live")
    with live.step("done"):
        pass
    list(store.list_runs())
    yield place, s3_proxy
    live.finish()


@pytest.mark.thorough
@pytest.mark.parametrize(
    ("most", "command"),
    [
        (6, ["show", RUN]),
        (6, ["show", RUN, "--json"]),
        (8, ["show", "live"]),
        (8, ["ls"]),
        (8, ["ls", "--json"]),
        (11, ["show", "latest"]),
        (8, ["watch", RUN]),
        (8, ["logs", RUN, "step0"]),
        (24, ["gc", "--keep-last", "100", "--yes"]),
    ],
    ids=lambda value: " ".join(value) if isinstance(value, list) else "",
)
def test_a_command_asks_for_little(world, most, command):
    place, proxy = world
    with proxy.counted() as counted:
        ended = subprocess.run(
            [sys.executable, "-m", "chunkstore", *command, "--store", place.url],
            env={**os.environ, **place.environment},
            capture_output=True,
            text=True,
            timeout=120,
            check=False,
        )
    assert ended.returncode == 0, ended.stdout + ended.stderr
    assert counted.total <= most, str(counted)
