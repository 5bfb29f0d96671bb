"""`chunkstore demo` is a newcomer's first command: it works anywhere, and shows what is recorded."""

import os

import pytest

import chunkstore as library
from chunkstore.cli import demo_pipeline
from cli.command import chunkstore


@pytest.mark.thorough
def test_the_demo_runs_a_pipeline_and_shows_its_log(tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    result = chunkstore("demo", "--limit", "5")
    assert result.code == 0
    assert "\n✔ SUCCESS" in result.out
    assert "measure (map, 5 branches)" in result.out
    assert "✘" not in result.out
    assert "chunkstore show latest" in result.out
    store = library.open_store()
    log = store.get_run_log(next(store.list_runs()).run_id)
    assert log.status == "SUCCESS"
    assert log.steps["publish"].data_catalog[-1].name == "metrics.csv"
    assert chunkstore("logs", "latest", "list files").out.startswith("5 files in ")


def test_the_demo_shows_one_failure_as_what_it_is(tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    assert "`publish` failed once, on purpose, and was tried again" in chunkstore("demo", "--limit", "2").out
    shown = chunkstore("show", "latest", "--step", "publish").out
    assert shown.startswith("✔ SUCCESS")
    assert "ConnectionError: The server hung up. This is on purpose" in shown


def test_the_demo_measures_no_file_with_which_python_tests_itself():
    files = list(demo_pipeline.python_files(None))
    assert len(files) > 300
    assert not [file for file in files if {"test", "tests"}.intersection(file.split("/"))]


def test_the_demo_records_where_it_is_told_to_and_prints_json_if_asked(tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    found = chunkstore("demo", "--limit", "2", "--store", "file-system:here", "--json").json
    assert found["status"] == "SUCCESS"
    assert os.listdir(tmp_path / "here")
    assert not (tmp_path / ".run_log_store").exists()
