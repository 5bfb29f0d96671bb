"""`chunkstore export` hands runs to other tools: whole, complete, and without harm to what was there."""

import csv
import io
import json
import os
import resource
import subprocess
import sys

import duckdb
import pyarrow.parquet as pq
import pytest
import typer
from typer.testing import CliRunner
from views.timed_runs import BEGINNING, map_of, run, step, typical

import chunkstore
from chunkstore.cli.export import export_runs
from chunkstore.records.models import RunLog
from chunkstore.views.tables import TABLES

app = typer.Typer()
app.command()(export_runs)


def export(*arguments):
    return CliRunner().invoke(app, list(map(str, arguments)), catch_exceptions=False)


@pytest.fixture
def three(store):
    """Three runs in a store, `run-2` the newest."""
    for number in range(3):
        created = f"2026-05-0{number + 1} 12:00:00.000000+00:00"
        log = run(step("a", 0, number), map_of("m", [(0, 1), (1, 2)]), run_id=f"run-{number}", parameters={"n": number})
        log.run_config["chunkstore"] = {"created": created}
        store.add_run_log(log)
    return store


def left_in(folder):
    return sorted(os.listdir(folder))


# --- JSON ------------------------------------------------------------------------------------------------------------


def test_documents_of_2024_come_out_byte_for_byte(golden, tmp_path):
    name = "blocking-shaw-0538"
    (tmp_path / "logs").mkdir()
    (tmp_path / "logs" / f"{name}.json").write_bytes((golden / f"{name}.json").read_bytes())
    result = export(name, "--store", f"file-system:{tmp_path / 'logs'}", "--to", tmp_path / "out.json")
    assert (result.exit_code, result.stderr) == (0, f"Wrote 1 run to {tmp_path / 'out.json'}.\n")
    assert (tmp_path / "out.json").read_bytes() == (golden / f"{name}.json").read_bytes()


def test_all_runs_are_one_array(three, logs, tmp_path):
    assert export("--all", "--store", logs, "--to", tmp_path / "all.json").exit_code == 0
    documents = json.loads((tmp_path / "all.json").read_text())
    assert [document["run_id"] for document in documents] == ["run-2", "run-1", "run-0"]
    assert documents[0] == json.loads(three.get_run_log("run-2").to_json())


def test_a_folder_of_documents_is_a_store_again(three, logs, tmp_path):
    assert export("--all", "--store", logs, "--to", f"{tmp_path / 'copies'}/", "--format", "json").exit_code == 0
    copies = chunkstore.open_store("file-system", log_folder=tmp_path / "copies")
    assert sorted(found.run_id for found in copies.list_runs()) == ["run-0", "run-1", "run-2"]
    assert copies.get_run_log("run-1").to_json() == three.get_run_log("run-1").to_json()


def test_json_lines_hold_every_record_once(store, logs, tmp_path):
    store.add_run_log(typical(3))
    assert export("latest", "--store", logs, "--to", tmp_path / "run.jsonl").exit_code == 0
    lines = [json.loads(line) for line in (tmp_path / "run.jsonl").read_text().splitlines()]
    assert [(line["kind"], line["record"].get("internal_name")) for line in lines[:6]] == [
        ("run", None),
        ("step", "load"),
        ("step", "fetch"),
        ("step", "score"),
        ("branch", "score.0"),
        ("step", "score.0.work"),
    ]
    assert {line["run_id"] for line in lines} == {"calm-noether-1200"}
    assert not any(line["record"].get("steps") or line["record"].get("branches") for line in lines)
    again = RunLog.from_json(json.dumps(lines[0]["record"]))
    assert again.notes["message"] == "1 step failed: score"


# --- tables ----------------------------------------------------------------------------------------------------------


def test_a_table_is_csv(three, logs, tmp_path):
    assert export("--all", "--store", logs, "--to", tmp_path / "t.csv", "--table", "params").exit_code == 0
    assert (tmp_path / "t.csv").read_text() == (
        "run_id,scope,internal_name,attempt_number,name,value,number,shown_name\n"
        "run-2,run,,,n,2,2.0,\n"
        "run-1,run,,,n,1,1.0,\n"
        "run-0,run,,,n,0,0.0,\n"
    )


def test_text_of_any_kind_survives_csv(store, logs):
    text = '=1+1 "quoted", with\nline\r\nbreaks, ü and \u2028'
    store.add_run_log(run(step("a", 0, 1, "FAIL", message=text, name=text)))
    out = export("latest", "--store", logs, "--to", "-", "--format", "csv").stdout_bytes.decode()
    (row,) = csv.DictReader(io.StringIO(out, newline=""))
    assert (row["name"], row["message"]) == (text, text)
    assert row["start_time"] == "2026-05-01 12:00:00.000000+00:00"
    assert row["mock"] == "false"


@pytest.mark.parametrize("file_format", ["csv", "parquet", "jsonl"])
def test_a_folder_gets_all_tables(three, logs, tmp_path, file_format):
    result = export("--all", "--store", logs, "--to", f"{tmp_path / 'out'}/", "--format", file_format, "--json")
    assert result.exit_code == 0
    report = json.loads(result.stdout)
    assert left_in(tmp_path / "out") == sorted(f"{table}.{file_format}" for table in TABLES)
    entries = {os.path.basename(file["file"]).split(".")[0]: file["entries"] for file in report["files"]}
    assert (report["runs"], entries) == (
        3,
        {"runs": 3, "steps": 12, "attempts": 12, "metrics": 0, "params": 3, "data": 0},
    )


def test_parquet_has_times_and_numbers(three, logs, tmp_path):
    assert export("--all", "--store", logs, "--to", tmp_path / "steps.parquet").exit_code == 0
    table = pq.read_table(tmp_path / "steps.parquet")
    assert table.column("start_time").to_pylist()[0] == BEGINNING
    assert table.column("seconds").to_pylist() == [2, 2, 1, 1, 1, 2, 1, 1, 0, 2, 1, 1]


def test_without_pyarrow_the_error_says_what_to_install(three, logs, tmp_path, monkeypatch):
    monkeypatch.setitem(sys.modules, "pyarrow", None)
    result = export("--all", "--store", logs, "--to", tmp_path / "steps.parquet")
    assert result.exit_code == 2
    assert "pip install" in result.stderr
    assert "chunkstore[tables]" in result.stderr
    assert "steps.parquet" not in left_in(tmp_path)


# --- files -----------------------------------------------------------------------------------------------------------


def test_a_file_is_replaced_only_by_force(three, logs, tmp_path):
    file = tmp_path / "runs.csv"
    file.write_text("mine")
    with pytest.raises(chunkstore.ChunkstoreError, match=r"it exists\..*--force"):
        export("run-1", "--store", logs, "--to", file)
    assert file.read_text() == "mine"
    assert export("run-1", "--store", logs, "--to", file, "--table", "runs", "--force").exit_code == 0
    assert file.read_text().startswith("run_id,status")


@pytest.mark.parametrize("target", ["all.json", "all.jsonl", "all.csv", "all.parquet", "tables/"])
def test_a_failed_export_leaves_nothing(three, logs, tmp_path, monkeypatch, target):
    read = type(three).get_run_log

    def fail_at_last(self, run_id, **options):
        if run_id == "run-0":
            raise RuntimeError("on purpose")
        return read(self, run_id, **options)

    monkeypatch.setattr(type(three), "get_run_log", fail_at_last)
    (tmp_path / "out").mkdir()
    options = ["--format", "csv"] if target.endswith("/") else []
    with pytest.raises(RuntimeError, match="on purpose"):
        export("--all", "--store", logs, "--to", f"{tmp_path / 'out'}/{target}", *options)
    assert not [path for path in (tmp_path / "out").rglob("*") if path.is_file()]


@pytest.mark.parametrize("name", ["all.json", "all.jsonl", "all.csv", "all.parquet"])
def test_a_file_that_cannot_be_written_whole_is_not_written(store, logs, tmp_path, name):
    store.add_run_log(typical(200))
    before = resource.getrlimit(resource.RLIMIT_FSIZE)
    resource.setrlimit(resource.RLIMIT_FSIZE, (5_000, before[1]))
    try:
        with pytest.raises(chunkstore.ChunkstoreError, match=rf"Cannot write .*/{name}: File too large"):
            export("--all", "--store", logs, "--to", tmp_path / name)
    finally:
        resource.setrlimit(resource.RLIMIT_FSIZE, before)
    assert not [path for path in tmp_path.iterdir() if path.is_file()]


@pytest.mark.parametrize(
    ("arguments", "complaint"),
    [
        (["--to", "a.csv"], "Name a run, or give --all"),
        (["run-1", "--all", "--to", "a.csv"], "Name a run, or give --all"),
        (["run-1", "--to", "a.txt"], "tells no format"),
        (["run-1", "--to", "a/"], "tells no format"),
        (["run-1", "--to", "-", "--format", "parquet"], "is not text"),
        (["run-1", "--to", "-", "--format", "xml"], "'xml' is none of json"),
        (["run-1", "--to", "a.csv", "--table", "stepps"], "'stepps' is none of runs"),
        (["run-1", "--to", "a.json", "--table", "steps"], "hold whole runs"),
        (["run-1", "--to", "a/", "--format", "csv", "--table", "steps"], "gets all tables"),
        (["run-1", "--to", "-", "--json"], "exclude each other"),
    ],
)
def test_wrong_use_is_explained(three, logs, arguments, complaint):
    result = export(*arguments, "--store", logs)
    assert result.exit_code == 2
    assert complaint in " ".join(result.stderr.replace("│", " ").split())


def test_a_damaged_run_is_exported_as_far_as_it_can_be_read(tmp_path):
    store = chunkstore.open_store("chunked-fs", log_folder=tmp_path / "logs")
    for run_id in ("good", "cut", "gone"):
        store.add_run_log(run(step("a", 0, 1), step("b", 1, 2), run_id=run_id))
    (bad,) = (tmp_path / "logs" / "cut").glob("StepLog-a-*")
    os.truncate(bad, 20)
    os.truncate(tmp_path / "logs" / "gone" / "RunLog.json", 5)
    result = export("--all", "--store", tmp_path / "logs", "--to", tmp_path / "steps.csv")
    assert result.exit_code == 1
    assert "Not all of run cut was exported: StepLog-a-" in result.stderr
    assert "Not all of run gone was exported: " in result.stderr
    rows = csv.DictReader(io.StringIO((tmp_path / "steps.csv").read_text()))
    assert {(row["run_id"], row["internal_name"]) for row in rows} >= {("good", "a"), ("good", "b"), ("cut", "b")}


def test_journals_and_sealed_runs_are_exported_alike(tmp_path):
    found = {}
    for container in ("files", "journal", "sealed"):
        options = {"container": "journal"} if container == "journal" else {}
        folder = tmp_path / container
        store = chunkstore.open_store("chunked-fs", log_folder=folder, **options)
        store.add_run_log(typical(20))
        if container == "sealed":
            assert store.seal("calm-noether-1200") > 20
        export("latest", "--store", folder, "--to", f"{folder}.out/", "--format", "csv")
        found[container] = [(tmp_path / f"{container}.out" / f"{table}.csv").read_text() for table in TABLES]
    assert found["files"] == found["journal"] == found["sealed"]
    assert found["files"][1].count("\n") == 30


@pytest.mark.parametrize("name", ["a.json", "a.jsonl", "a.csv", "a.parquet", "folder/"])
def test_a_store_without_runs_gives_files_without_rows(logs, tmp_path, name):
    options = ["--format", "json"] if name == "folder/" else []
    result = export("--all", "--store", logs, "--to", f"{tmp_path}/{name}", *options)
    assert result.exit_code == 0
    assert "Wrote 0 runs to " in result.stderr
    assert (tmp_path / name).stat().st_size <= 4_096
    if name == "a.json":
        assert json.loads((tmp_path / name).read_text()) == []


MEMORY = """
import resource, sys
from chunkstore.cli.export import export_runs
from chunkstore.records.models import RunLog, StepLog
from chunkstore.records.summaries import RunSummary
from chunkstore.stores.document import DocumentStore
steps = {f"s{n}": StepLog(name=f"s{n}", internal_name=f"s{n}", message="x" * 1000) for n in range(100)}
DocumentStore.list_runs = lambda self: (RunSummary(run_id=f"r{n}") for n in range(int(sys.argv[1])))
DocumentStore.get_run_log = lambda self, run_id: RunLog(run_id=run_id, steps=dict(steps))
try:
    export_runs(sys.argv[2], all_runs=True, store="file-system:nowhere", force=True)
except BaseException as exit:
    assert exit.exit_code == 0
print(resource.getrusage(resource.RUSAGE_SELF).ru_maxrss)
"""


@pytest.mark.sampled
@pytest.mark.parametrize("name", ["a.json", "a.jsonl", "a.csv"])
def test_memory_does_not_grow_with_the_number_of_runs(tmp_path, name):
    def most_memory(runs):
        code = [sys.executable, "-c", MEMORY, str(runs), str(tmp_path / name)]
        return int(subprocess.run(code, check=True, capture_output=True, text=True).stdout)

    few, many = most_memory(10), most_memory(500)
    assert (tmp_path / name).stat().st_size > 40_000_000
    assert many < few + 15_000, "kB"


# --- other tools -----------------------------------------------------------------------------------------------------


def test_json_for_machines_needs_no_rich(three, logs, tmp_path):
    code = """
import sys
from chunkstore.cli.export import export_runs
from chunkstore.cli.timeline import show_timeline
for command in (lambda: export_runs(sys.argv[2], all_runs=True, store=sys.argv[1], json=True),
                lambda: show_timeline("latest", store=sys.argv[1], json=True)):
    try:
        command()
    except BaseException as end:
        assert end.exit_code == 0, end
print(*sorted(name for name in sys.modules if name.split(".")[0] in {"rich", "pyarrow", "pandas", "numpy"}))
"""
    command = [sys.executable, "-c", code, logs, str(tmp_path / "a.csv")]
    *_, loaded = subprocess.run(command, check=True, capture_output=True, text=True).stdout.splitlines()
    assert loaded == ""


def test_duckdb_reads_the_folder_and_the_tables(tmp_path, pipeline):
    store = chunkstore.open_store("chunked-fs", log_folder=tmp_path / "logs")
    pipeline(store)
    found = duckdb.sql(f"""
        select name, status, user_defined_metrics.loss
        from read_json_auto('{tmp_path}/logs/*/StepLog-*.json', union_by_name = true) order by name
    """).fetchall()
    assert ("load", "SUCCESS", 0.25) in found
    assert len(found) == 6
    export("--all", "--store", tmp_path / "logs", "--to", f"{tmp_path / 'tables'}/", "--format", "parquet")
    most = duckdb.sql(f"""
        select name, max(number) from '{tmp_path}/tables/metrics.parquet' where step is not null group by name
    """).fetchall()
    assert most == [("accuracy", 0.5)]
    export("--all", "--store", tmp_path / "logs", "--to", tmp_path / "all.jsonl")
    kinds = duckdb.sql(f"select kind, count(*) from '{tmp_path}/all.jsonl' group by kind order by kind").fetchall()
    assert kinds == [("branch", 3), ("run", 1), ("step", 6)]
