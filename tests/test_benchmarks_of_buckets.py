"""The benchmarks on buckets run and count what is there; what is told of scale follows from what was measured."""

import json
import subprocess
import sys
from pathlib import Path

import msgspec
import pytest

from benchmarks.scale.model import Load, Measured, Result, a_day, by_copies, most_changes_a_second
from benchmarks.scale.phases import Phase, lost_of
from benchmarks.scale.places import StorePlace
from benchmarks.scale.tables import PAGE, RESULTS, filled
from benchmarks.scale.writers import Work, all_written
from chunkstore.maintenance.doctor.buckets.prices import PRICES

PROJECT = Path(__file__).parent.parent
MEASURED = Measured(
    phases={
        "steps": Phase(name="steps", operations=200, requests={"puts": 200}),
        "runs": Phase(name="runs", operations=10, requests={"puts": 40}),
        "seal": Phase(name="seal", requests={"puts": 2, "gets": 1_000}),
        "list again": Phase(name="list again", operations=1_000_000),
        "parameters": Phase(name="parameters", operations=150, seconds=10.0),
    },
    sizes={},
)


def test_what_a_day_costs_follows_from_requests_and_prices():
    load = Load(steps_a_day=1e6, steps_a_run=1_000, workers=100, workers_a_run=10, renewed_every=60)
    days = {day.what.split(",")[0].split(" ")[0]: day for day in a_day(load, MEASURED, PRICES["s3"], chunks=1_000)}
    assert days["steps"].requests.puts == 2e6
    assert days["steps"].dollars == pytest.approx(10)
    assert days["beginning"].requests.puts == 4_000
    assert days["sealing"].requests.gets == 1e6
    assert days["signs"].requests.puts == 10 * 1_440
    assert by_copies(load, PRICES["s3"]).requests.puts == 2_000
    assert most_changes_a_second(MEASURED, "parameters") == 15


def test_the_tables_of_the_page_are_those_of_the_figures_beside_it():
    result = msgspec.json.decode(RESULTS.read_bytes(), type=Result)
    page = PAGE.read_text(encoding="utf-8")
    assert filled(page, result) == page
    assert result.size.writers == 200
    lost = {phase.name: phase.lost for kind in (result.bucket, result.folder) for phase in kind.phases.values()}
    assert set(lost.values()) == {0}


@pytest.mark.thorough
def test_what_writers_acknowledge_and_is_not_there_is_counted(tmp_path):
    place = StorePlace("chunked-fs", {"log_folder": str(tmp_path)})
    store = place.open()
    store.create_run_log("shared")
    work = Work(kind="steps", run_id="shared", seconds=0.3, pause=0.01)
    written = all_written(place, work, 8)
    assert written.names
    assert not written.failed
    assert lost_of(store, work, written) == 0
    written.names["simple999"] = 1
    assert lost_of(store, work, written) == 1


@pytest.mark.thorough
def test_the_sides_of_each_scenario_run_on_a_real_server_and_ours_lose_nothing(tmp_path):
    # It forks, which a process that has used obstore must not.
    options = ["--quick", "--scale", "0.01", "--rounds", "1", "--output", str(tmp_path), "--json"]
    command = [sys.executable, "-m", "benchmarks.buckets", *options]
    found = subprocess.run(command, cwd=PROJECT, capture_output=True, text=True, check=True, timeout=300)
    document = json.loads(found.stdout)
    assert document["correct"]
    for scenario in document["scenarios"]:
        for side in scenario["sides"]:
            assert side["role"] == "peer" or (side["correct"] and side["rounds"]), (scenario["name"], side)
        assert all(isinstance(target["reached"], bool) for target in scenario["targets"])
