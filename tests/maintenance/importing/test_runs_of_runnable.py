"""runnable reads an imported run as it read the source."""

import json
import shutil

import pytest

from chunkstore.maintenance.importing import import_runs
from chunkstore.plugins.runnable import ChunkstoreRunLogStore
from chunkstore.records.codec import revive
from maintenance.importing.targets import import_all, open_target
from maintenance.layouts import RUN, records_of, run, write_document
from maintenance.runnable_runs import JOB, NOT_FINITE, PIPELINE, STORES, record_job, record_pipeline


def as_runnable_reads(store, run_id):
    return store.get_run_log_by_id(run_id, full=True).model_dump()


def assert_read_alike(source, source_type, tmp_path, run_ids):
    own = STORES[source_type](log_folder=str(source))
    before = {run_id: as_runnable_reads(own, run_id) for run_id in run_ids}
    assert sorted(import_all(source, open_target("chunked-fs", tmp_path / "target")).imported) == sorted(run_ids)
    ours = ChunkstoreRunLogStore(log_folder=str(tmp_path / "target"))
    for run_id in run_ids:
        found = as_runnable_reads(ours, run_id)
        assert_equal(before[run_id], found)
        assert ours.get_run_config(run_id) == before[run_id]["run_config"]
        assert_equal(before[run_id]["parameters"], as_plain(ours.get_parameters(run_id)))
        for record in records_of(before[run_id]["steps"]):
            if "name" not in record:
                assert_equal(record["parameters"], as_plain(ours.get_parameters(run_id, record["internal_name"])))


def as_plain(parameters):
    return {name: parameter.model_dump() for name, parameter in parameters.items()}


def assert_equal(expected, found):
    """Compare what pydantic dumps; NaN equals itself."""
    assert repr_sorted(found) == repr_sorted(expected)


def repr_sorted(value):
    if isinstance(value, dict):
        return {key: repr_sorted(item) for key, item in value.items()}
    return [repr_sorted(item) for item in value] if isinstance(value, list) else repr(value)


@pytest.mark.parametrize("source_type", STORES)
def test_runnable_reads_an_imported_run_as_it_read_the_source(source_type, source, tmp_path):
    own = STORES[source_type](log_folder=str(source))
    record_pipeline(own)
    record_job(own)
    assert_read_alike(source, source_type, tmp_path, [PIPELINE, JOB])


def test_runnable_reads_nan_as_it_read_the_source(source, tmp_path):
    record_pipeline(STORES["file-system"](log_folder=str(source)), **NOT_FINITE)
    assert "NaN" in (source / f"{PIPELINE}.json").read_text()
    assert_read_alike(source, "file-system", tmp_path, [PIPELINE])


def test_runnable_reads_a_document_of_2024_as_it_read_the_source(golden, source, tmp_path):
    shutil.copy(golden / "blocking-shaw-0538.json", source)
    assert_read_alike(source, "file-system", tmp_path, ["blocking-shaw-0538"])


def test_runnable_reads_a_run_that_it_put_back_whole_while_it_went_on_as_it_read_the_source(source, tmp_path):
    own = STORES["chunked-fs"](log_folder=str(source))
    record_pipeline(own)
    own.put_run_log(own.get_run_log_by_id(PIPELINE, full=True))
    record = own.get_step_log("each.9.work", PIPELINE)
    record.message = "retried"
    own.add_step_log(record, PIPELINE)
    assert_read_alike(source, "chunked-fs", tmp_path, [PIPELINE])


@pytest.mark.parametrize(
    "items",
    [
        ["a.csv", "b.csv"],
        ["0.1", "0.2"],
        ["-1", "1"],
        ["two\nlines", "three\nmore\nlines"],
        ["ajson", "x"],
        ["", "\u6a21"],
    ],
    ids=lambda items: repr(items[0]),
)
def test_items_of_maps_of_runnable_may_be_called_anything(items, source, chunked, tmp_path):
    own = STORES["chunked-fs"](log_folder=str(source))
    record_pipeline(own, items=items)
    import_all(source, chunked)
    names = [f"each.{item}" for item in items]
    found = chunked.get_run_log(PIPELINE, strict=True).steps["each"].branches
    assert list(found) == names
    for name in names:
        expected = own.get_branch_log(name, PIPELINE).model_dump()
        ours = ChunkstoreRunLogStore(log_folder=str(tmp_path / "target")).get_branch_log(name, PIPELINE).model_dump()
        assert_equal(expected, ours)


def test_a_run_that_runnable_was_killed_in_is_imported_as_far_as_it_went(source, chunked):
    own = STORES["chunked-fs"](log_folder=str(source))
    record_pipeline(own)
    torn = source / PIPELINE / "BranchLog-each.9.json"
    torn.write_bytes(torn.read_bytes()[:1000])
    report = import_runs(str(source), chunked)
    assert [problem.file for problem in report.problems] == [f"{PIPELINE}/BranchLog-each.9.json"]
    assert set(chunked.get_run_log(PIPELINE).steps["each"].branches) == {"each.10", "each.b"}


def test_marked_floats_of_imported_runs_are_what_runnable_set(source, chunked):
    write_document(source, run(RUN, parameters={"a": {"kind": "json", "value": {"$float": "NaN"}}}))
    import_all(source, chunked)
    on_disk = json.loads(chunked.get_run_json(RUN))["parameters"]["a"]["value"]
    assert revive(on_disk) == {"$float": "NaN"}
