"""Run logs as tables: their columns, and that nothing gets lost on the way into them."""

import json
import math
import sys
from datetime import datetime, timezone

import msgspec
import pandas as pd
import pyarrow as pa
import pytest
from hypothesis import given

import chunkstore
from chunkstore.records.fields import MetricPoint
from chunkstore.records.models import DataCatalog, JobLog, Orphans, RunLog
from chunkstore.testing.strategies import json_values
from chunkstore.views.tables import TABLES, rows_of, to_arrow, to_pandas
from views.timed_runs import BEGINNING, at, attempt, branch, map_of, run, step, typical


def rows(log, table):
    return [msgspec.structs.asdict(row) for row in rows_of(log, table)]


def test_a_run_is_one_row():
    (row,) = rows(typical(), "runs")
    assert row == {
        "run_id": "calm-noether-1200",
        "status": "FAIL",
        "tag": "nightly",
        "original_run_id": "",
        "dag_hash": "",
        "start_time": BEGINNING,
        "end_time": BEGINNING.replace(minute=1, second=24),
        "seconds": 84.0,
        "steps": 49,
        "failed_steps": 2,
        "message": "1 step failed: score",
        "problems": 0,
    }


def test_runs_of_other_tools_take_their_times_from_their_steps(golden):
    log = RunLog.from_json((golden / "blocking-shaw-0538.json").read_bytes())
    (row,) = rows(log, "runs")
    assert row["start_time"] == datetime(2024, 2, 2, 5, 38, 7, 973392, tzinfo=timezone.utc)
    assert (row["end_time"] - row["start_time"]).total_seconds() == row["seconds"] == 0.083967


def test_every_step_at_any_depth_is_a_row():
    found = rows(typical(3), "steps")
    assert [row["internal_name"] for row in found] == [
        "load",
        "fetch",
        "score",
        "score.0.work",
        "score.1.work",
        "score.2.work",
        "train",
        "train.forest.fit",
        "train.boosted.fit",
        "train.boosted.tune",
        "train.boosted.final",
        "report",
    ]
    by_name = {row["internal_name"]: row for row in found}
    assert (by_name["score.1.work"]["branch"], by_name["score.1.work"]["item"]) == ("score.1", "1")
    assert (by_name["fetch"]["attempts"], by_name["fetch"]["seconds"], by_name["fetch"]["item"]) == (3, 10.0, "")
    assert (by_name["score"]["branches"], by_name["score"]["step_type"]) == (3, "map")


def test_attempts_metrics_and_data_are_rows():
    log = run(
        step(
            "a",
            0,
            3,
            attempts=[attempt(0, 1, "FAIL", 1, "boom"), attempt(2, 3, number=2)],
            user_defined_metrics={"rows": 7, "name": "x", "nan": math.nan},
            metric_series={"loss": [MetricPoint(step=0, value=1.5, time=at(2)), MetricPoint(step=1, value=math.inf)]},
            data_catalog=[DataCatalog(name="out.csv", data_hash="ab", stage="put")],
        )
    )
    tries = [(row["attempt_number"], row["status"], row["seconds"], row["message"]) for row in rows(log, "attempts")]
    assert tries == [(1, "FAIL", 1.0, "boom"), (2, "SUCCESS", 1.0, "")]
    metrics = [(row["name"], row["step"], row["value"], row["number"]) for row in rows(log, "metrics")]
    assert str(metrics) == str(
        [
            ("rows", None, "7", 7.0),
            ("name", None, '"x"', None),
            ("nan", None, "NaN", math.nan),
            ("loss", 0.0, "1.5", 1.5),
            ("loss", 1.0, "Infinity", math.inf),
        ]
    )
    assert rows(log, "metrics")[3]["time"] == BEGINNING.replace(second=2)
    assert [(row["name"], row["stage"], row["data_hash"]) for row in rows(log, "data")] == [("out.csv", "put", "ab")]


def test_parameters_of_runs_branches_and_attempts_are_rows():
    one = step("m.0.f", 0, 1)
    one.attempts[0].parameters = {"lr": 0.1}
    log = run(step("m", 0, 1, branches=[branch("m.0", one, parameters={"b": [1]})]), parameters={"seed": True})
    assert [(row["scope"], row["internal_name"], row["attempt_number"], row["name"], row["value"], row["number"])
            for row in rows(log, "params")] == [
        ("run", "", None, "seed", "true", None),
        ("branch", "m.0", None, "b", "[1]", None),
        ("step", "m.0.f", 1, "lr", "0.1", 0.1),
    ]  # fmt: skip


def test_values_that_runnable_wraps_are_unwrapped():
    one = step("a", 0, 1)
    one.attempts[0].input_parameters = {"x": {"kind": "json", "value": 3}}
    one.attempts[0].output_parameters = {"y": {"kind": "metric", "value": 4.5}}
    one.attempts[0].user_defined_metrics = {"y": {"kind": "metric", "value": 4.5}}
    log = run(one)
    assert [(row["scope"], row["value"]) for row in rows(log, "params")] == [("input", "3"), ("output", "4.5")]
    assert [row["number"] for row in rows(log, "metrics")] == [4.5]


def test_orphans_and_jobs_are_rows_too():
    log = run(step("a", 0, 1), job=JobLog(status="SUCCESS", attempts=[attempt(0, 5)]))
    log.found_orphans = Orphans(
        steps={"gone.0.x": step("gone.0.x", 2, 3)},
        branches={"lost.1": branch("lost.1", step("lost.1.y", 3, 4))},
        parameters={"nowhere.1": {"k": 1}},
    )
    found = rows(log, "steps")
    assert [(row["internal_name"], row["is_orphan"]) for row in found] == [
        ("job", False),
        ("a", False),
        ("gone.0.x", True),
        ("lost.1.y", False),
    ]
    assert [row["internal_name"] for row in rows(log, "params")] == ["nowhere.1"]


@given(json_values)
def test_any_value_comes_back_from_its_column(value):
    log = run(step("a", 0, 1, user_defined_metrics={"m": value}), parameters={"p": value})
    kept = chunkstore.RunLog.from_json(log.to_json()).parameters["p"]
    for table in ("metrics", "params"):
        (row,) = rows(log, table)
        assert repr(json.loads(row["value"])) == repr(kept)


def test_numbers_beyond_a_column_are_kept_as_text():
    one = step("a", 0, 1, user_defined_metrics={"big": 10**400})
    one.attempts[0].attempt_number = 2**80
    log = run(one)
    assert [row["number"] for row in rows(log, "metrics")] == [None]
    assert json.loads(rows(log, "metrics")[0]["value"]) == 10**400
    assert to_arrow(log, "attempts").column("attempt_number").to_pylist() == [None]


# --- frames ----------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize("table", TABLES)
def test_arrow_tables_have_typed_columns_also_without_rows(table):
    full, empty = to_arrow(typical(), table), to_arrow([], table)
    assert full.schema == empty.schema
    assert (full.num_rows, empty.num_rows) == (len(rows(typical(), table)), 0)
    assert full.column_names == [field.name for field in msgspec.structs.fields(TABLES[table].row)]
    for field in full.schema:
        if field.name.endswith("time"):
            assert field.type == pa.timestamp("us", tz="UTC")
        if field.name in {"number", "seconds"}:
            assert field.type == pa.float64()


def test_nan_is_a_number_and_nothing_is_none():
    log = run(step("a", 0, 1, user_defined_metrics={"nan": math.nan, "inf": -math.inf, "text": "x"}))
    assert str(to_arrow(log, "metrics").column("number").to_pylist()) == "[nan, -inf, None]"


def test_many_runs_are_one_frame():
    logs = (run(map_of("m", [(0, 1), (1, 3)]), run_id=f"run-{number}") for number in range(3))
    frame = to_pandas(logs, "steps")
    assert isinstance(frame, pd.DataFrame)
    assert frame.groupby("run_id").seconds.sum().tolist() == [6.0, 6.0, 6.0]
    assert frame.start_time.dt.tz is not None


def test_a_store_becomes_a_frame(tmp_path):
    store = chunkstore.open_store("chunked-fs", log_folder=tmp_path)
    for number in range(3):
        with store.start_run(tag=f"t{number}") as started, started.step("fit") as fitted:
            fitted.log_metric("loss", number / 2)
    logs = (store.get_run_log(found.run_id) for found in store.list_runs())
    assert sorted(to_pandas(logs, "metrics").number) == [0, 0.5, 1]


def test_without_pyarrow_the_error_says_what_to_install(monkeypatch):
    monkeypatch.setitem(sys.modules, "pyarrow", None)
    with pytest.raises(ModuleNotFoundError, match=r"pip install 'chunkstore\[tables\]'"):
        to_arrow(typical())
