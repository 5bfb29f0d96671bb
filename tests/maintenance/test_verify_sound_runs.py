"""`verify` finds nothing where nothing is wrong, whatever form a run has and whoever writes to it meanwhile."""

import itertools
import time

import pytest
from processes import Forked

import chunkstore
from chunkstore.maintenance.checking import verify
from maintenance import layouts
from maintenance.verified_run import RUN, contents, found

pytestmark = pytest.mark.usefixtures("_brief")


# --- nothing is wrong ------------------------------------------------------------------------------------------------


def test_a_store_without_a_folder_and_an_empty_one_are_clean(store, logs):
    assert found(store) == []
    logs.mkdir()
    assert found(store) == []


def test_a_run_as_it_was_recorded_is_clean_loose_sealed_and_unsealed(store, run):
    assert found(store, with_data=True) == []
    store.seal(RUN)
    assert found(store, with_data=True) == []
    store.unseal(RUN)
    assert found(store, with_data=True) == []


@pytest.mark.parametrize("options", [{"container": "journal"}, {"pretty": True}, {"durability": "step"}])
def test_runs_in_every_form_are_clean(logs, options):
    store = chunkstore.open_store("chunked-fs", log_folder=str(logs), **options)
    with store.start_run(RUN) as recorded, recorded.step("load") as step:
        step.log_metric("loss", 0.5, step=1)
    assert found(store, with_data=True) == []


def test_documents_and_runs_in_memory_are_clean(logs):
    for store in (chunkstore.open_store("file-system", log_folder=str(logs)), chunkstore.open_store("buffered")):
        with store.start_run(RUN) as recorded, recorded.step("load") as step:
            step.log_metric("loss", 0.5, step=1)
        assert found(store) == []


@pytest.mark.parametrize("layout", ["own document", "own folder"])
def test_runs_of_other_writers_are_clean(logs, layout):
    logs.mkdir()
    layouts.LAYOUTS[layout](logs, layouts.rich_run())
    kind = "file-system" if "document" in layout else "chunked-fs"
    assert found(chunkstore.open_store(kind, log_folder=str(logs))) == []


def test_a_document_in_which_python_wrote_nan_is_not_moved(logs):
    logs.mkdir()
    layouts.write_document(logs, layouts.rich_run())
    store = chunkstore.open_store("file-system", log_folder=str(logs))
    (one,) = found(store, with_repair=True)
    assert (one.kind, one.moved_to) == ("corrupt", "")
    assert "chunkstore import" in one.advice


def test_what_other_layouts_hold_is_to_be_imported_and_no_repair_touches_it(logs):
    logs.mkdir()
    layouts.write_folder_of_2025(logs, layouts.rich_run())
    before = contents(logs)
    store = chunkstore.open_store("chunked-fs", log_folder=str(logs))
    notes = [one for one in found(store, with_repair=True) if one.kind == "foreign"]
    assert notes
    assert all("chunkstore import" in one.advice for one in notes)
    assert contents(logs) == before


def test_a_run_that_several_processes_record_is_clean(logs):
    for kind in ("chunked-fs", "file-system"):
        store = chunkstore.open_store(kind, log_folder=str(logs / kind))
        first, second = store.join_run(RUN, create=True), store.join_run(RUN)
        for name, run in (("one", first), ("two", second)):
            with run.step(name):
                pass
        assert found(store) == []


def test_progress_is_told_for_every_run(store):
    for number in range(3):
        store.create_run_log(f"run-{number}")
    told = []
    list(verify(store, on_progress=lambda done, total: told.append((done, total))))
    assert told == [(0, 3), (1, 3), (2, 3), (3, 3)]


# --- while others write ----------------------------------------------------------------------------------------------


@pytest.mark.thorough
def test_a_run_that_is_written_at_this_moment_gives_no_false_alarms(logs, monkeypatch):
    monkeypatch.setattr("chunkstore.maintenance.checking.verification._PAUSE", 0.1)

    def write(tell):
        files = chunkstore.open_store("chunked-fs", log_folder=str(logs))
        journal = chunkstore.open_store("chunked-fs", log_folder=str(logs), container="journal")
        recorded = [files.start_run("files"), journal.start_run("journal"), files.start_run("sealed")]
        tell("begun")
        for number in itertools.count():
            for run in recorded:
                with run.step(f"step {number}") as step:
                    step.log_metric("loss", 0.1, step=number)
                run.store.set_parameters(run.run_id, {"number": number})
            files.update_run_log("sealed", lambda log: setattr(log, "status", "SUCCESS"))
            files.seal("sealed")
            files.create_run_log("short")
            files.delete_run("short")

    store = chunkstore.open_store("chunked-fs", log_folder=str(logs))
    with Forked(write) as writer:
        assert writer.wait_for_line() == "begun"
        deadline = time.monotonic() + 1.5
        looks = 0
        while time.monotonic() < deadline:
            assert [one for one in found(store, with_repair=True) if one.severity == "problem"] == []
            looks += 1
    assert looks
    assert not list(logs.glob("*/quarantine"))


def test_what_is_wrong_for_a_moment_only_is_no_finding(store, run, monkeypatch):
    (chunk,) = run.glob("StepLog-load-*")
    data = chunk.read_bytes()
    chunk.write_bytes(b"")  # as where there are no links: a name first, and then what it stands for

    def complete(_seconds):
        chunk.write_bytes(data)
        monkeypatch.undo()

    monkeypatch.setattr("chunkstore.maintenance.checking.verification.time.sleep", complete)
    assert [one for one in found(store) if one.severity == "problem"] == []
