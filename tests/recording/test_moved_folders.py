"""A log folder, a catalog or a working folder that is moved or deleted while a run is recorded."""

import os
import shutil
from concurrent.futures import ThreadPoolExecutor

import pytest
from every import every_store
from outcomes import temporary_files
from processes import fork_and_wait
from recorded import step
from run_of_two import RUN, open_at

from chunkstore import ChunkstoreError
from chunkstore.errors import DataNotFoundError, RunLogNotFoundError


@every_store
def test_recording_says_that_the_log_folder_was_moved_and_goes_on_when_it_is_back(tmp_path, store_type):
    logs, aside = tmp_path / "logs", tmp_path / "aside"
    store = open_at(logs, store_type)
    with store.start_run(RUN, capture_output=False) as run:
        with run.step("outer") as outer:
            outer.log_metric("before", 1)
            outer.log_metric("loss", 1, step=0)
            os.rename(logs, aside)
            with pytest.raises(RunLogNotFoundError, match=RUN), run.step("meanwhile"):
                pytest.fail("there is nowhere to record this")
            for call in (
                lambda: outer.log_metric("meanwhile", 2),
                lambda: run.set_parameters({"meanwhile": 2}),
                lambda: run.step("called meanwhile", int, "3"),
                lambda: store.get_run_log(RUN),
            ):
                with pytest.raises(RunLogNotFoundError, match=RUN):
                    call()
            outer.log_metric("loss", 2, step=1)  # waits
            with pytest.raises(RunLogNotFoundError):
                outer.flush()
            assert not logs.exists()
            os.rename(aside, logs)
            outer.log_metric("after", 3)
        with run.step("afterwards") as later:
            later.log_metric("rows", 4)
    log = store.get_run_log(RUN, strict=True)
    assert log.status != "PROCESSING"  # whatever it says of steps that could not begin
    assert {"outer": "SUCCESS", "afterwards": "SUCCESS"}.items() <= {
        name: found.status for name, found in log.steps.items()
    }.items()
    metrics = log.steps["outer"].user_defined_metrics
    assert {"before": 1, "after": 3}.items() <= metrics.items()
    assert [point.value for point in log.steps["outer"].metric_series["loss"]] == [1, 2]
    assert temporary_files(tmp_path) == set()


@every_store
def test_recording_says_so_and_leaves_it_alone_when_another_run_took_the_place(tmp_path, store_type):
    logs, aside = tmp_path / "logs", tmp_path / "aside"
    store = open_at(logs, store_type)
    run = store.start_run(RUN, capture_output=False)
    with run.step("before"):
        pass
    os.rename(logs, aside)
    open_at(logs, store_type).create_run_log(RUN, tag="another")
    for call in (lambda: run.step("after", int, "1"), lambda: run.set_parameters({"x": 1}), run.finish):
        with pytest.raises(RunLogNotFoundError, match="another run of the same id"):
            call()
    log = store.get_run_log(RUN, strict=True)
    assert (log.tag, log.status, log.steps, log.parameters) == ("another", "PROCESSING", {}, {})
    old = open_at(aside, store_type).get_run_log(RUN, strict=True)
    assert (old.status, old.steps["before"].status) == ("PROCESSING", "SUCCESS")
    store.add_step_log(RUN, step("by its id"))  # which means whichever run has it
    assert list(store.get_run_log(RUN, strict=True).steps) == ["by its id"]


@every_store
def test_a_log_folder_that_is_deleted_in_the_middle_is_said_to_be_gone(tmp_path, store_type):
    store = open_at(tmp_path / "logs", store_type)
    run = store.start_run(RUN, capture_output=False)
    run.step("before", int, "1")
    shutil.rmtree(tmp_path / "logs")
    with pytest.raises(RunLogNotFoundError, match=RUN):
        run.step("after", int, "2")
    with pytest.raises(RunLogNotFoundError, match=RUN):
        run.finish()
    assert list(store.list_runs()) == []
    with store.start_run(RUN, capture_output=False) as run, run.step("anew"):
        pass
    assert list(store.get_run_log(RUN, strict=True).steps) == ["anew"]


@pytest.mark.parametrize("change", ["another folder", "deleted folder"])
@every_store
def test_data_stays_where_it_is_when_the_working_folder_changes_or_is_deleted(
    tmp_path, monkeypatch, store_type, change
):
    work, source = tmp_path / "here", tmp_path / "data.csv"
    work.mkdir()
    (tmp_path / "another").mkdir()
    source.write_text("x,y\n")
    monkeypatch.chdir(work)

    def record():
        store = open_at("../logs", store_type)
        with store.start_run(RUN) as run:
            with run.step("before") as before:
                print("before")
                before.put_data(source, "before.csv")
            if change == "another folder":
                os.chdir(tmp_path / "another")
            else:
                os.rmdir(work)
            with run.step("after") as after:
                print("after")
                after.put_data(source, "after.csv")
                after.get_data("before.csv", tmp_path / "copy.csv")
            run.set_parameters({"a": 1})
        with store.start_run("second", capture_output=False) as run, run.step("s"):
            pass
        assert run.map("m", [1, 2], str, executor=ThreadPoolExecutor(1)) == ["1", "2"]

    assert fork_and_wait(record)
    log = open_at(tmp_path / "logs", store_type).get_run_log(RUN, strict=True)
    assert (log.status, list(log.steps), log.parameters) == ("SUCCESS", ["before", "after"], {"a": 1})
    assert sorted(os.listdir(tmp_path / ".catalog" / RUN)) == [
        ".versions",
        "after.csv",
        "after.execution.log",
        "before.csv",
        "before.execution.log",
    ]
    assert (tmp_path / "copy.csv").read_text() == "x,y\n"
    assert os.listdir(tmp_path / "another") == []
    assert {summary.run_id for summary in open_at(tmp_path / "logs", store_type).list_runs()} == {RUN, "second"}


@every_store
def test_opening_a_relative_folder_where_there_is_no_working_folder_is_an_error_of_ours(tmp_path, store_type):
    def work():
        (tmp_path / "here").mkdir()
        os.chdir(tmp_path / "here")
        os.rmdir(tmp_path / "here")
        with pytest.raises(ChunkstoreError):
            open_at("logs", store_type)
        open_at(tmp_path / "logs", store_type).create_run_log(RUN)

    assert fork_and_wait(work)


def test_a_catalog_that_is_deleted_in_the_middle_is_made_again(tmp_path):
    store, source = open_at(tmp_path / "logs"), tmp_path / "data.csv"
    source.write_text("x,y\n")
    with store.start_run(RUN) as run:
        with run.step("before") as before:
            print("before")
            before.put_data(source, "before.csv")
        with run.step("middle") as middle:
            print("one")
            shutil.rmtree(tmp_path / ".catalog")
            print("two")
            with pytest.raises(DataNotFoundError, match=r"before\.csv"):
                middle.get_data("before.csv")
            middle.put_data(source, "middle.csv")
        with run.step("after") as after:
            print("after")
            after.get_data("middle.csv", tmp_path / "copy.csv")
    log = store.get_run_log(RUN, strict=True)
    assert {found.status for found in log.steps.values()} == {log.status} == {"SUCCESS"}
    assert (tmp_path / "copy.csv").read_text() == "x,y\n"
    assert sorted(os.listdir(tmp_path / ".catalog" / RUN)) == [".versions", "after.execution.log", "middle.csv"]
