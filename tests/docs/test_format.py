"""`docs/reference/format.md` tells enough to read every run: a reader that was written from it does.

What it reads is compared with what the library reads of the same files, as text, so that order, types and NaN count.
"""

import json
import math
import os
import pickle
import re
import shutil
import subprocess
import sys
import tempfile
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

import msgspec
import pytest
from format_reader import read_document, read_run
from format_records import checksum, parsed, sum_of
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st
from support.starts import perform, programs

import chunkstore
from chunkstore import BranchLog, MetricPoint, StepAttempt, StepLog
from chunkstore.records import ExtraFields
from chunkstore.testing.strategies import json_objects, step_trees

STORES = {
    "files": ("chunked-fs", {}),
    "pretty": ("chunked-fs", {"pretty": True}),
    "journals": ("chunked-fs", {"container": "journal"}),
    "document": ("file-system", {}),
    "pretty document": ("file-system", {"pretty": True}),
}
NAMES = [
    "../x",
    "a.b",
    ".a",
    "a.",
    " ",
    "%",
    "50%",
    "%2E",
    "n" * 300,
    "模型" * 40,
    "a/b:c*",
    "~0123456789abcdef",
    "#-(1)",
]
VALUES = {
    "nan": math.nan,
    "infinite": [math.inf, -math.inf],
    "mark": {"$float": "NaN"},
    "marks": [{"$$float": 1}, {"$float": 1}, {"$float": "NaN", "b": 1}, {"$float": {"$float": math.nan}}],
    "numbers": [1, 1.0, -0.0, 10**40, 1e-300, True],
    "text": "\0\x7f\u2028 \\ \" 模型 {'",
    "$float": math.nan,
}
stores = pytest.mark.parametrize("store_name", STORES)


@pytest.fixture
def store(store_name, tmp_path):
    return opened(store_name, tmp_path)


def opened(store_name, folder):
    store_type, options = STORES[store_name]
    return chunkstore.open_store(store_type, log_folder=folder / "logs", catalog_folder=folder / "catalog", **options)


def as_text(run):
    """Return a run as text in which nothing is lost, without what could not be read of it."""
    shown = {key: value for key, value in run.items() if key != "problems"}
    return json.dumps(shown, indent=1, default=msgspec.to_builtins)


def read(store, run_id):
    """Return what the reader reads of a run that is whole."""
    path = os.path.join(store.backend.location, run_id)
    if os.path.isdir(path):
        run, problems = read_run(path)
        assert problems == []
        return run
    return read_document(f"{path}.json")


def check(store, run_id):
    """Compare both readers on a run; return the log."""
    log = store.get_run_log(run_id, strict=True)
    assert as_text(read(store, run_id)) == as_text(log.to_dict())
    return log


def test_the_reader_needs_the_standard_library_alone():
    for file in Path(__file__).parent.glob("format_*.py"):
        imported = re.findall(r"^(?:from|import) (\w+)", file.read_text(), re.MULTILINE)
        assert {*imported} <= {*sys.stdlib_module_names, "format_records", "format_starts"}


@stores
@given(program=programs())
@settings(suppress_health_check=[HealthCheck.function_scoped_fixture], max_examples=15)
def test_what_several_starts_have_left_is_read_as_the_page_says(store_name, program, tmp_path_factory):
    folder = tmp_path_factory.mktemp("run")
    perform(program, lambda: opened(store_name, folder))
    check(opened(store_name, folder), "run")


# --- runs of others --------------------------------------------------------------------------------------------------


def test_the_runs_of_2024_are_read(golden, tmp_path):
    shutil.copytree(golden, tmp_path, dirs_exist_ok=True)
    chunked = check(chunkstore.open_store("chunked-fs", log_folder=tmp_path), "pleasant-lamarr-0549")
    document = check(chunkstore.open_store("file-system", log_folder=tmp_path), "blocking-shaw-0538")
    assert list(chunked.steps) == list(document.steps)[:1] == ["simple"]


OLDER = """
import math
import sys

sys.path.insert(0, sys.argv[1])
import chunkstore
from chunkstore import BranchLog, MetricPoint, StepLog

assert chunkstore.__file__.startswith(sys.argv[1]), chunkstore.__file__
store, other = (chunkstore.open_store(sys.argv[2], log_folder=sys.argv[3]) for _ in range(2))
store.create_run_log("run", tag="older", parameters={"nan": math.nan, "mark": {"$float": "NaN"}})
for name in ["load", "fit", "../x", "a.b", "n" * 300, "\\u6a21"]:
    store.add_step_log("run", StepLog(name=name, internal_name=name.replace(".", "%2E"), status="PROCESSING"))
store.add_branch_log("run", BranchLog(internal_name="fit.a", item=math.inf, parameters={"depth": 3}))
store.add_step_log("run", StepLog(name="train", internal_name="fit.a.train", result=[math.nan]))
store.append_metrics("run", "load", {"loss": [MetricPoint(0, 1.5), MetricPoint(1, math.nan)]})
other.update_step_log("run", "load", lambda step: step.user_defined_metrics.update(seen=1))
other.update_branch_log("run", "fit.a", lambda branch: setattr(branch, "status", "SUCCESS"))
store.add_step_log("run", StepLog(name="load", internal_name="load", status="SUCCESS"))
other.add_step_log("run", StepLog(name="fit", internal_name="fit", status="SUCCESS"))
store.set_parameters("run", {"late": 1}, branch="fit.a")
store.update_run_log("run", lambda log: setattr(log, "status", "SUCCESS"))
"""


@pytest.mark.parametrize("store_type", ["chunked-fs", "file-system"])
def test_the_runs_of_an_older_version_are_read(golden, tmp_path, store_type):
    archive = golden / "chunkstore-2026-10.zip"
    subprocess.run([sys.executable, "-c", OLDER, str(archive), store_type, str(tmp_path)], check=True)
    log = check(chunkstore.open_store(store_type, log_folder=tmp_path), "run")
    assert len(log.steps) == 6
    assert log.steps["load"].user_defined_metrics == {"seen": 1}


# --- runs of this version --------------------------------------------------------------------------------------------


def record_much(store):
    """Leave a run with everything in it that the page speaks of."""
    other = pickle.loads(pickle.dumps(store))  # it owns nothing that the first one writes
    store.create_run_log("run", tag="t", parameters=VALUES, run_config={"executor": VALUES})
    attempt = StepAttempt(status="SUCCESS", start_time="2024-02-02 05:49:41", parameters=VALUES)
    load = StepLog(name="load", internal_name="load", attempts=[attempt], metric_series={"loss": [MetricPoint(0, 1.0)]})
    load.extra = ExtraFields(priority=3, rate=math.nan)
    store.add_step_log("run", load)
    store.add_step_log("run", StepLog(name="map", internal_name="map", step_type="map", planned_branches=len(NAMES)))
    for item in NAMES:
        branch = chunkstore.names.join_name("map", item)
        inner = chunkstore.names.join_name(branch, item)
        store.add_branch_log("run", BranchLog(internal_name=branch, item={"$float": item}))
        store.add_step_log("run", StepLog(name=item, internal_name=inner, step_type="parallel", result=math.nan))
        store.add_branch_log("run", BranchLog(internal_name=f"{inner}.b"))
        store.add_step_log("run", StepLog(name="s", internal_name=f"{inner}.b.s", user_defined_metrics=VALUES))
        store.set_parameters("run", {"item": item, **VALUES}, branch=branch)
    store.append_metrics("run", "load", {"loss": [MetricPoint(1, 0.5), MetricPoint(2, math.nan, "now")]})
    other.append_metrics("run", "load", {"loss": [MetricPoint(3, math.inf)], "gain": [MetricPoint(0.5, VALUES)]})

    def change(step):
        step.message = "seen"
        step.user_defined_metrics["new"] = VALUES
        step.attempts[0].parameters.pop("nan")
        step.attempts[0].parameters["infinite"][1] = math.nan
        step.attempts.append(StepAttempt(attempt_number=2, message="again"))

    other.update_step_log("run", "load", change)
    other.update_branch_log("run", "map.%25", lambda branch: setattr(branch, "status", "SUCCESS"))
    other.add_step_log("run", StepLog(name="map", internal_name="map", status="SUCCESS", step_type="map"))
    store.add_step_log("run", StepLog(name="map", internal_name="map", status="FAIL", message="an older record"))
    store.add_branch_log("run", BranchLog(internal_name="root", parameters={"orphan": 1}))
    other.set_parameters("run", {"late": 1})
    load.attempts[0].message = "recorded again"
    store.add_step_log("run", load)


def finish(store):
    store.update_run_log("run", lambda log: setattr(log, "status", "SUCCESS"))


@stores
def test_whatever_was_recorded_is_read(store):
    record_much(store)
    log = check(store, "run")
    assert [log.steps["map"].branches[name].item for name in log.steps["map"].branches] == [
        {"$float": item} for item in NAMES
    ]
    assert len(log.steps["load"].metric_series["loss"]) == 4
    assert log.orphans.branches


@pytest.mark.parametrize("store_name", ["files", "pretty", "journals"])
def test_sealed_runs_are_read(store, store_name, tmp_path):
    record_much(store)
    finish(store)
    before = check(store, "run").to_json()
    assert store.seal("run") > len(NAMES)
    assert check(store, "run").to_json() == before.replace('"format":1', '"format":2')
    other = opened(store_name, tmp_path)
    other.update_step_log("run", "load", lambda step: setattr(step, "message", "after that"))
    other.add_step_log("run", StepLog(name="late", internal_name="late"))
    other.append_metrics("run", "load", {"loss": [MetricPoint(4, 0.1)]})
    other.set_parameters("run", {"late": 2})
    assert list(check(store, "run").steps)[-1] == "late"
    assert store.seal("run") > 0
    check(store, "run")
    store.unseal("run")
    check(store, "run")


@stores
def test_what_pipelines_record_is_read(store, tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    Path("in.csv").write_text("x,y\n1,2\n")

    def work(item):
        step = chunkstore.current_step()
        for epoch in range(3):
            step.log_metric("loss", 1 / (epoch + 1), step=epoch)
        with chunkstore.current_run().step("inner") as inner:
            print("printed by", repr(item)[:20])
            inner.put_data("in.csv")
        if item == "%":
            raise ValueError(item)
        return {"item": item, "nan": math.nan}

    with store.start_run("first", parameters={"seed": 7}) as run, ThreadPoolExecutor(3) as pool:
        run.map("map", NAMES, work, executor=pool, on_error="continue")
    log = check(store, "first")
    assert log.status == "FAIL"
    assert len(log.steps["map"].branches) == len(NAMES)
    with store.start_run("second", resume="first") as run, ThreadPoolExecutor(3) as pool:
        run.map("map", NAMES, work, executor=pool, on_error="continue")
    assert check(store, "second").original_run_id == "first"


@pytest.mark.thorough
@pytest.mark.parametrize("store_name", ["files", "journals", "document"])
@given(trees=st.lists(step_trees(), max_size=3), changes=st.lists(json_objects, max_size=2))
def test_whatever_can_be_recorded_is_read(store_name, trees, changes):
    with tempfile.TemporaryDirectory() as folder:
        store, other = (opened(store_name, Path(folder)) for _ in range(2))
        store.create_run_log("run")
        for tree in trees:
            store.add_step_log("run", tree)
            for metrics in changes:
                other.update_step_log("run", tree.internal_name, lambda step: set_metrics(step, metrics))  # noqa: B023
        check(store, "run")


def set_metrics(step, metrics):
    step.user_defined_metrics = metrics


# --- what tools, and those who were stopped, leave -------------------------------------------------------------------


def chunked(tmp_path, **files):
    """Return a store with a run whose files are given."""
    folder = tmp_path / "logs" / "run"
    folder.mkdir(parents=True)
    (folder / "RunLog.json").write_text('{"run_id": "run"}')
    for name, content in files.items():
        (folder / name).write_bytes(content if isinstance(content, bytes) else json.dumps(content).encode())
    return opened("files", tmp_path)


def step(name, **fields):
    return {"name": name.rpartition(".")[2], "internal_name": name, **fields}


def test_what_other_tools_keep_in_one_file_is_taken_apart(tmp_path):
    inner = {"map.a.s": step("map.a.s"), "map.a.t": step("map.a.t", status="FAIL")}
    branches = {"map.a": {"internal_name": "map.a", "steps": inner, "parameters": {"p": 1}}}
    store = chunked(
        tmp_path,
        **{
            "RunLog.json": {"run_id": "run", "parameters": {"a": 1}, "steps": {"x": step("x"), "y": step("y")}},
            "StepLog-map-5.json": step("map", branches=branches),
            "StepLog-t-7.json": step("map.a.t", status="SUCCESS"),
            "StepLog-x-9.json": step("x", message="newer"),
            "StepLog-map.a.a.csv-3.json": {"name": "a.csv", "internal_name": "map.a.a.csv"},
        },
    )
    log = check(store, "run")
    assert list(log.steps) == ["y", "map", "x"]
    assert list(log.steps["map"].branches["map.a"].steps) == ["map.a.a.csv", "map.a.s", "map.a.t"]


@pytest.mark.parametrize(
    ("name", "content"),
    [
        ("StepLog-b-3.json", b'{"name":"b","internal_name":"b"}' + b" " * 32 + b"\n"),
        ("StepLog-b-3.json", step("c")),
        ("StepLog-b-3.json", b'{"name":"b"'),
        ("StepLog-b-3.json", {"name": "b"}),
        ("StepUpdate-b-3.json", {"internal_name": "b", "over": "StepLog-a-1.json", "change": {"set": None}}),
        ("StepUpdate-a-1.json", {"internal_name": "a", "over": "StepLog-a-1.json", "change": {"more": 1}}),
        ("Parameter-root.json", {"branch": "b", "parameters": {"a": 1}}),
        ("Metric-b-3.jsonl", {"internal_name": "b", "over": "", "points": {}}),
        ("Metric-a-3.jsonl", b"\n"),
        ("Metric-a-3.jsonl", b'{"internal_name":"a"}' + checksum(b'{"internal_name":"a"}')[:-1] + b"J"),
        ("Metric-a-3.jsonl", b"x"),
        ("Sealed-3.jsonl", b'{"file":"StepLog-b-3.json","body":{"name":"b","internal_name":"b"}}\n'),
        ("Journal-1-3.jsonl", b"x"),
    ],
)
def test_what_is_damaged_hides_nothing_else(tmp_path, name, content):
    if name.startswith("Metric-b"):
        content = json.dumps(content).encode() + b"\n"
    store = chunked(tmp_path, **{"StepLog-a-1.json": step("a"), name: content})
    log = store.get_run_log("run")
    run, problems = read_run(str(tmp_path / "logs" / "run"))
    assert as_text(run) == as_text(log.to_dict())
    assert list(run["steps"]) == ["a"]
    assert set(problems) == {problem.file for problem in log.problems if problem.kind != "orphan"} or "Metric" in name


@pytest.mark.parametrize(
    ("name", "content"),
    [
        (".aside-StepLog-b-3.json", step("b")),
        (".tmp-1-2-3", step("c")),
        ("notes.txt", b"mine"),
        ("StepLog-b.json", step("b")),
        ("StepLog-b-9000000000000000000.json", step("b")),
        ("StepUpdate-b-3.json", {"internal_name": "b", "over": "StepLog-b-3.json", "change": {}}),
        ("Metric-a-3.jsonl", b'{"internal_name":"a","over":"","points":{"m":[[0,1,""]]}}\n{"intern'),
        ("Metric-a-3.jsonl", b'{"internal_name":"a","over":"StepLog-a-0.json","points":{"m":[[0,1,""]]}}\n'),
        ("Journal-1-3.jsonl", b'{"file":"StepLog-b-3.json","body'),
        ("Journal-1-3.jsonl", b""),
    ],
)
def test_what_is_no_record_is_passed_over(tmp_path, name, content):
    store = chunked(tmp_path, **{"StepLog-a-1.json": step("a"), name: content})
    log = check(store, "run")
    assert list(log.steps) == ["a", "b"][: 2 if name.startswith(".aside") else 1]


def test_chunks_of_a_time_beyond_reason_come_first(tmp_path):
    names = {f"StepLog-{name}-{time}.json": step(name) for name, time in {"a": 5, "b": 8 * 10**18, "c": 7}.items()}
    store = chunked(tmp_path, **names, **{"StepLog-a-8000000000000000001.json": step("a", message="not newer")})
    run, problems = read_run(str(tmp_path / "logs" / "run"))
    assert problems == []
    assert as_text(run) == as_text(store.get_run_log("run").to_dict())
    assert list(run["steps"]) == ["b", "a", "c"]
    assert run["steps"]["a"]["message"] == ""


def packed(**chunks):
    """Return lines of a sealed file or journal."""
    lines = (json.dumps({"file": file, **fields}).encode() for file, fields in chunks.items())
    return b"".join(line + checksum(line) for line in lines)


def test_of_several_places_of_a_chunk_the_right_one_counts(tmp_path):
    def of(place, *names):
        return packed(**{f"StepLog-{name}-1.json": {"body": step(name, message=place)} for name in names})

    store = chunked(
        tmp_path,
        **{
            "StepLog-a-1.json": step("a", message="file"),
            ".aside-StepLog-a-1.json": step("a", message="aside"),
            ".aside-StepLog-b-1.json": step("b", message="aside"),
            "Journal-7-1.jsonl": of("old journal", "a", "b", "c", "d") + of("last line", "c"),
            "Journal-7-2.jsonl": of("journal", "d"),
            "Sealed-9.jsonl": of("old sealed", "a", "b", "c", "d", "e", "f"),
            "Sealed-10.jsonl": of("sealed", "a", "b", "c", "d", "e"),
            "Sealed-8000000000000000000.jsonl": of("beyond reason", "e", "f"),
        },
    )
    found = {name: found.message for name, found in store.get_run_log("run").steps.items()}
    run, problems = read_run(str(tmp_path / "logs" / "run"))
    assert (found, problems) == ({name: found["message"] for name, found in run["steps"].items()}, [])
    assert list(found.values()) == ["file", "aside", "last line", "journal", "sealed", "old sealed"]


def test_files_of_any_shape_are_read_when_they_are_sealed(tmp_path):
    text = json.dumps(step("a", message="with spaces"), indent=3) + "\n"
    line = b'{"internal_name": "a", "over": "", "points": {"m": [[0, 1]]}}\n'
    store = chunked(
        tmp_path,
        **{"StepLog-a-1.json": text.encode(), "StepLog-b-1.json": b'{"name":"b","internal_name":"b"}'},
        **{"StepLog-c-1.json": json.dumps(step("c"), indent=4).encode(), "Metric-a-2.jsonl": 2 * line},
    )
    before = as_text(check(store, "run").to_dict())
    finish(store)
    assert store.seal("run") == 4
    (sealed,) = (tmp_path / "logs" / "run").glob("Sealed-*")
    assert set(re.findall(r'"form":"(\w+)"', sealed.read_text())) == {"bare", "indented", "text"}
    after = as_text(check(store, "run").to_dict())
    assert after[after.index('"steps"') : after.index('"run_config"')] in before


def test_a_run_whose_own_record_is_gone_is_read(tmp_path):
    store = chunked(tmp_path, **{"StepLog-a-1.json": step("a")})
    (tmp_path / "logs" / "run" / "RunLog.json").unlink()
    run, problems = read_run(str(tmp_path / "logs" / "run"))
    assert as_text(run) == as_text(store.get_run_log("run").to_dict())
    assert (run["status"], problems) == ("UNKNOWN", ["RunLog.json"])


@pytest.mark.parametrize("store_name", ["files", "pretty"])
def test_what_the_end_of_a_run_notes_of_its_chunks_is_what_the_page_says(store):
    with store.start_run("run", parameters={"a": 1}, capture_output=False) as run:
        for name in ("x", "y"):
            with run.step(name) as recorded:
                recorded.log_metric("loss", 0.5, step=1)
        store.update_step_log("run", "x", lambda log: setattr(log, "message", "seen"))
    folder = os.path.join(store.backend.location, "run")
    found = {}
    for name in os.listdir(folder):
        if parsed(name) or name.startswith("Parameter-"):
            kind = name.partition("-")[0]
            with open(os.path.join(folder, name), "rb") as file:
                count, total = found.get(kind, (0, 0))
                found[kind] = [count + 1, total + sum_of(name, file.read())]
    assert store.get_run_log("run").notes["contents"] == found
