"""Processes that race in a bucket: of many creators one wins, and of many changes each one counts.

Versions of SeaweedFS before 4.48 let several creators win.
"""

import os

import pytest
from processes import run_processes
from recorded import step

import chunkstore
from objects import racing

PROCESSES = 8
#: How often each process changes a thing. `CHUNKSTORE_CHANGES=500` is what was promised, and takes minutes.
CHANGES = int(os.environ.get("CHUNKSTORE_CHANGES", "50"))


def race(function, place, what):
    arguments = [(place.url, place.options, number, what) for number in range(PROCESSES)]
    return run_processes(function, arguments, "forkserver")


@pytest.mark.thorough
def test_of_processes_that_create_runs_one_wins_each_and_its_run_is_there(server_place):
    run_ids = [f"run-{number}" for number in range(20)]
    won = race(racing.create, server_place, run_ids)
    assert sorted(run_id for each in won for run_id in each) == sorted(run_ids)
    store = chunkstore.open_store(server_place.url, **server_place.options)
    tags = {summary.run_id: summary.tag for summary in store.list_runs()}
    assert tags == {run_id: str(number) for number, each in enumerate(won) for run_id in each}


@pytest.mark.thorough
@pytest.mark.parametrize("what", ["step", "run", "parameters"])
def test_of_changes_that_processes_make_at_once_each_one_counts(s3_place, what):
    store = chunkstore.open_store(s3_place.url, **s3_place.options)
    store.create_run_log("run")
    store.add_step_log("run", step("counted"))
    race(getattr(racing, f"change_{what}"), s3_place, CHANGES)
    log = store.get_run_log("run", strict=True)
    counts = {
        "step": lambda: log.steps["counted"].user_defined_metrics["count"],
        "run": lambda: log.run_config["count"],
        "parameters": lambda: len(store.get_parameters("run")),
    }
    assert counts[what]() == PROCESSES * CHANGES
