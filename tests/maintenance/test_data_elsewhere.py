"""Data that lies in another catalog than the store's is found by what the records say, and told where it is not."""

import os
import shutil
from pathlib import Path

import pytest

import chunkstore
from chunkstore.maintenance import retention
from chunkstore.maintenance.checking import verify
from chunkstore.maintenance.printed import output_file, printed
from chunkstore.maintenance.retention import Rule, deleting

pytestmark = pytest.mark.usefixtures("_brief")


@pytest.fixture(params=["chunked-fs", "file-system"])
def kind(request):
    return request.param


@pytest.fixture
def work(tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    return tmp_path


def record(kind, catalog, run_id="run", logs="logs"):
    """Record a run whose data lies in another folder than usual; return the store as one opens it who only knows the
    folder of the runs."""
    Path("d").write_text("data")
    configured = chunkstore.open_store(kind, log_folder=logs, catalog_folder=str(catalog))
    with configured.start_run(run_id, capture_output=False) as run, run.step("a") as step:
        step.put_data("d")
    return chunkstore.open_store(kind, log_folder=os.path.abspath(logs))


def delete_all(store):
    plan = retention.plan_retention(store, Rule(keep_last=0), with_data=True)
    return list(retention.collect(store, plan, with_data=True))


def found(store):
    return [one.message for one in verify(store, with_data=True)]


def test_data_goes_with_its_run_though_it_is_elsewhere(kind, work):
    store = record(kind, work / "data" / "of" / "all")
    record(kind, work / "data" / "of" / "all", "other")
    plan = retention.plan_retention(store, Rule(keep_last=1), with_data=True)
    assert plan.delete[0].space > retention.plan_retention(store, Rule(keep_last=1)).delete[0].space
    (outcome,) = retention.collect(store, plan, with_data=True)
    assert (outcome.deleted, outcome.data_left) == (True, "")
    catalog = work / "data" / "of" / "all"
    assert not (catalog / "run").exists()
    assert (catalog / "other" / "d").read_text() == "data"


def test_a_relative_place_is_looked_for_beside_the_runs(kind, work, monkeypatch):
    store = record(kind, "data")
    (work / "elsewhere").mkdir()
    monkeypatch.chdir(work / "elsewhere")
    assert found(store) == []
    assert [outcome.data_left for outcome in delete_all(store)] == [""]
    assert not (work / "data" / "run").exists()


def test_what_another_store_has_put_there_stays(kind, work):
    store = record(kind, work / "data")
    other = record(kind, work / "data", logs="other-logs")
    delete_all(store)
    assert found(other) == []
    assert [path.name for path in (work / "data").iterdir() if path.name.startswith("run")] == [f"run~{_id(other)}"]


def _id(store):
    return store.get_run_log("run").incarnation


def test_data_of_which_nothing_says_whose_it_is_stays_and_that_is_told(kind, work):
    store = record(kind, work / "data")
    shutil.rmtree(work / "data" / ".runs")
    (outcome,) = delete_all(store)
    assert outcome.deleted
    assert f"in the catalog {work / 'data'}" in outcome.data_left
    assert "stays" in outcome.data_left
    assert (work / "data" / "run" / "d").read_text() == "data"


def test_a_record_leads_to_no_folder_that_is_none_of_the_catalogs(kind, work):
    store = record(kind, work / "data")
    (work / "home" / "run").mkdir(parents=True)
    (work / "home" / "run" / "d").write_text("mine")

    def point(step):
        for entry in step.data_catalog:
            entry.catalog_handler_location = str(work / "home")

    store.update_step_log("run", "a", point)
    (outcome,) = delete_all(store)
    assert "stays" in outcome.data_left
    assert (work / "home" / "run" / "d").read_text() == "mine"


def test_a_catalog_that_is_not_there_is_told(kind, work):
    store = record(kind, work / "data")
    shutil.rmtree(work / "data")
    assert found(store) == [f"The data of a is not in the catalog {work / '.catalog'}, nor in {work / 'data'}."]
    (outcome,) = delete_all(store)
    assert str(work / "data") in outcome.data_left
    assert outcome.deleted


def test_data_that_was_changed_elsewhere_is_found(kind, work):
    store = record(kind, work / "data")
    assert found(store) == []
    (work / "data" / "run" / "d").write_text("dat4")
    assert any("has changed" in message for message in found(store))


def test_a_deletion_that_was_stopped_is_finished_elsewhere_too(kind, work, monkeypatch):
    store = record(kind, work / "data")

    def stopped(*_):
        raise KeyboardInterrupt

    with monkeypatch.context() as patched:
        patched.setattr(deleting, "remove_data", stopped)
        with pytest.raises(KeyboardInterrupt):
            delete_all(store)
    assert (work / "data" / "run" / "d").exists()
    retention.remove_left_overs(store, with_data=True)
    assert not (work / "data" / "run").exists()
    assert not [name for name in os.listdir(work / "logs") if name.startswith(".deleted-")]


def test_what_a_step_printed_is_shown_from_where_the_records_say(kind, work):
    configured = chunkstore.open_store(kind, log_folder="logs", catalog_folder=str(work / "data"))
    with configured.start_run("run") as run, run.step("a"):
        print("printed")
    store = chunkstore.open_store(kind, log_folder="logs")
    kept = output_file(store, "run", store.get_step_log("run", "a"))
    assert b"".join(printed(kept)) == b"printed\n"
    shutil.rmtree(work / "data" / ".runs")  # anybody could have recorded that place
    assert output_file(store, "run", store.get_step_log("run", "a")).catalog.path == store.catalog_path


def test_data_is_got_from_where_the_records_say(kind, work):
    store = record(kind, work / "data")
    os.unlink("d")
    assert chunkstore.get_data(store, "run", "d").read_text() == "data"
