"""When a run is over, its data is got back with the bytes that were recorded, or not at all."""

import os
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

import pytest

import chunkstore
from chunkstore.errors import DataNotFoundError, StepLogNotFoundError


@pytest.fixture(autouse=True)
def _work(tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)


@pytest.fixture
def recorded(any_store):
    with any_store.start_run("run") as run:
        for step, text in (("a", "one"), ("b", "two")):
            Path("x").write_text(text)
            with run.step(step) as recording:
                recording.put_data("x")
                print(f"put {text}")
        run.map("m", [1, 2], put, executor=ThreadPoolExecutor(1))
    return any_store


def put(item):
    Path("y").write_text(f"m.{item}")
    chunkstore.current_step().put_data("y")


def test_the_newest_comes_unless_a_step_is_named(recorded):
    assert chunkstore.get_data(recorded, "run", "x", to="copy").read_text() == "two"
    assert chunkstore.get_data(recorded, "run", "x", step="a", to="copy").read_text() == "one"
    assert chunkstore.get_data(recorded, "run", "x", step="b", to="copy").read_text() == "two"
    assert chunkstore.get_data(recorded, "run", "a.execution.log", to="copy").read_text() == "put one\n"


def test_what_an_attempt_has_put_that_failed_is_there_too(any_store):
    def work():
        attempt = len(chunkstore.current_step()._log.attempts)
        Path("x").write_text(f"attempt {attempt}")
        chunkstore.current_step().put_data("x")
        if attempt < 3:
            raise ValueError

    with any_store.start_run("run", capture_output=False) as run:
        run.step("a", work, max_attempts=3, backoff=0)
    for attempt, text in ((1, "attempt 1"), (2, "attempt 2"), (3, "attempt 3"), (None, "attempt 3")):
        assert chunkstore.get_data(any_store, "run", "x", step="a", attempt=attempt, to="copy").read_text() == text
    assert list(chunkstore.verify(any_store, with_data=True)) == []


def test_of_branches_that_have_put_one_name_the_step_must_be_named(recorded):
    assert chunkstore.get_data(recorded, "run", "y", step="m.2.put", to="copy").read_text() == "m.2"
    with pytest.raises(DataNotFoundError, match=r"m\.1\.put, m\.2\.put"):
        chunkstore.get_data(recorded, "run", "y", to="copy")


def test_what_is_not_there_is_told(recorded):
    with pytest.raises(DataNotFoundError, match="It has put 'x'"):
        chunkstore.get_data(recorded, "run", "z")
    with pytest.raises(StepLogNotFoundError):
        chunkstore.get_data(recorded, "run", "x", step="z")
    Path(recorded.catalog_path, "run", "x").unlink()
    with pytest.raises(DataNotFoundError):
        chunkstore.get_data(recorded, "run", "x", to="copy")
    assert chunkstore.get_data(recorded, "run", "x", step="b", to="copy").read_text() == "two"


def test_what_was_changed_is_not_given_out(recorded):
    Path(recorded.catalog_path, "run", "x").write_text("tw0")
    for step in (None, "b"):
        with pytest.raises(DataNotFoundError, match="has changed the file"):
            chunkstore.get_data(recorded, "run", "x", step=step, to="copy")
    assert not Path("copy").exists()


def test_an_attempt_that_has_put_nothing_has_none_of_the_data_of_others(any_store):
    tried = []

    def work():
        tried.append(1)
        if len(tried) < 2:
            raise OSError
        Path("x").write_text("second")
        chunkstore.current_step().put_data("x")

    with any_store.start_run("run") as run:
        run.step("a", work, max_attempts=2, backoff=0)
    for attempt in (1, 3):
        with pytest.raises(chunkstore.DataNotFoundError, match=f"attempt {attempt} of step 'a'"):
            chunkstore.get_data(any_store, "run", "x", step="a", attempt=attempt, to="copy")
    assert chunkstore.get_data(any_store, "run", "x", step="a", attempt=2, to="copy").read_text() == "second"
    with pytest.raises(chunkstore.StoreUsageError, match="Say which step"):
        chunkstore.get_data(any_store, "run", "x", attempt=2, to="copy")


def test_data_is_found_by_what_is_shown_of_its_name(any_store):
    with any_store.start_run("run") as run, run.step("a") as step:
        Path("new\nline").write_text("found")
        step.put_data("new\nline")
    for name in ("new\nline", "new\\nline"):
        assert chunkstore.get_data(any_store, "run", name, to="copy").read_text() == "found"


def test_it_is_told_that_what_has_put_the_data_may_be_damaged(tmp_path):
    store = chunkstore.open_store("chunked-fs", log_folder=str(tmp_path / "logs"))
    with store.start_run("run") as run, run.step("a") as step:
        Path("x").write_text("x")
        step.put_data("x")
    (chunk,) = (tmp_path / "logs" / "run").glob("StepLog-*")
    os.truncate(chunk, 40)
    with pytest.raises(chunkstore.DataNotFoundError, match="not all of the run can be read: StepLog-a-"):
        chunkstore.get_data(store, "run", "x", to="copy")
