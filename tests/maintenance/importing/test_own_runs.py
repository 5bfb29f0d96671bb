"""Runs of chunkstore itself move as their store shows them."""

import math
import shutil

import pytest

from chunkstore.maintenance.importing import import_runs
from chunkstore.records.fields import MetricPoint
from chunkstore.records.models import StepLog
from maintenance.importing.targets import PERSISTENT, import_all, open_target, write_text
from maintenance.layouts import (
    RUN,
    assert_nothing_is_lost,
    records_of,
    rich_run,
    snapshot,
    write_document,
    write_folder_of_2024,
    write_folder_of_2025,
    write_own_document,
    write_own_folder,
)

every_folder = pytest.mark.parametrize("write", [write_folder_of_2025, write_folder_of_2024], ids=["2025", "2024"])


def used_store(store_type, folder):
    """Return a store whose run was changed by others and got metrics, as every store may have one."""
    store = open_target(store_type, folder)
    recorded = store.start_run(RUN, tag="nightly", parameters={"seed": 7}, capture_output=False)
    with recorded, recorded.step("train") as train:
        train.log_metric("loss", math.nan, step=1)
        train.log_metric("loss", 0.5, step=2)
        train.log_metric("rows", 3)
    other = open_target(store_type, folder)
    other.update_step_log(RUN, "train", lambda found: setattr(found, "message", "changed by another"))
    other.append_metrics(RUN, "train", {"loss": [MetricPoint(3, math.inf, "late")]})
    other.add_step_log(RUN, StepLog(name="lost", internal_name="gone.branch.lost"))
    other.set_parameters(RUN, {"a": {"$float": "NaN"}}, "gone.branch")
    other.set_parameters(RUN, {"b": math.nan})
    return store


def without_notes(log):
    shown = log.to_dict()
    shown["run_config"].pop("chunkstore", None)
    return shown


@pytest.mark.parametrize("source_type", PERSISTENT)
def test_a_run_of_chunkstore_moves_with_changes_metrics_and_orphans(source_type, source, store):
    own = used_store(source_type, source)
    before = own.get_run_log(RUN)
    assert before.steps["train"].metric_series["loss"][2] == MetricPoint(3, math.inf, "late")
    assert import_runs(str(source), store).imported == [RUN]
    found = store.get_run_log(RUN)
    assert repr(without_notes(found)) == repr(without_notes(before))
    assert (found.notes["created"], found.notes["finished"]) == (before.notes["created"], before.notes["finished"])


def continued(store_type, golden, folder):
    """Return the store and the id of a run that runnable began and chunkstore went on with."""
    shutil.copytree(golden, folder, dirs_exist_ok=True)
    store = open_target(store_type, folder)
    run_id = "pleasant-lamarr-0549" if store_type == "chunked-fs" else "blocking-shaw-0538"
    store.update_step_log(run_id, "simple", lambda found: setattr(found, "message", "seen"))
    store.append_metrics(run_id, "simple", {"loss": [MetricPoint(1, 0.5)]})
    store.set_parameters(run_id, {"a": 1})
    store.add_step_log(run_id, StepLog(name="late", internal_name="late"))
    return store, run_id


@pytest.mark.parametrize("source_type", PERSISTENT)
def test_a_run_that_chunkstore_has_continued_moves_as_its_store_shows_it(source_type, golden, source, store):
    own, run_id = continued(source_type, golden, source)
    before = own.get_run_log(run_id, strict=True)
    import_all(source, store)
    found = store.get_run_log(run_id, strict=True)
    assert (found.steps["simple"].message, found.parameters) == ("seen", {"a": 1})
    assert repr(without_notes(found)) == repr(without_notes(before))


def test_a_run_of_chunkstore_whose_own_record_is_damaged_moves_as_its_store_shows_it(source, store):
    own = used_store("chunked-fs", source)
    write_text(f"{RUN}/RunLog.json", '{"run')(source)
    before = own.get_run_log(RUN)
    report = import_runs(str(source), store)
    assert f"{RUN}/RunLog.json" in [problem.file for problem in report.problems]
    found = store.get_run_log(RUN)
    assert (found.parameters, found.steps) == (before.parameters, before.steps)


@pytest.mark.parametrize("source_type", PERSISTENT)
def test_problems_of_a_run_of_chunkstore_are_reported(source_type, source, store):
    used_store(source_type, source)
    report = import_runs(str(source), store)
    messages = " ".join(problem.message for problem in report.problems)
    assert "gone.branch.lost" in messages


@pytest.mark.parametrize("store_type", PERSISTENT)
def test_a_store_that_is_imported_into_itself_stays_as_it_is(store_type, source):
    used_store(store_type, source)
    before = snapshot(source)
    report = import_runs(str(source), open_target(store_type, source))
    assert (report.imported, report.present, report.problems) == ([], [RUN], [])
    assert snapshot(source) == before


@pytest.mark.parametrize(
    ("write", "store_type"),
    [
        (write_document, "chunked-fs"),
        (write_own_document, "chunked-fs"),
        (write_folder_of_2025, "file-system"),
        (write_folder_of_2024, "file-system"),
        (write_own_folder, "file-system"),
    ],
)
def test_a_folder_may_take_in_its_own_runs_in_the_other_layout(write, store_type, source):
    write(source, rich_run())
    before = snapshot(source)
    store = open_target(store_type, source)
    assert import_all(source, store).imported == [RUN]
    assert_nothing_is_lost(store, rich_run())
    after = snapshot(source)
    del before[str(source)]  # the folder itself has got an entry
    assert before.items() <= after.items()
    assert import_runs(str(source), store).imported == []
    assert snapshot(source) == after


@every_folder
def test_a_folder_of_runnable_that_is_imported_into_itself_is_shown_whole_or_reported(write, source):
    write(source, rich_run())
    store = open_target("chunked-fs", source)
    report = import_runs(str(source), store)
    assert report.imported == []
    if not report.problems:
        found = {record["internal_name"] for record in records_of(store.get_run_log(RUN).to_dict()["steps"])}
        assert found == {record["internal_name"] for record in records_of(rich_run()["steps"])}
