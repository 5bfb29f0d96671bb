"""`chunkstore doctor` says in plain words what holds in a folder."""

import errno
import json
import os

import msgspec
import pytest
import typer
from typer.testing import CliRunner

from chunkstore.backends.disk import locks
from chunkstore.backends.objects.bare import BareBucket
from chunkstore.cli.doctor import examine_folder
from chunkstore.errors import ConfigurationError
from chunkstore.maintenance.doctor import probes, races
from chunkstore.maintenance.doctor.buckets import probes as probes_of_buckets
from chunkstore.maintenance.doctor.buckets import racing
from chunkstore.maintenance.doctor.report import DoctorReport

app = typer.Typer()
app.command()(examine_folder)
pytestmark = pytest.mark.usefixtures("quick_collections")


@pytest.fixture(autouse=True)
def _brief(monkeypatch):
    for module, name, value in (
        (races, "_SECONDS", 0.05),
        (races, "_ROUNDS", 20),
        (races, "_COUNTS", 15),
        (probes, "_CLOCK_SECONDS", 0.02),
        (probes_of_buckets, "MANY", 40),
        (probes_of_buckets, "_PART", 10_000),
        (probes_of_buckets, "_TIMES", 2),
        (racing, "ROUNDS", 5),
        (racing, "CHANGES", 3),
        (racing, "_LONGEST_PAUSE", 0.005),
    ):
        monkeypatch.setattr(module, name, value)


@pytest.fixture
def no_locks(monkeypatch):
    def refuse(_fd, blocking):
        raise OSError(errno.ENOLCK, os.strerror(errno.ENOLCK))

    monkeypatch.setattr(locks, "lock_descriptor", refuse)


def examined(*arguments):
    return CliRunner().invoke(app, [str(argument) for argument in arguments])


def test_where_all_holds_the_exit_code_is_0_and_the_settings_are_named(tmp_path):
    result = examined(tmp_path)
    assert result.exit_code == 0
    assert result.stdout.startswith(f"{tmp_path}  ")
    assert "type: chunked-fs" in result.stdout
    assert "good     A lock keeps other processes out" in result.stdout
    assert result.stdout.endswith("Everything holds that chunkstore relies on.\n")
    assert os.listdir(tmp_path) == []


def test_where_something_does_not_hold_the_exit_code_is_1_and_it_is_said(tmp_path, no_locks):
    result = examined(tmp_path)
    assert result.exit_code == 1
    assert "bad      A lock keeps other processes out" in result.stdout
    assert "no working locks" in result.stdout
    assert "Do not record runs here" in result.stdout


@pytest.mark.thorough
def test_without_a_folder_that_of_the_store_is_examined(tmp_path):
    report = json.loads(examined("--store", tmp_path / "not" / "yet", "--json").stdout)
    assert report["folder"] == str(tmp_path)
    (tmp_path / "chunkstore.yaml").write_text(f"run_log_store: {{config: {{log_folder: '{tmp_path / 'logs'}'}}}}")
    (tmp_path / "logs").mkdir()
    report = json.loads(examined("--config", tmp_path / "chunkstore.yaml", "--json").stdout)
    assert report["folder"] == str(tmp_path / "logs")
    (tmp_path / "chunkstore.yaml").write_text("run_log_store: {type: buffered}")
    assert examined("--config", tmp_path / "chunkstore.yaml").exit_code == 2


def test_json_holds_everything_and_nothing_else_is_printed(tmp_path, no_locks):
    result = examined(tmp_path, "--json")
    report = json.loads(result.stdout)
    assert result.exit_code == 1
    assert report["holds"] is False
    assert {check["name"] for check in report["checks"]} > {"replace", "publish", "lock", "listing", "latency"}
    assert set(report) == set(DoctorReport.__struct_fields__)


@pytest.mark.sampled
@pytest.mark.parametrize("columns", [80, 140])
def test_on_a_terminal_every_line_fits(tmp_path, monkeypatch, columns):
    monkeypatch.setenv("FORCE_COLOR", "1")
    monkeypatch.setenv("NO_COLOR", "1")
    monkeypatch.setenv("COLUMNS", str(columns))
    table = examined(tmp_path).stdout.partition("What it does")[2].partition("What to configure")[0]
    assert "✔" in table
    lines = [line.replace("\x1b[2m", "").replace("\x1b[1m", "").replace("\x1b[0m", "") for line in table.splitlines()]
    assert max(map(len, lines)) <= columns


# --- a bucket --------------------------------------------------------------------------------------------------------


def test_of_a_bucket_it_says_what_holds_and_what_recording_takes():
    result = examined("memory://doctor/prefix")
    assert result.exit_code == 0, result.output
    assert result.stdout.startswith("memory://doctor/prefix  ")
    assert "good     Of clients that make the same object, one wins" in result.stdout
    assert "a step, put when it starts and when it ends" in result.stdout
    assert "2 puts" in result.stdout
    assert "$" not in result.stdout  # nobody knows what it would cost
    assert result.stdout.endswith("Everything holds that chunkstore relies on.\n")


def test_the_bucket_of_a_configured_store_is_examined_and_priced(tmp_path, monkeypatch):
    (tmp_path / "chunkstore.yaml").write_text(
        "run_log_store:\n  type: chunked-object\n  config:\n    url: memory://doctor/of-a-file\n"
    )
    monkeypatch.chdir(tmp_path)
    result = examined("--prices", "s3", "--json")
    assert result.exit_code == 0, result.output
    report = msgspec.json.decode(result.stdout, type=DoctorReport)
    assert report.folder == "memory://doctor/of-a-file"
    assert report.prices.startswith("Amazon S3")
    assert next(cost.dollars for cost in report.costs if cost.puts == 2) == pytest.approx(1e-5)


def test_where_a_bucket_does_not_do_what_is_needed_the_exit_code_is_1(monkeypatch):
    monkeypatch.setattr(BareBucket, "create", BareBucket.put)
    result = examined("memory://doctor/careless")
    assert result.exit_code == 1
    assert "bad      Of clients that make the same object, one wins" in result.stdout
    assert "Do not record runs here" in result.stdout


def test_prices_that_are_not_there_are_an_error_that_names_those_that_are():
    result = examined("memory://doctor/prices", "--prices", "nonsense")
    assert isinstance(result.exception, ConfigurationError)
    assert "s3-express" in str(result.exception)
